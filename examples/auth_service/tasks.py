"""The jobs: links are taken away in batches, off every request's path.

A batch is one transaction: the links and their lines in the ledger. A worker that dies in the middle loses the batch it
was at; whoever takes the job up goes on with the links that are still there.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement

from offpath import Backoff, Context, Offpath, Retry

from . import members
from .database import Reading, Session
from .settings import settings

log = logging.getLogger("auth")

jobs = Offpath(settings().database, broker=settings().broker or "", source="/auth", group="auth")

PATIENT = Retry(max_attempts=20, backoff=Backoff.exponential(first=1, factor=2, cap=300))


@dataclass(frozen=True)
class Unlinked:
    """`members` had a link when the job began; `unlinked` of them have lost it by this job."""

    members: int
    unlinked: int


async def unlink_all(ctx: Context, who: ColumnElement[bool]) -> Unlinked:
    """Batch after batch, until none of them has a link.

    What there was to do is remembered, so that the progress of a second attempt goes on where the first one's ended.
    """
    log.info("unlink %s: attempt %d begins", ctx.job, ctx.attempt)
    total = await ctx.step("count", count, who)
    while True:
        async with Session.begin() as session:
            some = await members.unlink(session, who, settings().batch, ctx.job)
            done = await members.done_by(session, ctx.job)
        if not some:  # others may have been at it too
            await ctx.progress(done, of=done, unit="members")
            return Unlinked(members=total, unlinked=done)
        await ctx.progress(done, of=max(total, done), unit="members")
        log.info("unlink %s: %d of %d", ctx.job, done, total)
        await asyncio.sleep(settings().pause)


async def count(who: ColumnElement[bool]) -> int:
    async with Reading() as session:
        return await members.linked(session, who)


@jobs.task(retry=PATIENT, timeout=timedelta(hours=1))
async def unlink_members(ctx: Context, ids: list[int], organization: int | None) -> Unlinked:
    """These members, so far as they are the organization's; None: whosever they are."""
    return await unlink_all(ctx, members.among(ids, organization))
