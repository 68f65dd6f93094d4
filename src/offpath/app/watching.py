"""How things go: attempts that did not succeed, workers, charts, how full queues are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from ..core import backlog, stats, workers
from ..core.attempts import KEPT, AttemptRow
from ..core.backlog import QueueLoad
from ..core.ids import is_id
from ..core.options import SECOND
from ..core.stats import Point
from ..core.workers import WorkerInfo
from ..errors import ConfigurationError, NotFound
from ..ports import Verb, Verbs
from .desk import Counter

MOST, LEAST, TOGETHER = 20_000, 100, 100_000
"""Jobs of a queue that are counted, of each state; at least, where there are many; of all queues."""
SAMPLED = 180 * SECOND  # µs: how old a count of all may be that is told where a quick one was cut off


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """An attempt that did not succeed.

    attempt     its number; a crash of its worker spends none, so that two may have the same
    fence       which claim of the job it was
    worker      its id; `label`: host and pid
    started_at  None: nobody who lives knows
    outcome     errored, timeout, crashed, canceled or interrupted (see `core/attempts.py`)
    error       the stored error as plain data (see `core/outcome.py`)
    """

    attempt: int
    fence: int
    worker: str | None
    label: str | None
    started_at: datetime | None
    ended_at: datetime
    outcome: str
    error: dict[str, Any] | None


class Watching:
    """A part of `Offpath`."""

    _desk: Counter

    async def attempts(self, id: str) -> list[AttemptInfo]:
        """The attempts of a job that did not succeed, in their order; of many the newest. NotFound."""
        return _known(id, await self._desk.store.read(_attempts(self._desk, id)))

    def attempts_sync(self, id: str) -> list[AttemptInfo]:
        """The same, blocking."""
        return _known(id, self._desk.store.read(_attempts(self._desk, id)).result())

    async def workers(self) -> list[WorkerInfo]:
        """All that are registered: alive, late, or judged dead and not forgotten yet."""
        now, rows = await self._desk.store.read(self._desk.store.verbs.workers())
        return [workers.info(row, now) for row in rows]

    def workers_sync(self) -> list[WorkerInfo]:
        """The same, blocking."""
        now, rows = self._desk.store.read(self._desk.store.verbs.workers()).result()
        return [workers.info(row, now) for row in rows]

    async def stats(self, window: str = "1h", *, queue: str | None = None, task: str | None = None) -> list[Point]:
        """What a chart of the last 15m, 1h, 6h, 24h or 7d is drawn from, a point for each step: see `Point`. Of one
        queue or task, or of all; how full it was is known of queues, not of tasks. ConfigurationError."""
        since, step, now = _window(self._desk, window)
        lines, samples = await self._desk.store.read(_series(self._desk.store.verbs, since, step, queue, task))
        return await asyncio.to_thread(stats.points, since, step, now, lines, samples)

    def stats_sync(self, window: str = "1h", *, queue: str | None = None, task: str | None = None) -> list[Point]:
        """The same, blocking."""
        since, step, now = _window(self._desk, window)
        lines, samples = self._desk.store.read(_series(self._desk.store.verbs, since, step, queue, task)).result()
        return stats.points(since, step, now, lines, samples)


def _window(desk: Counter, name: str) -> tuple[int, int, int]:
    if name not in stats.WINDOWS:
        raise ConfigurationError(f"a window is one of {', '.join(stats.WINDOWS)}, not {name!r}")
    now = desk.store.now()
    return *stats.begin(name, now), now


def _series(
    verbs: Verbs, since: int, step: int, queue: str | None, task: str | None
) -> Verb[tuple[list[stats.Line], list[stats.Sample]]]:
    lines = yield from verbs.ended(since, queue, task)
    samples = [] if task is not None else (yield from verbs.samples(since, step, queue))
    return lines, samples


def _attempts(desk: Counter, id: str) -> Verb[list[AttemptRow] | None]:
    """None: there is no such job."""
    verbs = desk.store.verbs
    if not is_id(id) or (yield from verbs.find(id)) is None:
        return None
    return (yield from verbs.job_attempts(id, KEPT))


def _known(id: str, rows: list[AttemptRow] | None) -> list[AttemptInfo]:
    if rows is None:
        raise NotFound(f"no job {id}")
    return [
        AttemptInfo(
            attempt=row.attempt,
            fence=row.fence,
            worker=row.worker,
            label=row.label,
            started_at=None if row.started_at is None else _time(row.started_at),
            ended_at=_time(row.ended_at),
            outcome=row.ended,
            error=None if row.error is None else json.loads(row.error),
        )
        for row in rows
    ]


def _time(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / SECOND, UTC)


class Part(NamedTuple):
    """Of all queues by name: those behind `after`, `most` of them, and only those that are paused, or are not."""

    after: str = ""
    most: int | None = None
    paused: bool | None = None


ALL = Part()


def loads(
    verbs: Verbs, known: Collection[str], only: str | None = None, limit: int = MOST, part: Part = ALL
) -> Verb[list[QueueLoad]]:
    """How full the queue `only` is, or all that have a name here (declared, say), jobs or a pause, by name. Where there
    are more ready jobs than the limit, it tells how many a worker has counted in one of the last minutes."""
    now, rows = yield from verbs.workers()
    held = workers.running(rows)
    paused = {row.name: row for row in (yield from verbs.paused())}
    recent = yield from verbs.recent(backlog.window(now))
    if only is not None:
        names = [only]
    else:
        every = sorted({*known, *held, *paused, *recent, *(yield from verbs.filled())})
        meant = (one for one in every if one > part.after and part.paused in (None, one in paused))
        names = list(islice(meant, part.most))
        limit = min(limit, max(LEAST, TOGETHER // max(1, len(names))))
    counted = yield from verbs.sampled(now - SAMPLED)
    made = []
    for depth in (yield from verbs.depths(names, limit)):
        ended, first = recent.get(depth.queue, (0, None))
        rate = backlog.rate(ended, first, now)
        age = None if depth.oldest is None else max(0.0, (now - depth.oldest) / SECOND)
        stop = paused.get(depth.queue)
        ready = depth.ready if depth.ready < limit else max(depth.ready, counted.get(depth.queue, 0))
        made.append(
            QueueLoad(
                name=depth.queue,
                paused=stop is not None,
                reason="" if stop is None else stop.reason,
                paused_at=None if stop is None else _time(stop.at),
                ready=ready,
                scheduled=depth.scheduled,
                waiting=depth.waiting,
                running=held.get(depth.queue, 0),
                age=age,
                rate=rate,
                backlog_seconds=backlog.backlog_seconds(ready, rate, age, paused=stop is not None),
                more=limit in (ready, depth.scheduled, depth.waiting),
            )
        )
    return made
