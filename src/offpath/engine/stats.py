"""What one worker process counts of the attempts that end here, and what it writes of it and of itself, as upkeep.

Counting is a few additions for each attempt that the store has taken; writing is one statement every few seconds, of
the minutes in which something ended since the last. What was counted since then is lost with a process that dies.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from ..core.change import Change
from ..core.job import Job, State
from ..core.options import SECOND
from ..core.stats import EDGES, MINUTE, Line, with_totals
from ..core.workers import About
from ..ports import Store
from .clock import Clock

FLUSH = 5.0  # s between two writes
PAGE = 1_000  # rows deleted at once

_SUCCEEDED, _FAILED, _CANCELED, _RETRIED, _WAITED, _RAN = range(6)
_ENDS = {
    State.SUCCEEDED: _SUCCEEDED,
    State.FAILED: _FAILED,
    State.CANCELED: _CANCELED,
    State.SCHEDULED: _RETRIED,
}
_PLACE = tuple(_ENDS.get(state) for state in sorted(State))


class Ended(Protocol):
    """The store has taken what an attempt said at `at` (µs); it was about to begin at `began`."""

    @property
    def job(self) -> Job: ...
    @property
    def change(self) -> Change: ...
    @property
    def began(self) -> int | None: ...
    @property
    def at(self) -> int: ...


class One(NamedTuple):
    """See `Ended`."""

    job: Job
    change: Change
    began: int | None
    at: int


class Tally:
    """Outlives the ids under which the process works. On the loop."""

    def __init__(self) -> None:
        self.source = str(uuid4())
        self._counts: dict[tuple[int, str, str], tuple[list[int], dict[int, int], dict[int, int]]] = {}
        self._dirty: set[tuple[int, str, str]] = set()

    def ended(self, batch: Iterable[Ended]) -> None:
        """Count them: in one go, since every job comes by here."""
        minute, queue, task, find = -1, "", "", bisect_right
        numbers: list[int] = []
        wait: dict[int, int] = {}
        run: dict[int, int] = {}
        for said in batch:
            job, change, at, began = said.job, said.change, said.at, said.began
            place = _PLACE[change.state]
            if place is None or (place == _RETRIED and change.attempt == job.attempt):
                continue  # given back, or a snooze: nothing has ended
            if at // MINUTE != minute or job.task != task or job.queue != queue:
                minute, queue, task = key = at // MINUTE, job.queue, job.task
                held = self._counts.get(key)
                if held is None:
                    held = self._counts[key] = [0, 0, 0, 0, 0, 0], {}, {}
                self._dirty.add(key)
                numbers, wait, run = held
            numbers[place] += 1
            if began is None:
                continue
            waited, ran = began - job.run_at, at - began
            if waited < 0:
                waited = 0
            if ran < 0:
                ran = 0
            numbers[_WAITED] += waited
            numbers[_RAN] += ran
            number = find(EDGES, waited)
            wait[number] = wait.get(number, 0) + 1
            number = find(EDGES, ran)
            run[number] = run.get(number, 0) + 1

    def take(self, now: int) -> list[Line]:
        """What is to be written, with the sums of its minutes; `again` puts it back. Minutes that are over and written
        are forgotten."""
        dirty, self._dirty = self._dirty, set()
        minutes = {minute for minute, _, _ in dirty}
        for key in [key for key in self._counts if key[0] not in minutes and key[0] < now // MINUTE - 1]:
            del self._counts[key]
        lines = [
            Line._make((minute * MINUTE, queue, task, *numbers, wait, run))
            for (minute, queue, task), (numbers, wait, run) in self._counts.items()
            if minute in minutes
        ]
        every = with_totals(lines, MINUTE)
        return [line for line in every if not line.task or (line.at // MINUTE, line.queue, line.task) in dirty]

    def again(self, lines: Iterable[Line]) -> None:
        """These were not written."""
        self._dirty.update((line.at // MINUTE, line.queue, line.task) for line in lines if line.task)


class Held(Protocol):
    """What it wants to know of the worker: `crew.Crew` is it."""

    def holds(self) -> Counter[str]:
        """Jobs here by queue, waiting and running."""
        ...


class Book:
    """What the process writes under one id."""

    def __init__(self, store: Store, tally: Tally, crew: Held, clock: Clock, worker: str, about: About) -> None:
        self._store, self._tally, self._crew, self._clock = store, tally, crew, clock
        self._worker, self._about = worker, about.text()
        self._said: str | None = None

    async def flush(self) -> None:
        """What has ended since the last time, and what is held now."""
        verbs, lines = self._store.verbs, self._tally.take(self._clock.now())
        if lines:
            try:
                await self._store.perform(lambda: verbs.count_ended(self._tally.source, lines))
            except BaseException:
                self._tally.again(lines)
                raise
        load = json.dumps(self._crew.holds(), sort_keys=True)
        if load != self._said:
            await self._store.perform(lambda: verbs.describe_worker(self._worker, self._about, load))
            self._said = load

    async def sample(self, counts: Sequence[tuple[str, str, int, int, int, int]]) -> None:
        """How full queues are in this minute, from all live jobs as they have just been counted: (queue, task, state,
        how many, oldest run_at, version)."""
        now = self._clock.now()
        seen: dict[str, list[Any]] = {}
        for queue, _, state, jobs, oldest, _ in counts:
            row = seen.setdefault(queue, [0, 0, None])
            if state == State.READY:
                row[0] += jobs
                row[2] = max(row[2] or 0, now - oldest, 0)
            elif state == State.RUNNING:
                row[1] += jobs
        rows = [(queue, *row) for queue, row in seen.items()]
        at = now // MINUTE * MINUTE
        await self._store.perform(lambda: self._store.verbs.take_sample(at, rows))

    async def tidy(self, keep: float) -> None:
        """Roll what is past, and forget what is older than `keep` seconds."""
        verbs = self._store.verbs
        while await self._store.perform(lambda: verbs.roll_stats(self._clock.now())):
            pass
        before = self._clock.now() - round(keep * SECOND)
        while await self._store.perform(lambda: verbs.forget_stats(before, PAGE)) >= PAGE:
            pass
