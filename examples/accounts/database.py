"""The one database of the application and of offpath, SQLite or PostgreSQL, and all in which the two differ here."""

from collections.abc import AsyncIterator

import sqlalchemy
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from offpath.errors import StoreUnavailable
from offpath.integrations.sqlalchemy import immediate

from .settings import Settings, settings

CONNECT_SECONDS = 10.0
SETTING_UP = 0x6163636F756E7473  # the number of an advisory lock: "accounts" in ASCII

TEMPORARY = {"08", "40", "53", "55", "57"}
"""PostgreSQL's classes of errors that pass: connection lost, deadlock, out of room, locked, server going down."""

Id = sqlalchemy.BigInteger().with_variant(sqlalchemy.Integer, "sqlite")
"""64 bits on both: SQLite's own numbering needs a column that is called INTEGER."""


def make_engine(at: Settings) -> AsyncEngine:
    if at.on_sqlite:
        # BEGIN IMMEDIATE, WAL, synchronous=FULL: a session that reads first and writes later is not refused halfway
        # because a worker wrote in between.
        return immediate(create_async_engine(f"sqlite+aiosqlite{at.database.removeprefix('sqlite')}"))

    async def connect() -> object:
        """With the URL as it was given, so that it means the same here as to offpath (sslmode, several hosts, …); and
        what is in the way has the same name."""
        import asyncpg

        try:
            return await asyncpg.connect(at.database, timeout=CONNECT_SECONDS)
        except (OSError, asyncpg.PostgresError) as error:
            raise StoreUnavailable(f"no connection to the database: {str(error) or type(error).__name__}") from error

    return create_async_engine("postgresql+asyncpg://", async_creator=connect)


engine = make_engine(settings())
Session = async_sessionmaker(engine, expire_on_commit=False)

# For what only reads: no transaction and no lock, so it waits for no writer. Each statement sees what is committed when
# it runs.
Reading = async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False)


async def get_reading() -> AsyncIterator[AsyncSession]:
    """A session for a request that only reads."""
    async with Reading() as session:
        yield session


async def get_session() -> AsyncIterator[AsyncSession]:
    """A session for one request. The handler itself commits (`async with session.begin()`): FastAPI runs what
    follows a `yield` after the answer has been sent, which is too late for a promise like 202.
    """
    async with Session() as session:
        yield session


def insert(table: type[DeclarativeBase]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that goes on with `on_conflict_do_…`: the same words on both, but each dialect has its own."""
    return sqlite.insert(table) if engine.dialect.name == "sqlite" else postgresql.insert(table)


async def one_at_a_time(tx: AsyncConnection | AsyncSession) -> None:
    """Until this transaction ends, no other process sets the database up. On SQLite whoever writes is alone anyway."""
    if engine.dialect.name == "postgresql":
        await tx.execute(select(func.pg_advisory_xact_lock(SETTING_UP)))


def passes(error: Exception) -> bool:
    """Is this the kind of refusal after which it is worth coming again? Nothing of the transaction was written then,
    unless the connection was lost in the very moment of its commit."""
    if isinstance(error, DBAPIError):
        state = str(getattr(error.orig, "sqlstate", None) or "")
        return isinstance(error, OperationalError) or error.connection_invalidated or state[:2] in TEMPORARY
    return isinstance(error, PoolTimeout)
