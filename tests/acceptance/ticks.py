"""The application of `test_ticks.py`: one schedule whose every tick is a job, and one continuous worker."""

from __future__ import annotations

import asyncio
import os

from offpath import Context, Offpath, Schedule

from .ledger import Ledger

STEP = 0.25  # s between two ticks
jobs = Offpath(os.environ["ACCEPTANCE_DATABASE"])
ledger = Ledger(os.environ["ACCEPTANCE_LEDGER"])


@jobs.schedule("each", Schedule.every(STEP, overlap="allow", catch_up=1000))
@jobs.task
async def each() -> None: ...


@jobs.every(seconds=0.1)
async def alone(ctx: Context) -> None:
    """Never beside itself: the ledger knows when it was there."""
    ledger.write("start", job=ctx.job, n=0, attempt=ctx.attempt, fence=ctx.fence)
    await asyncio.sleep(0.05)
    ledger.write("end", job=ctx.job, n=0, attempt=ctx.attempt, fence=ctx.fence)


if __name__ == "__main__":
    jobs.migrate()
