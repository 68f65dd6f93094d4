"""The rows that cross between the rooms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from ..core.events import Event
from ..core.job import Finished, Job
from ..core.keys import Rule
from .limits import Look, Seen


class NewOperation(NamedTuple):
    """What HTTP needs to know of a job from its first moment."""

    tenant: str
    owner: str
    kind: str  # the task's name
    label: str


class NewJob(NamedTuple):
    """A job to insert, with its first event; `operation` is given exactly when `job.watched`. `rule`: what is to become
    of it when its key is taken; None: it is left out."""

    job: Job
    event: Event
    operation: NewOperation | None
    rule: Rule | None = None


WHATEVER = ""
"""For `Verbs.retry`: run it again, by whatever it was run again before."""


class Enqueued(NamedTuple):
    """The id of the job that now stands; `existing` when a live job with the same key was there before (which has taken
    the new arguments when there is a rule)."""

    id: str
    existing: bool


class Want(NamedTuple):
    """What a worker asks for: at most `limit` jobs of the `tasks` it knows, shared over `queues` by weight.

    free     how many of them could start at once; at-most-once jobs and suspects come only into free slots
    suspect  whether one suspect (see `core.options.SUSPECT`) may be among them
    limited  that jobs under a limit are wanted too, apart from `limit`; None: they are not asked for
    """

    queues: tuple[tuple[str, int], ...]  # (name, weight)
    tasks: str  # JSON array of "task@version" the worker can run
    limit: int
    free: int
    suspect: bool
    limited: Look | None = None


Verdict = Literal["applied", "stale", "changed"]
"""Of one change: written; refused for good (the lease was lost: drop it); or decide again, see `Exchanged.asked`."""


class Exchanged(NamedTuple):
    """The answer to one settle + claim.

    verdicts  one per change, in order
    claimed   running jobs of this worker, their fence raised; `args` as stored
    full      the claim found as many as were wanted: there may be more
    alive     False: a verdict has been written on this worker; it must stop and start again under a new id
    asked     for each change whose verdict is "changed", by job id: when it was asked to stop, and why
    limited   what the look for jobs under a limit has found beside them; None: there was no room for a look
    """

    verdicts: list[Verdict]
    claimed: list[Job]
    full: bool
    alive: bool
    asked: Mapping[str, tuple[int | None, str | None]] = {}
    limited: Seen | None = None


class OperationRow(NamedTuple):
    """An operation as stored, joined with its live job or its history. Times are µs; JSON columns are text.

    `status` is the job's state, with canceling told by `cancel_at`; `expired` marks a tombstone (410).
    """

    id: str
    tenant: str
    owner: str
    kind: str
    label: str
    status: int
    seq: int
    progress: str | None
    created_at: int
    updated_at: int
    started_at: int | None
    finished_at: int | None
    expires_at: int | None
    expired: bool
    cancel_at: int | None
    run_at: int
    queue: str
    priority: int
    attempt: int
    options: str | None
    result: str | None
    error: str | None
    retry_of: str | None


class OperationFilter(NamedTuple):
    """Which operations to list; all given parts must hold. `statuses` are wire words, see core/events."""

    tenant: str
    owner: str
    statuses: tuple[str, ...] = ()  # of queued running canceling succeeded failed canceled
    kind: str | None = None
    label: str | None = None
    created_after: int | None = None
    created_before: int | None = None


class EventRow(NamedTuple):
    seq: int
    type: str
    at: int
    data: str


class Reservation(NamedTuple):
    """An Idempotency-Key about to be worked on. Lengths are µs.

    scope        whose key it is; another caller's equal key is another key
    fingerprint  of the request
    holder       who works on it: a random id, so that only he can finish it or let go of it
    lease        how long he is believed alive without a word; 0: in one transaction with the work, so that what others
                 can see is never unfinished
    ttl          how long the answer is remembered, from now
    """

    scope: str
    key: str
    fingerprint: str
    holder: str
    lease: int
    ttl: int


class Remembered(NamedTuple):
    """What a key was used for. `status` is None while it is being worked on; `headers` is a JSON array of [name,
    value], `body` base64, `operation` the id of the one that was started."""

    fingerprint: str
    status: int | None
    headers: str | None
    body: str | None
    operation: str | None


class Reserved(NamedTuple):
    """`fence` is above 0 when the key is ours to work on. Otherwise `found` has it; None: somebody is at it now."""

    fence: int
    found: Remembered | None


class Ticket(NamedTuple):
    """What opens one operation's stream once; `hash` of what the client holds, which is stored nowhere."""

    hash: str
    operation: str
    tenant: str
    owner: str


class Pressure(NamedTuple):
    """How full a queue is.

    depth    ready jobs, counted up to the limit of the look
    age      of the oldest of them, seconds
    tenants  how many of the first in line are whose operations
    """

    depth: int
    age: float
    tenants: Mapping[str, int] = {}


class Found(NamedTuple):
    """A job wherever it is: exactly one of the two is set."""

    job: Job | None
    finished: Finished | None


class Round:
    """What upkeep knows on its way through the pages of one duty.

    skip   ids of jobs that the store will not have changed: they are left alone
    taken  the jobs of the page at hand; stands there also when the page could not be written
    after  of a duty that remembers how far it has come: where the page at hand begins; "": at the start
    next   and where the one after it would; "": there is none
    """

    def __init__(self) -> None:
        self.skip: set[str] = set()
        self.taken: list[str] = []
        self.after = self.next = ""
