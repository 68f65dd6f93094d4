"""One side of `dev.py bench limits`, in a process of its own: no-op jobs on BENCH_DATABASE, with and without limits.

    python -m benchmarks.limited plain|keys|one N BACKLOG      enqueue BACKLOG jobs, run N of them, stop

plain: no limit. keys: 1,000 keys, two at a time of each. one: one at a time of all.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from offpath import Limit, Offpath

from .marks import cpu, say

KEYS = 1000
SHARE = 10  # parts of the run whose rates are compared

jobs = Offpath(os.environ["BENCH_DATABASE"])


class Counter:
    """Knows when each tenth of the jobs had been run, and the loop's event for the last."""

    def __init__(self, last: int) -> None:
        self.count, self.last, self.times = 0, last, [time.perf_counter()]
        self.over = asyncio.Event()

    def one(self) -> None:
        self.count += 1
        if self.count % (self.last // SHARE) == 0:
            self.times.append(time.perf_counter())
        if self.count == self.last:
            self.over.set()


counter: Counter


@jobs.task
async def plain(key: int, to: str) -> int:
    counter.one()
    return key


@jobs.task(limit=Limit(per="key", concurrency=2))
async def keys(key: int, to: str) -> int:
    counter.one()
    return key


@jobs.task(max_concurrency=1)
async def one(key: int, to: str) -> int:
    counter.one()
    return key


async def main(kind: str, run: int, backlog: int) -> None:
    global counter
    jobs.migrate()
    task = {"plain": plain, "keys": keys, "one": one}[kind]
    async with jobs:
        for start in range(0, backlog, 1000):
            calls = [task.call(key=n % KEYS, to="user@example.com") for n in range(start, min(backlog, start + 1000))]
            await jobs.enqueue_many(calls)
        counter = Counter(run)
        before, begun = cpu(), time.perf_counter()
        async with jobs.worker():
            await counter.over.wait()
            took, used = time.perf_counter() - begun, cpu() - before
        laps = [later - sooner for sooner, later in zip(counter.times, counter.times[1:], strict=False)]
        say(value=run / took, cpu=used, flat=laps[1] / laps[-1] if laps[-1] else 1.0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
