"""The one database of this service: its rows and its jobs."""

from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from ..databases import make_engine
from .settings import settings

engine = make_engine(settings().database)
Session = async_sessionmaker(engine, expire_on_commit=False)
Reading = async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False)


async def get_reading() -> AsyncIterator[AsyncSession]:
    """A session for a request that only reads: it waits for no writer."""
    async with Reading() as session:
        yield session
