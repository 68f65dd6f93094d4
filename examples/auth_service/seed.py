"""The service's tables and the development data. Doing it again changes nothing, and neither does a second process that
does it at the same time."""

import secrets

from sqlalchemy import insert, select

from .. import databases
from ..databases import one_at_a_time
from .database import Session, engine
from .members import Base, Member
from .settings import settings

CHUNK = 5_000


async def prepare() -> None:
    await databases.create_database(settings().database)


async def tables_and_members() -> None:
    """Members 1, 2, … of organization 1 and a tenth as many, after them, of organization 2; each with a link."""
    async with engine.begin() as connection:
        await one_at_a_time(connection)
        await connection.run_sync(Base.metadata.create_all)
    async with Session.begin() as session:
        await one_at_a_time(session)
        if await session.scalar(select(Member.id).limit(1)) is not None:
            return
        first = settings().members
        rows = [_member(n, 1 if n <= first else 2) for n in range(1, first + max(1, first // 10) + 1)]
        for start in range(0, len(rows), CHUNK):
            await session.execute(insert(Member), rows[start : start + CHUNK])


def _member(id: int, organization: int) -> dict[str, object]:
    link = f"https://sso.example/{organization}/{id}-{secrets.token_hex(4)}"
    return {"id": id, "organization": organization, "custom_sso_link": link}
