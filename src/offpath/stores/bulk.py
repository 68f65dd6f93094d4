"""Many jobs at once, a page in a transaction. What becomes of each is decided in `core/lifecycle.py`, as ever."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from typing import Any

from ..core import lifecycle, selection
from ..core.change import Change
from ..core.job import Finished, Job, State
from ..core.selection import JobFilter
from ..errors import Conflict
from ..ports import Hint, NewJob, NewOperation, Now, Page, Round, Statement, Verb
from . import rows
from .shared import SharedVerbs


class BulkVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def meant(
        self, where: JobFilter, states: Sequence[int], after: str | None = None, limit: int = 0
    ) -> dict[str, Any]:
        """What the statements that look for jobs in these states, all live or all ended, are given; each takes of it
        what it knows."""
        return {
            "after": after,
            "limit": limit,
            "states": rows.dumps(states),
            "queue": where.queue,
            "task": where.task,
            "owner": where.owner,
            "prefix": where.key_prefix,
            "before_id": None if where.before is None else selection.oldest_id(where.before),
            "before": where.before,
            "error": where.error,
            "outstanding": int(where.outstanding),
        }

    # ── which ────────────────────────────────────────────────────────────────────────────────────────────────────

    def count_jobs(self, where: JobFilter, without: Collection[str] = ()) -> Verb[int]:
        live, ended = selection.parted(where)
        total = 0
        for name, states in (("live", live), (_ended(ended), ended)):
            if states:
                params = {**self.meant(where, states), "without": rows.dumps(sorted(without))}
                total += yield Statement(self.sql[f"bulk.{name}_count"], params, rows.value)
        return total

    def floor(self, where: JobFilter, after: str | None, most: int) -> Verb[str | None]:
        """Down to where a look that begins behind `after` comes with `most` rows; None: to the end."""
        live, ended = selection.parted(where)
        floors: list[str] = []
        for name, states in (("live", live), ("failed" if _ended(ended) == "failed" else "finished", ended)):
            if states:
                params = {**self.meant(where, states, after), "most": most - 1}
                last: str | None = yield Statement(self.sql[f"walk.{name}_floor"], params, rows.value)
                floors += [] if last is None else [last]
        return max(floors) if floors else None

    def count_walk(self, where: JobFilter, after: str | None, most: int) -> Verb[tuple[int, str | None]]:
        floor = yield from self.floor(where, after, most)
        live, ended = selection.parted(where)
        total = 0
        for name, states in (("live", live), ("failed" if _ended(ended) == "failed" else "finished", ended)):
            if states:
                params = {**self.meant(where, states, after), "floor": floor}
                total += yield Statement(self.sql[f"walk.{name}_count"], params, rows.value)
        return total, floor

    def _select(self, where: JobFilter, after: str | None, limit: int, live: bool, round: Round | None) -> Verb[_Ids]:
        """A page of ids, without those that `round` skips, and where the next one begins."""
        states = selection.parted(where)[0 if live else 1]
        if not states:
            return [], None
        more = len(round.skip) if round is not None else 0
        params = self.meant(where, states, after, limit + more)
        name = "live" if live else _ended(states)
        found: list[str] = yield Statement(self.sql[f"bulk.{name}"], params, rows.column)
        if round is not None:
            found = [id for id in found if id not in round.skip][:limit]
            round.taken = found
        return found, found[-1] if len(found) == limit else None

    # ── cancel ───────────────────────────────────────────────────────────────────────────────────────────────────

    def cancel_page(
        self, where: JobFilter, after: str | None, limit: int, reason: str, round: Round | None = None
    ) -> Verb[Page]:
        ids, last = yield from self._select(where, after, limit, True, round)
        return (yield from self._cancel(ids, where, reason))._replace(last=last)

    def cancel_these(self, ids: Sequence[str], where: JobFilter, reason: str, round: Round | None = None) -> Verb[Page]:
        these = list(ids)
        if round is not None:
            these = [id for id in these if id not in round.skip]
            round.taken = these
        return (yield from self._cancel(these, where, reason))

    def _cancel(self, ids: Sequence[str], where: JobFilter, reason: str) -> Verb[Page]:
        if not ids:
            return NOTHING
        flows: dict[str, Job] = {}
        if flown := (yield Statement(self.sql["bulk.flows"], {"ids": rows.dumps(ids)}, rows.column)):
            flows = yield from self.hold_flows(flown)  # before any of their parts
        held: list[Job] = yield Statement(self.sql["bulk.held"], {"ids": rows.dumps(ids)}, rows.jobs)
        now: int = yield Now()
        changes: list[tuple[Job, Change]] = []
        whole = {job.id for job in held if job.id in flows and job.state in where.states}
        for id in sorted(whole):
            yield from self.cancel_flow(flows[id], reason, now)
        for job in held:
            if job.state in where.states and job.flow not in whole:  # it may have gone on since it was looked for
                if job.flow is not None and (yield from self.idle(job)):
                    continue
                change = lifecycle.cancel(job, reason, self.kept(job), now)
                if change is not None:
                    changes.append((job, change))
        yield from self.apply(changes, now)
        if asked := tuple(change.id for _, change in changes if change.state is State.RUNNING):
            yield Hint("cancel", asked)
        had = {job.id for job in held}
        locked: list[str] = []
        if missed := [id for id in ids if id not in had]:
            locked = yield Statement(self.sql["bulk.alive"], {"ids": rows.dumps(missed)}, rows.column)
        done = len(changes) + sum(job.id in whole or job.flow in whole for job in held)
        return Page(done, len(ids) - done - len(locked), tuple(locked), None)

    # ── retry ────────────────────────────────────────────────────────────────────────────────────────────────────

    def retry_page(
        self,
        where: JobFilter,
        after: str | None,
        new_ids: Sequence[str],
        max_attempts: int | None,
        round: Round | None = None,
    ) -> Verb[Page]:
        ids, last = yield from self._select(where, after, len(new_ids), False, round)
        if not ids:
            return NOTHING
        letters: list[Finished] = yield Statement(self.sql["bulk.letters"], {"ids": rows.dumps(ids)}, rows.histories)
        now: int = yield Now()
        news: list[NewJob] = []
        for at, (letter, id) in enumerate(zip(sorted(letters, key=lambda one: one.id), new_ids, strict=False)):
            with contextlib.suppress(Conflict):  # its arguments have been erased, or it is at-most-once
                # A microsecond apart: their order in the queue stays what it was.
                news.append((yield from self.again(letter, now + at, id, max_attempts)))
        made = (yield from self.enqueue(news)) if news else []
        done = [(new.job.retry_of, new.job.id) for new, said in zip(news, made, strict=True) if not said.existing]
        yield from self.mark(done)
        return Page(len(done), len(ids) - len(done), (), last)

    def again(self, old: Finished, now: int, id: str, max_attempts: int | None) -> Verb[NewJob]:
        """What runs a finished job again, not yet written; HTTP shows it as it showed the old one."""
        job, event = lifecycle.again(old, now, id, max_attempts)
        operation: NewOperation | None = None
        if job.watched:
            seen = yield from self.operation(old.id)
            if seen is None:
                job = job._replace(watched=False)
            else:
                operation = NewOperation(seen.tenant, seen.owner, seen.kind, seen.label)
        return NewJob(job, event, operation)

    def mark(self, done: Sequence[tuple[str | None, str]]) -> Verb[None]:
        """(what has ended, what runs it again): so that no sweep runs it again. Of a part, its flow too."""
        if done:
            for statement in ("bulk.mark", "again.flows"):
                yield Statement(self.sql[statement], {"rows": rows.dumps(done)}, rows.nothing)

    def retried_as(self, id: str) -> Verb[str | None]:
        found: str | None = yield Statement(self.sql["bulk.retried"], {"id": id}, rows.value)
        return found

    # ── delete ───────────────────────────────────────────────────────────────────────────────────────────────────

    def delete_page(self, where: JobFilter, after: str | None, limit: int, round: Round | None = None) -> Verb[Page]:
        ids, last = yield from self._select(where, after, limit, False, round)
        if not ids:
            return NOTHING
        these = {"ids": rows.dumps(ids)}
        gone: int = yield Statement(self.sql["bulk.history"], these, rows.value)
        yield Statement(self.sql["bulk.operations"], these, rows.nothing)
        for part in ("upkeep.events", "bulk.steps", "bulk.edges", "attempt.erase_many"):
            yield Statement(self.sql[part], these, rows.nothing)
        return Page(gone, len(ids) - gone, (), last)


_Ids = tuple[list[str], str | None]
NOTHING = Page(0, 0, (), None)


def _ended(states: Sequence[int]) -> str:
    """Those that failed have an index of their own."""
    return "failed" if tuple(states) == (State.FAILED,) else "ended"
