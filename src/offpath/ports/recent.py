"""What one may ask of a store about what happened lately: for those who follow it live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from .steps import Verb


class EndRow(NamedTuple):
    """A job that has ended. Times are µs; `state` as of `core.job.State`; `error` is JSON text.

    run_at      when it was due, after the last backoff or snooze
    started_at  when it was first started; None: nobody watches it, so that is not remembered
    """

    id: str
    task: str
    queue: str
    state: int
    attempt: int
    fence: int
    run_at: int
    finished_at: int
    error: str | None
    flow: str | None
    started_at: int | None


class RunRow(NamedTuple):
    """A job that runs. `label`: of its worker, host and pid; `canceling`: it has been asked to stop."""

    id: str
    task: str
    queue: str
    attempt: int
    fence: int
    worker: str
    label: str | None
    run_at: int
    started_at: int | None
    canceling: bool


class LiveRow(NamedTuple):
    """A job that has not ended. Times are µs."""

    id: str
    task: str
    queue: str
    state: int
    attempt: int
    fence: int
    run_at: int
    flow: str | None


class TryRow(NamedTuple):
    """An attempt that did not succeed, with what is known of its job. `ended` as of `core.attempts.Ended`.

    live     its job has not ended
    state, run_at   of a job that lives; of one that has ended 0
    last     the fence that its job has by now
    """

    job: str
    fence: int
    attempt: int
    label: str | None
    started_at: int | None
    ended_at: int
    ended: str
    error: str | None
    task: str
    queue: str
    live: bool
    state: int
    run_at: int
    last: int


class SentRow(NamedTuple):
    """An attempt to send a webhook. `latency` is in µs, `state` as of `ports.webhooks.DeliveryState`."""

    id: str
    delivery: str
    endpoint: str | None
    number: int
    at: int
    status: int | None
    latency: int
    error: str | None
    event: str
    operation: str | None
    state: int


class RecentVerbs(Protocol):
    """A part of `Verbs`. `queue`, `task`: only of these, if given. A page of `limit` goes on behind what it is told is
    known already."""

    def ended_since(
        self, since: int, after: str, limit: int, queue: str | None = None, task: str | None = None
    ) -> Verb[list[EndRow]]:
        """Jobs that ended at `since` (µs) with an id behind `after`, or later; the earliest first."""
        ...

    def ended_of(self, ids: Sequence[str]) -> Verb[list[EndRow]]:
        """Those of these jobs that have ended."""
        ...

    def now_running(self, limit: int, queue: str | None = None, task: str | None = None) -> Verb[list[RunRow]]:
        """Jobs that run. Reads the whole live table."""
        ...

    def arrived(self, after: str, limit: int, queue: str | None = None, task: str | None = None) -> Verb[list[LiveRow]]:
        """Live jobs with an id behind `after`, in order."""
        ...

    def live_of(self, ids: Sequence[str]) -> Verb[list[LiveRow]]:
        """Those of these jobs that have not ended."""
        ...

    def tried(
        self, since: int, after: str, limit: int, queue: str | None = None, task: str | None = None
    ) -> Verb[list[TryRow]]:
        """Attempts that ended without success at `since` (µs) in a job behind `after`, or later; the earliest first."""
        ...

    def sent(self, after: str, limit: int) -> Verb[list[SentRow]]:
        """Attempts to send a webhook with an id behind `after`, in order."""
        ...
