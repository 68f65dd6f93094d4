"""Limits as a user has them: workers keep to them, pass freed places on at once, and let nobody starve.

The poll is an hour in all of these: what is found is found because somebody was told, or because its time had come.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from offpath import Backoff, Job, Limit, Offpath, Queue, Retry
from offpath.errors import ArgumentError, ConfigurationError
from offpath.ports import Statement, Verb

SOON = 60.0  # s: no test waits longer for a signal; nothing here should take a hundredth of it
HOUR = 3600.0

Make = Callable[..., Offpath]


@pytest.fixture(params=["sqlite", "postgresql"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Applications on one database, as several processes or versions of the code would have them."""
    url = f"sqlite:///{tmp_path}/jobs.db" if request.param == "sqlite" else request.getfixturevalue("tables_url")
    made: list[Offpath] = []
    async with contextlib.AsyncExitStack() as opened:

        def one(**given: Any) -> Offpath:
            jobs = Offpath(url, **{"poll": HOUR, "lease": 30.0, **given})
            made.append(jobs)
            jobs.migrate()
            opened.push_async_callback(asyncio.to_thread, jobs.close)
            return jobs

        yield one


@pytest.fixture
async def jobs(make: Make) -> Offpath:
    return make()


async def all_done(made: list[Job[Any]]) -> list[Any]:
    return list(await asyncio.gather(*(job.result(SOON) for job in made)))


class Crowd:
    """Who is in at the moment, and how many ever were at once."""

    def __init__(self) -> None:
        self.inside, self.most, self.order = Counter[Any](), Counter[Any](), list[Any]()
        self.full = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def enter(self, key: Any) -> AsyncIterator[None]:
        self.inside[key] += 1
        self.most[key] = max(self.most[key], self.inside[key])
        self.order.append(key)
        async with self.full:
            self.full.notify_all()
        try:
            yield
        finally:
            self.inside[key] -= 1

    async def reach(self, key: Any, number: int) -> None:
        """Wait until so many have been in at once."""
        async with asyncio.timeout(SOON), self.full:
            await self.full.wait_for(lambda: self.most[key] >= number)


async def test_two_workers_together_run_as_many_as_the_limit_says(jobs: Offpath) -> None:
    crowd = Crowd()

    @jobs.task(max_concurrency=3)
    async def render(n: int) -> int:
        async with crowd.enter("all"):
            await crowd.reach("all", 3)
            await asyncio.sleep(0)
        return n

    async with jobs.worker(), jobs.worker():
        made = await render.enqueue_many([render.call(n=n) for n in range(20)])
        assert await all_done(made) == list(range(20))
    assert crowd.most["all"] == 3


async def test_each_value_of_the_parameter_has_a_limit_of_its_own(jobs: Offpath) -> None:
    crowd = Crowd()

    @jobs.task(limit=Limit(per="tenant", concurrency=2))
    async def sync(tenant: str, n: int = 0) -> None:
        async with crowd.enter(tenant):
            await crowd.reach(tenant, 2)

    async with jobs.worker():
        await all_done(await sync.enqueue_many([sync.call(tenant=t, n=n) for t in "abc" for n in range(6)]))
    assert crowd.most == {"a": 2, "b": 2, "c": 2}


async def test_a_freed_place_goes_to_a_worker_that_serves_something_else(make: Make) -> None:
    """One limit shared by name; the only one who may use the place that the first job frees is another process."""
    turns: list[str] = []
    crm = Limit(concurrency=1, name="crm")
    gate = asyncio.Event()
    apps = {name: make(queues=[Queue(name)]) for name in ("left", "right")}
    made: list[Job[Any]] = []
    async with contextlib.AsyncExitStack() as running:
        tasks = {}
        for name, app in apps.items():

            async def touch(name: str = name) -> None:
                turns.append(name)
                await gate.wait()

            tasks[name] = app.task(name="touch_" + name, queue=name, limit=crm)(touch)
            await running.enter_async_context(app.worker(queues=[name]))
        for _ in range(3):
            made += [await tasks["left"].enqueue(), await tasks["right"].enqueue()]
        gate.set()
        await all_done(made)
    assert Counter(turns) == {"left": 3, "right": 3}


async def test_a_thread_and_a_coroutine_share_a_limit(jobs: Offpath) -> None:
    inside: list[str] = []
    one = Limit(concurrency=1, name="licence")

    @jobs.task(limit=one)
    async def light(n: int) -> bool:
        inside.append("light")
        await asyncio.sleep(0)
        alone = len(inside) == 1
        inside.remove("light")
        return alone

    @jobs.task(limit=one)
    def heavy(n: int) -> bool:
        inside.append("heavy")
        alone = len(inside) == 1
        inside.remove("heavy")
        return alone

    async with jobs.worker():
        calls = [call for n in range(8) for call in (light.call(n=n), heavy.call(n=n))]
        assert all(await all_done(await jobs.enqueue_many(calls)))


async def test_a_failed_attempt_frees_its_place_while_it_backs_off(jobs: Offpath) -> None:
    tried: list[int] = []

    @jobs.task(max_concurrency=1, retry=Retry(max_attempts=2, backoff=Backoff.fixed(0.2)))
    async def flaky(n: int) -> int:
        tried.append(n)
        if tried.count(n) == 1:
            raise ValueError(n)
        return n

    async with jobs.worker():
        assert await all_done(await flaky.enqueue_many([flaky.call(n=n) for n in range(3)])) == [0, 1, 2]
    assert sorted(tried) == [0, 0, 1, 1, 2, 2]


async def test_the_next_start_under_a_rate_comes_when_its_time_has_come(jobs: Offpath) -> None:
    @jobs.task(limit=Limit(rate=50, burst=2))
    async def call(n: int) -> int:
        return n

    async with jobs.worker(), jobs.worker():
        assert await all_done(await call.enqueue_many([call.call(n=n) for n in range(12)])) == list(range(12))


async def test_a_tenant_with_many_jobs_does_not_hold_up_one_with_few(make: Make) -> None:
    jobs, order = make(concurrency=2), list[str]()

    @jobs.task(limit=Limit(per="tenant", concurrency=2))
    async def work(tenant: str) -> None:
        order.append(tenant)

    large = await work.enqueue_many([work.call(tenant="large") for _ in range(200)])
    small = await work.enqueue_many([work.call(tenant="small") for _ in range(3)])
    async with jobs.worker():
        await all_done(small)
        assert await all_done(large[-1:]) == [None]
    assert [place for place, tenant in enumerate(order) if tenant == "small"][-1] < 20


@pytest.mark.parametrize("limit", [Limit(concurrency=1), Limit(rate=100_000, burst=4)], ids=["concurrency", "rate"])
async def test_a_flood_without_a_limit_does_not_hold_up_jobs_under_one(make: Make, limit: Limit) -> None:
    """Quick jobs are fetched ahead, so that no slot is ever free; jobs under a rate need one that is."""
    jobs, order = make(concurrency=4, poll=0.05), list[str]()

    @jobs.task
    async def flood() -> None:
        order.append("flood")

    @jobs.task(limit=limit)
    async def drop() -> None:
        order.append("drop")

    made = await jobs.enqueue_many([flood.call() for _ in range(6000)])
    drops = await jobs.enqueue_many([drop.call() for _ in range(4)])
    async with jobs.worker():
        await all_done(drops)
        await all_done(made[-1:])
    assert [place for place, name in enumerate(order) if name == "drop"][-1] < 5500


async def test_jobs_under_a_limit_do_not_hold_up_the_others(make: Make) -> None:
    jobs, order = make(concurrency=4), list[str]()

    @jobs.task(limit=Limit(per="k", concurrency=4))
    async def limited(k: int) -> None:
        order.append("limited")

    @jobs.task
    async def plain() -> None:
        order.append("plain")

    many = await jobs.enqueue_many([limited.call(k=n % 7) for n in range(2000)])
    few = await jobs.enqueue_many([plain.call() for _ in range(10)])
    async with jobs.worker():
        await all_done(few)
        await all_done(many[-1:])
    assert [place for place, name in enumerate(order) if name == "plain"][-1] < 1500


async def test_a_worker_until_empty_ends_when_the_last_under_a_rate_has_run(make: Make) -> None:
    jobs, ran = make(poll=0.05), list[int]()

    @jobs.task(limit=Limit(rate=20))
    async def call(n: int) -> None:
        ran.append(n)

    await call.enqueue_many([call.call(n=n) for n in range(5)])
    async with asyncio.timeout(SOON):
        await jobs.make_worker(until_empty=True).run()
    assert ran == [0, 1, 2, 3, 4]


# ── declarations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def rules(jobs: Offpath) -> dict[str, tuple[Any, ...]]:
    def look() -> Verb[dict[str, tuple[Any, ...]]]:
        sql = "select name, concurrency, spacing, burst from offpath_limit"
        found: dict[str, tuple[Any, ...]] = yield Statement(sql, {}, lambda rows: {r[0]: tuple(r[1:]) for r in rows})
        return found

    return jobs.store.read(look()).result(SOON)


def lane_of(jobs: Offpath, job: Job[Any]) -> str | None:
    found = jobs.store.read(jobs.store.verbs.find(job.id)).result(SOON)
    assert found is not None
    one = found.job or found.finished
    assert one is not None
    return one.lane


async def test_a_deploy_changes_the_numbers_for_jobs_that_wait_already(make: Make) -> None:
    crowd, gate = Crowd(), asyncio.Event()

    def code(most: int) -> tuple[Offpath, Any]:
        jobs = make()

        @jobs.task(name="render", max_concurrency=most)
        async def render() -> None:
            async with crowd.enter("all"):
                await gate.wait()

        return jobs, render

    old, render = code(1)
    made = await render.enqueue_many([render.call() for _ in range(6)])
    async with old.worker():
        await crowd.reach("all", 1)
        assert rules(old) == {"task:render": (1, None, 1)}
        new, _ = code(4)
        async with new.worker():
            await crowd.reach("all", 4)
            assert rules(old) == {"task:render": (4, None, 1)}
            gate.set()
            await all_done(made)
    assert crowd.most["all"] == 4


async def test_what_no_worker_has_declared_waits_for_one_that_has(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    async def render() -> str:
        return "done"

    old, new = make(poll=0.05), make()
    old.task(name="render")(render)
    limited = new.task(name="render", max_concurrency=1)(render)
    job = await limited.enqueue()
    with caplog.at_level(logging.WARNING, "offpath"):
        async with old.worker():
            async with asyncio.timeout(SOON):
                while "worker.undeclared limit=task:render" not in caplog.text:  # noqa: ASYNC110 (only the log tells)
                    await asyncio.sleep(0.01)
            async with new.worker():
                assert await job.result(SOON) == "done"


async def test_a_job_is_under_the_limits_of_its_task_its_queue_and_the_application(make: Make) -> None:
    sync = Queue("sync", limits=[Limit(rate=10), Limit(per="tenant", concurrency=1)])
    jobs = make(queues=[sync], limits=[Limit(concurrency=50), Limit(per="region", concurrency=9)])

    @jobs.task(queue="sync", limit=Limit(per="tenant", concurrency=2), max_concurrency=7)
    async def one(tenant: str = "none", region: str | None = None) -> None: ...

    @jobs.task
    async def two(n: int = 0) -> None: ...

    shared = "all\nall/region\t{}\nqueue:sync\nqueue:sync/tenant\t{}\ntask:one/tenant\t{}\ntask:one"
    name = one.name
    shared = shared.replace("task:one", f"task:{name}").format("null", '"none"', '"none"')
    assert lane_of(jobs, await one.enqueue()) == shared
    assert lane_of(jobs, await one.using(queue="other").enqueue(tenant="x", region="eu")) == (
        f'all\nall/region\t"eu"\ntask:{name}/tenant\t"x"\ntask:{name}'
    )
    assert lane_of(jobs, await two.enqueue()) == "all"
    assert lane_of(jobs, await two.using(queue="sync").enqueue()) == "all\nqueue:sync"
    assert {rule.name for rule in jobs.registry.limits.rules()} == {
        "all", "all/region", "queue:sync", "queue:sync/tenant", f"task:{name}/tenant", f"task:{name}",
    }  # fmt: skip


async def test_a_retry_is_under_the_same_limits(jobs: Offpath) -> None:
    @jobs.task(limit=Limit(per="n", concurrency=1), retry=Retry(max_attempts=1))
    async def fail(n: int) -> None:
        raise ValueError(n)

    async with jobs.worker():
        job = await fail.enqueue(n=7)
        with contextlib.suppress(Exception):
            await job.result(SOON)
        again = await jobs.retry(job.id)
        lane = lane_of(jobs, job)
        assert lane is not None
        assert lane_of(jobs, again) == lane


async def test_a_key_that_cannot_be_one_is_refused_before_anything_is_written(jobs: Offpath) -> None:
    @jobs.task(limit=Limit(per="tenant", concurrency=1))
    async def work(tenant: str) -> str:
        return tenant

    with pytest.raises(ArgumentError, match="has 1000000 characters, and jobs are limited by at most 255") as caught:
        await work.enqueue(tenant="x" * 1_000_000)
    assert caught.value.argument == "tenant"
    with pytest.raises(ArgumentError):
        await jobs.enqueue_many([work.call(tenant="good"), work.call(tenant="x" * 256)])
    assert jobs.store.read(jobs.store.verbs.counts()).result(SOON) == []
    async with jobs.worker():
        assert await (await work.enqueue(tenant="x" * 255)).result(SOON) == "x" * 255


def test_a_task_is_told_at_once_what_is_wrong_with_its_limits(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/jobs.db")

    async def work(tenant: str, n: int = 0) -> None: ...

    with pytest.raises(ConfigurationError, match="limited per 'user', and has no parameter 'user'; it has tenant, n"):
        jobs.task(name="work", limit=Limit(per="user", concurrency=1))(work)
    with pytest.raises(ConfigurationError, match="max_concurrency must be a whole number from 1"):
        jobs.task(max_concurrency=0)
    with pytest.raises(ConfigurationError, match="task: limit takes a Limit"):
        jobs.task(limit=4)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="queue 'q': limits takes Limit values"):
        Queue("q", limits=[4])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="Offpath: limits takes a list"):
        Offpath("sqlite:///x.db", limits=Limit(rate=1))  # type: ignore[arg-type]
    jobs.task(name="one", limit=Limit(rate=1, name="shared"))(work)
    with pytest.raises(ConfigurationError, match="limit 'shared' is declared twice with different numbers"):
        jobs.task(name="two", limit=Limit(rate=2, name="shared"))(work)
    assert jobs.registry.names() == ["one"]
