"""The application whose workers are killed: `offpath --app tests.acceptance.app:jobs worker`.

ACCEPTANCE_DATABASE is the store's URL, ACCEPTANCE_LEDGER the file that every effect is written to.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from offpath import Context, Offpath, Retry

from .ledger import Ledger

jobs = Offpath(os.environ["ACCEPTANCE_DATABASE"])
ledger = Ledger(os.environ["ACCEPTANCE_LEDGER"])


@jobs.task(retry=Retry(max_attempts=1))  # a crash spends no attempt, so one is enough for any number of kills
async def work(ctx: Context, n: int, seconds: float) -> int:
    """Start, take a while, end: both are effects. The result is the fence, so that history says who won."""
    ledger.write("start", job=ctx.job, n=n, attempt=ctx.attempt, fence=ctx.fence)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        ledger.write("cut", job=ctx.job, n=n, attempt=ctx.attempt, fence=ctx.fence)
        raise
    ledger.write("end", job=ctx.job, n=n, attempt=ctx.attempt, fence=ctx.fence)
    return ctx.fence


@jobs.task(retry=Retry(max_attempts=1))
async def killer(marker: str) -> None:
    """Poison: takes its worker down, every time."""
    Path(marker).write_text(str(os.getpid()))
    os._exit(9)


def main() -> None:
    """`python -m tests.acceptance.app COUNT SECONDS`, or `… killer MARKER`: enqueue, print the ids as a JSON array."""
    jobs.migrate()
    if sys.argv[1] == "killer":
        ids = [killer.enqueue_sync(marker=sys.argv[2]).id]
    else:
        calls = [work.call(n=n, seconds=float(sys.argv[2])) for n in range(int(sys.argv[1]))]
        ids = [job.id for job in work.enqueue_many_sync(calls)]
    print(json.dumps(ids))


if __name__ == "__main__":
    main()
