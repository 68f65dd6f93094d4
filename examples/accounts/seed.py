"""Creates the database and the application's tables, and fills in the development data. Doing it again changes nothing,
and neither does a second process that does it at the same time.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from .. import databases
from .database import Session, engine, one_at_a_time
from .models import Base, Device, Organization, Product, User
from .settings import settings


async def create_database() -> None:
    await databases.create_database(settings().database)


async def create_tables() -> None:
    async with engine.begin() as connection:
        await one_at_a_time(connection)
        await connection.run_sync(Base.metadata.create_all)


async def development_data() -> None:
    async with Session.begin() as session:
        await one_at_a_time(session)
        if await session.get(Organization, 1) is not None:
            return
        await _users(session)
        session.add_all(
            [
                Organization(id=1, tenant="acme", name="acme", owner_id=1),
                Organization(id=2, tenant="globex", name="globex", owner_id=None),
            ]
        )


async def _users(session: AsyncSession) -> None:
    if await session.get(User, 1) is not None:
        return  # of a database that was filled before there were organizations
    session.add_all(
        [
            User(id=1, tenant="acme", username="alice", email="alice@acme.example", phone_number="+1 555 0101"),
            User(id=2, tenant="acme", username="bob", email="bob@acme.example", phone_number=None),
            User(id=3, tenant="globex", username="carol", email="carol@globex.example", phone_number=None),
            User(id=4, tenant="staff", username="admin", email="admin@example.org", phone_number=None),
        ]
    )
    await session.flush()
    session.add_all([Device(user_id=1, token="device-of-alice"), Device(user_id=2, token="device-of-bob")])
    session.add_all([Product(name="lamp"), Product(name="desk"), Product(name="chair")])
