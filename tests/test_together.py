"""Where two shapes of work meet: each does what its page says, with the other there."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from offpath import Context, Limit, Offpath, Retry, Schedule, Snooze, all_of
from offpath.errors import ConfigurationError, JobFailed
from offpath.testing import drain

pytestmark = pytest.mark.anyio
LONG = 100.0  # s: what nobody should ever wait for, on a machine that is busy with other things
ONCE = Retry(max_attempts=1)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Offpath]:
    made = Offpath(f"sqlite:///{tmp_path}/jobs.db", poll=0.05, concurrency=1)
    yield made
    made.close()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(LONG):
        while not true():  # noqa: ASYNC110 (nobody is there to set an event)
            await asyncio.sleep(0.005)


async def count(jobs: Offpath, **which: Any) -> int:
    return await jobs.count(**which)


# ── flows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_part_is_not_limited_by_what_it_will_be_handed(jobs: Offpath) -> None:
    @jobs.task
    async def find() -> int:
        return 1

    @jobs.task(limit=Limit(per="tenant", concurrency=1))
    async def sync(tenant: int, more: int = 0) -> int:
        return tenant

    with pytest.raises(ConfigurationError, match="limited per 'tenant', which an earlier link"):
        await find.call().then(sync).enqueue()
    job = await sync.call(7).then(sync.call(8)).enqueue()
    await drain(jobs)
    assert await job.result(LONG) == 8


def test_more_limits_than_a_job_can_be_under_are_refused_at_once(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/many.db", limits=[Limit(concurrency=n) for n in range(1, 5)])
    with pytest.raises(ConfigurationError, match=r"a job can be under 6 limits; task .* have 8"):

        @jobs.task(limits=[Limit(concurrency=n) for n in range(1, 5)])
        async def work() -> None: ...

    jobs.close()


async def test_elements_wait_for_the_delay_of_their_part(jobs: Offpath) -> None:
    @jobs.task
    async def names() -> list[str]:
        return ["a", "b"]

    @jobs.task
    async def greet(name: str) -> str:
        return name

    flow = await names.call().then_each(greet.using(delay=timedelta(hours=1))).enqueue()
    await drain(jobs)
    assert await count(jobs, state="scheduled", task=greet.name) == 2
    await jobs.cancel(flow.id)


async def test_bulk_changes_reach_whole_flows(jobs: Offpath) -> None:
    @jobs.task(retry=ONCE)
    async def fails(ctx: Context) -> None:
        await ctx.step("half", str, 1)
        raise ValueError("no")

    @jobs.task
    async def after() -> None: ...

    flow = await all_of(after.call(), after.call()).then(after.call()).enqueue()
    assert (await jobs.cancel_many(task="offpath.flow")).done == 1
    assert await count(jobs, state=["ready", "waiting", "scheduled", "running"]) == 0
    with pytest.raises(JobFailed):
        await flow.result(LONG)

    stopped = await after.using(delay=60).call().then(after.call()).enqueue()
    assert (await jobs.cancel_many(task=after.name, state="scheduled")).done == 1
    with pytest.raises(JobFailed):
        await stopped.result(LONG)

    broken = await fails.call().then(after.call()).enqueue()
    await drain(jobs)
    with pytest.raises(JobFailed):
        await broken.result(LONG)
    tally = await jobs.retry_many(state="failed")
    assert (tally.done, tally.skipped) == (1, 1), "the part is run again; the flow is what it was"
    await drain(jobs)
    await jobs.delete_many(state=["failed", "canceled", "succeeded"])
    read = jobs.store.read
    assert read(jobs.store.verbs.flow(broken.id)).result() is None


async def test_alerts_count_the_part_that_failed_and_not_its_flow(jobs: Offpath) -> None:
    told: list[Any] = []

    @jobs.task(retry=ONCE)
    async def fails() -> None:
        raise ValueError("no")

    @jobs.on_alert("letters", dead_letters=1, within=3600)
    @jobs.task
    async def alert(about: dict[str, object]) -> None:
        told.append(about)

    await fails.call().then(fails.call()).enqueue()
    await drain(jobs)
    rule = jobs.registry.alerts[0]
    value, _, _ = jobs.store.read(jobs.store.verbs.reading(rule)).result()
    assert value == 1


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_job_of_a_batch_has_steps_of_its_own(jobs: Offpath) -> None:
    charged: list[int] = []

    def charge(n: int) -> int:
        charged.append(n)
        return n

    @jobs.batch(size=3, wait=0, retry=Retry(max_attempts=2))
    async def pay(ctx: Context, orders: list[int]) -> list[int | Exception]:
        done = [await one.step("charge", charge, n) for one, n in zip(ctx.each, orders, strict=True)]
        return [Snooze(0) if one.fence == 1 and n == 2 else n for one, n in zip(ctx.each, done, strict=True)]

    made = await pay.enqueue_many([pay.call(n) for n in (1, 2, 3)])
    await drain(jobs)
    assert [await job.result(LONG) for job in made] == [1, 2, 3]
    assert sorted(charged) == [1, 2, 3], "what was done is not done again"


async def test_a_step_of_a_batch_is_one_jobs(jobs: Offpath) -> None:
    @jobs.batch(size=3, wait=0)
    async def pay(ctx: Context, orders: list[int]) -> None:
        await ctx.step("charge", int, 1)

    job = await pay.enqueue(1)
    await drain(jobs)
    with pytest.raises(JobFailed, match=r"ctx\.each\[n\]\.step"):
        await job.result(LONG)


async def test_a_batch_knows_the_flow_of_each_job(jobs: Offpath) -> None:
    seen: list[str | None] = []

    @jobs.batch(size=2, wait=0)
    async def look(ctx: Context, orders: list[int]) -> None:
        seen.extend(one.flow for one in ctx.each)

    flow = await look.call(1).then(look.call(2)).enqueue()
    await drain(jobs)
    assert seen == [flow.id, flow.id]


async def test_a_pause_reaches_what_gathers_and_what_is_due(jobs: Offpath) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    @jobs.task(queue="other")
    async def hold() -> None:
        begun.set()
        await gate.wait()

    @jobs.batch(size=3, wait=0.2, queue="due")
    async def due(items: list[int]) -> None: ...

    @jobs.batch(size=3, wait=3600, queue="forming")
    async def forming(items: list[int]) -> None: ...

    async with jobs.worker() as worker:
        await forming.enqueue_many([forming.call(n) for n in range(2)])
        await asyncio.wait_for(worker.ready.wait(), LONG)
        assert worker._crew is not None
        lane = worker._crew.lanes[0]
        await until(lambda: len(lane.batches.ids()) == 2)
        await hold.enqueue()
        await asyncio.wait_for(begun.wait(), LONG)
        await due.enqueue_many([due.call(n) for n in range(2)])
        await jobs.queues.pause("forming")
        await jobs.queues.pause("due")
        async with asyncio.timeout(LONG):
            while await count(jobs, state="running") > 1:  # noqa: ASYNC110 (a row tells nobody)
                await asyncio.sleep(0.01)
        assert await count(jobs, state="ready") == 4, "none is left behind in a worker that does not run it"
        gate.set()


# ── keys, schedules, processes ───────────────────────────────────────────────────────────────────────────────────────


async def test_new_arguments_forget_the_steps_of_the_old(jobs: Offpath) -> None:
    first = asyncio.Event()

    @jobs.task
    async def load(ctx: Context, what: str) -> str:
        found: str = await ctx.step("load", str, what)
        if not first.is_set():
            first.set()
            raise Snooze(timedelta(hours=1))
        return found

    await load.using(key="a").enqueue("old")
    await drain(jobs)
    assert first.is_set()
    job = await load.using(key="a", latest=True).enqueue("new")
    assert job.existing
    await drain(jobs)
    assert await job.result(LONG) == "new"


async def test_what_a_schedule_enqueues_is_under_the_limits_of_all(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/all.db", limits=[Limit(concurrency=1)])

    @jobs.task
    async def tick() -> None: ...

    await jobs.schedules.put("tick", Schedule.every(3600), tick.call())
    job = await jobs.schedules.run_now("tick")
    found = jobs.store.read(jobs.store.verbs.find(job.id)).result()
    assert found is not None
    assert found.job is not None
    assert found.job.lane is not None
    jobs.close()
