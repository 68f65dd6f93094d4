"""The one database of the application and of offpath: sessions of it, for what writes and for what reads."""

from collections.abc import AsyncIterator

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase

from ..databases import Id as Id
from ..databases import insert_into, make_engine
from ..databases import one_at_a_time as one_at_a_time
from ..databases import passes as passes
from .settings import settings

engine = make_engine(settings().database)
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
    """An INSERT that goes on with `on_conflict_do_…`."""
    return insert_into(engine, table)
