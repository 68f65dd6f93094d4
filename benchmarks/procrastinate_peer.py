"""A peer on PostgreSQL: Procrastinate, with the concurrency of its guide and a pool that serves it; finished jobs are
kept, its default, as ours are."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time

from procrastinate import App, PsycopgConnector
from procrastinate.types import JSONDict

from .marks import Marks, cpu, say

URL = os.environ["BENCH_DATABASE"]
CONCURRENCY = int(os.environ.get("PROCRASTINATE_CONCURRENCY", "30"))
marks = Marks(os.environ["BENCH_FILE"] + ".marks")
logging.getLogger("procrastinate").setLevel(logging.ERROR)  # or it warns of an app in the main module
app = App(connector=PsycopgConnector(conninfo=URL, min_size=4, max_size=20))


@app.task(name="noop")
async def noop(i: int, to: str) -> int:
    return i


@app.task(name="mark")
async def mark(at: int) -> None:
    marks.note(at)


async def prepare() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
    say(value=1)


async def bulk(n: int) -> None:
    for start in range(0, n, 1000):
        several: list[JSONDict] = [{"i": i, "to": "user@example.com"} for i in range(start, min(n, start + 1000))]
        await noop.batch_defer_async(*several)


async def fill(n: int) -> None:
    async with app.open_async():
        await bulk(n)
    say(value=n)


async def enqueue(n: int, mode: str) -> None:
    async with app.open_async():
        await noop.defer_async(i=0, to="user@example.com")
        before, begun = cpu(), time.perf_counter()
        if mode == "bulk":
            await bulk(n)
        else:

            async def caller(share: int) -> None:
                for i in range(share):
                    await noop.defer_async(i=i, to="user@example.com")

            callers = 1 if mode == "one" else 100
            await asyncio.gather(*(caller(n // callers) for _ in range(callers)))
        say(value=n / (time.perf_counter() - begun), cpu=cpu() - before)


async def drain(n: int) -> None:
    before, begun = cpu(), time.perf_counter()
    async with app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY, wait=False, install_signal_handlers=False)
    say(value=n / (time.perf_counter() - begun), cpu=cpu() - before)


async def worker() -> None:
    async with app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY)


def latency(n: int) -> None:
    with app.open():
        marks.measure(n, lambda at: mark.defer(at=at))


def main() -> None:
    verb, *args = sys.argv[1:]
    if verb == "prepare":
        asyncio.run(prepare())
    elif verb == "fill":
        asyncio.run(fill(int(args[0])))
    elif verb == "drain":
        asyncio.run(drain(int(args[0])))
    elif verb == "enqueue":
        asyncio.run(enqueue(int(args[0]), args[1]))
    elif verb == "worker":
        asyncio.run(worker())
    elif verb == "latency":
        latency(int(args[0]))


if __name__ == "__main__":
    main()
