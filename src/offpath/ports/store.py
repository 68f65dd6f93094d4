"""What a store is, and a worker's lease on one."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, runtime_checkable

from ..core.change import Change
from ..core.health import Check
from .rows import Enqueued, Exchanged, NewJob, Want
from .steps import Maker, Pending, R, Verb
from .verbs import Verbs


class Lease(Protocol):
    """One worker's sign of life: its own connection, called only from the thread that renews it (blocking)."""

    def register(self, worker: str, seconds: float, tasks: str, label: str) -> None:
        """Insert the worker's row; `tasks` is a JSON array of "task@version", `label` is for people (host, pid)."""
        ...

    def renew(self, worker: str, seconds: float) -> bool:
        """Extend it; False when a verdict has been written: this worker is dead for good."""
        ...

    def judge(self) -> list[str]:
        """Write the verdict on every worker whose lease ran out (only for callers whose own renewals are unbroken);
        returns the ids of all workers with a verdict, whose jobs are to be expired."""
        ...

    def resign(self, worker: str) -> None:
        """A worker that leaves in order: its row goes once it holds no job."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Store(Protocol):
    """Where truth lives. All methods may be called from any thread; nothing is opened before `open` or first use."""

    @property
    def verbs(self) -> Verbs: ...

    def open(self) -> None:
        """Open and check the schema. StoreUnavailable or SchemaError, each one sentence."""
        ...

    def close(self) -> None:
        """Finish what was submitted, then close."""
        ...

    def migrate(self) -> list[str]:
        """Create or bring forward the tables under a lock; returns the names of the migrations applied."""
        ...

    def migrations(self) -> list[tuple[str, str]]:
        """(name, SQL text) of every migration this version knows, in order; run by hand, each also notes itself."""
        ...

    def lacking(self) -> list[str]:
        """The names of the migrations that `migrate` would apply; writes nothing. SchemaError when the database is
        ahead of this version."""
        ...

    def doctor(self, long: float) -> list[Check]:
        """What only the database can tell of its health, with or without our tables; writes nothing. A transaction of
        more than `long` seconds is a long one. StoreUnavailable when it cannot be reached."""
        ...

    def enqueue(self, jobs: Sequence[NewJob]) -> Pending[list[Enqueued]]:
        """Insert in a transaction of our own, shared with other callers' (group commit); resolves when durable."""
        ...

    def enqueue_here(self, jobs: Sequence[NewJob]) -> Awaitable[list[Enqueued]]:
        """The same for whoever awaits it on the running event loop, and never blocks for it: a loop that has moved in
        may write it itself."""
        ...

    async def move_in(self) -> None:
        """The running event loop is here to stay, until as many `move_out`: the store may have connections on it."""
        ...

    async def move_out(self) -> None:
        """Finish what this loop has written itself. Nothing when it has not moved in, or the store has been closed."""
        ...

    def enqueue_on(self, tx: object, jobs: Sequence[NewJob]) -> Any:
        """Insert in the caller's transaction `tx`: the list for a synchronous connection, an awaitable of it for an
        asynchronous one. A hint leaves after the commit where the driver can tell."""
        ...

    def run_on(self, tx: object, verb: Verb[Any]) -> Any:
        """Run a verb in the caller's transaction `tx`, with what it has written before: the answer for a synchronous
        connection, an awaitable of it for an asynchronous one. Hints leave after the commit where the driver can
        tell."""
        ...

    def perform(self, verb: Verb[R] | Maker[R]) -> Pending[R]:
        """Run a writing verb in a transaction of its own. Given a function that makes the verb, the store does it anew
        when the database gave the transaction up for the sake of another (deadlock, serialization failure); a verb
        alone fails with StoreUnavailable then."""
        ...

    def read(self, verb: Verb[R]) -> Pending[R]:
        """Run a verb that only reads, on a connection that never waits for writers."""
        ...

    def exchange(self, worker: str, changes: Sequence[Change], want: Want | None) -> Pending[Exchanged]:
        """Settle and claim in one go, an outcome per job; renews the worker's lease on the way. One at a time for each
        worker: what it holds, and has not been told of, is taken for a claim whose answer was lost, and told again."""
        ...

    def released(self, worker: str, job: str) -> None:
        """The worker's task has settled this job in a transaction of its own, now committed: it is not held any
        more."""
        ...

    def lease(self) -> Lease: ...

    def now(self) -> int:
        """The store's clock as last known here, µs since the epoch."""
        ...
