"""Settle and claim, an outcome per job: at most two statements on the hot path, each a transaction by itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import asyncpg

from ...core.attempts import KEPT
from ...core.change import Change
from ...core.job import Job, State
from ...core.lifecycle import started
from ...core.options import SUSPECT
from ...ports import Exchanged, Hint, Look, Seen, Statement, Verb, Verdict, Want
from .. import rows
from ..exchange import Desk, Extension, by_weight
from ..limits import without
from ..verbs import Asked
from . import faults
from .lanes import Lanes
from .limits import PostgresTeller, Waiting, claim_limited
from .session import Session
from .settling import settle
from .verbs import PostgresVerbs

_STARTED = rows.dumps(started(0).data)
_RUNNING = State.RUNNING
QUIET = 0.05  # s in which jobs under no limit are not asked for again where there were none beside many under one


class PostgresDesk(Desk):
    def __init__(self, extension: Extension | None = None) -> None:
        super().__init__(extension)
        self.lanes: dict[tuple[str, str], Lanes] = {}  # by queue and tasks
        self.held: set[str] = set()  # claimed and not settled
        self.locked: set[str] = set()  # of them, those whose rows somebody kept locked when they were to be settled
        self.limited = Waiting()
        self.doubt = False  # the answer to a claim was lost: it may hold more than it knows
        self.unheard = False  # the answer to a settle was lost: it may have been written
        self.quiet_until = 0.0  # (`time.monotonic`) there was none but under a limit, and there are more of those


class Page(NamedTuple):
    jobs: list[Job]
    alive: bool
    cut: bool  # more would have come, but for their size
    due: bool  # scheduled jobs wait to become ready


Settled = tuple[list[Verdict], Asked]
Claimed = tuple[list[Job], bool]


async def _nothing() -> Settled:
    return [], {}


class Exchange:
    """One exchange of one worker, on a session of its own, or on two: `second` is the one that claims."""

    def __init__(
        self,
        session: Session,
        second: Session | None,
        verbs: PostgresVerbs,
        worker: str,
        desk: PostgresDesk,
        hint: Callable[[Hint], None],
    ) -> None:
        self._session, self._verbs, self._sql = session, verbs, verbs.sql
        self._second = second
        self._worker, self._desk, self._hint = worker, desk, hint
        self._alive = True
        self._heed = 1
        self._cut = False

    async def run(self, changes: Sequence[Change], want: Want | None) -> Exchanged:
        """First what was said of jobs is written, then new work is taken: what was given back may come again at once.
        When all have ended there is no such thing, and both are done at the same time."""
        desk = self._desk
        found: list[Job] = await self._recover() if desk.doubt else []
        renewed = await self._renew()
        full = bool(found)
        ended = bool(changes) and all(change.state > _RUNNING for change in changes)
        settling = self._settle(changes) if changes else _nothing()
        seen: Seen | None = None
        if want is not None and want.queues and want.limit > len(found) and self._alive:
            want = want._replace(limit=want.limit - len(found))
            look = want.limited
            if look is None:
                (verdicts, asked), more = await self._both(settling, self._claim(want), at_once=ended)
            else:
                (verdicts, asked), more, seen = await self._three(settling, want, look, at_once=ended)
            if isinstance(more, Exception):
                if not (changes or found):
                    raise more
                # What was settled is settled, and the worker hears of it; what was claimed the next exchange finds.
                desk.held.update(job.id for job in found)
                return Exchanged(verdicts, found, True, self._alive, asked)
            found, full = found + more[0], more[1]
        else:
            verdicts, asked = await settling
            if not renewed:
                alive = Statement(self._sql["lease.alive"], {"worker": self._worker}, rows.value)
                self._alive = bool(await self._one(alive))
        desk.held.update(job.id for job in found)
        desk.doubt = False
        return Exchanged(verdicts, found, full, self._alive, asked, seen)

    async def _three(
        self, settling: Coroutine[Any, Any, Settled], want: Want, look: Look, *, at_once: bool
    ) -> tuple[Settled, Claimed | Exception, Seen | None]:
        """Jobs under a limit are claimed before the others, or after them in what is left of the room; and after the
        settle, which has made room for them, unless there are more of them anyway."""
        seen: list[Seen] = []
        if look.first:
            settled, came = await self._both(settling, self._first(want, look, seen), at_once=at_once and look.eager)
            return settled, came, seen[0] if seen else None
        settled, came = await self._both(settling, self._claim(want), at_once=at_once)
        if isinstance(came, Exception):
            return settled, came, None
        jobs, full = came
        look = look._replace(room=look.room - len(jobs), free=max(0, look.free - len(jobs)))
        try:
            more = await self._limited(without(want, jobs), look, seen)
        except Exception as e:
            return settled, e, None
        return settled, (jobs + more, full), seen[0] if seen else None

    async def _first(self, want: Want, look: Look, seen: list[Seen]) -> Claimed:
        jobs = await self._limited(want, look, seen)
        rest = without(want, jobs)
        if rest.limit <= 0 or not self._alive:
            return jobs, True
        if jobs and look.eager and time.monotonic() < self._desk.quiet_until:
            seen[-1] = seen[-1]._replace(more=True)  # the others are asked for as soon as none of these comes
            return jobs, False
        others, full = await self._claim(rest)
        self._desk.quiet_until = 0.0 if others else time.monotonic() + QUIET
        if not self._heed and seen:  # scheduled jobs have become ready meanwhile, and some may be under a limit
            seen[-1] = seen[-1]._replace(more=True)
        return jobs + others, full

    async def _limited(self, want: Want, look: Look, seen: list[Seen]) -> list[Job]:
        session = self._second or self._session
        if look.room <= 0 or not self._alive:
            return []
        if not (queues := await self._desk.limited.look(session, self._sql, eager=look.eager)):
            seen.append(Seen(look.cursors))
            return []
        self._desk.doubt = True  # until `run` has handed over what came
        teller = PostgresTeller(self._sql, self._worker, _STARTED, lambda found: _jobs(found, self._worker))
        accounts = self._desk.accounts[want.tasks, True]
        claimed, hints = await claim_limited(session, teller, want, look, queues, accounts)
        for hint in hints:
            self._hint(hint)
        self._alive = claimed.alive
        seen.append(claimed.seen)
        return claimed.jobs

    async def _both(
        self, settling: Coroutine[Any, Any, Settled], claiming: Coroutine[Any, Any, Claimed], *, at_once: bool
    ) -> tuple[Settled, Claimed | Exception]:
        """What settling gave, and what claiming gave or raised; `at_once` on two sessions, for two processors."""
        if not at_once or self._second is None:
            try:
                settled = await settling
            except BaseException:
                claiming.close()
                raise
            try:
                return settled, await claiming
            except Exception as e:
                return settled, e
        said, came = await asyncio.gather(settling, claiming, return_exceptions=True)
        if isinstance(said, BaseException):
            raise said  # the claim is in doubt until the next exchange has looked
        if isinstance(came, BaseException) and not isinstance(came, Exception):
            raise came
        return said, came

    async def _one(self, statement: Statement) -> Any:
        """A statement that is a transaction by itself."""
        for more in reversed(range(faults.AGAIN)):
            try:
                async with self._session.alone():
                    return await self._session.execute(statement)
            except asyncpg.PostgresError as e:
                if not more or faults.sqlstate(e) not in faults.REPEATED:
                    raise
        raise AssertionError("unreachable")

    async def _renew(self) -> bool:
        """Extend the lease on the way, when it is time; True when that has told whether the worker is alive."""
        extension = self._desk.extension
        length = extension.due() if extension is not None else None
        if extension is None or length is None:
            return False
        try:
            params = {"worker": self._worker, "length": length}
            self._alive = await self._one(Statement(self._sql["lease.renew"], params, rows.value)) == 1
        except BaseException:
            extension.again()
            raise
        return True

    # ── settle ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _settle(self, changes: Sequence[Change]) -> tuple[list[Verdict], Asked]:
        desk = self._desk
        again, desk.unheard = desk.unheard, True
        try:
            verdicts, asked = await self._write(changes)
        except asyncpg.PostgresError as e:
            if not faults.no_partition(e):
                raise
            self._verbs.days = frozenset()  # believed to be there: whoever made it was rolled back, or it was dropped
            verdicts, asked = await self._write(changes)
        if again and "stale" in verdicts:
            await self._acknowledge(changes, verdicts)
        desk.unheard = False
        if desk.locked or "changed" in verdicts:
            desk.locked.difference_update(change.id for change in changes)
            desk.locked.update(
                change.id
                for change, verdict in zip(changes, verdicts, strict=True)
                if verdict == "changed" and (asked[change.id][0] is not None) == change.seen_cancel
            )
        desk.held.difference_update(
            change.id for change, verdict in zip(changes, verdicts, strict=True) if verdict != "changed"
        )
        return verdicts, asked

    async def _write(self, changes: Sequence[Change]) -> tuple[list[Verdict], Asked]:
        if lacking := self._verbs.lacking(changes):
            async with self._session.transaction():
                await self._session.drive(self._verbs.make_days(lacking), self._hint)
        if any(
            c.state <= _RUNNING or c.events or c.flow is not None or c.answer or (c.record and c.record.attempt > KEPT)
            for c in changes
        ):
            return await self._write_mixed(changes)
        # Whoever was locked goes the way that does not wait, and the others do not wait with him.
        locked = self._desk.locked
        free = [change for change in changes if change.id not in locked] if locked else changes
        passed = await self._end(free) if free else None
        verdicts: list[Verdict] = ["applied"] * len(changes)
        left = [
            n
            for n, change in enumerate(changes)
            if change.id in locked or (passed is not None and change.id not in passed)
        ]
        said, asked = await self._write_mixed([changes[n] for n in left]) if left else ([], {})
        for n, verdict in zip(left, said, strict=True):
            verdicts[n] = verdict
        return verdicts, asked

    async def _acknowledge(self, changes: Sequence[Change], verdicts: list[Verdict]) -> None:
        """The answer to the last settle was lost, and the same was sent again: what has been written then, as of the
        same claim and with the same end, is not stale."""
        refused = [n for n, verdict in enumerate(verdicts) if verdict == "stale"]
        params = {"rows": rows.change_rows([changes[n] for n in refused])}
        found: list[int] = await self._one(Statement(self._sql["settle.written"], params, rows.column))
        for n in found:
            verdicts[refused[n]] = "applied"

    async def _end(self, changes: Sequence[Change]) -> frozenset[str] | None:
        """The hot one. None: all passed; else the ids of those that did."""
        name, texts = rows.ending(changes)
        params = {"rows": texts, "worker": self._worker, "count": len(changes)}
        try:
            [(_, ids)] = await self._one(Statement(self._sql[name], params, rows.plain))
        except asyncpg.PostgresError as e:
            if faults.sqlstate(e) != faults.LOCKED:
                raise
            return frozenset()  # somebody keeps one of them locked: the other way does not wait
        return None if ids is None else frozenset(json.loads(ids))

    async def _write_mixed(self, changes: Sequence[Change]) -> tuple[list[Verdict], Asked]:
        for more in reversed(range(faults.AGAIN)):
            hints: list[Hint] = []
            try:
                async with self._session.transaction():
                    answer = await self._session.drive(settle(self._verbs, self._worker, changes), hints.append)
            except asyncpg.PostgresError as e:
                if not more or faults.sqlstate(e) not in faults.REPEATED:
                    raise
                continue
            for hint in hints:
                self._hint(hint)
            return answer
        raise AssertionError("unreachable")

    # ── claim ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _claim(self, want: Want) -> tuple[list[Job], bool]:
        def take(queue: str, limit: int, free: int, suspect: bool) -> Verb[tuple[list[Job], bool]]:
            return self._take(want.tasks, queue, limit, free, suspect)

        session = self._second or self._session
        verb = by_weight(want, take, self._desk.accounts[want.tasks, False])
        self._desk.doubt = True  # until `run` has handed over what came
        if not session.pooled:
            return await session.drive(verb, self._hint)
        hints: list[Hint] = []
        async with session.transaction():
            answer = await session.drive(verb, hints.append)
        for hint in hints:
            self._hint(hint)
        return answer

    def _take(self, tasks: str, queue: str, limit: int, free: int, suspect: bool) -> Verb[tuple[list[Job], bool]]:
        """At most `limit` jobs of one queue: from where the last claim ended; if they are too few, from its head."""
        if self._cut:
            return [], True
        lanes = self._desk.lanes.setdefault((queue, tasks), Lanes())
        params: dict[str, Any] = {
            "worker": self._worker,
            "tasks": tasks,
            "queue": queue,
            "suspect": SUSPECT,
            "suspects": int(suspect),
            "free": free,
            "limit": limit,
            "started": _STARTED,
        }
        jobs: list[Job] = []
        if known := lanes.known():
            page = yield from self._page("claim.lanes", {**params, "lanes": rows.dumps(known)})
            lanes.claimed(_ordinary(page.jobs), len(page.jobs) >= limit)
            jobs = page.jobs
            if page.cut or len(jobs) >= limit or not page.alive:
                return jobs, True
            params["limit"] -= len(jobs)
            params["free"] = max(0, free - len(jobs))
            params["suspects"] = int(suspect and not any(job.crashes >= SUSPECT for job in jobs))
        if not known or lanes.may_sweep():
            began = time.monotonic()
            page = yield from self._page("claim.sweep", params)
            lanes.swept(_ordinary(page.jobs), len(page.jobs) >= params["limit"], began)
            jobs = jobs + page.jobs
            return jobs, page.cut or len(jobs) >= limit
        return jobs, False

    def _page(self, name: str, params: Mapping[str, Any]) -> Verb[Page]:
        page: Page = yield Statement(self._sql[name], {**params, "heed": self._heed}, self._read)
        if page.due and page.alive:
            yield Statement(self._sql["claim.promote"], {}, rows.nothing)
            self._heed = 0  # once in an exchange: there may be more of them than one promotion takes
            for lanes in self._desk.lanes.values():
                lanes.look_back()
            page = yield Statement(self._sql["claim.sweep"], {**params, "heed": 0}, self._read)
        self._alive = self._alive and page.alive
        self._cut = page.cut
        if watched := tuple(job.id for job in page.jobs if job.watched):
            yield Hint("event", watched)
        return page

    def _read(self, found: list[Any]) -> Page:
        _, _, alive, _, _, best, due, *_ = found.pop()
        jobs = _jobs(found, self._worker)
        return Page(jobs, bool(alive), best > len(jobs), bool(due))

    async def _recover(self) -> list[Job]:
        """What a claim took whose answer was lost on the way."""
        async with self._session.transaction():
            params = {"worker": self._worker}
            await self._session.execute(Statement(self._sql["claim.doubt"], params, rows.nothing))
            held = await self._session.execute(
                Statement(self._sql["claim.mine"], params, lambda found: _jobs(found, self._worker))
            )
        found = [job for job in held if job.id not in self._desk.held]
        if watched := tuple(job.id for job in found if job.watched):
            self._hint(Hint("event", watched))
        return found


def _ordinary(jobs: Sequence[Job]) -> list[Job]:
    """Without the delicate ones, which are claimed from the head of an index of their own."""
    return [job for job in jobs if not job.once and not job.crashes]


_order = itemgetter(5, 6, 0)  # priority, run_at, id


def _jobs(found: list[Any], worker: str) -> list[Job]:
    found.sort(key=_order)
    return [
        Job(id_, task, version, args, queue, priority, _RUNNING, run_at, deadline, key, attempt, crashes, fence, worker,
            None, bool(once), bool(watched), owner, options, retry_of, None, flow, 0, lane)
        for id_, task, version, args, queue, priority, run_at, deadline, key, attempt, crashes, fence, once, watched,
            owner, options, retry_of, flow, lane in found
    ]  # fmt: skip
