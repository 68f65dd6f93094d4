"""What the clock sets going: a report each morning, a reminder a day after sign-up, files that are purged and contacts
that are synced at night, and a sync that never ends.

Any worker fires them, and a second one, or a second deploy, changes nothing: one job per tick.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx2
from sqlalchemy import func, select

from offpath import Context, Schedule, Snooze, provided

from . import decisions, mail, outgoing, users
from .database import Reading, Session, passes
from .file_jobs import purge_files
from .models import Order, SyncItem, User, now
from .settings import settings
from .tasks import PATIENT, jobs, sync_contact

log = logging.getLogger("accounts")

PAGE = 100  # rows of one run of the sync
TRIES = 5  # a row that has failed so often is left to people
MORNING = Schedule.cron("0 8 * * *", zone=settings().zone)
ZONE = ZoneInfo(settings().zone)


@dataclass(frozen=True)
class DailyReport:
    day: date
    orders: int


@jobs.schedule("daily-report", MORNING)
@jobs.task(queue="normal", timeout=60)
async def daily_report(ctx: Context) -> DailyReport:
    """The orders of the day before. Late or not, it is the day before its tick, by the clock of its zone."""
    day = (ctx.tick or datetime.now(UTC)).astimezone(ZONE).date() - timedelta(days=1)
    start, end = decisions.day_in(day, ZONE)
    async with Reading() as session:
        counting = select(func.count()).select_from(Order).where(Order.created_at >= start, Order.created_at < end)
        orders = await session.scalar(counting)
    log.info("daily report: %d orders on %s", orders, day)
    return DailyReport(day=day, orders=orders or 0)


jobs.schedule("purge-files", Schedule.cron("30 3 * * *", zone=settings().zone), purge_files.call())


@jobs.schedule("sync-contacts", Schedule.cron("0 2 * * *", zone=settings().zone))
@jobs.task(queue="low", keep_result=False)
async def sync_contacts() -> None:
    """Every user to the address book: a job for each, in one round trip; their limit spreads them over the time."""
    async with Reading() as session:
        ids = list(await session.scalars(select(User.id).order_by(User.id)))
    await sync_contact.enqueue_many([sync_contact.using(key=str(id)).call(user_id=id) for id in ids])


@jobs.task(queue="low", timeout=60, keep_result=False)
async def heartbeat(ctx: Context, http: httpx2.AsyncClient = provided()) -> None:
    """A sign of life to downstream, where somebody is called when there is none."""
    if url := settings().downstream_url:
        await outgoing.post(http, url, {"event": "heartbeat"}, key=ctx.job)


if seconds := settings().heartbeat:  # each after the one before, however long that one has to wait
    jobs.schedule("heartbeat", Schedule.every(seconds, overlap="queue"), heartbeat.call())


@jobs.task(queue="low", retry=PATIENT, timeout=60, keep_result=False)
async def remind(ctx: Context, user_id: int) -> None:
    """A day after sign-up. What it says depends on the profile as it is then; a complete one needs no reminder."""
    async with Reading() as session:
        user = await session.get(User, user_id)
    email = user and decisions.reminder(users.profile(user))
    if email:
        await mail.deliver(email, message_id=ctx.job, smtp_url=settings().smtp_url)


@jobs.every(minutes=1, queue="low", keep_result=False)
async def sync_items() -> None:
    """Take a page of pending rows and mark each done or failed. At once when a worker starts, then each minute, and
    again at once when there may be more.

    Each row is a transaction of its own: a bad one stops nobody, and a stop in the middle leaves the rest as they
    were, for the next run.
    """
    pending = select(SyncItem.id).where(SyncItem.completed_at.is_(None), SyncItem.retries < TRIES)
    async with Reading() as session:
        page = list(await session.scalars(pending.order_by(SyncItem.retries, SyncItem.id).limit(PAGE)))
    done = 0
    for id in page:
        try:
            await sync_item(id)
            done += 1
        except Exception as error:
            if passes(error):  # it is the database, not the row
                raise
            log.warning("sync of item %d failed: %s", id, error)
            async with Session.begin() as session:
                item = await session.get_one(SyncItem, id, with_for_update=True)
                item.error, item.retries = str(error)[:500], item.retries + 1
    if done and len(page) == PAGE:  # where all of them fail, each has its tries a minute apart
        raise Snooze(0)


async def sync_item(id: int) -> None:
    """Make the answer to GET /users/{id} anew."""
    async with Session.begin() as session:
        item = await session.get_one(SyncItem, id, with_for_update=True)
        user = await session.get(User, item.user_id, with_for_update=True)
        if user is None:
            raise LookupError(f"there is no user {item.user_id}")
        await users.refresh_cache(session, user)
        item.completed_at, item.error = now(), None
