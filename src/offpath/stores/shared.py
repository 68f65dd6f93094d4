"""What the parts of `verbs.SqlVerbs` ask of each other: each of these is some other part's own.

It is the base of all parts, so that whatever part has the verb comes before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..core.change import Change
from ..core.job import Job
from ..core.retention import Retention, Terms
from ..ports import Enqueued, Found, NewJob, OperationRow, Verb


class SharedVerbs:
    """`sql`: the dialect's statements by name; `terms`: how long what has ended is kept, `retention` if nothing else is
    said."""

    sql: Mapping[str, str]
    terms: Terms
    retention: Retention

    def kept(self, job: Job) -> Retention:
        """How long this job is kept once it has ended."""
        return self.terms.of(job.queue, job.task)

    # ── callers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]:
        raise NotImplementedError

    def _insert(self, jobs: Sequence[NewJob]) -> Verb[None]:
        """The rows, and nothing else: keys are not resolved, and nobody is told."""
        raise NotImplementedError

    def cancel(self, id: str, reason: str) -> Verb[Found | None]:
        raise NotImplementedError

    def operation(self, id: str) -> Verb[OperationRow | None]:
        raise NotImplementedError

    def queues(self) -> Verb[list[str]]:
        raise NotImplementedError

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, changes: Sequence[tuple[Job, Change]], now: int) -> Verb[None]:
        raise NotImplementedError

    def put(self, changes: Sequence[Change], now: int) -> Verb[None]:
        raise NotImplementedError

    def tell(self, changes: Sequence[Change], now: int) -> Verb[None]:
        raise NotImplementedError

    # ── flows ────────────────────────────────────────────────────────────────────────────────────────────────────

    def hold_flows(self, ids: Iterable[str]) -> Verb[dict[str, Job]]:
        raise NotImplementedError

    def try_flows(self, ids: Iterable[str]) -> Verb[set[str]]:
        raise NotImplementedError

    def cancel_flow(self, flow: Job, reason: str, now: int) -> Verb[None]:
        raise NotImplementedError

    def idle(self, job: Job) -> Verb[bool]:
        raise NotImplementedError
