"""Beginning and ending a transaction on what a provider gave: a session or a connection of any kind a store can run
verbs on (`Store.run_on`), known by the class it is an instance of, so that no driver is imported for it.

Each verb here is a generator of calls, and what a call gives is awaited by whoever drives it where the driver is
asynchronous; so sync and async kinds share their lines. None of this decides anything: see `transaction.py`.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Protocol

from .failures import BrokenTransaction

Calls = Generator[Any, Any, None]
Look = Generator[Any, Any, bool]


class Pause(NamedTuple):
    """A call of ours among theirs: come back after so many seconds."""

    seconds: float


class Driver(Protocol):
    """One transaction. `tx` is what the store's verbs run on."""

    tx: Any

    def begin(self, told: Callable[[], bool]) -> Calls:
        """Begin, or join what the provider has begun. `told`: give up waiting for a turn to write."""
        ...

    def check(self) -> Calls:
        """Send what is still to be sent. BrokenTransaction when it is not the transaction that was begun."""
        ...

    def whole(self) -> Look:
        """After an error that was not met by `commit`: whether the transaction is still the one that was begun, so that
        nothing of it can have been committed. (On SQLite nobody asks.)"""
        ...

    def commit(self) -> Calls: ...
    def rollback(self) -> Calls:
        """Whatever is open now."""
        ...

    def locked(self) -> bool:
        """SQLite: whether it keeps other writers out by now."""
        ...


def driver_of(value: object) -> Driver:
    """BrokenTransaction for what is neither session nor connection."""
    kind = kind_of(type(value))
    if kind is None:
        raise BrokenTransaction(f"{type(value).__module__}.{type(value).__qualname__} has no transaction: {KINDS}")
    return kind.driver(value)


class Kind(NamedTuple):
    driver: Callable[[Any], Driver]
    asynchronous: bool


def kind_of(cls: type) -> Kind | None:
    """By the name of a class it inherits from."""
    return next((kind for base in cls.__mro__ if (kind := _KINDS.get(f"{base.__module__}.{base.__qualname__}"))), None)


KINDS = (
    "provided(transaction=True) takes a SQLAlchemy Session, AsyncSession, Connection or AsyncConnection, or a "
    "connection of sqlite3, asyncpg, psycopg 3 or Django"
)
ENDED = (
    "the transaction was committed or rolled back before the task returned: what it wrote and committed stands alone, "
    "and its success could not be noted with it; leave commit and rollback to the worker (savepoints are yours)"
)


# ── SQLAlchemy ───────────────────────────────────────────────────────────────────────────────────────────────────────


class OfSession:
    """Its transaction begins in the database with the first statement, and so, on SQLite, does the lock."""

    def __init__(self, tx: Any) -> None:
        scoped = hasattr(tx, "registry") and callable(tx)
        self.tx: Any = tx() if scoped else tx  # a scoped_session's is this thread's, or this task's
        self._plain: Any = getattr(self.tx, "sync_session", self.tx)
        self._ours: Any = None
        self._connection: Any = None

    def begin(self, told: Callable[[], bool]) -> Calls:
        from sqlalchemy import event

        self._ours = self._plain.get_transaction() or self._plain.begin()
        event.listen(self._plain, "after_begin", self._began)
        yield from ()

    def _began(self, session: Any, transaction: Any, connection: Any) -> None:
        self._connection = connection

    def check(self) -> Calls:
        if self._plain.get_transaction() is not self._ours:
            raise BrokenTransaction(ENDED)
        yield self.tx.flush()

    def whole(self) -> Look:
        yield from ()
        return self._plain.get_transaction() is self._ours

    def commit(self) -> Calls:
        yield self.tx.commit()
        self._forget()

    def rollback(self) -> Calls:
        self._forget()
        yield self.tx.rollback()

    def _forget(self) -> None:
        from sqlalchemy import event

        self._connection = None
        if event.contains(self._plain, "after_begin", self._began):
            event.remove(self._plain, "after_begin", self._began)

    def locked(self) -> bool:
        return self._connection is not None and _open(self._connection)


class OfConnection:
    def __init__(self, tx: Any) -> None:
        self.tx = tx
        self._ours: Any = None

    @property
    def _plain(self) -> Any:
        return getattr(self.tx, "sync_connection", self.tx)

    def begin(self, told: Callable[[], bool]) -> Calls:
        if not self.tx.in_transaction():
            yield self.tx.begin()
        self._ours = self._plain.get_transaction()

    def check(self) -> Calls:
        if self._plain.get_transaction() is not self._ours or not self._ours.is_active:
            raise BrokenTransaction(ENDED)
        yield from ()

    def whole(self) -> Look:
        yield from ()
        return self._plain.get_transaction() is self._ours and self._ours.is_active

    def commit(self) -> Calls:
        yield self.tx.commit()

    def rollback(self) -> Calls:
        yield self.tx.rollback()

    def locked(self) -> bool:
        return _open(self._plain)


def _open(connection: Any) -> bool:
    return not (connection.closed or connection.invalidated) and bool(
        connection.connection.driver_connection.in_transaction
    )


# ── the drivers themselves ───────────────────────────────────────────────────────────────────────────────────────────


class Raw(ABC):
    """Whoever ends the transaction ends the savepoint, and a later transaction does not have it."""

    def __init__(self, tx: Any) -> None:
        self.tx = tx

    def begin(self, told: Callable[[], bool]) -> Calls:
        yield from self._begin(told)
        yield self.tx.execute(f"savepoint {MARK}")

    @abstractmethod
    def _begin(self, told: Callable[[], bool]) -> Calls: ...

    def check(self) -> Calls:
        try:
            yield self.tx.execute(f"release savepoint {MARK}")
        except Exception as error:
            if getattr(error, "sqlstate", None) in NO_SAVEPOINT or "no such savepoint" in str(error):
                raise BrokenTransaction(ENDED) from error
            raise

    def whole(self) -> Look:
        try:
            yield self.tx.execute(f"rollback to savepoint {MARK}")
        except Exception:  # there is none any more, or no connection
            return False
        return True

    def locked(self) -> bool:
        return False


MARK = "offpath_job"
NO_SAVEPOINT = frozenset({"3B001", "25P01"})  # no such savepoint; no transaction at all


class OfPsycopg(Raw):
    def _begin(self, told: Callable[[], bool]) -> Calls:
        if self.tx.autocommit and self.tx.info.transaction_status.name == "IDLE":
            yield self.tx.execute("begin")  # otherwise it begins with the savepoint

    def commit(self) -> Calls:
        yield self.tx.commit()

    def rollback(self) -> Calls:
        yield self.tx.rollback()


class OfAsyncpg(Raw):
    """With a transaction of asyncpg's own kind, so that the task's `connection.transaction()` is a savepoint in it."""

    def __init__(self, tx: Any) -> None:
        super().__init__(tx)
        self._ours: Any = None

    def _begin(self, told: Callable[[], bool]) -> Calls:
        if not self.tx.is_in_transaction():
            ours = self.tx.transaction()
            yield ours.start()
            self._ours = ours

    def commit(self) -> Calls:
        ours, self._ours = self._ours, None
        yield self.tx.execute("commit") if ours is None else ours.commit()

    def rollback(self) -> Calls:
        ours, self._ours = self._ours, None
        if ours is not None:
            yield ours.rollback()
        elif self.tx.is_in_transaction():
            yield self.tx.execute("rollback")


class OfSqlite(Raw):
    """It begins at once, and waits for its turn outside of SQLite: a coroutine that holds the lock needs the loop to
    come to its end."""

    def _begin(self, told: Callable[[], bool]) -> Calls:
        if self.tx.in_transaction:
            return
        cursor = self.tx.cursor()
        cursor.row_factory = None
        (patience,) = cursor.execute("pragma busy_timeout").fetchone()
        cursor.execute("pragma busy_timeout=0")
        try:
            pause = 0.0005
            while True:
                try:
                    cursor.execute("begin immediate")
                    return
                except Exception as error:
                    if told() or not ("locked" in str(error) or "busy" in str(error)):
                        raise
                yield Pause(pause * (0.5 + random.random()))
                pause = min(pause * 1.5, 0.008)
        finally:
            cursor.execute(f"pragma busy_timeout={patience}")
            cursor.close()

    def commit(self) -> Calls:
        yield self.tx.execute("commit")

    def rollback(self) -> Calls:
        if self.tx.in_transaction:
            yield self.tx.execute("rollback")

    def locked(self) -> bool:
        return bool(self.tx.in_transaction)


class OfDjango:
    """An atomic block around the task; Django itself keeps the task from ending it, and rolls back what has failed."""

    def __init__(self, tx: Any) -> None:
        self.tx = tx
        self._block: Any = None

    def begin(self, told: Callable[[], bool]) -> Calls:
        from django.db.transaction import Atomic

        if not self.tx.in_atomic_block:
            self.tx.close_if_unusable_or_obsolete()
        block = Atomic(self.tx.alias, savepoint=True, durable=False)
        block.__enter__()
        self._block = block
        yield from ()

    def check(self) -> Calls:
        if self.tx.closed_in_transaction or not self.tx.in_atomic_block:
            raise BrokenTransaction(ENDED)
        if self.tx.needs_rollback:
            raise BrokenTransaction(
                "a statement of the task has failed, or set_rollback(True) was called, and all Django will do is roll "
                "back; give what may fail an inner `with transaction.atomic():` of its own"
            )
        yield from ()

    def whole(self) -> Look:
        yield from ()
        return self.tx.in_atomic_block and not self.tx.closed_in_transaction

    def commit(self) -> Calls:
        self._leave()
        yield from ()

    def rollback(self) -> Calls:
        if self._block is not None:
            if self.tx.in_atomic_block:
                self.tx.set_rollback(True)
            self._leave()
        yield from ()

    def _leave(self) -> None:
        """Nobody else gives the connection back: at the end of the task, when Django looks, the block is still open."""
        block, self._block = self._block, None
        try:
            block.__exit__(None, None, None)
        finally:
            if not self.tx.in_atomic_block:
                self.tx.close_if_unusable_or_obsolete()

    def locked(self) -> bool:
        return self.tx.vendor == "sqlite" and bool(self.tx.connection.in_transaction)


_KINDS = {
    "sqlalchemy.orm.session.Session": Kind(OfSession, False),
    "sqlalchemy.orm.scoping.scoped_session": Kind(OfSession, False),
    "sqlalchemy.ext.asyncio.session.AsyncSession": Kind(OfSession, True),
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session": Kind(OfSession, True),
    "sqlalchemy.engine.base.Connection": Kind(OfConnection, False),
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": Kind(OfConnection, True),
    "sqlite3.Connection": Kind(OfSqlite, False),
    "psycopg.Connection": Kind(OfPsycopg, False),
    "psycopg.AsyncConnection": Kind(OfPsycopg, True),
    "asyncpg.connection.Connection": Kind(OfAsyncpg, True),
    "asyncpg.pool.PoolConnectionProxy": Kind(OfAsyncpg, True),
    "django.db.backends.base.base.BaseDatabaseWrapper": Kind(OfDjango, False),
    "django.utils.connection.ConnectionProxy": Kind(OfDjango, False),
}
