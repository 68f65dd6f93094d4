"""`python3 dev.py bench outbox`: events into the outbox and out of it to Redis (the wheel's Valkey), on both stores.

publish   32 callers at once, each event in a transaction of its own
bulk      publish_many, 500 events in each transaction
drain     one worker process with all of them in line, until the last is confirmed
latency   one event at a time beside a waiting worker: from `publish` until its job has ended
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offpath import Offpath
from offpath.cloudevents import CloudEvent
from servers.redis import Redis

from .measure import Row, Sample
from .server import server

COUNT = 5_000  # events, for each way in
CALLERS, BULK, KEYS = 32, 500, 200
NAMES = {
    "publish": f"publish, {CALLERS} callers, each its own transaction",
    "bulk": f"publish_many, {BULK} events a transaction",
    "drain": "drain to Redis, one worker",
    "latency": "from publish to the end of its job, p50",
}


def rows(count: int, rounds: int, only: str = "") -> Iterator[Row]:
    found = {name: Row(text, "ms" if name == "latency" else "/s", count, base="SQLite", key=name)
             for name, text in NAMES.items()}  # fmt: skip
    with server() as postgres, tempfile.TemporaryDirectory(prefix="offpath-bench-") as folder:
        broker = Redis(Path(folder))
        broker.start()
        try:
            for n in range(rounds):
                for name, sample in measure(f"sqlite:///{folder}/{n}.db", broker.url, count).items():
                    found[name].add("SQLite", sample)
                with postgres.database() as url:
                    for name, sample in measure(url, broker.url, count).items():
                        found[name].add("PostgreSQL", sample)
        finally:
            broker.kill()
    yield from (row for name, row in found.items() if only in ("", name))


def measure(url: str, broker: str, count: int) -> dict[str, Sample]:
    return asyncio.run(_measure(url, broker, count))


def event(n: int) -> CloudEvent[Any]:
    return CloudEvent(
        type="com.example.order.placed.v1",
        data={"order": n, "items": [{"product": n, "quantity": 2}]},
        subject=f"orders/{n}",
        partitionkey=f"customer:{n % KEYS}",
    )


async def _measure(url: str, broker: str, count: int) -> dict[str, Sample]:
    jobs = Offpath(url, broker=f"{broker}?maxlen=1000", source="/bench")
    jobs.migrate()
    found: dict[str, Sample] = {}
    async with jobs:
        left = iter(range(count))

        async def caller() -> None:
            for n in left:
                await jobs.publish(event(n))

        with _Clock(count) as clock:
            await asyncio.gather(*(caller() for _ in range(CALLERS)))
        found["publish"] = clock.sample
        with _Clock(count) as clock:
            for start in range(0, count, BULK):
                await jobs.publish_many([event(n) for n in range(start, min(start + BULK, count))])
        found["bulk"] = clock.sample
        with _Clock(2 * count) as clock:
            async with jobs.worker():
                while (await jobs.store.read(jobs.store.verbs.backlog()))[0]:  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.005)
        found["drain"] = clock.sample
        took: list[float] = []
        async with jobs.worker() as worker:
            await worker.ready.wait()
            for n in range(min(count, 200)):
                began = time.perf_counter()
                await (await jobs.publish(event(n))).result(timeout=60)
                took.append(1000 * (time.perf_counter() - began))
        took.sort()
        found["latency"] = Sample(statistics.median(took), 0, _rss(), {"p99": took[int(len(took) * 0.99)]})
    return found


class _Clock:
    """How many a second, and what it cost this process (the worker is in it)."""

    sample: Sample

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> _Clock:
        self._before, self._began = os.times(), time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        took, used = time.perf_counter() - self._began, os.times()
        cpu = used.user + used.system - self._before.user - self._before.system
        self.sample = Sample(self._count / took, 1000 * cpu / self._count, _rss())


def _rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
