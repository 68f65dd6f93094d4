"""Real work through `Offpath("postgresql://…")`: handlers, retries, operations, and a server that goes away."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from offpath import Backoff, Context, Offpath, Retry
from offpath.errors import JobFailed, StoreUnavailable

KILL = """
select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""


class App:
    """An application with a worker in the same process."""

    def __init__(self, url: str) -> None:
        self.jobs = Offpath(url, lease=6.0, renew=0.5, poll=0.2)
        self.ran: Counter[int] = Counter()
        self.failed: set[int] = set()
        self.hold = asyncio.Event()
        self.holding = asyncio.Event()

        @self.jobs.task(retry=Retry(max_attempts=3, backoff=Backoff.fixed(0.05)))
        async def count(n: int, fail: bool = False) -> int:
            if fail and n not in self.failed:
                self.failed.add(n)
                raise ValueError(str(n))
            self.ran[n] += 1
            return n * 2

        @self.jobs.task
        async def slow(ctx: Context, n: int) -> str:
            self.holding.set()
            await self.hold.wait()
            await ctx.progress(n, of=n)
            return "done"

        self.count, self.slow = count, slow


@pytest.fixture
async def app(tables_url: str) -> AsyncIterator[App]:
    app = App(tables_url)
    app.jobs.migrate()
    async with app.jobs:
        yield app


async def test_stored_options_that_cannot_be_read_fail_their_job_alone(app: App, tables_url: str) -> None:
    made = await app.count.enqueue_many([app.count.call(n) for n in range(3)])
    async with await psycopg.AsyncConnection.connect(tables_url, autocommit=True) as connection:
        for job, options in zip(made, ('{"timeout": "x"}', "{bad"), strict=False):
            await connection.execute("update offpath_job set options = %s where id = %s", [options, job.id])
    async with app.jobs.worker():
        assert await made[2].result(timeout=60) == 4
        for job in made[:2]:
            with pytest.raises(JobFailed) as failure:
                await job.result(timeout=60)
            assert failure.value.error["kind"] == "undecodable"


async def test_a_worker_does_what_was_enqueued(app: App) -> None:
    async with app.jobs.worker():
        made = await app.count.enqueue_many([app.count.call(n, fail=n % 10 == 0) for n in range(300)])
        assert [await job.result(timeout=60) for job in made] == [n * 2 for n in range(300)]
        one = await app.count.enqueue(7)
        assert await one.result(timeout=60) == 14
    assert app.ran == Counter({n: 2 if n == 7 else 1 for n in range(300)})


async def test_it_goes_on_when_the_server_has_ended_every_connection(app: App, tables_url: str) -> None:
    """A handler that was running is not run again: its worker's lease outlives the interruption."""
    async with app.jobs.worker(), await psycopg.AsyncConnection.connect(tables_url, autocommit=True) as admin:
        held = await app.slow.enqueue(3)
        before = [await app.count.enqueue(n) for n in range(20)]
        await app.holding.wait()
        after: list[Any] = []
        for n in range(20, 60):
            if n in (25, 40):
                await admin.execute(KILL)
            after.append(await eventually(app, n))
        app.hold.set()
        assert await held.result(timeout=60) == "done"
        for job in (*before, *after):
            await job.result(timeout=60)
    assert app.ran == Counter(range(60)), "each once: nothing lost, nothing doubled"
    async with await psycopg.AsyncConnection.connect(tables_url) as look:
        live = await (await look.execute("select count(*) from offpath_job")).fetchone()
        crashes = await (await look.execute("select sum(crashes) from offpath_history")).fetchone()
        workers = await (await look.execute("select count(*) from offpath_worker")).fetchone()
    assert (live, crashes, workers) == ((0,), (0,), (0,))


async def eventually(app: App, n: int) -> Any:
    """What a caller does that hears that the store is unavailable: try again. (A group whose commit was sent is asked
    for again by the store itself.)"""
    while True:
        try:
            return await app.count.enqueue(n)
        except StoreUnavailable:
            continue


async def test_a_job_in_the_callers_transaction_stands_or_falls_with_it(app: App, tables_url: str) -> None:
    async with app.jobs.worker():
        async with await psycopg.AsyncConnection.connect(tables_url) as tx:
            await app.count.using(tx=tx).enqueue(1)
            await tx.rollback()
            kept = await app.count.using(tx=tx).enqueue(2)
            await tx.commit()
        assert await kept.result(timeout=60) == 4
    assert app.ran == Counter([2])


async def test_a_job_can_be_asked_to_stop(app: App) -> None:
    async with app.jobs.worker():
        job = await app.slow.enqueue(1)
        await app.holding.wait()
        await app.jobs.cancel(job.id)
        with pytest.raises(JobFailed, match="canceled"):
            await job.result(timeout=60)
