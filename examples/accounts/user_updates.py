"""A classic: the web server leaves a message in a queue, and a worker of its own does the rest.

    ACCOUNTS_USER_UPDATES=publish python3 dev.py serve          PUT /users/1 with Prefer: respond-async
    python3 dev.py worker --user-updates                        the other end

The messages are plain JSON, `{"userId": 1, "userData": {…}}`. Any program may have sent them, so they are checked like
the body of a request; one that does not fit is a dead letter, with the bytes it came with. This process has an
`Offpath` of its own, with one task: the service's other workers leave its jobs alone, and it theirs.
"""

from sqlalchemy.exc import NoResultFound

from offpath import Backoff, Offpath, Retry
from offpath.http.conditional import PreconditionFailed, recheck, strong

from . import decisions, users
from .database import Session
from .models import User
from .schemas import UserPut
from .settings import settings
from .tasks import send_email

QUEUE = "user-updates"

jobs = Offpath(settings().database, broker=settings().broker or "")


@jobs.on(
    queue=QUEUE,
    ordered=True,  # of one user, one after the other: an older change that had to wait must not undo a newer one
    retry=Retry(20, Backoff.exponential(first=1, factor=2, cap=300), give_up_on=(NoResultFound, PreconditionFailed)),
    timeout=60,
)
async def apply_user_update(userId: int, userData: UserPut, ifMatch: str | None = None) -> None:
    """The row and the e-mail that tells of the change are one commit. Done again, it changes nothing and tells nobody.

    `ifMatch` held when the message was sent; it is the moment of the write that counts.
    """
    async with Session.begin() as session:
        user = await session.get_one(User, userId, with_for_update=True)
        recheck(ifMatch, strong(user.version))
        change = await users.apply(session, user, userData.model_dump(by_alias=False))
        if change:
            await users.refresh_cache(session, user)
            await send_email.using(tx=session).enqueue(decisions.notice(change))
