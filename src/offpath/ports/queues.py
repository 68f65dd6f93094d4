"""Verbs of queues and of many jobs at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from ..core.queues import Counted, PausedRow
from ..core.selection import JobFilter
from .rows import Round
from .steps import Verb


class Page(NamedTuple):
    """What became of one page of jobs.

    done     changed as asked
    skipped  not any more what the filter meant: ended, taken or changed meanwhile
    locked   ids of those that somebody else's transaction holds at the moment: ask again
    last     where the next page begins; None: there is no more
    """

    done: int
    skipped: int
    locked: tuple[str, ...]
    last: str | None


class QueueVerbs(Protocol):
    """A part of `Verbs`. A page is one transaction; its jobs come newest first, those before `after` (an id)."""

    def pause(self, queue: str, reason: str) -> Verb[None]:
        """From now on nothing is claimed from it. Paused already: the new reason, and the old time."""
        ...

    def resume(self, queue: str) -> Verb[None]: ...

    def paused(self) -> Verb[list[PausedRow]]: ...

    def served(self) -> Verb[tuple[list[str], list[str]]]:
        """(queues that have ready jobs, queues that are paused); quick, however many jobs there are."""
        ...

    def standing(self, queue: str | None) -> Verb[tuple[list[Counted], list[PausedRow], int]]:
        """The live jobs of one queue or of all by state, what is paused, and the time; reads the whole live table."""
        ...

    def count_jobs(self, where: JobFilter, without: Collection[str] = ()) -> Verb[int]:
        """without: ids of jobs that are not meant, whatever the filter says."""
        ...

    def cancel_page(
        self, where: JobFilter, after: str | None, limit: int, reason: str, round: Round | None = None
    ) -> Verb[Page]:
        """Ask up to `limit` live jobs to stop."""
        ...

    def cancel_these(self, ids: Sequence[str], where: JobFilter, reason: str, round: Round | None = None) -> Verb[Page]:
        """The same for jobs by id, in the states of `where`: what a page has found locked."""
        ...

    def retry_page(
        self,
        where: JobFilter,
        after: str | None,
        new_ids: Sequence[str],
        max_attempts: int | None,
        round: Round | None = None,
    ) -> Verb[Page]:
        """Run up to as many jobs again as there are new ids, each with a fresh budget of attempts. One that has been
        run again before is skipped."""
        ...

    def delete_page(self, where: JobFilter, after: str | None, limit: int, round: Round | None = None) -> Verb[Page]:
        """Erase up to `limit` jobs that have ended, with their operations."""
        ...

    def retried_as(self, id: str) -> Verb[str | None]:
        """The newest job that runs this one again, if there has been one; of a flow, a part of it."""
        ...
