"""Reading and changing users: the same change awaited, watched as an operation, or followed by jobs."""

import logging
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from offpath.integrations.fastapi import Accepted, Operation, Preconditions, stored_as_sent, strong
from offpath.tasks import all_of

from .. import decisions, users
from ..auth import CurrentUser
from ..database import get_reading, get_session
from ..models import SyncItem, User
from ..operations import Accept, OneSession, operations
from ..preconditions import Asked
from ..problems import documented
from ..schedules import remind
from ..schemas import UserOut, UserPatch, UserPatched, UserPost, UserPut
from ..settings import settings
from ..tasks import (
    jobs,
    notify_user,
    refresh_cache,
    send_email,
    send_push,
    trigger_downstream,
    update_failed,
    update_user,
)

log = logging.getLogger("accounts")
router = APIRouter(tags=["users"], responses=documented(400, 401, 422, 500))


starts = APIRouter(route_class=operations.route)
once = APIRouter(route_class=operations.once)

Db = Annotated[AsyncSession, Depends(get_session)]
Reading = Annotated[AsyncSession, Depends(get_reading)]
UserId = Annotated[int, Path(ge=1, lt=2**63)]
NOT_FOUND = HTTPException(404, "No such user.")


@router.get(
    "/users/{id}",
    response_model=UserOut,
    responses={304: {"description": "The version that `If-None-Match` names"}, **documented(404, 412)},
)
async def read_user(
    id: UserId,
    viewer: CurrentUser,
    reading: Reading,
    when: Preconditions,
    response: Response,
) -> UserOut | Response:
    user = await users.cached(reading, viewer, id)
    if user is None:
        raise NOT_FOUND
    about = {"ETag": user.etag, "Cache-Control": "private, no-cache"}
    if when.unmodified(user.etag):
        return Response(status_code=304, headers=about)
    response.headers.update(about)
    return user


@starts.put(
    "/users/{id}", response_model=UserOut, responses={**documented(404, 412), 202: {"model": Operation[UserOut]}}
)
async def replace_user(
    id: UserId,
    body: UserPut,
    viewer: CurrentUser,
    session: Db,
    accept: Accept,
    when: Asked,
    request: Request,
    response: Response,
) -> UserOut | Accepted[UserOut] | Response:
    """Awaited: answers when the user has been told. With `Prefer: respond-async` the same is done by a flow: update,
    then notification, then cache refresh and downstream trigger together, and `update_failed` if any link fails; with
    `wait=N` too, and the answer is the user when that is ready in time. Under ACCOUNTS_USER_UPDATES=publish a message
    is left for another process instead (`user_updates.py`): then there is no operation to watch, only the user."""
    if accept.prefers_async and settings().publish_updates:
        async with session.begin():
            user = await users.visible(session, viewer, id)
            if user is None:
                raise NOT_FOUND
            when.check(strong(user.version))
            message = {"userId": id, "userData": body.model_dump(), "ifMatch": when.if_match}
            await jobs.send("user-updates", message, key=f"users/{id}", tx=session)
        return Response(status_code=202, headers={"Location": f"{settings().base_url}/users/{id}"})

    if accept.prefers_async:
        async with session.begin():
            user = await users.visible(session, viewer, id)
            if user is None:
                raise NOT_FOUND
            when.check(strong(user.version))
            told = update_user.call(id, body, when.if_match).then(notify_user)
            both = all_of(told.then(refresh_cache), told.then(trigger_downstream))
            return await accept.using(tx=session)(both.catch(update_failed, id).giving(told))

    async with session.begin():
        user = await users.visible(session, viewer, id)
        if user is None:
            raise NOT_FOUND
        when.check(strong(user.version))
        change = await users.apply(session, user, body.model_dump(by_alias=False))
        await users.refresh_cache(session, user)
    # The change is committed and no transaction is open while the mail server is spoken to. If that fails the client
    # hears of a failure although the row has changed, and nobody tries the e-mail again: the price of waiting.
    if change:
        try:
            await send_email(decisions.notice(change))  # the same function, here and now: no job
        except Exception as error:
            log.exception("user %s is changed, but could not be told", id)
            raise HTTPException(500, "Failed to update user") from error
    answer = UserOut.model_validate(user)
    if stored_as_sent(await request.body(), answer.model_dump()):
        response.headers["ETag"] = answer.etag
    return answer


@once.patch("/api/user/update", responses=documented(404, 412))
async def update_profile(
    body: UserPatch, viewer: CurrentUser, session: OneSession, when: Asked, response: Response
) -> UserPatched:
    """The row, the push job and the e-mail job are one transaction: all of it stands, or none. So is the answer to a
    request with an Idempotency-Key: sent again, it changes nothing and is answered alike."""
    user = await users.visible(session, viewer, decisions.user_id(body.user_id, viewer.id))
    if user is None:
        raise NOT_FOUND
    when.check(strong(user.version))
    change = await users.apply(session, user, body.wanted())
    if change:
        await users.refresh_cache(session, user)
        await send_push.using(tx=session).enqueue(decisions.push(user.id, change))
        await send_email.using(tx=session).enqueue(decisions.notice(change))
    answer = UserOut.model_validate(user)
    response.headers["ETag"] = answer.etag
    return UserPatched(message="User updated successfully", data=answer)


@once.post("/api/users", status_code=201)
async def create_user(body: UserPost, viewer: CurrentUser, session: OneSession, response: Response) -> UserOut:
    """The welcome e-mail is fire and forget: durable, not hurried, and nobody asks how it went. A day later comes a
    reminder, if something is missing then."""
    user = User(tenant=viewer.tenant, **body.model_dump(by_alias=False))
    session.add(user)
    await session.flush()
    await send_email.using(tx=session, queue="low").enqueue(decisions.welcome(users.profile(user)))
    await remind.using(tx=session, delay=timedelta(hours=24)).enqueue(user.id)
    session.add(SyncItem(user_id=user.id))
    answer = UserOut.model_validate(user)
    response.headers["ETag"] = answer.etag
    if decisions.may_see(viewer.id, user.id, admin=viewer.admin):  # no link to what the reader would find missing
        response.headers["Location"] = f"{settings().base_url}/users/{user.id}"
    return answer


router.include_router(starts)
router.include_router(once)
