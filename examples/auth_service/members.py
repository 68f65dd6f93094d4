"""Members, the links to their own sign-on, and the ledger of links that are gone.

Every function works inside the transaction of whoever calls it. A link and its line in the ledger are one commit, so
the ledger can be asked whether anything was done twice, and whatever is repeated finds nothing left to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import ColumnElement, DateTime, Identity, Index, String, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ..databases import Id, insert_into
from .database import engine


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {int: Id, datetime: DateTime(timezone=True)}


class Member(Base):
    """`custom_sso_link`: who at the organization's own provider signs in as this member. No two links are the same."""

    __tablename__ = "members"

    id: Mapped[int] = mapped_column(Identity(start=1_000_001), primary_key=True)  # those below are for seed.py
    organization: Mapped[int]
    custom_sso_link: Mapped[str | None] = mapped_column(String(200))


Index(
    "members_linked",
    Member.organization,
    Member.id,
    sqlite_where=Member.custom_sso_link.is_not(None),
    postgresql_where=Member.custom_sso_link.is_not(None),
)


class Unlinking(Base):
    """The ledger: a link that is gone, and whose doing that was. `times` above 1 would be a link that went twice."""

    __tablename__ = "unlinkings"

    member: Mapped[int] = mapped_column(primary_key=True)
    link: Mapped[str] = mapped_column(String(200), primary_key=True)
    job: Mapped[str] = mapped_column(String(36), index=True)
    unlinked_at: Mapped[datetime] = mapped_column(default=now)
    times: Mapped[int] = mapped_column(default=1)


@dataclass(frozen=True)
class Links:
    """An organization by its own books. `twice`: links that went more than once; never any, one hopes."""

    organization: int
    linked: int
    unlinked: int
    twice: int


def of(organization: int) -> ColumnElement[bool]:
    return Member.organization == organization


def among(ids: Sequence[int], organization: int | None) -> ColumnElement[bool]:
    """Of these, those of the organization; None: of any."""
    these = Member.id.in_(ids)
    return these if organization is None else these & of(organization)


async def linked(session: AsyncSession, who: ColumnElement[bool]) -> int:
    """How many of them have a link."""
    counting = select(func.count()).select_from(Member).where(who, Member.custom_sso_link.is_not(None))
    return await session.scalar(counting) or 0


async def unlink(session: AsyncSession, who: ColumnElement[bool], most: int, job: str) -> int:
    """Take the links of at most so many of them away; how many it were. 0: none of them has one."""
    wanted = select(Member.id, Member.custom_sso_link).where(who, Member.custom_sso_link.is_not(None))
    found = (await session.execute(wanted.order_by(Member.id).limit(most).with_for_update())).all()
    if not found:
        return 0
    ids = [id for id, _ in found]
    await session.execute(update(Member).where(Member.id.in_(ids)).values(custom_sso_link=None))
    rows = [{"member": id, "link": link, "job": job, "unlinked_at": now(), "times": 1} for id, link in found]
    line = insert_into(engine, Unlinking)
    again = {"times": Unlinking.times + 1}
    await session.execute(line.on_conflict_do_update(index_elements=["member", "link"], set_=again), rows)
    return len(found)


async def done_by(session: AsyncSession, job: str) -> int:
    """How many links are gone by this job, all its attempts together."""
    return await session.scalar(select(func.count()).select_from(Unlinking).where(Unlinking.job == job)) or 0


async def books(session: AsyncSession, organization: int) -> Links | None:
    """None: there is no such organization here."""
    if await session.scalar(select(Member.id).where(of(organization)).limit(1)) is None:
        return None
    theirs = select(func.count(), func.coalesce(func.sum(Unlinking.times), 0)).join(
        Member, Member.id == Unlinking.member
    )
    lines, times = (await session.execute(theirs.where(of(organization)))).one()
    # PostgreSQL sums as a decimal
    return Links(organization, await linked(session, of(organization)), lines, int(times) - lines)
