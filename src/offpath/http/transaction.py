"""A `once` route's work in a transaction of SQLAlchemy's, on the database of the jobs: the handler's rows, its jobs,
the reservation and the answer are one commit.

The connection's transaction is the route's. The handler's session joins it with savepoints, so its own `commit` and
`rollback`, or `async with session.begin():`, mean what they mean elsewhere, and still nothing is final before the
answer. Nothing of SQLAlchemy is imported: it is the application's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from ..errors import ConfigurationError, OffpathError, StoreUnavailable, UncommittedError
from ..observe import signal
from ..ports import Reservation, Reserved
from .accept import Acceptance
from .service import Service
from .unit import Kept

R = TypeVar("R")
THREADS = 32  # for sessions that block


@cache
def _pool(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix=f"offpath-{name}")


class Transaction:
    """See `unit.Work`."""

    def __init__(self, service: Service, maker: Callable[..., Any]) -> None:
        self.session: Any = None
        self._store = service.store
        self._maker = maker
        self._outer: Any = None  # a Connection or AsyncConnection
        self._connection: Any = None  # its synchronous side
        self._savepoint: Any = None
        self._blocks = False

    async def open(self) -> Any:
        if self.session is None:
            await self._connect()
            self.session = self._maker(bind=self._outer, join_transaction_mode="create_savepoint")
        return self.session

    async def _connect(self) -> None:
        if self._outer is not None:
            return
        probe = self._maker()
        engine, self._blocks = probe.bind, not hasattr(probe, "sync_session")
        if not hasattr(engine, "connect"):
            raise ConfigurationError("session= of Operations must make sessions that are bound to one engine")
        try:
            if self._blocks:
                self._outer = self._connection = await self._thread("open", engine.connect)
            else:
                self._outer = await engine.connect()
                self._connection = self._outer.sync_connection
            await self._run(self._begin)
        except OffpathError:
            raise
        except Exception as error:
            raise StoreUnavailable(f"no transaction for this request: {error}") from error

    def _begin(self) -> None:
        connection = self._connection
        connection.begin()
        if connection.dialect.name == "sqlite" and not connection.connection.driver_connection.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver would begin at its first INSERT
        self._savepoint = connection.begin_nested()

    async def reserve(self, key: Reservation) -> Reserved:
        await self._connect()
        said: Reserved = await self._run(lambda: self._reserve(key))
        return said

    def _reserve(self, key: Reservation) -> Reserved:
        """Outside the savepoint to which a 4xx goes back."""
        self._savepoint.commit()
        said: Reserved = self._store.run_on(self._connection, self._store.verbs.reserve(key))
        self._savepoint = self._connection.begin_nested()
        return said

    async def flush(self) -> None:
        if self.session is not None:
            await self._run(self._session.flush)

    async def keep(self, said: Kept | None, accepted: list[Acceptance], *, good: bool) -> None:
        if self._outer is not None:
            await self._run(lambda: self._keep(said, accepted, good), "end")

    def _keep(self, said: Kept | None, accepted: list[Acceptance], good: bool) -> None:
        if good:
            if self.session is not None:
                self._session.commit()
            self._savepoint.commit()
            for one in accepted:
                self._see(one)
        else:
            if self.session is not None:
                self._session.close()
            self._savepoint.rollback()
        if said is not None and not self._ask(self._store.verbs.remember(said.key, said.fence, *said.answer)):
            raise UncommittedError("the reservation of an Idempotency-Key is gone from its own transaction")
        self._connection.commit()

    def _see(self, one: Acceptance) -> None:
        """An operation whose savepoint was rolled back must not be promised."""
        if self._ask(self._store.verbs.operation(one.job)) is None:
            error = UncommittedError(f"the 202 for job {one.job} was about to leave although it was rolled back")
            signal("http.uncommitted", job=one.job, exc_info=error)
            raise error
        one.bond = None

    def _ask(self, verb: Any) -> Any:
        return self._store.run_on(self._connection, verb)

    async def drop(self) -> None:
        if self._outer is None:
            return
        try:
            with suppress(Exception):  # a connection that is lost has nothing left to roll back
                await self._run(self._drop, "end")
            if self._blocks:
                await self._thread("end", self._outer.close)
            else:
                await self._outer.close()
        finally:
            self._outer = None

    def _drop(self) -> None:
        if self.session is not None:
            self._session.close()
        self._connection.rollback()

    # ── on a loop, in a greenlet, in a thread ────────────────────────────────────────────────────────────────────

    @property
    def _session(self) -> Any:
        return getattr(self.session, "sync_session", self.session)

    async def _run(self, work: Callable[[], R], pool: str = "open") -> R:
        """`work` on the synchronous side. Two pools: whoever ends never waits for those who wait for a connection."""
        if self._blocks:
            return await self._thread(pool, work)
        done: R = await self._outer.run_sync(lambda connection: work())
        return done

    async def _thread(self, pool: str, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(_pool(pool), work)
