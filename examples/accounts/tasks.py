"""The jobs: what is done off the request's path. Each stays a function that can be awaited like any other.

Three queues: `critical` is served first, `low` last. What a task does not say itself comes from its queue.
Everything that leaves the house carries an id made from its job, so that a receiver can tell a repeat.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import httpx2
from pydantic import JsonValue, TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from offpath import Backoff, Context, Limit, Offpath, Problem, Queue, Retry, provided
from offpath.http.conditional import PreconditionFailed, recheck, strong
from offpath.tasks import AttemptInfo, Failure

from . import decisions, exports, mail, outgoing, reports, users
from .database import Reading, Session
from .decisions import Email, Push
from .models import Device, Order, OrderItem, User, UserUpdate
from .schemas import Export, Report, ReportPost, UserOut, UserPut
from .settings import settings

log = logging.getLogger("accounts")

jobs = Offpath(
    settings().database,
    queues=[
        Queue("critical", priority=1, max_attempts=5, weight=6),
        Queue("normal", priority=5, max_attempts=3, weight=3),
        Queue("low", priority=10, max_attempts=1, weight=1),
    ],
    broker=settings().broker or "",
    source="/accounts",
)

# For calls to others: they may be away for an hour, and nothing must be lost meanwhile.
PATIENT = Retry(
    max_attempts=20, backoff=Backoff.exponential(first=1, factor=2, cap=300), give_up_on=(PreconditionFailed,)
)
# For work that a person waits for.
BRISK = Retry(max_attempts=3, backoff=Backoff.exponential(first=1))

EMAIL = TypeAdapter(Email)  # to JSON and back, as offpath does it with arguments


@dataclass(frozen=True)
class Sent:
    sent: bool


@jobs.provider(lifetime="worker")
async def http_client() -> AsyncIterator[httpx2.AsyncClient]:
    """One HTTP client for as long as the worker lives: every job that asks for one is given this one."""
    async with outgoing.client() as client:
        yield client


@jobs.task(queue="normal", retry=PATIENT, timeout=60, keep_result=False)
async def send_email(ctx: Context, email: Email) -> None:
    await mail.deliver(email, message_id=ctx.job, smtp_url=settings().smtp_url)


@jobs.task(queue="normal", retry=PATIENT, timeout=60)
async def send_push(ctx: Context, push: Push, http: httpx2.AsyncClient = provided()) -> Sent:
    """To the device the user has by now; a user without one is no failure, there is just nothing to send."""
    async with Reading() as session:
        token = await session.scalar(select(Device.token).where(Device.user_id == push.user_id))
    if token is None:
        return Sent(False)
    body = {"token": token, "title": push.title, "body": push.body}
    await outgoing.post(http, settings().push_url, body, key=ctx.job)
    return Sent(True)


@jobs.task(queue="critical", retry=BRISK, timeout=60)
async def send_confirmation(ctx: Context, order_id: int) -> Sent:
    """The job carries only the order's number: what it tells the customer is read when it is told."""
    loading = (selectinload(Order.user), selectinload(Order.items).selectinload(OrderItem.product))
    async with Reading() as session:
        order = await session.get_one(Order, order_id, options=loading)
    items = [(item.product.name, item.quantity) for item in order.items]
    email = decisions.confirmation(users.profile(order.user), order.id, items)
    await mail.deliver(email, message_id=ctx.job, smtp_url=settings().smtp_url)
    return Sent(True)


@send_confirmation.hook("after")
def confirmation_completed(attempt: AttemptInfo) -> None:
    if attempt.error is None:
        log.info("order confirmation %s: sent at attempt %d", attempt.job, attempt.attempt)


@send_confirmation.hook("failure")
def confirmation_failed(attempt: AttemptInfo) -> None:
    of = f"{attempt.attempt} of {attempt.max_attempts}"
    log.warning("order confirmation %s: attempt %s failed: %s", attempt.job, of, attempt.error)


@dataclass(frozen=True)
class Saved:
    """What a change has come to, and the e-mail that tells of it, if there is anything to tell."""

    user: UserOut
    notice: Email | None


@jobs.task(queue="normal", retry=PATIENT, timeout=120)
async def update_user(ctx: Context, user_id: int, wanted: UserPut, if_match: str | None = None) -> Saved:
    """The first link of PUT /users/{id} off the path (`routes/users.py` has the chain). `if_match` held when the
    request was accepted; it is the moment of the write that counts.

    An attempt may die after its commit and be followed by another, which must not take the change for somebody
    else's: what there is to tell is written down with the row (`UserUpdate`).
    """
    async with Session.begin() as session:
        user = await session.get_one(User, user_id, with_for_update=True)
        done = await session.get(UserUpdate, ctx.job)
        if done is None:
            recheck(if_match, strong(user.version))
            change = await users.apply(session, user, wanted.model_dump(by_alias=False))
            notice = change and EMAIL.dump_python(decisions.notice(change), mode="json")
            done = UserUpdate(job=ctx.job, notice=notice)
            session.add(done)
    email = None if done.notice is None else EMAIL.validate_python(done.notice)
    return Saved(UserOut.model_validate(user), email)


@jobs.task(queue="normal", retry=PATIENT, timeout=60)
async def notify_user(ctx: Context, saved: Saved) -> UserOut:
    """What leaves the house carries the id of the flow, which is that of the operation the client watches."""
    if saved.notice is not None:
        await mail.deliver(saved.notice, message_id=ctx.flow or ctx.job, smtp_url=settings().smtp_url)
    return saved.user


@jobs.task(queue="normal", retry=PATIENT, timeout=60, keep_result=False)
async def refresh_cache(user: UserOut) -> None:
    async with Session.begin() as session:
        await users.refresh_cache(session, await session.get_one(User, user.id, with_for_update=True))


@jobs.task(queue="normal", retry=PATIENT, timeout=60, keep_result=False)
async def trigger_downstream(ctx: Context, user: UserOut, http: httpx2.AsyncClient = provided()) -> None:
    if url := settings().downstream_url:
        body = {"event": "user.updated", "user": user.model_dump()}
        await outgoing.post(http, url, body, key=ctx.flow or ctx.job)


@jobs.task(queue="low")
def update_failed(failure: Failure, user_id: int) -> None:
    """Whichever link it was."""
    log.warning("user %s: %s did not succeed: %s", user_id, failure.task, failure.error.get("title"))


@jobs.task(queue="low", retry=PATIENT, timeout=60, keep_result=False, limit=Limit(rate=10))
async def sync_contact(ctx: Context, user_id: int, http: httpx2.AsyncClient = provided()) -> None:
    """One user to the address book downstream, which takes ten calls a second from all of us together. Whoever wants
    all users there enqueues one of these for each."""
    if url := settings().downstream_url:
        async with Reading() as session:
            user = await session.get_one(User, user_id)
        body = {"event": "contact.synced", "user": UserOut.model_validate(user).model_dump()}
        await outgoing.post(http, url, body, key=ctx.job)


@jobs.task(queue="normal", retry=BRISK, timeout=timedelta(hours=4))  # the longest one we accept takes almost three
async def render_report(ctx: Context, wanted: ReportPost, site: str) -> Report:
    """`rows` units of work. Its progress is what a client sees in the operation; `site` begins the file's URL."""
    log.info("report %s: attempt %d begins", ctx.job, ctx.attempt)
    with reports.draft(settings().data_dir, ctx.job) as write:
        for row in range(1, wanted.rows + 1):
            if row == wanted.fail_at:
                raise Problem(status=422, title="The report could not be rendered", detail=f"Row {row} is unreadable.")
            await asyncio.sleep(wanted.delay_ms / 1000)
            write(row, f"{wanted.title} {row}")
            await ctx.progress(row, of=wanted.rows, unit="rows")
    return Report(title=wanted.title, rows=wanted.rows, url=f"{site}/api/reports/{ctx.job}/file")


@jobs.task(queue="normal", retry=BRISK, timeout=300)
async def render_export(
    ctx: Context, user_id: int, format: exports.Format, data: list[dict[str, JsonValue]] | None, site: str
) -> Export:
    """Whoever gave a `webhookUrl` hears of the end by itself: that URL belongs to the operation, not to the task."""
    rows = await orders_of(user_id) if data is None else data
    await asyncio.to_thread(exports.write, settings().data_dir, ctx.job, format, rows)
    return Export(format=format, rows=len(rows), url=f"{site}/api/exports/{ctx.job}/file")


async def orders_of(user_id: int) -> list[dict[str, JsonValue]]:
    """A row for each item of each order, the oldest first."""
    wanted = select(Order).where(Order.user_id == user_id).order_by(Order.id)
    async with Reading() as session:
        orders = await session.scalars(wanted.options(selectinload(Order.items).selectinload(OrderItem.product)))
        return [
            {"order": order.id, "createdAt": order.created_at.isoformat(), "product": item.product.name,
             "quantity": item.quantity}
            for order in orders
            for item in order.items
        ]  # fmt: skip
