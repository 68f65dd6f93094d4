"""Users in the database. Every function works inside the transaction of whoever calls it; none begins or commits."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from .auth import Identity
from .database import insert
from .decisions import Change, Profile, change, may_see
from .models import User, UserCache, now
from .schemas import UserOut


def profile(user: User) -> Profile:
    return Profile(username=user.username, email=user.email, phone_number=user.phone_number)


async def visible(session: AsyncSession, viewer: Identity, user_id: int | None) -> User | None:
    """The user, when there is one and `viewer` may see them. To everybody else they do not exist.

    For whoever may go on to change them: until the transaction ends, nobody else does.
    """
    if user_id is None or not may_see(viewer.id, user_id, admin=viewer.admin):
        return None
    return await session.get(User, user_id, with_for_update=True)


async def cached(session: AsyncSession, viewer: Identity, user_id: int) -> UserOut | None:
    """The same for reading only: the ready-made answer where there is one."""
    if not may_see(viewer.id, user_id, admin=viewer.admin):
        return None
    body = await session.scalar(select(UserCache.body).where(UserCache.user_id == user_id))
    if body is not None:
        return UserOut.model_validate(body)
    user = await session.get(User, user_id)
    return UserOut.model_validate(user) if user else None


async def apply(session: AsyncSession, user: User, wanted: Mapping[str, Any]) -> Change | None:
    """Write what is different and count the version up; None when nothing was. The cached answer goes at once, so
    that nobody reads the past while the new one is on its way.
    """
    done = change(profile(user), wanted)
    if done is None:
        return None
    for field in done.fields:
        setattr(user, field, getattr(done.after, field))
    user.version += 1
    await session.execute(delete(UserCache).where(UserCache.user_id == user.id))
    await session.flush()
    return done


async def refresh_cache(session: AsyncSession, user: User) -> None:
    body = UserOut.model_validate(user).model_dump()
    row = insert(UserCache).values(user_id=user.id, body=body, refreshed_at=now())
    await session.execute(
        row.on_conflict_do_update(
            index_elements=[UserCache.user_id],
            set_={"body": row.excluded.body, "refreshed_at": row.excluded.refreshed_at},
        )
    )
