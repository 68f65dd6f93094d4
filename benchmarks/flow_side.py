"""One flow of N no-op jobs, or as many plain ones, by one worker in this process, on the database of BENCH_DATABASE.

python -m benchmarks.flow_side plain|chain|fan|each N       parts per second, from enqueue to the flow's end
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

from offpath import Offpath
from offpath.tasks import Linked, all_of

jobs = Offpath(os.environ["BENCH_DATABASE"])


@jobs.task
async def step(i: int) -> int:
    return i


@jobs.task
async def gather(many: list[int]) -> int:
    return len(many)


@jobs.task
async def numbers(n: int) -> list[int]:
    return list(range(n))


def flow(kind: str, n: int) -> Linked[int]:
    if kind == "chain":
        made: Linked[int] = step.call(0)
        for _ in range(n - 1):
            made = made.then(step)
        return made
    if kind == "fan":
        return all_of(step.call(i) for i in range(n)).then(gather)
    return numbers.call(n).then_each(step).then(gather)


async def run(kind: str, n: int) -> dict[str, float]:
    async with jobs, jobs.worker():
        await step.enqueue(0)  # everything is open and has been planned
        began = time.perf_counter()
        if kind == "plain":
            waiting = await jobs.enqueue_many([step.call(i) for i in range(n)])
            enqueued = time.perf_counter()
            for job in waiting:
                await job.result()
        else:
            job = await flow(kind, n).enqueue()
            enqueued = time.perf_counter()
            await job.result()
        ended = time.perf_counter()
    return {"value": n / (ended - began), "enqueue_ms": 1000 * (enqueued - began)}


if __name__ == "__main__":
    jobs.migrate()
    print(json.dumps(asyncio.run(run(sys.argv[1], int(sys.argv[2])))))
