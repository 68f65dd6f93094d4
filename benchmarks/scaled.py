"""The application of `dev.py bench scale`, on BENCH_DATABASE.

python -m benchmarks.scaled nothing|waits N      enqueue N jobs of that task, in a paused queue
"""

from __future__ import annotations

import asyncio
import os
import sys

from offpath import Offpath

jobs = Offpath(os.environ["BENCH_DATABASE"])
QUEUE = "scaled"


@jobs.task(queue=QUEUE)
async def nothing(i: int, to: str) -> int:
    return i


@jobs.task(queue=QUEUE)
async def waits(i: int, to: str) -> int:
    await asyncio.sleep(0.01)  # what a handler does that asks another service
    return i


async def prepare(task: str, n: int) -> None:
    """Paused until the workers stand ready."""
    await jobs.migrate()
    async with jobs:
        await jobs.queues.pause(QUEUE, reason="until all workers are there")
        chosen = nothing if task == "nothing" else waits
        for start in range(0, n, 5_000):
            await jobs.enqueue_many([chosen.call(i, "user@example.com") for i in range(start, min(n, start + 5_000))])


if __name__ == "__main__":
    asyncio.run(prepare(sys.argv[1], int(sys.argv[2])))
