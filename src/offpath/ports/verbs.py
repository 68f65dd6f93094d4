"""Everything one may ask of a store, as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.change import Change
from ..core.health import Part, Vitals
from ..core.selection import JobFilter
from .alerts import AlertVerbs
from .attempts import AttemptVerbs
from .audit import AuditVerbs
from .flows import FlowVerbs
from .inbox import InboxVerbs
from .keys import KeyVerbs
from .limits import LimitVerbs
from .memory import StepVerbs
from .outbox import OutboxVerbs
from .owners import OwnerVerbs
from .queues import QueueVerbs
from .recent import RecentVerbs
from .rows import (
    WHATEVER,
    Enqueued,
    EventRow,
    Found,
    NewJob,
    OperationFilter,
    OperationRow,
    Pressure,
    Reservation,
    Reserved,
    Round,
    Ticket,
    Verdict,
)
from .schedules import ScheduleVerbs
from .stats import StatVerbs
from .steps import Verb
from .webhooks import WebhookVerbs


class Verbs(
    AuditVerbs,
    OwnerVerbs,
    WebhookVerbs,
    QueueVerbs,
    AlertVerbs,
    KeyVerbs,
    StepVerbs,
    ScheduleVerbs,
    LimitVerbs,
    FlowVerbs,
    OutboxVerbs,
    InboxVerbs,
    AttemptVerbs,
    RecentVerbs,
    StatVerbs,
    Protocol,
):
    """Everything one may ask of a store, as values: run them with `Store.perform`, `Store.read`, or a borrowed
    connection (`stores/borrow/`)."""

    def enqueue(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]: ...
    def find(self, id: str) -> Verb[Found | None]: ...
    def list_jobs(self, where: JobFilter, after: str | None, limit: int) -> Verb[list[Found]]:
        """Newest first; `after` is the last id of the page before."""
        ...

    def walk(self, where: JobFilter, after: str | None, limit: int, most: int) -> Verb[tuple[list[Found], str | None]]:
        """`list_jobs`, but of the next `most` rows only, whether they are meant or not; and the id down to which that
        is (to be the next `after`), None: to the end."""
        ...

    def count_walk(self, where: JobFilter, after: str | None, most: int) -> Verb[tuple[int, str | None]]:
        """The same for counting."""
        ...

    def cancel(self, id: str, reason: str) -> Verb[Found | None]:
        """Ask to stop; gives the job as it stands after that. None: no such job."""
        ...

    def retry(
        self, id: str, new_id: str, max_attempts: int | None = None, seen: str | None = WHATEVER
    ) -> Verb[Enqueued]:
        """Run a finished job again as a new one, with so many attempts if it is to be others; NotFound or Conflict
        otherwise.

        seen  by which job whoever asks has seen that it was run again (`retried_as`; None: by none): when it has been
              since, that is a Conflict. Of several that ask at once with the same, one is done.
        """
        ...

    def delete(self, id: str) -> Verb[bool]:
        """Erase a finished job and its operation; False: no such job; Conflict while it is live."""
        ...

    def operation(self, id: str) -> Verb[OperationRow | None]: ...
    def list_operations(self, where: OperationFilter, after: str | None, limit: int) -> Verb[list[OperationRow]]:
        """Newest first; `after` is the last id of the page before. `result` is left out (None)."""
        ...

    def events(self, id: str, after: int, limit: int) -> Verb[list[EventRow]]:
        """Events with seq > after, in order."""
        ...

    def reserve(self, key: Reservation) -> Verb[Reserved]:
        """Take an Idempotency-Key to work on; never waits for whoever has it."""
        ...

    def remember(
        self, key: Reservation, fence: int, status: int, headers: str, body: str, operation: str | None
    ) -> Verb[bool]:
        """Finish a reservation with the answer; False: it was lost to somebody else."""
        ...

    def renew_reservation(self, key: Reservation, fence: int) -> Verb[bool]:
        """Extend its lease; False: it was lost."""
        ...

    def release(self, key: Reservation, fence: int) -> Verb[None]:
        """Let go of an unfinished reservation: the key is as good as new."""
        ...

    def issue_ticket(self, ticket: Ticket, seconds: float) -> Verb[int]:
        """Remember a ticket for so long; gives the moment its time is up, µs."""
        ...

    def take_ticket(self, hash: str, operation: str) -> Verb[Ticket | None]:
        """Use it up. None: there is none, or its time is up; of two at once, one gets it."""
        ...

    def pressure(self, queue: str, limit: int, tenants: int) -> Verb[Pressure]:
        """How full the queue is: its depth up to `limit`, and whose the first `tenants` jobs are (0: not asked)."""
        ...

    def live_operations(self, tenant: str, owner: str, limit: int) -> Verb[int]:
        """How many operations of this caller have not ended, up to `limit`."""
        ...

    def progress(self, id: str, fence: int, worker: str, progress: str) -> Verb[bool]:
        """Write the progress (JSON text) and its event, fenced; False: stale."""
        ...

    def settle_one(self, worker: str, change: Change) -> Verb[tuple[Verdict, int | None, str | None]]:
        """What `Store.exchange` does with many, for one job that has ended, as the last statements of a transaction of
        the task's own: the verdict, and of "changed" when it was asked to stop, and why. Without a time it is only
        locked at the moment: ask again."""
        ...

    def snapshot(self) -> Verb[bool]:
        """In a transaction of the task's own: whether it could not write any more what is written beside it."""
        ...

    def canceling(self, worker: str) -> Verb[list[tuple[str, int, int, str]]]:
        """(id, fence, cancel_at, cancel_reason) of this worker's running jobs that were asked to stop."""
        ...

    def expire(self, worker: str, limit: int, round: Round | None = None) -> Verb[int]:
        """Take up to `limit` running jobs away from a worker with a verdict; 0 = none left, its row is gone."""
        ...

    def orphans(self, limit: int, round: Round | None = None) -> Verb[int]:
        """Running jobs whose worker has no row at all: the same for them."""
        ...

    def overdue(self, limit: int, round: Round | None = None) -> Verb[int]:
        """Fail up to `limit` waiting jobs whose deadline has passed."""
        ...

    def prune(self, limit: int, round: Round | None = None) -> Verb[int]:
        """Delete up to `limit` rows of one kind whose time is up: operations, history, what was remembered."""
        ...

    def counts(self) -> Verb[list[tuple[str, str, int, int, int, int]]]:
        """(queue, task, state, how many, oldest run_at, version) of all live jobs; reads the whole table."""
        ...

    def queues(self) -> Verb[list[str]]:
        """The queues that have ready jobs; quick, however many jobs there are."""
        ...

    def known_tasks(self) -> Verb[set[str]]:
        """What workers without a verdict may claim, as "task@version"."""
        ...

    def next_due(self) -> Verb[int | None]:
        """When the next scheduled job falls due (µs), or None."""
        ...

    def survey(self, after: str, limit: int) -> Verb[tuple[list[Part], str | None]]:
        """The next `limit` live jobs behind an id ("": from the oldest on), those that are alike together; and the last
        of their ids, None where there are no more."""
        ...

    def vitals(self, parts: Sequence[Part], *, whole: bool = True) -> Verb[Vitals]:
        """For whoever asks what is wrong, with what surveys have found: all live jobs, or (not `whole`) the oldest."""
        ...
