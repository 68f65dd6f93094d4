"""A peer on PostgreSQL: PgQueuer, set up as its performance guide says: `pgq autovac` after the installation, uvloop, a
connection of its own for the queue manager, a pool for producers, large batches for short jobs.

Its tables are all logged (`durable`, its default); handlers decode their arguments, as ours are decoded.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import asyncpg
import uvloop
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, Job, Queries, QueueManager

from .marks import Marks, cpu, say

URL = os.environ["BENCH_DATABASE"]
BATCH = int(os.environ.get("PGQUEUER_BATCH", "500"))
POOL = int(os.environ.get("PGQUEUER_POOL", "10"))  # connections of a producer
marks = Marks(os.environ["BENCH_FILE"] + ".marks")


def payload(i: int) -> bytes:
    return json.dumps({"i": i, "to": "user@example.com"}).encode()


async def producer() -> Queries:
    pool = await asyncpg.create_pool(URL, min_size=POOL, max_size=POOL)
    return Queries(AsyncpgPoolDriver(pool))


async def prepare() -> None:
    connection = await asyncpg.connect(URL)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    await connection.execute(queries.qbe.build_optimize_autovacuum_query())  # what `pgq autovac` runs
    await connection.close()
    say(value=1)


async def bulk(queries: Queries, n: int) -> None:
    for start in range(0, n, 1000):
        several = range(start, min(n, start + 1000))
        await queries.enqueue(["noop"] * len(several), [payload(i) for i in several], [0] * len(several))


async def fill(n: int) -> None:
    await bulk(await producer(), n)
    say(value=n)


async def enqueue(n: int, mode: str) -> None:
    queries = await producer()
    await queries.enqueue("noop", payload(0))
    before, begun = cpu(), time.perf_counter()
    if mode == "bulk":
        await bulk(queries, n)
    else:

        async def caller(share: int) -> None:
            for i in range(share):
                await queries.enqueue("noop", payload(i))

        callers = 1 if mode == "one" else 100
        await asyncio.gather(*(caller(n // callers) for _ in range(callers)))
    say(value=n / (time.perf_counter() - begun), cpu=cpu() - before)


async def work(n: int | None) -> None:
    """Until `n` jobs have run and their outcomes are written; None: until killed."""
    before, begun, done = cpu(), time.perf_counter(), 0
    connection = await asyncpg.connect(URL)
    manager = QueueManager(Queries(AsyncpgDriver(connection)))

    @manager.entrypoint("noop")
    async def noop(job: Job) -> None:
        nonlocal done
        json.loads(job.payload or b"")
        done += 1
        if done == n:
            manager.shutdown.set()

    @manager.entrypoint("mark")
    async def mark(job: Job) -> None:
        marks.note(json.loads(job.payload or b"")["at"])

    await manager.run(batch_size=BATCH)
    if n is not None:
        say(value=n / (time.perf_counter() - begun), cpu=cpu() - before)


def latency(n: int) -> None:
    loop = uvloop.new_event_loop()
    queries = loop.run_until_complete(producer())
    marks.measure(n, lambda at: loop.run_until_complete(queries.enqueue("mark", json.dumps({"at": at}).encode())))


def main() -> None:
    verb, *args = sys.argv[1:]
    if verb == "prepare":
        uvloop.run(prepare())
    elif verb == "fill":
        uvloop.run(fill(int(args[0])))
    elif verb == "drain":
        uvloop.run(work(int(args[0])))
    elif verb == "enqueue":
        uvloop.run(enqueue(int(args[0]), args[1]))
    elif verb == "worker":
        uvloop.run(work(None))
    elif verb == "latency":
        latency(int(args[0]))


if __name__ == "__main__":
    main()
