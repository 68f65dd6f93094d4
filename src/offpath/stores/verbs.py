"""Every verb but the hot one, as generators over one dialect's SQL: shared by all stores and all kinds of connection.

A verb reads rows, lets `core/lifecycle.py` decide, and writes the change; it runs inside one transaction. Dialects
differ in the text of the statements (where a row must be locked, the SQL that reads it locks it), not here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core import health, lifecycle
from ..core.change import Change
from ..core.job import LIVE, TERMINAL, Job, State
from ..core.options import DAY, Retention
from ..errors import Conflict, NotFound, StoreUnavailable
from ..ports import (
    Enqueued,
    EventRow,
    Found,
    Hint,
    JobFilter,
    NewJob,
    NewOperation,
    Now,
    OperationFilter,
    OperationRow,
    Round,
    Statement,
    Verb,
    Verdict,
)
from . import rows
from .endpoints import WebhookVerbs
from .guards import GuardVerbs
from .remembered import RememberedVerbs

NOW = Now()
Asked = dict[str, tuple[int | None, str | None]]

PATIENCE = 10  # times a key is tried for that is free when looked at and taken when asked for


class SqlVerbs(RememberedVerbs, GuardVerbs, WebhookVerbs):
    """`sql`: the dialect's statements by name (see `statements.load`); `retention`: for what ends outside a worker."""

    def __init__(self, sql: Mapping[str, str], retention: Retention) -> None:
        self.sql = sql
        self.retention = retention

    # ── callers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]:
        yield from self._insert(jobs)
        answer = [Enqueued(new.job.id, False) for new in jobs]
        if any(new.job.key is not None for new in jobs):
            answer = yield from self._resolve_keys(jobs)
        fresh = [new for new, said in zip(jobs, answer, strict=True) if not said.existing]
        queues = tuple({new.job.queue for new in fresh})
        if queues:
            yield Hint("work", queues)
        return answer

    def _insert(self, jobs: Sequence[NewJob]) -> Verb[None]:
        insert = self.sql["enqueue.insert"]
        params: dict[str, Any] = {"rows": rows.new_rows(jobs)}
        if ":now" in insert:  # a server's text asks its own clock: one way there and back less
            params["now"] = yield NOW
        yield Statement(insert, params, rows.nothing)

    def _resolve_keys(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]:
        """Who holds the key of each keyed job: itself, or the live job that was there before."""
        keyed = [new for new in jobs if new.job.key is not None]
        holders: dict[str, str | None] = {}
        for _ in range(PATIENCE):
            keys = rows.dumps([(new.job.id, new.job.task, new.job.key) for new in keyed])
            holders |= yield Statement(self.sql["enqueue.present"], {"keys": keys}, dict)
            keyed = [new for new in keyed if holders[new.job.id] is None]
            if not keyed:
                break
            # Whoever was in the way has ended between the two statements.
            yield from self._insert(keyed)
        else:
            raise StoreUnavailable(f"the key {keyed[0].job.key!r} changes hands too fast: try again")
        return [
            Enqueued(holder, holder != new.job.id)
            for new in jobs
            for holder in (holders.get(new.job.id) or new.job.id,)
        ]

    def find(self, id: str) -> Verb[Found | None]:
        live = yield Statement(self.sql["find.live"], {"id": id}, rows.jobs)
        if live:
            return Found(live[0], None)
        ended = yield Statement(self.sql["find.finished"], {"id": id}, rows.histories)
        return Found(None, ended[0]) if ended else None

    def list_jobs(self, where: JobFilter, after: str | None, limit: int) -> Verb[list[Found]]:
        states = frozenset(State(s) for s in where.states) or LIVE | TERMINAL
        params: dict[str, Any] = {
            "after": after,
            "limit": limit,
            "queue": where.queue,
            "task": where.task,
            "owner": where.owner,
        }
        page: list[Found] = []
        if live := states & LIVE:
            named = {**params, "states": rows.dumps(sorted(live))}
            found = yield Statement(self.sql["list_jobs.live"], named, rows.jobs)
            page += [Found(job, None) for job in found]
        if ended := states & TERMINAL:
            if ended == frozenset({State.FAILED}):
                found = yield Statement(self.sql["list_jobs.failed"], params, rows.histories)
            else:
                named = {**params, "states": rows.dumps(sorted(ended))}
                found = yield Statement(self.sql["list_jobs.finished"], named, rows.histories)
            seen = {job.id for job in found}  # it may have ended between the two statements
            page = [one for one in page if one.job and one.job.id not in seen] + [Found(None, job) for job in found]
        page.sort(key=_id, reverse=True)
        return page[:limit]

    def cancel(self, id: str, reason: str) -> Verb[Found | None]:
        held = yield Statement(self.sql["find.held"], {"id": id}, rows.jobs)
        found = Found(held[0], None) if held else (yield from self.find(id))
        if found is None or found.job is None:
            return found
        now = yield NOW
        change = lifecycle.cancel(found.job, reason, self.retention, now)
        if change is not None:
            yield from self.apply([(found.job, change)], now)
            if change.state is State.RUNNING:
                yield Hint("cancel", (id,))
        return (yield from self.find(id))

    def retry(self, id: str, new_id: str) -> Verb[Enqueued]:
        found = yield from self.find(id)
        if found is None:
            raise NotFound(f"no job {id}")
        if found.finished is None:
            raise Conflict(f"job {id} has not ended; only what has ended is run again")
        now = yield NOW
        job, event = lifecycle.again(found.finished, now, new_id)
        operation: NewOperation | None = None
        if job.watched:
            old = yield from self.operation(id)
            if old is None:
                job = job._replace(watched=False)
            else:
                operation = NewOperation(old.tenant, old.owner, old.kind, old.label)
        made = yield from self.enqueue([NewJob(job, event, operation)])
        return made[0]

    def delete(self, id: str) -> Verb[bool]:
        found = yield from self.find(id)
        if found is not None and found.job is not None:
            raise Conflict(f"job {id} has not ended; cancel it first")
        operation = yield from self.operation(id)
        for part in ("history", "operation", "events"):
            yield Statement(self.sql[f"delete.{part}"], {"id": id}, rows.nothing)
        return found is not None or operation is not None

    # ── operations ───────────────────────────────────────────────────────────────────────────────────────────────

    def operation(self, id: str) -> Verb[OperationRow | None]:
        found = yield Statement(self.sql["operation.get"], {"id": id}, rows.operations)
        return found[0] if found else None

    def list_operations(self, where: OperationFilter, after: str | None, limit: int) -> Verb[list[OperationRow]]:
        params = {
            "tenant": where.tenant,
            "owner": where.owner,
            "statuses": rows.dumps(where.statuses) if where.statuses else None,
            "kind": where.kind,
            "label": where.label,
            "created_after": where.created_after,
            "created_before": where.created_before,
            "after": after,
            "limit": limit,
        }
        page: list[OperationRow] = yield Statement(self.sql["operation.list"], params, rows.operations)
        return page

    def events(self, id: str, after: int, limit: int) -> Verb[list[EventRow]]:
        params = {"id": id, "after": after, "limit": limit}
        page: list[EventRow] = yield Statement(self.sql["operation.events"], params, rows.events)
        return page

    # ── the attempt that runs a job ──────────────────────────────────────────────────────────────────────────────

    def progress(self, id: str, fence: int, worker: str, progress: str) -> Verb[bool]:
        guard = {"id": id, "fence": fence, "worker": worker}
        if not (yield Statement(self.sql["progress.guard"], guard, rows.value)):
            return False
        now = yield NOW
        params = {"id": id, "progress": progress, "now": now}
        yield Statement(self.sql["progress.write"], params, rows.nothing)
        yield Statement(self.sql["progress.event"], params, rows.nothing)
        yield Hint("event", (id,))
        return True

    def settle_one(self, worker: str, change: Change) -> Verb[tuple[Verdict, int | None, str | None]]:
        while True:
            (verdict,), asked = yield from self.refused(worker, [change])
            if verdict != "applied":
                return verdict, *asked.get(change.id, (None, None))
            now = yield NOW
            if (yield from self.finish([change], now, worker)):
                yield from self.remove([change])
                if change.events:
                    yield from self.tell([change], now)
                return "applied", None, None
            # SQLite begins with the first write: what was read before it has changed. From now on it cannot.

    def refused(self, worker: str, changes: Sequence[Change]) -> Verb[tuple[list[Verdict], Asked]]:
        """The verdict on each change; where rows can be locked, those of the changes that may be applied are now."""
        params: dict[str, Any] = {"rows": rows.change_rows(changes), "worker": worker}
        refused: list[list[Any]] = json.loads((yield Statement(self.sql["settle.refused"], params, rows.value)))
        verdicts: list[Verdict] = ["applied"] * len(changes)
        asked: Asked = {}
        for index, ours, at, reason in refused:
            verdicts[index] = "changed" if ours else "stale"
            if ours:
                asked[changes[index].id] = (at, reason)
        return verdicts, asked

    def canceling(self, worker: str) -> Verb[list[tuple[str, int, int, str]]]:
        asked: list[tuple[str, int, int, str]] = yield Statement(self.sql["canceling"], {"worker": worker}, rows.plain)
        return asked

    # ── upkeep ───────────────────────────────────────────────────────────────────────────────────────────────────

    def expire(self, worker: str, limit: int, round: Round | None = None) -> Verb[int]:
        held = yield from self._page("upkeep.held", {"worker": worker}, limit, round)
        yield from self._expire(held)
        if not held:
            yield Statement(self.sql["lease.gone"], {"worker": worker}, rows.nothing)  # unless it holds one after all
        return len(held)

    def orphans(self, limit: int, round: Round | None = None) -> Verb[int]:
        held = yield from self._page("upkeep.orphaned", {}, limit, round)
        yield from self._expire(held)
        return len(held)

    def _page(self, name: str, params: Mapping[str, Any], limit: int, round: Round | None) -> Verb[list[Job]]:
        """Up to `limit` jobs, without those that `round` skips."""
        more = len(round.skip) if round is not None else 0
        found: list[Job] = yield Statement(self.sql[name], {**params, "limit": limit + more}, rows.jobs)
        if round is not None:
            found = [job for job in found if job.id not in round.skip][:limit]
            round.taken = [job.id for job in found]
        return found

    def _expire(self, held: Sequence[Job]) -> Verb[None]:
        if held:
            now = yield NOW
            yield from self.apply([(job, lifecycle.expire(job, self.retention, now)) for job in held], now)

    def overdue(self, limit: int, round: Round | None = None) -> Verb[int]:
        now = yield NOW
        late = yield from self._page("upkeep.overdue", {"now": now}, limit, round)
        changes = [(job, change) for job in late if (change := lifecycle.overdue(job, self.retention, now))]
        yield from self.apply(changes, now)
        return len(changes)

    def prune(self, limit: int) -> Verb[int]:
        now = yield NOW
        page = {"now": now, "limit": limit}
        until = now + (self.retention.operation or 0)
        ids: list[str] = yield Statement(self.sql["upkeep.entomb"], {**page, "until": until}, rows.column)
        if ids:
            yield Statement(self.sql["upkeep.events"], {"ids": rows.dumps(ids)}, rows.nothing)
        forgotten: int = yield Statement(self.sql["upkeep.forget"], page, rows.value)
        history: int = yield Statement(self.sql["upkeep.history"], page, rows.value)
        answers = yield from self.forget_answers(now, limit)
        tickets = yield from self.forget_tickets(now, limit)
        deliveries = yield from self.forget_deliveries(limit, now)
        return max(len(ids), forgotten, history, answers, tickets, deliveries)

    def counts(self) -> Verb[list[tuple[str, str, int, int, int, int]]]:
        found: list[tuple[str, str, int, int, int, int]] = yield Statement(self.sql["upkeep.counts"], {}, rows.plain)
        return found

    def queues(self) -> Verb[list[str]]:
        found: list[str] = yield Statement(self.sql["upkeep.queues"], {}, rows.column)
        return found

    def known_tasks(self) -> Verb[set[str]]:
        lists: list[str] = yield Statement(self.sql["lease.known"], {}, rows.column)
        return {str(name) for names in lists for name in json.loads(names)}

    def next_due(self) -> Verb[int | None]:
        due: int | None = yield Statement(self.sql["upkeep.next_due"], {}, rows.value)
        return due

    def vitals(self) -> Verb[health.Vitals]:
        now = yield NOW
        running: list[tuple[str, int, int]] = yield Statement(self.sql["doctor.running"], {}, rows.plain)
        workers: list[tuple[str, str, int, int | None]] = yield Statement(self.sql["doctor.workers"], {}, rows.plain)
        holds = {worker: jobs for worker, jobs, _ in running}
        recent = {"since": now - DAY, "limit": health.MOST}
        failed: list[tuple[str, int]] = yield Statement(self.sql["doctor.failed"], recent, rows.plain)
        return health.Vitals(
            at=now,
            workers=[health.WorkerRow(*worker, holds.get(worker[0], 0)) for worker in workers],
            known=(yield from self.known_tasks()),
            counts=(yield from self.counts()),
            orphans=sum(jobs for _, jobs, there in running if not there),
            failed=failed,
        )

    # ── writing what was decided ─────────────────────────────────────────────────────────────────────────────────

    def apply(self, changes: Sequence[tuple[Job, Change]], now: int) -> Verb[None]:
        """Write changes whose guard has been checked (or whose rows were read) in this transaction."""
        yield from self.write([change for _, change in changes], now)
        ready = tuple({job.queue for job, change in changes if change.state is State.READY})
        if ready:
            yield Hint("work", ready)

    def write(self, changes: Sequence[Change], now: int) -> Verb[None]:
        ended = [change for change in changes if change.state > State.RUNNING]
        back = [change for change in changes if change.state <= State.RUNNING]
        if ended:
            yield from self.finish(ended, now, None)
            yield from self.remove(ended)
        if back:
            yield Statement(self.sql["settle.back"], {"rows": rows.change_rows(back)}, rows.nothing)
        if told := [change for change in changes if change.events]:
            yield from self.tell(told, now)

    def finish(self, changes: Sequence[Change], now: int, worker: str | None) -> Verb[int]:
        """Copy to history what has ended and passes the guard; how many did."""
        params = {"rows": rows.change_rows(changes), "now": now, "worker": worker}
        passed: int = yield Statement(self.sql["settle.finish"], params, rows.value)
        return passed

    def remove(self, changes: Sequence[Change]) -> Verb[None]:
        """Take from the live table what `finish` has copied."""
        yield Statement(self.sql["settle.remove"], {"ids": rows.dumps([c.id for c in changes])}, rows.nothing)

    def tell(self, changes: Sequence[Change], now: int) -> Verb[None]:
        """Events, numbered per operation; one round for the first event of each change, one for the second, …"""
        heard: int | None = None
        for n in range(max(len(change.events) for change in changes)):
            lines = [
                (c.id, int(c.state), c.cancel_at, c.expires_at, c.events[n].type, rows.dumps(c.events[n].data))
                for c in changes
                if n < len(c.events)
            ]
            params = {"rows": rows.dumps(lines), "now": now}
            yield Statement(self.sql["settle.operations"], params, rows.nothing)
            heard = yield Statement(self.sql["settle.events"], params, rows.value)  # may say that nobody hears of it
        yield from self.announce(changes, now, bool(heard))
        yield Hint("event", tuple(change.id for change in changes))


def _id(found: Found) -> str:
    one: Any = found.job or found.finished
    return str(one.id)
