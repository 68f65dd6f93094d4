"""Flows whose workers are killed: two fans, the second as wide as the first says, each with a join, and a link behind.

python -m tests.acceptance.flowapp COUNT SECONDS      enqueue so many; print their ids as a JSON array
"""

from __future__ import annotations

import asyncio
import json
import sys

from offpath import Context, Retry
from offpath.tasks import all_of

from .app import jobs, ledger

WIDTH = 5
once = Retry(max_attempts=1)  # a crash spends no attempt


async def noted(ctx: Context, n: str, seconds: float) -> None:
    ledger.write("start", job=ctx.job, flow=ctx.flow, n=n, attempt=ctx.attempt, fence=ctx.fence)
    await asyncio.sleep(seconds)
    ledger.write("end", job=ctx.job, flow=ctx.flow, n=n, attempt=ctx.attempt, fence=ctx.fence)


@jobs.task(retry=once)
async def spoke(ctx: Context, n: int, seconds: float) -> int:
    await noted(ctx, "spoke", seconds)
    return n


@jobs.task(retry=once)
async def join(ctx: Context, numbers: list[int], seconds: float) -> list[int]:
    await noted(ctx, "join", seconds)
    return numbers


@jobs.task(retry=once)
async def again(ctx: Context, numbers: list[int], seconds: float) -> int:
    await noted(ctx, "again", seconds)
    return sum(numbers)


@jobs.task(retry=once)
async def last(ctx: Context, number: int, seconds: float) -> int:
    await noted(ctx, "last", seconds)
    return number


def main() -> None:
    jobs.migrate()
    count, seconds = int(sys.argv[1]), float(sys.argv[2])
    ids = []
    for _ in range(count):
        fan = all_of(spoke.call(n, seconds) for n in range(WIDTH)).then(join, seconds)
        flow = fan.then_each(spoke, seconds).then(again, seconds).then(last, seconds)
        ids.append(flow.enqueue_sync().id)
    print(json.dumps(ids))


if __name__ == "__main__":
    main()
