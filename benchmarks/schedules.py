"""`python3 dev.py bench schedules`: 10,000 due at one moment. Jobs that were enqueued for that moment, and schedules
whose tick it is; one worker process with the default settings, on SQLite and on PostgreSQL.

How late a job is: from the moment it was to start at until its function is called.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from offpath import Offpath, Schedule
from offpath.core.schedule import ScheduleRow, template
from offpath.ports import Statement, Verb
from offpath.tasks.scheduling import check_call

from .measure import Row, Sample
from .server import server

COUNT = 10_000
AHEAD = 3.0  # s between the end of the filling and the moment


def rows(count: int = COUNT, rounds: int = 3) -> Iterator[Row]:
    with server() as postgres:
        for kind in ("jobs", "schedules"):
            row = Row(f"{count:,} {kind} due at one moment: until the last has begun", "s", count, base="SQLite")
            for _ in range(rounds):
                with tempfile.TemporaryDirectory(prefix="offpath-bench-") as folder:
                    row.add("SQLite", measure(f"sqlite:///{folder}/jobs.db", kind, count))
                with postgres.database() as url:
                    row.add("PostgreSQL", measure(url, kind, count))
            yield row


def measure(url: str, kind: str, count: int) -> Sample:
    before = os.times()
    late = sorted(asyncio.run(lateness(url, kind, count)))
    used = os.times()
    cpu = used.user + used.system - before.user - before.system
    more = {"p50 s": statistics.median(late), "p99 s": late[int(len(late) * 0.99)]}
    return Sample(late[-1], cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, more)


async def lateness(url: str, kind: str, count: int) -> list[float]:
    jobs = Offpath(url)
    late: list[float] = []
    through = asyncio.Event()
    moment = datetime.now(UTC)

    @jobs.task
    async def noop() -> None:
        late.append((datetime.now(UTC) - moment).total_seconds())
        if len(late) == count:
            through.set()

    jobs.migrate()
    async with jobs:
        if kind == "jobs":
            moment = datetime.now(UTC) + timedelta(seconds=AHEAD + count / 5000)
            calls = [noop.using(run_at=moment).call() for _ in range(count)]
            for start in range(0, count, 1000):
                await jobs.enqueue_many(calls[start : start + 1000])
        else:
            await fill(jobs, noop.call(), count)
            moment = datetime.now(UTC) + timedelta(seconds=AHEAD)
            await jobs.store.perform(lambda: due_at(moment))
        async with jobs.worker() as worker:
            await worker.ready.wait()
            if datetime.now(UTC) > moment:
                raise SystemExit("this machine is too slow to fill the tables in time: raise AHEAD")
            await through.wait()
    return late


async def fill(jobs: Offpath, call: Any, count: int) -> None:
    """As many `put`s as it takes, in one transaction for each thousand."""
    now = jobs.store.now()
    spec, said = Schedule.every(timedelta(days=365)).as_json(), check_call(call)
    made = template(said, None)
    names = [f"s{n}" for n in range(count)]

    def put(some: list[str]) -> Verb[None]:
        for name in some:
            row = ScheduleRow(name, spec, said.task, made, (), now, None, False, 1, None, None, None, 0, now, now)
            yield from jobs.store.verbs.change_schedule(name, partial(same, row))

    for start in range(0, count, 1000):
        await jobs.store.perform(partial(put, names[start : start + 1000]))


def due_at(moment: datetime) -> Verb[None]:
    sql = f"update offpath_schedule set next_at = {round(moment.timestamp() * 1e6)}"
    yield Statement(sql, {}, lambda rows: None)


def same(row: ScheduleRow, *_: object) -> ScheduleRow:
    return row
