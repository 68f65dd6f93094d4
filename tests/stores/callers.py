"""One way to speak to every kind of connection a caller may lend us, so that a test is written once for all of them."""

import inspect
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import psycopg
import sqlmodel
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlmodel.ext.asyncio.session import AsyncSession as SQLModelAsyncSession

from offpath.ports import Enqueued, Hint, NewJob, Store
from tests.stores.kit import TIMEOUT

CREATE = "create table if not exists note (text text)"


class Heard(list[Hint]):
    """Every hint that left, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._more = threading.Condition()

    def announce(self, hints: Sequence[Hint]) -> None:
        with self._more:
            self.extend(hints)
            self._more.notify_all()

    def wait(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self) >= count, TIMEOUT), self


async def lend(store: Store, tx: Any, *jobs: NewJob) -> list[Enqueued]:
    """`enqueue_on`, whether its answer has to be awaited or not."""
    answer = await settled(store.enqueue_on(tx, jobs))
    assert isinstance(answer, list)
    return answer


async def settled(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


class Caller:
    """An open transaction of the caller's own; `tx` is what is lent. This one speaks to `sqlite3` and `psycopg`.

    told  whether the driver tells when it has committed
    """

    def __init__(self, tx: Any, *, told: bool = False, begin: str | None = None) -> None:
        self.tx = tx
        self.told = told
        self._begin = begin

    async def begin(self) -> None:
        """The next transaction, where it does not begin by itself."""
        if self._begin:
            await self.run(self._begin)

    async def run(self, sql: str) -> list[tuple[Any, ...]]:
        cursor = await self._call("execute", sql)
        return [] if cursor.description is None else [tuple(row) for row in await settled(cursor.fetchall())]

    async def _call(self, method: str, *args: Any) -> Any:
        return await settled(getattr(self.tx, method)(*args))

    async def note(self) -> None:
        await self.run("insert into note values ('x')")

    async def commit(self) -> None:
        await self._call("commit")

    async def rollback(self) -> None:
        await self._call("rollback")

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Callable[[], Any]]:
        """Gives a function that rolls back to it; released otherwise."""
        end = await self._savepoint()
        over = False

        async def undo() -> None:
            nonlocal over
            over = True
            await end("rollback")

        yield undo
        if not over:
            await end("commit")

    async def _savepoint(self) -> Callable[[str], Any]:
        await self.run("savepoint mine")
        return lambda how: self.run("rollback to savepoint mine" if how == "rollback" else "release savepoint mine")


class OfSQLAlchemy(Caller):
    async def run(self, sql: str) -> list[tuple[Any, ...]]:
        execute = "exec" if hasattr(self.tx, "exec") else "execute"  # as SQLModel wants it
        result = await self._call(execute, text(sql))
        return [tuple(row) for row in result] if result.returns_rows else []

    async def _savepoint(self) -> Callable[[str], Any]:
        nested = await self._call("begin_nested")
        return lambda how: settled(getattr(nested, how)())


class OfAsyncpg(Caller):
    async def begin(self) -> None:
        self._block = self.tx.transaction()
        await self._block.start()

    async def run(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.tx.fetch(sql)]

    async def commit(self) -> None:
        await self._block.commit()

    async def rollback(self) -> None:
        await self._block.rollback()

    async def _savepoint(self) -> Callable[[str], Any]:
        nested = self.tx.transaction()
        await nested.start()
        return lambda how: getattr(nested, how)()


class Way(NamedTuple):
    """A kind of connection: `open` leads it to a database (the path of a SQLite file, a PostgreSQL URL)."""

    dialect: str
    open: Callable[[str], AbstractAsyncContextManager[Caller]]


# ── drivers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sqlite3(begin: str | None) -> Way:
    @asynccontextmanager
    async def opened(path: str) -> AsyncIterator[Caller]:
        connection = sqlite3.connect(path, isolation_level=None if begin else "DEFERRED")
        connection.execute(CREATE)
        caller = Caller(connection, begin=begin)
        try:
            await caller.begin()
            yield caller
        finally:
            connection.close()

    return Way("sqlite", opened)


def _psycopg(begin: str | None) -> Way:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Caller]:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(CREATE)
            connection.autocommit = begin is not None
            caller = Caller(connection, begin=begin)
            await caller.begin()
            try:
                yield caller
            finally:
                if not connection.closed:
                    connection.rollback()  # leaving the block would commit

    return Way("postgresql", opened)


def _psycopg_async(begin: str | None) -> Way:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Caller]:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(CREATE)
            await connection.set_autocommit(begin is not None)
            caller = Caller(connection, begin=begin)
            await caller.begin()
            try:
                yield caller
            finally:
                if not connection.closed:
                    await connection.rollback()

    return Way("postgresql", opened)


@asynccontextmanager
async def _asyncpg(url: str) -> AsyncIterator[Caller]:
    connection = await asyncpg.connect(url)
    await connection.execute(CREATE)
    caller = OfAsyncpg(connection)
    await caller.begin()
    try:
        yield caller
    finally:
        await connection.close()


@asynccontextmanager
async def _asyncpg_pool(url: str) -> AsyncIterator[Caller]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        await connection.execute(CREATE)
        caller = OfAsyncpg(connection)
        await caller.begin()
        yield caller


# ── SQLAlchemy on them ───────────────────────────────────────────────────────────────────────────────────────────────


def engine_url(address: str, driver: str) -> str:
    """What SQLAlchemy calls a database: `address` is a path or a URL without a driver."""
    return f"{driver}:///{address}" if driver.startswith("sqlite") else address.replace("postgresql", driver, 1)


def _sync(driver: str, make: Callable[[Any], Any], *, told: bool = True) -> Way:
    @asynccontextmanager
    async def opened(address: str) -> AsyncIterator[Caller]:
        engine = create_engine(engine_url(address, driver))
        with engine.begin() as connection:
            connection.execute(text(CREATE))
        tx = make(engine)
        try:
            yield OfSQLAlchemy(tx, told=told)
        finally:
            tx.close()
            engine.dispose()

    return Way(driver.partition("+")[0], opened)


def _async(driver: str, make: Callable[[Any], Any], *, told: bool = True) -> Way:
    @asynccontextmanager
    async def opened(address: str) -> AsyncIterator[Caller]:
        engine = create_async_engine(engine_url(address, driver))
        async with engine.begin() as connection:
            await connection.execute(text(CREATE))
        tx = make(engine)
        if isinstance(tx, AsyncConnection):
            await tx.start()
        try:
            yield OfSQLAlchemy(tx, told=told)
        finally:
            await tx.close()
            await engine.dispose()

    return Way(driver.partition("+")[0], opened)


def _scoped(engine: Any) -> Any:
    return scoped_session(sessionmaker(engine))


def _async_scoped(engine: Any) -> Any:
    return async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)


WAYS: dict[str, Way] = {
    "sqlite3": _sqlite3(None),
    "sqlite3, begun by hand": _sqlite3("begin immediate"),
    "sqlite, Session": _sync("sqlite", Session),
    "sqlite, scoped_session": _sync("sqlite", _scoped),
    "sqlite, SQLModel Session": _sync("sqlite", sqlmodel.Session),
    "sqlite, Connection": _sync("sqlite", Connection, told=False),
    "aiosqlite, AsyncSession": _async("sqlite+aiosqlite", AsyncSession),
    "aiosqlite, async_scoped_session": _async("sqlite+aiosqlite", _async_scoped),
    "aiosqlite, SQLModel AsyncSession": _async("sqlite+aiosqlite", SQLModelAsyncSession),
    "aiosqlite, AsyncConnection": _async("sqlite+aiosqlite", lambda engine: engine.connect(), told=False),
    "asyncpg": Way("postgresql", _asyncpg),
    "asyncpg, from a pool": Way("postgresql", _asyncpg_pool),
    "asyncpg, AsyncSession": _async("postgresql+asyncpg", AsyncSession),
    "asyncpg, SQLModel AsyncSession": _async("postgresql+asyncpg", SQLModelAsyncSession),
    "asyncpg, AsyncConnection": _async("postgresql+asyncpg", lambda engine: engine.connect(), told=False),
    "psycopg": _psycopg(None),
    "psycopg, begun by hand": _psycopg("begin"),
    "psycopg, Session": _sync("postgresql+psycopg", Session),
    "psycopg, scoped_session": _sync("postgresql+psycopg", _scoped),
    "psycopg, SQLModel Session": _sync("postgresql+psycopg", sqlmodel.Session),
    "psycopg, Connection": _sync("postgresql+psycopg", Connection, told=False),
    "psycopg, async": _psycopg_async(None),
    "psycopg, async, begun by hand": _psycopg_async("begin"),
    "psycopg, AsyncSession": _async("postgresql+psycopg", AsyncSession),
    "psycopg, AsyncConnection": _async("postgresql+psycopg", lambda engine: engine.connect(), told=False),
}
