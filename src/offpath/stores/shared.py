"""What the parts of `verbs.SqlVerbs` ask of each other: each of these is some other part's own.

It is the base of all parts, so that whatever part has the verb comes before it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from ..core.change import Change
from ..core.job import Job
from ..core.queues import PausedRow
from ..core.retention import Retention, Terms
from ..core.stats import Line
from ..ports import Enqueued, Found, NewJob, OperationRow, Verb


class SharedVerbs(ABC):
    """`sql`: the dialect's statements by name; `terms`: how long what has ended is kept, `retention` if nothing else is
    said."""

    sql: Mapping[str, str]
    terms: Terms
    retention: Retention

    def kept(self, job: Job) -> Retention:
        """How long this job is kept once it has ended."""
        return self.terms.of(job.queue, job.task)

    # ── callers ──────────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def enqueue(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]: ...

    @abstractmethod
    def _insert(self, jobs: Sequence[NewJob]) -> Verb[None]:
        """The rows, and nothing else: keys are not resolved, and nobody is told."""
        ...

    @abstractmethod
    def cancel(self, id: str, reason: str) -> Verb[Found | None]: ...

    @abstractmethod
    def operation(self, id: str) -> Verb[OperationRow | None]: ...

    @abstractmethod
    def mark(self, done: Sequence[tuple[str | None, str]]) -> Verb[None]: ...

    @abstractmethod
    def ended(self, since: int, queue: str | None, task: str | None) -> Verb[list[Line]]: ...

    @abstractmethod
    def queues(self) -> Verb[list[str]]: ...

    @abstractmethod
    def paused(self) -> Verb[list[PausedRow]]: ...

    @abstractmethod
    def backlog(self) -> Verb[tuple[int, int | None]]: ...

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def apply(self, changes: Sequence[tuple[Job, Change]], now: int) -> Verb[None]: ...

    @abstractmethod
    def put(self, changes: Sequence[Change], now: int) -> Verb[None]: ...

    @abstractmethod
    def record_attempts(self, changes: Sequence[Change], now: int) -> Verb[None]: ...

    @abstractmethod
    def tell(self, changes: Sequence[Change], now: int) -> Verb[None]: ...

    # ── flows ────────────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def hold_flows(self, ids: Iterable[str]) -> Verb[dict[str, Job]]: ...

    @abstractmethod
    def try_flows(self, ids: Iterable[str]) -> Verb[set[str]]: ...

    @abstractmethod
    def cancel_flow(self, flow: Job, reason: str, now: int) -> Verb[None]: ...

    @abstractmethod
    def idle(self, job: Job) -> Verb[bool]: ...
