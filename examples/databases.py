"""What the services here ask of a database, SQLite or PostgreSQL, and all in which the two differ for them.

Each service has a database of its own, and in it its rows and its jobs.
"""

import contextlib

import sqlalchemy
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from offpath.errors import StoreUnavailable
from offpath.integrations.sqlalchemy import immediate

from .urls import name_in, on_sqlite

CONNECT_SECONDS = 10.0
SETTING_UP = 0x6163636F756E7473  # the number of an advisory lock: "accounts" in ASCII

TEMPORARY = {"08", "40", "53", "55", "57"}
"""PostgreSQL's classes of errors that pass: connection lost, deadlock, out of room, locked, server going down."""

Id = sqlalchemy.BigInteger().with_variant(sqlalchemy.Integer, "sqlite")
"""64 bits on both: SQLite's own numbering needs a column that is called INTEGER."""


def make_engine(url: str) -> AsyncEngine:
    if on_sqlite(url):
        # BEGIN IMMEDIATE, WAL, synchronous=FULL: a session that reads first and writes later is not refused halfway
        # because a worker wrote in between.
        return immediate(create_async_engine(f"sqlite+aiosqlite{url.removeprefix('sqlite')}"))

    async def connect() -> object:
        """With the URL as it was given, so that it means the same here as to offpath (sslmode, several hosts, …); and
        what is in the way has the same name."""
        import asyncpg

        try:
            return await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        except (OSError, asyncpg.PostgresError) as error:
            raise StoreUnavailable(f"no connection to the database: {str(error) or type(error).__name__}") from error

    return create_async_engine("postgresql+asyncpg://", async_creator=connect)


async def create_database(url: str) -> None:
    """The one that a PostgreSQL URL names, where the server has none of this name; SQLite makes its file by itself.

    What goes wrong here is left to whoever connects next.
    """
    if on_sqlite(url):
        return
    import asyncpg

    with contextlib.suppress(OSError, asyncpg.PostgresError):
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        except asyncpg.InvalidCatalogNameError:
            connection = await asyncpg.connect(url, database="postgres", timeout=CONNECT_SECONDS)
            with contextlib.suppress(asyncpg.PostgresError):
                name = name_in(url).replace('"', '""')
                await connection.execute(f'create database "{name}"')
        await connection.close()


async def one_at_a_time(tx: AsyncConnection | AsyncSession) -> None:
    """Until this transaction ends, no other process sets the database up. On SQLite whoever writes is alone anyway."""
    bind = tx if isinstance(tx, AsyncConnection) else tx.get_bind()
    if bind.dialect.name == "postgresql":
        await tx.execute(select(func.pg_advisory_xact_lock(SETTING_UP)))


def insert_into(engine: AsyncEngine, table: type[DeclarativeBase]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that goes on with `on_conflict_do_…`: the same words on both, but each dialect has its own."""
    return sqlite.insert(table) if engine.dialect.name == "sqlite" else postgresql.insert(table)


def passes(error: Exception) -> bool:
    """Is this the kind of refusal after which it is worth coming again? Nothing of the transaction was written then,
    unless the connection was lost in the very moment of its commit."""
    if isinstance(error, DBAPIError):
        state = str(getattr(error.orig, "sqlstate", None) or "")
        return isinstance(error, OperationalError) or error.connection_invalidated or state[:2] in TEMPORARY
    return isinstance(error, PoolTimeout)
