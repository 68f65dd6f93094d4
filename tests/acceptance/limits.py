"""The application of `test_limits.py`: `offpath --app tests.acceptance.limits:jobs worker`.

`python -m tests.acceptance.limits COUNT` enqueues operations, whose event logs say by the database's clock when each
attempt began and when it was over, and prints their ids.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from offpath import Context, Limit, Offpath, Retry
from offpath.ports import NewOperation

from .ledger import Ledger

KEYS, PER_KEY, ALL = 4, 2, 5
RATE, PERIOD, BURST = 20, 1.0, 2

jobs = Offpath(os.environ["ACCEPTANCE_DATABASE"], limits=[Limit(concurrency=ALL)])
ledger = Ledger(os.environ["ACCEPTANCE_LEDGER"])


async def work(ctx: Context, n: int, seconds: float) -> None:
    ledger.write("start", job=ctx.job, n=n, attempt=ctx.attempt, fence=ctx.fence)
    await asyncio.sleep(seconds)
    ledger.write("end", job=ctx.job, n=n, attempt=ctx.attempt, fence=ctx.fence)


@jobs.task(limit=Limit(per="tenant", concurrency=PER_KEY), retry=Retry(max_attempts=1))
async def render(ctx: Context, n: int, seconds: float, tenant: int) -> None:
    await work(ctx, n, seconds)


@jobs.task(limit=Limit(rate=RATE, period=PERIOD, burst=BURST), retry=Retry(max_attempts=1))
async def sync(ctx: Context, n: int, seconds: float) -> None:
    await work(ctx, n, seconds)


def main(count: int) -> list[str]:
    jobs.migrate()
    calls = [sync.call(n=n, seconds=0.02) if n % 3 == 0 else render.call(n=n, seconds=0.05, tenant=n % KEYS)
             for n in range(count)]  # fmt: skip
    new = [jobs.new_job(call.core._replace(watched=True), NewOperation("", "", call.core.task, "")) for call in calls]
    return [one.id for one in jobs.store.enqueue(new).result(60)]


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
