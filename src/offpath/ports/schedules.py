"""What one may ask of a store about schedules."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from ..core.schedule import Overlap, ScheduleRow
from .rows import Enqueued, NewJob
from .steps import Verb

Change = Callable[[ScheduleRow | None, int, Collection[str]], ScheduleRow | None]
"""(the row or None, the store's clock, what living workers know: tasks and signs) → the row to write, the same one
(nothing is written) or None (no row any more). It may be called again when somebody else was quicker."""


class Firing(NamedTuple):
    """What is to become of a schedule whose time has come, if it still is as it was looked at.

    revision, was  of the row that was looked at: its next tick was `was`
    next_at        the tick after those that are run or dropped now
    ticks, jobs    those that are run, and their jobs
    replaces       a job to be canceled first
    """

    name: str
    revision: int
    was: int
    next_at: int | None
    overlap: Overlap
    ticks: tuple[int, ...]
    jobs: tuple[NewJob, ...]
    replaces: str | None = None


class Fired(NamedTuple):
    """What became of one firing: the ids of the jobs it made, and how many ticks found an earlier job in their way."""

    name: str
    jobs: tuple[str, ...]
    skipped: int


class ScheduleVerbs(Protocol):
    """Schedules, as values to run like all the others."""

    def schedule(self, name: str) -> Verb[ScheduleRow | None]: ...
    def schedules(self, after: str, limit: int) -> Verb[list[ScheduleRow]]:
        """By name; `after` is the last name of the page before ("" for the first page)."""
        ...

    def due_schedules(self, names: Sequence[str], limit: int) -> Verb[tuple[int, list[ScheduleRow], int | None]]:
        """The store's clock; the schedules whose time has come, the longest waiting first (and last, those that queue
        behind a job of their own); and the first tick after now. Of those declared in code only `names`."""
        ...

    def fire(self, firings: Sequence[Firing]) -> Verb[list[Fired]]:
        """Advance each schedule and enqueue its jobs, all in one transaction; without those that another worker was
        quicker with, that have been changed or paused since, or that wait for a job of theirs to end."""
        ...

    def change_schedule(self, name: str, change: Change) -> Verb[ScheduleRow | None]:
        """Read, decide, write; gives the row as it is then."""
        ...

    def run_schedule(self, name: str, make: Callable[[ScheduleRow, int], NewJob]) -> Verb[Enqueued | None]:
        """Enqueue a job of it besides its ticks; None: there is no such schedule."""
        ...
