"""What one may ask of a store about how things go: counts of what ended, samples of queues, workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ..core.limits import Rule
from ..core.schedule import GRACE
from ..core.stats import Line, Sample
from ..core.workers import WorkerRow
from .steps import Verb


class Depth(NamedTuple):
    """How full a queue is. Each count goes no further than the limit of the look; `oldest` is the run_at (µs) of the
    ready job that has waited longest."""

    queue: str
    ready: int
    scheduled: int
    waiting: int
    oldest: int | None


class Totals(NamedTuple):
    """How full all of it is. Each count goes no further than the limit of the look.

    outstanding  of the newest that failed (as many as the limit), those that have not been run again
    failed       how many were looked at for that
    schedules    how many there are, are paused, and are late
    endpoints    how many are enabled, and disabled
    tick         when the next of the schedules is due that are not paused; those are left out whose time has come
    """

    now: int
    scheduled: int
    waiting: int
    ready: int
    outstanding: int
    failed: int
    schedules: tuple[int, int, int]
    endpoints: tuple[int, int]
    tick: int | None


class Raised(NamedTuple):
    """An alert that rings, with the value that it was raised with."""

    name: str
    value: int
    raised_at: int


class StatVerbs(Protocol):
    """A part of `Verbs`."""

    def count_ended(self, source: str, lines: Sequence[Line]) -> Verb[None]:
        """What the process `source` has counted so far in these minutes, with their sums (`core.stats.with_totals`), in
        place of what it has said of them before: said twice, it counts once."""
        ...

    def describe_worker(self, worker: str, about: str, load: str) -> Verb[None]:
        """JSON texts, see `core.workers.WorkerRow`."""
        ...

    def take_sample(self, at: int, seen: Sequence[tuple[str, int, int, int | None]]) -> Verb[None]:
        """(queue, ready, running, age of the oldest ready one or None) at a minute; the first who says it is heard."""
        ...

    def ended(self, since: int, queue: str | None, task: str | None) -> Verb[list[Line]]:
        """What was counted from then on, of all processes, in no order. Where no task is asked for, what has been added
        up is of all tasks together, and of all queues where none is asked for: their names are empty then."""
        ...

    def samples(self, since: int, step: int, queue: str | None) -> Verb[list[Sample]]:
        """The most that was seen in each step, of one queue or of all together."""
        ...

    def recent(self, since: int) -> Verb[Mapping[str, tuple[int, int]]]:
        """By queue: how many attempts have ended (however) from then on, and the first minute in which one did (µs)."""
        ...

    def sampled(self, since: int) -> Verb[Mapping[str, int]]:
        """How many jobs were ready in each queue when it was last sampled, not before `since`."""
        ...

    def roll_stats(self, now: int) -> Verb[int]:
        """The counts of minutes that are long past become those of five minutes, of all processes together, and a day
        later those of an hour; how many rows were read. 0: there is nothing left to do."""
        ...

    def forget_stats(self, before: int, limit: int) -> Verb[int]:
        """Counts and samples from before then; how many went, of the kind that had more."""
        ...

    def workers(self) -> Verb[tuple[int, list[WorkerRow]]]:
        """The time, and all that are registered, by id."""
        ...

    def filled(self) -> Verb[set[str]]:
        """The queues that have live jobs which do not run yet; quick, however many there are."""
        ...

    def depths(self, queues: Sequence[str], limit: int) -> Verb[list[Depth]]:
        """How full these queues are."""
        ...

    def totals(self, limit: int, late: int = GRACE) -> Verb[Totals]:
        """`late`: µs that a schedule has to be behind its time to be counted as late."""
        ...

    def limits(self) -> Verb[tuple[list[Rule], list[tuple[str, int]]]]:
        """The numbers of every limit that was declared, by name; and (lane, jobs) of what runs under limits."""
        ...

    def raised(self) -> Verb[list[Raised]]:
        """The alerts that ring now, by name: those raised, but for the ones that no living worker watches
        (`core.workers.watched`), as their rule has been renamed or removed."""
        ...
