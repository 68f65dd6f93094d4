"""The application whose workers are killed in batches: `offpath --app tests.acceptance.batches:jobs worker`.

ACCEPTANCE_DATABASE is the store's URL, ACCEPTANCE_LEDGER the file that every effect is written to; ACCEPTANCE_GATE the
one that everything that runs waits for, so that the judge says when it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from offpath import Context, Offpath, Retry

from .ledger import Ledger

SIZE = 10
GATE = Path(os.environ["ACCEPTANCE_GATE"])

jobs = Offpath(os.environ["ACCEPTANCE_DATABASE"], lease=2, poll=0.2)
ledger = Ledger(os.environ["ACCEPTANCE_LEDGER"])


@jobs.batch(size=SIZE, wait=0.05, retry=Retry(max_attempts=1))  # a crash spends no attempt
async def index(ctx: Context, numbers: list[int]) -> list[int]:
    """Start, wait, end: effects of each job. The result is the fence, so that history says who won."""
    for one, n in zip(ctx.each, numbers, strict=True):
        ledger.write("start", job=one.job, n=n, fence=one.fence, of=len(numbers))
    await opened()
    for one, n in zip(ctx.each, numbers, strict=True):
        ledger.write("end", job=one.job, n=n, fence=one.fence, of=len(numbers))
    return [one.fence for one in ctx.each]


@jobs.task(priority=1, retry=Retry(max_attempts=1))
async def refresh(ctx: Context, n: int) -> int:
    ledger.write("refresh", job=ctx.job, n=n, fence=ctx.fence)
    await opened()
    ledger.write("refreshed", job=ctx.job, n=n, fence=ctx.fence)
    return n


async def opened() -> None:
    while not GATE.exists():  # noqa: ASYNC110 (the judge is another process)
        await asyncio.sleep(0.02)


def main() -> None:
    """`python -m tests.acceptance.batches index COUNT` or `… refresh N…`: enqueue, print the ids as JSON."""
    jobs.migrate()
    if sys.argv[1] == "index":
        made = index.enqueue_many_sync([index.call(n) for n in range(int(sys.argv[2]))])
    else:
        made = [refresh.using(key="one", latest=True).enqueue_sync(n=int(n)) for n in sys.argv[2:]]
    print(json.dumps([job.id for job in made]))


if __name__ == "__main__":
    main()
