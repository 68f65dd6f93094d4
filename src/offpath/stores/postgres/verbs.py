"""What PostgreSQL adds to the verbs: history has a partition for each day on which something in it expires."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterable, Mapping, Sequence

from ...core.attempts import AttemptRow
from ...core.change import Change
from ...core.ids import is_id
from ...core.options import DAY
from ...core.retention import Retention, Terms
from ...core.steps import Asked
from ...ports import Enqueued, EventRow, Found, NewJob, OperationRow, Round, Statement, StepRow, Ticket, Verb
from ...ports.flows import FlowRows
from .. import rows
from ..verbs import NOW, SqlVerbs
from . import faults

_NOBODY = "00000000-0000-0000-0000-000000000000"
_EPOCH = datetime.date(1970, 1, 1)

AHEAD = 7  # days that whoever may makes ahead at a start or a migration: so long others can do without


class PostgresVerbs(SqlVerbs):
    """`days`: the partitions known to exist, as days since the epoch; what is missing is made before it is needed."""

    def __init__(self, sql: Mapping[str, str], retention: Retention | Terms) -> None:
        super().__init__(sql, retention)
        self.days: frozenset[int] = frozenset()

    def finish(self, changes: Sequence[Change], now: int, worker: str | None) -> Verb[int]:
        if lacking := self.lacking(changes):
            yield from self.make_days(lacking)
        return (yield from super().finish(changes, now, worker))

    def snapshot(self) -> Verb[bool]:
        found: bool = yield Statement(self.sql["snapshot"], {}, rows.value)
        return found

    def remove(self, changes: Sequence[Change]) -> Verb[None]:
        if len(changes) > 1:
            return (yield from super().remove(changes))
        yield Statement(self.sql["settle.remove_one"], {"id": changes[0].id}, rows.nothing)

    def telling(self, count: int) -> tuple[str, str]:
        return ("settle.operations_one", "settle.events_one") if count == 1 else super().telling(count)

    def enqueue(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]:
        try:
            return (yield from super().enqueue(jobs))
        except Exception as e:
            if faults.sqlstate(e) == faults.LOCKED:
                e.add_note(faults.JOIN)
            raise

    def enqueue_again(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]:
        """For whoever never heard the answer: a job that was inserted, and has even ended by now, is not made twice.

        The look into history is a statement of its own: the insert may have waited for the end of that very job.
        """
        answer = yield from self.enqueue(jobs)
        ids = rows.dumps([new.job.id for new in jobs])
        ended: list[str] = yield Statement(self.sql["enqueue.ended"], {"ids": ids}, rows.column)
        if not ended:
            return answer
        yield Statement(self.sql["enqueue.undo"], {"ids": rows.dumps(ended)}, rows.nothing)
        known = frozenset(ended)
        return [
            Enqueued(new.job.id, False) if new.job.id in known else said for new, said in zip(jobs, answer, strict=True)
        ]

    # ── whoever asks for what cannot be an id asks for nobody ────────────────────────────────────────────────────

    def find(self, id: str) -> Verb[Found | None]:
        return super().find(_uuid(id))

    def cancel(self, id: str, reason: str) -> Verb[Found | None]:
        return super().cancel(_uuid(id), reason)

    def delete(self, id: str) -> Verb[bool]:
        return super().delete(_uuid(id))

    def retried_as(self, id: str) -> Verb[str | None]:
        return super().retried_as(_uuid(id))

    def operation(self, id: str) -> Verb[OperationRow | None]:
        return super().operation(_uuid(id))

    def events(self, id: str, after: int, limit: int) -> Verb[list[EventRow]]:
        return super().events(_uuid(id), after, limit)

    def progress(self, id: str, fence: int, worker: str, progress: str) -> Verb[bool]:
        return super().progress(_uuid(id), fence, worker, progress)

    def remember_steps(self, id: str, fence: int, worker: str, steps: Sequence[tuple[Asked, str]]) -> Verb[bool]:
        return super().remember_steps(_uuid(id), fence, worker, steps)

    def remembered_steps(self, id: str) -> Verb[list[Asked]]:
        return super().remembered_steps(_uuid(id))

    def step_result(self, id: str, name: str) -> Verb[str | None]:
        return super().step_result(_uuid(id), name)

    def steps(self, id: str, limit: int) -> Verb[list[StepRow]]:
        return super().steps(_uuid(id), limit)

    def job_attempts(self, id: str, limit: int) -> Verb[list[AttemptRow]]:
        return super().job_attempts(_uuid(id), limit)

    def emit(self, id: str, fence: int, worker: str, lines: Sequence[str]) -> Verb[bool]:
        return super().emit(_uuid(id), fence, worker, lines)

    def take_ticket(self, hash: str, operation: str) -> Verb[Ticket | None]:
        return super().take_ticket(hash, _uuid(operation))

    def flow(self, id: str) -> Verb[FlowRows | None]:
        return super().flow(_uuid(id))

    # ── history ──────────────────────────────────────────────────────────────────────────────────────────────────

    def prune(self, limit: int, round: Round | None = None) -> Verb[int]:
        done = yield from super().prune(limit, round)
        if not done:
            now = yield NOW
            yield from self.make_days(self.ahead(now))
            done = yield from self.drop_day(now // DAY)
        return done

    def seen(self, ids: Sequence[str]) -> Verb[list[str]]:
        """Which of these jobs can be seen by now, live or in history."""
        found: list[str] = yield Statement(self.sql["enqueue.seen"], {"ids": rows.dumps(ids)}, rows.column)
        return found

    def lacking(self, changes: Iterable[Change]) -> set[int]:
        """The days for which history has no place yet, of what these changes end."""
        ends = {change.expires_at // DAY for change in changes if change.state > 3 and change.expires_at is not None}
        return ends - self.days

    def ahead(self, now: int, more: int = 1) -> set[int]:
        """The days on which what ends today, or up to `more` days later, will expire."""
        return {(now + length) // DAY + later for length in self.terms.lengths() for later in range(more + 1)}

    def left(self, now: int) -> int:
        """For how many days, today among them, history has a place for what ends; no more than AHEAD."""
        return next((n for n in range(AHEAD) if not self.days.issuperset(self.ahead(now, n))), AHEAD)

    def make_days(self, wanted: Collection[int]) -> Verb[None]:
        """Unless they exist. Whoever writes history meanwhile is not in the way."""
        if not wanted or self.days.issuperset(wanted):
            return
        yield Statement(self.sql["partition.patience"], {}, rows.nothing)
        yield Statement(self.sql["partition.alone"], {}, rows.nothing)
        there = yield from self.find_days()
        for day in sorted(set(wanted) - there):
            yield Statement(_filled(self.sql["partition.make"], day), {}, rows.nothing)
            yield Statement(_filled(self.sql["partition.attach"], day), {}, rows.nothing)
        self.days = there.union(wanted)

    def drop_day(self, today: int) -> Verb[int]:
        """Drop one that is past: how many were dropped. One, since whoever reads or writes history waits until the end
        of the transaction. What somebody reads, or is not ours to drop, is left for later; `days` follows when they
        are next looked for, which is after the commit."""
        if not any(day < today for day in self.days):
            return 0
        yield Statement("savepoint dropping", {}, rows.nothing)
        try:
            yield Statement(self.sql["partition.haste"], {}, rows.nothing)
            yield Statement(self.sql["partition.alone"], {}, rows.nothing)
            there = yield from self.find_days()
            past = min(there, default=today)
            if past >= today:
                return 0
            yield Statement(_filled(self.sql["partition.drop"], past), {}, rows.nothing)
        except Exception as e:
            if faults.sqlstate(e) not in (faults.LOCKED, faults.DENIED, *faults.REPEATED):
                raise
            yield Statement("rollback to savepoint dropping", {}, rows.nothing)
            return 0
        return 1

    def find_days(self) -> Verb[frozenset[int]]:
        found: list[int] = yield Statement(self.sql["partition.days"], {}, rows.column)
        self.days = frozenset(_number(day) for day in found)
        return self.days


def _uuid(id: str) -> str:
    return id if is_id(id) else _NOBODY


def _number(day: int) -> int:
    """Days since the epoch, of 20261231."""
    return (datetime.date(day // 10_000, day // 100 % 100, day % 100) - _EPOCH).days


def _filled(sql: str, day: int) -> str:
    date = _EPOCH + datetime.timedelta(days=day)
    after = date + datetime.timedelta(days=1)
    return sql.format(day=date.strftime("%Y%m%d"), start=date.isoformat(), end=after.isoformat())
