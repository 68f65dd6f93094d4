"""Fires schedules: every worker does it, nobody is elected, and of several at once one is the first.

What is due is looked up with the store's clock, decided in `core/schedule.py`, and written in one transaction: the next
tick, if the row is still as it was, and the jobs of this one. So a worker may die anywhere: either both are there, or
the tick is as due as before, and the next who looks fires it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from ..core.ids import uuid7
from ..core.options import SECOND
from ..core.schedule import ScheduleRow, declare, due, job_of
from ..errors import SchemaError, StoreUnavailable
from ..observe import meters, signal
from ..ports import NewJob, Store
from ..ports.schedules import Fired, Firing
from ..tasks import Registry
from ..tasks.schedule import Schedule
from .clock import Clock
from .outage import Outage

PAGE = 500
MOST = 500  # jobs in one transaction: each has a key, and on PostgreSQL a key is a lock
LOOK = 5.0  # s between two looks at what others may have put, at most
WAIT = 0.5  # s until a tick that queues behind a job is looked at again
REST = 0.05  # s between two looks when something was due: many wake up for one tick
AGAIN = 60.0  # s between two looks at our own declarations


class Ticker:
    """Declares what the application declares in code, and fires what is due, until it is cancelled."""

    def __init__(self, store: Store, registry: Registry, clock: Clock) -> None:
        self._store, self._registry, self._clock = store, registry, clock
        self._names = sorted(registry.schedules)
        self._outage = Outage()
        self._declare_at = float("-inf")
        self._bad: dict[tuple[str, int], float] = {}  # (name, revision) of rows that cannot be fired here → until when

    # ── declarations ─────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> None:
        """Before this process is seen as a worker: whoever finds no other then is the first."""
        if self._names:
            await self._declare(first=True)

    async def _declare(self, *, first: bool = False) -> None:
        """Again and again: a deploy backwards has its way once the last worker of the newer version has gone."""
        self._declare_at = self._clock.elapsed() + self._clock.spread(AGAIN)
        for name in self._names:
            try:
                before: list[ScheduleRow | None] = []
                verb = partial(self._store.verbs.change_schedule, name, partial(self._declared, name, first, before))
                row = await self._store.perform(verb)
                if row is not None and row.declared != (before[-1].declared if before and before[-1] else ()):
                    signal("schedule.declared", schedule=name, when=str(self._registry.schedules[name][0]))
            except (StoreUnavailable, SchemaError) as error:
                self._declare_at = self._clock.elapsed() + LOOK
                self._failed(error)
                return
            except Exception as error:
                signal("schedule.failed", schedule=name, error=f"{type(error).__name__}: {error}", exc_info=error)

    def _declared(
        self,
        name: str,
        first: bool,
        before: list[ScheduleRow | None],
        row: ScheduleRow | None,
        now: int,
        alive: Collection[str],
    ) -> ScheduleRow:
        before.append(row)
        schedule, said = self._registry.schedules[name]
        same = row is not None and row.spec == said.spec
        if row is not None and not same:
            same = Schedule.from_json(row.spec).when() == schedule.when()
        return declare(row, said, now, alive, schedule.first(now), same_time=same, wake=first and schedule.at_once)

    # ── ticks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        while True:
            try:
                if self._names and self._clock.elapsed() >= self._declare_at:
                    await self._declare()
                wait = await self._look()
                self._outage.over()
            except Exception as error:
                self._failed(error)
                wait = self._clock.spread(1.0)
            await asyncio.sleep(wait)

    def _failed(self, error: Exception) -> None:
        if self._outage.worth_telling(error, self._clock.elapsed()):
            trace = None if isinstance(error, StoreUnavailable | SchemaError) else error  # an outage is no bug of ours
            signal("upkeep.failed", duty="schedules", error=f"{type(error).__name__}: {error}", exc_info=trace)

    async def _look(self) -> float:
        """Fire what is due; gives how long nothing will be, in seconds."""
        now, found, soonest = await self._store.read(self._store.verbs.due_schedules(self._names, PAGE))
        firings: list[Firing] = []
        blocked = False
        for row in found:
            firing = self._firing(row, now)
            if firing is None:
                blocked = True
            else:
                firings.append(firing)
        if firings:
            for some in chunks(firings):
                for fired in await self._fire(some):
                    signal("schedule.fired", schedule=fired.name, jobs=len(fired.jobs), skipped=fired.skipped)
                    if meters.on is not None:
                        _count(meters.on, fired, some, now)
            return REST
        wait = self._clock.spread(WAIT if blocked else LOOK)
        # A timer counts another clock than the store: a moment too late rather than one too early.
        return wait if soonest is None else min(wait, max(0.0, (soonest - now) / SECOND) + 0.001)

    def _firing(self, row: ScheduleRow, now: int) -> Firing | None:
        """What is to become of it; None: nothing now."""
        if row.next_at is None or self._bad.get((row.name, row.revision), 0.0) > self._clock.elapsed():
            return None
        try:
            schedule = Schedule.from_json(row.spec)
            if row.busy and schedule.overlap == "queue":
                return None
            late = None if schedule.late is None else round(schedule.late * SECOND)
            what = due(row.next_at, now, partial(schedule.after, anchor=row.anchor), schedule.catch_up, late)
            ticks, next_at = what
            if schedule.overlap == "queue" and len(ticks) > 1:
                ticks, next_at = ticks[:1], ticks[1]
            delays = [round(schedule.jitter * SECOND * self._clock.chance()) for _ in ticks]
            jobs = tuple(
                NewJob(*job_of(row, schedule.overlap, tick, delay, now, uuid7(now, os.urandom(10))), None)
                for tick, delay in zip(ticks, delays, strict=True)
            )
        except Exception as error:  # of a newer version, or of a zone that this machine does not know
            self._refuse(row.name, row.revision, error)
            return None
        replaces = row.last_job if schedule.overlap == "replace" else None
        return Firing(row.name, row.revision, row.next_at, next_at, schedule.overlap, ticks, jobs, replaces)

    async def _fire(self, firings: Sequence[Firing]) -> list[Fired]:
        """All in one transaction; where the store will not have that, each alone."""
        try:
            return await self._store.perform(lambda: self._store.verbs.fire(firings))
        except (StoreUnavailable, SchemaError):
            raise
        except Exception as error:
            if len(firings) == 1:
                [one] = firings
                self._refuse(one.name, one.revision, error)
                return []
        return [fired for one in firings for fired in await self._fire([one])]

    def _refuse(self, name: str, revision: int, error: Exception) -> None:
        """It stays due, for others and for later; its neighbours are fired."""
        self._bad = {key: until for key, until in self._bad.items() if until > self._clock.elapsed()}
        self._bad[name, revision] = self._clock.elapsed() + AGAIN
        signal("schedule.failed", schedule=name, error=f"{type(error).__name__}: {error}", exc_info=error)


def _count(tally: meters.Tally, fired: Fired, firings: Sequence[Firing], now: int) -> None:
    one = next(firing for firing in firings if firing.name == fired.name)
    made = [new.job for new in one.jobs if new.job.id in fired.jobs]
    if made:
        tally.enqueued((job.queue, job.task) for job in made)
        tally.add("offpath_schedule_fired_total", (one.name,), len(made))
    if one.was not in one.ticks:
        tally.add("offpath_schedule_missed_total", (one.name,))
    for tick in one.ticks:
        tally.took("offpath_schedule_late_seconds", (one.name,), max(0.0, (now - tick) / SECOND))


def chunks(firings: Sequence[Firing]) -> Iterator[list[Firing]]:
    """So that no transaction writes many more jobs than MOST, though one schedule may catch up on a thousand."""
    some: list[Firing] = []
    jobs = 0
    for one in firings:
        if some and jobs + len(one.jobs) > MOST:
            yield some
            some, jobs = [], 0
        some.append(one)
        jobs += len(one.jobs)
    if some:
        yield some


def known(registry: Registry, *, fires: bool) -> str:
    """What a worker's row says that it knows: its tasks, and the schedules that it declares."""
    return json.dumps([*registry.claims(), *(registry.signs() if fires else ())])
