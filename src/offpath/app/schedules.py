"""`jobs.schedules`: put, looked at and changed by API. (`declaring.py` has those declared in code.)"""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ..core import schedule as core
from ..core.checks import whole
from ..core.schedule import ScheduleRow
from ..errors import ConfigurationError, Conflict, NotFound
from ..ports import Enqueued, NewJob, Pending, Verb, Verbs
from ..tasks import Call, Job, Schedule
from ..tasks.scheduling import check_call, check_schedule
from .acting import Said, recorded
from .desk import Counter, fresh_id
from .then import Then

PAGE = 500


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as it stands. Times are UTC.

    next_at    its next tick; None: there is none any more
    declared   in code (rather than put by API)
    queue      where its jobs go
    last_tick, last_job, last_at   the newest tick that became a job, the id of that job, and when
    skipped    how many ticks found the job of an earlier one still there, and were dropped
    """

    name: str
    task: str
    queue: str
    schedule: Schedule
    next_at: datetime | None
    paused: bool
    declared: bool
    last_tick: datetime | None
    last_job: str | None
    last_at: datetime | None
    skipped: int
    created_at: datetime
    updated_at: datetime


class Held(NamedTuple):
    """What may hold a schedule up: its queue is paused; its last job lives, and it may have one at a time."""

    queue_paused: bool
    waits_for: str | None


class Schedules:
    """`jobs.schedules`. Every method gives something to await, or in plain code `.result()`:
    `await jobs.schedules.pause("daily-report")`, `jobs.schedules.pause("daily-report").result()`."""

    def __init__(self, desk: Counter) -> None:
        self._desk = desk

    def put(self, name: str, schedule: Schedule, call: Call[Any]) -> Pending[ScheduleInfo]:
        """Create a schedule, or change the one of this name: `await jobs.schedules.put("daily-report",
        Schedule.cron("0 8 * * *"), render.call("sales"))`. Its next tick stays where it is unless the times change.

        ConfigurationError for what cannot be scheduled; Conflict when code that runs now declares this name.
        """
        core.check_schedule_name(name)
        spec, said = check_schedule(schedule).as_json(), check_call(call)
        if self._desk.registry.get(said.task) is None:
            raise ConfigurationError(f"there is no task {said.task!r} here: the call is another application's")
        registry, queue = self._desk.registry, said.using.queue or said.options.queue
        made = core.template(said, registry.queues.get(queue), registry.lane(said.task, queue, said.args))

        def change(row: ScheduleRow | None, now: int, alive: Collection[str]) -> ScheduleRow:
            if row is None:
                first = schedule.first(now)
                return ScheduleRow(name, spec, said.task, made, (), now, first, False, 1, None, None, None, 0, now, now)
            _not_in_code(row, alive, "change it there")
            if not row.declared and (row.spec, row.task, row.call) == (spec, said.task, made):
                return row
            same = Schedule.from_json(row.spec).when() == schedule.when()
            row = row._replace(spec=spec, task=said.task, call=made, declared=(), revision=row.revision + 1)
            row = row._replace(updated_at=now)
            return row if same else row._replace(anchor=now, next_at=schedule.first(now))

        return self._change(name, change, "schedule.put")

    def list(self) -> Pending[builtins.list[ScheduleInfo]]:
        """All of them, by name."""
        return Then(self._desk.store.read(self._all()), lambda rows: [info(row) for row in rows])

    def get(self, name: str) -> Pending[ScheduleInfo]:
        """The schedule of this name. NotFound."""
        return Then(self._row(name), lambda row: info(_found(name, row)))

    def explain(self, name: str, n: int = 10) -> Pending[builtins.list[datetime]]:
        """Its next `n` ticks (1 to 10,000) from now on, in its own time zone, as if it were not paused. One that is
        only declared, and that no worker has written down yet, is explained too. NotFound."""
        whole(n, 1, 10_000, "n")
        now = self._desk.store.now()
        declared = self._desk.registry.schedules.get(name)

        def ticks(row: ScheduleRow | None) -> builtins.list[datetime]:
            if row is None and declared is not None:
                anchor = now
                schedule, first = declared[0], declared[0].first(anchor)
            else:
                row = _found(name, row)
                schedule, first, anchor = Schedule.from_json(row.spec), row.next_at, row.anchor
                if first is not None and first <= now:  # it is late, and of those that were missed few will run
                    first = schedule.after(now, anchor)
            if first is None:
                return []
            return [schedule.local(tick) for tick in (first, *schedule.ticks(first, anchor, n - 1))]

        return Then(self._row(name), ticks)

    def pause(self, name: str) -> Pending[ScheduleInfo]:
        """No tick becomes a job until `resume`; a job that is there runs on. NotFound."""

        def change(row: ScheduleRow | None, now: int, _: Collection[str]) -> ScheduleRow:
            row = _found(name, row)
            return row if row.paused else row._replace(paused=True, revision=row.revision + 1, updated_at=now)

        return self._change(name, change, "schedule.pause")

    def resume(self, name: str) -> Pending[ScheduleInfo]:
        """Go on with the next tick from now; those of the pause are not made up for. NotFound."""

        def change(row: ScheduleRow | None, now: int, _: Collection[str]) -> ScheduleRow:
            row = _found(name, row)
            if not row.paused:
                return row
            next_at = row.next_at
            if next_at is not None and next_at <= now:
                next_at = Schedule.from_json(row.spec).after(now, row.anchor)
            return row._replace(paused=False, next_at=next_at, revision=row.revision + 1, updated_at=now)

        return self._change(name, change, "schedule.resume")

    def run_now(self, name: str) -> Pending[Job[Any]]:
        """Enqueue its job now, besides its ticks, also when it is paused. With overlap "skip" or "queue" there is one
        job at a time: while one lives, that one is given back (`existing`). NotFound."""

        def make(row: ScheduleRow, now: int) -> NewJob:
            overlap = Schedule.from_json(row.spec).overlap
            return NewJob(*core.job_of(row, overlap, now, 0, now, fresh_id(now)), None)

        core.check_schedule_name(name)

        def verb() -> Verb[Enqueued | None]:
            return self._desk.store.verbs.run_schedule(name, make)

        def job(said: Enqueued | None) -> Job[Any]:
            if said is None:
                raise _missing(name)
            return Job(self._desk, said.id, "", said.existing)

        def says(said: Enqueued | None) -> Said | None:
            return None if said is None or said.existing else {"job": said.id}

        return Then(self._desk.store.perform(recorded(self._desk.store, verb, "schedule.run", name, says)), job)

    def delete(self, name: str) -> Pending[None]:
        """Remove it; its jobs stay. NotFound; Conflict when code that runs now declares it."""

        def change(row: ScheduleRow | None, _: int, alive: Collection[str]) -> None:
            _not_in_code(_found(name, row), alive, "remove it there, or pause it")

        core.check_schedule_name(name)
        store = self._desk.store
        gone = recorded(store, lambda: store.verbs.change_schedule(name, change), "schedule.delete", name)
        return Then(store.perform(gone), _nothing)

    # ── below ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _row(self, name: str) -> Pending[ScheduleRow | None]:
        return self._desk.store.read(self._desk.store.verbs.schedule(core.check_schedule_name(name)))

    def _change(
        self, name: str, change: Callable[[ScheduleRow | None, int, Collection[str]], ScheduleRow], action: str
    ) -> Pending[ScheduleInfo]:
        core.check_schedule_name(name)
        store, before = self._desk.store, builtins.list[ScheduleRow | None]()

        def noticed(row: ScheduleRow | None, now: int, alive: Collection[str]) -> ScheduleRow:
            before[:] = [row]
            return change(row, now, alive)

        def says(row: ScheduleRow | None) -> Said | None:
            return None if row == before[0] else {}

        done = recorded(store, lambda: store.verbs.change_schedule(name, noticed), action, name, says)
        return Then(store.perform(done), lambda row: info(_found(name, row)))

    def _all(self) -> Verb[builtins.list[ScheduleRow]]:
        rows: list[ScheduleRow] = []
        while True:
            page = yield from self._desk.store.verbs.schedules(rows[-1].name if rows else "", PAGE)
            rows += page
            if len(page) < PAGE:
                return rows


def behind(one: ScheduleInfo, now: int) -> float | None:
    """Seconds by which its time has passed at `now` (µs), and nobody has fired it; None: on time, paused or over."""
    if one.paused or one.next_at is None:
        return None
    passed = now / 1e6 - one.next_at.timestamp()
    return passed if passed > 0 else None


def held_by(verbs: Verbs, one: ScheduleInfo) -> Verb[Held]:
    paused = yield from verbs.paused()
    alone = one.schedule.overlap in ("skip", "queue")
    last = (yield from verbs.find(one.last_job)) if one.last_job is not None and alone else None
    lives = last is not None and last.job is not None
    return Held(any(row.name == one.queue for row in paused), one.last_job if lives else None)


def info(row: ScheduleRow) -> ScheduleInfo:
    return ScheduleInfo(
        name=row.name,
        task=row.task,
        queue=json.loads(row.call)["queue"],
        schedule=Schedule.from_json(row.spec),
        next_at=_utc(row.next_at),
        paused=row.paused,
        declared=bool(row.declared),
        last_tick=_utc(row.last_tick),
        last_job=row.last_job,
        last_at=_utc(row.last_at),
        skipped=row.skipped,
        created_at=datetime.fromtimestamp(row.created_at / 1e6, UTC),
        updated_at=datetime.fromtimestamp(row.updated_at / 1e6, UTC),
    )


def _utc(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC)


def _found(name: str, row: ScheduleRow | None) -> ScheduleRow:
    if row is None:
        raise _missing(name)
    return row


def _missing(name: str) -> NotFound:
    return NotFound(f"no schedule {name!r}")


def _not_in_code(row: ScheduleRow, alive: Collection[str], instead: str) -> None:
    """Conflict when a worker lives whose code declares it."""
    if row.declared and any(one.startswith(core.sign(row.name, "")) for one in alive):
        raise Conflict(f"schedule {row.name!r} is declared in the code of a worker that runs: {instead}")


def _nothing(_: object) -> None:
    return None
