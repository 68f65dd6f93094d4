"""A paused queue, as a worker sees it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from offpath.core.alerts import rule
from offpath.engine import alerts
from offpath.engine.clock import Clock, boottime
from offpath.engine.worker import Worker
from offpath.stores.sqlite import SqliteStore

from .kit import SOON, App, until

pytestmark = pytest.mark.anyio
Make = Callable[..., App]


def still(app: App) -> Clock:
    """Nothing is done by the clock: no poll, no duty. What happens has been told by a hint."""
    return Clock(app.store.now, time.monotonic, boottime, lambda: 1e6)


def states(app: App) -> dict[int, int]:
    return dict(app.sql("select state, count(*) from offpath_job group by state"))


def deaf(app: App) -> SqliteStore:
    """Another process, whose hints are lost."""
    return SqliteStore(str(app.path), announce=lambda hints: None)


class Work:
    """A task whose first job waits for a word, and what has begun."""

    def __init__(self, app: App) -> None:
        self.gate, self.begun = asyncio.Event(), list[int]()

        async def work(n: int) -> None:
            self.begun.append(n)
            if n == 0:
                await self.gate.wait()

        self.task: Any = app.task(work)


def pump_of(worker: Worker) -> Any:
    assert worker._crew is not None
    return worker._crew.pump


async def test_at_a_hint_what_was_fetched_ahead_goes_back_and_what_runs_goes_on(make: Make) -> None:
    app = make(concurrency=1, lease=3600)
    work = Work(app)
    verbs = app.store.verbs
    async with app.worker(time=still(app)) as worker:
        first = await work.task.enqueue(0)
        await until(lambda: work.begun)
        intake = pump_of(worker).intakes[0]
        intake.target = 20  # as after many quick jobs
        await work.task.enqueue_many([work.task.call(n) for n in range(1, 20)])
        await until(lambda: len(intake.lane.queue) == 19)
        assert states(app) == {3: 20}
        await app.store.perform(verbs.pause("default", ""))
        await until(lambda: states(app) == {2: 19, 3: 1})
        assert app.sql("select distinct attempt, crashes, fence from offpath_job where state = 2") == [(1, 0, 1)]
        work.gate.set()
        await app.ended(first)
        assert work.begun == [0]
        assert states(app) == {2: 19}
        await app.store.perform(verbs.resume("default"))
        await until(lambda: not states(app))
        assert sorted(work.begun) == list(range(20))


async def test_without_a_hint_it_is_seen_at_the_next_poll(make: Make) -> None:
    app = make(poll=0.02)
    work = Work(app)
    other: Any = app.task(name="other", queue="other")(_nothing)
    silent = deaf(app)
    async with app.worker() as worker:
        silent.perform(silent.verbs.pause("default", "")).result(60)
        await until(lambda: pump_of(worker).resting == {"default"})
        await work.task.enqueue(1)
        await app.ended(await other.using(priority=9).enqueue())  # behind it, were it not for the pause
        assert work.begun == []
        silent.perform(silent.verbs.resume("default")).result(60)
        await until(lambda: work.begun == [1])
    silent.close()


async def test_a_worker_that_starts_takes_nothing_from_what_was_paused_before(make: Make) -> None:
    """It has not looked around yet: the claim itself knows."""
    app = make(lease=3600)
    work = Work(app)
    other: Any = app.task(name="other", queue="other")(_nothing)
    await app.store.perform(app.store.verbs.pause("default", ""))
    await work.task.enqueue(1)
    async with app.worker(time=still(app)) as worker:
        assert pump_of(worker).resting == frozenset()
        await app.ended(await other.using(priority=9).enqueue())
        assert work.begun == []
        assert states(app) == {2: 1}


async def test_a_claim_that_was_on_its_way_goes_back_too(make: Make) -> None:
    """The pump has heard of the pause, the claim has not seen it: as when both happen at once on PostgreSQL."""
    app = make(lease=3600)
    work = Work(app)
    async with app.worker(time=still(app)) as worker:
        pump = pump_of(worker)
        pump.rest(frozenset({"default"}))
        await work.task.enqueue(1)
        await until(lambda: app.sql("select fence from offpath_job where fence > 1"))
        assert work.begun == []
        pump.rest(frozenset())
        pump.hint()
        await until(lambda: work.begun == [1])


async def test_until_empty_does_not_wait_for_what_is_paused(make: Make) -> None:
    app = make()
    work = Work(app)
    await app.store.perform(app.store.verbs.pause("default", ""))
    await work.task.enqueue(1)
    await app.run_until_empty()
    assert states(app) == {2: 1}
    await app.store.perform(app.store.verbs.resume("default"))
    await app.run_until_empty()
    assert (states(app), work.begun) == ({}, [1])


async def test_who_asks_for_nothing_still_hears_of_his_death(make: Make) -> None:
    """With all queues paused no exchange is sent, so that none may be taken for a sign of life."""
    app = make(renew=0.05, poll=0.02)
    work = Work(app)
    await app.store.perform(app.store.verbs.pause("default", ""))
    async with app.worker() as worker:
        await until(lambda: pump_of(worker).resting == {"default"})
        [(first,)] = app.sql("select id from offpath_worker")
        app.sql("update offpath_worker set lapsed_at = 1")
        await until(lambda: [row for row in app.sql("select id from offpath_worker") if row[0] != first])
        await app.store.perform(app.store.verbs.resume("default"))
        await work.task.enqueue(1)
        await until(lambda: work.begun == [1])


async def test_what_cannot_be_forgotten_is_named_and_the_rest_goes(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody's trigger keeps two rows of history: they used to keep all the others, too."""
    from offpath.engine.upkeep import Upkeep

    app = make(retention=0)
    work = Work(app)
    jobs = await work.task.enqueue_many([work.task.call(n) for n in range(1, 12)])
    await app.run_until_empty()
    kept = {jobs[3].id, jobs[7].id}
    app.sql("create table kept (id text)")
    for id in kept:
        app.sql("insert into kept values (?)", id)
    app.sql(
        "create trigger keep before delete on offpath_history when old.id in (select id from kept) "
        "begin select raise(abort, 'kept by law'); end"
    )
    app.sql("update offpath_history set expires_at = 0")
    await Upkeep(app.store, app.registry, still(app), 1.0)._prune()
    assert {id for (id,) in app.sql("select id from offpath_history")} == kept
    said = [
        record.offpath for record in caplog.records if getattr(record, "offpath", {}).get("signal") == "upkeep.skipped"
    ]  # type: ignore[attr-defined]
    assert {one["job"] for one in said} == kept
    assert all(one["duty"] == "prune" and "kept by law" in one["error"] for one in said)


async def test_an_alert_is_told_once_by_all_workers(make: Make) -> None:
    """Raised, resolved, raised again; five workers look, all the time."""
    app = make(renew=0.05, poll=0.02)
    told: list[dict[str, Any]] = []

    async def tell(alert: dict[str, Any]) -> None:
        told.append(alert)

    async def bad() -> None:
        raise ValueError("no")

    app.task(tell, queue="pager")
    task: Any = app.task(bad, delivery="at_most_once")
    app.registry.alerts.append(rule("bad", {"dead_letters": 2, "within": 3600, "clear": 0}, "tell"))

    async def fail(times: int) -> None:
        for _ in range(times):
            await app.ended(await task.enqueue())

    async with app.worker(), app.worker(), app.worker(), app.worker(), app.worker():
        await fail(4)
        await until(lambda: told)
        app.sql("delete from offpath_history where outcome = 5")
        await until(lambda: len(told) == 2)
        await fail(3)
        await until(lambda: len(told) == 3)
    assert [one["news"] for one in told] == ["raised", "resolved", "raised"]
    assert told[0]["value"] in (3, 4)
    assert [one["raised_at"] for one in told] == [told[0]["at"], told[0]["at"], told[2]["at"]]
    assert app.sql("select seq, raised_at is not null from offpath_alert") == [(3, 1)]
    assert app.sql("select count(*) from offpath_job where task = 'tell'") == [(0,)]


async def test_an_alert_that_was_renamed_in_the_code_does_not_ring_for_ever(make: Make) -> None:
    app = make(renew=0.05, poll=0.02)

    async def bad() -> None:
        raise ValueError("no")

    task: Any = app.task(bad, delivery="at_most_once")

    def ringing() -> list[str]:
        return [one.name for one in app.store.read(app.store.verbs.raised()).result(SOON)]

    app.registry.alerts.append(rule("bad", {"dead_letters": 0, "within": 3600}))
    async with app.worker():
        await app.ended(await task.enqueue())
        await until(lambda: ringing() == ["bad"])
    assert ringing() == ["bad"], "nobody is there, and all is as it was"
    app.registry.alerts[:] = [rule("failing", {"dead_letters": 0, "within": 3600})]
    async with app.worker():
        await until(lambda: ringing() == ["failing"])
        await alerts.forget(app.store)
        assert app.sql("select name from offpath_alert order by name") == [("bad",), ("failing",)]
        app.sql("update offpath_alert set raised_at = 1")
        await alerts.forget(app.store)
        assert app.sql("select name from offpath_alert") == [("failing",)], "how long ever it rings, it is watched"


async def _nothing() -> None: ...
