"""What every worker does for all of them: each duty on its own, an error in one stops no other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from offpath.engine import upkeep
from offpath.engine.clock import clock
from offpath.engine.upkeep import Upkeep
from offpath.ports import Want

from .kit import App, until

DEAD = "00000000-0000-4000-8000-000000000000"


@contextlib.asynccontextmanager
async def kept(app: App) -> AsyncIterator[Upkeep]:
    """Upkeep alone, without a worker; with no chance in the clock every duty is due at once."""
    upkeep = Upkeep(app.store, app.registry, clock(app.store)._replace(chance=lambda: 0.0), 5.0)
    running = asyncio.ensure_future(upkeep.run())
    try:
        yield upkeep
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def claim(app: App, task: str, count: int, worker: str = DEAD) -> None:
    lease = app.store.lease()
    lease.register(worker, 15, "[]", "")
    claimed = await app.store.exchange(worker, [], Want((("default", 1),), f'["{task}@1"]', count, count, True))
    assert len(claimed.claimed) == count
    lease.close()


def states(app: App) -> dict[int, int]:
    return dict(app.sql("select state, count(*) from offpath_job group by state"))


async def test_all_jobs_of_a_dead_worker_are_taken_from_it_page_by_page_and_its_row_goes(app: App) -> None:
    @app.task
    async def work(n: int) -> None: ...

    await work.enqueue_many([work.call(n=n) for n in range(1_100)])
    await claim(app, "work", 1_100)
    app.sql("update offpath_worker set lapsed_at = 1")
    async with kept(app) as upkeep:
        upkeep.lapsed([DEAD, DEAD])
        await until(lambda: states(app) == {2: 1_100} and app.sql("select * from offpath_worker") == [])
    assert app.sql("select distinct attempt, crashes from offpath_job") == [(1, 1)]


async def test_of_lines_so_many_are_looked_at_in_one_minute_and_the_next_ones_in_the_next(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PAGE", 2)
    monkeypatch.setattr(upkeep, "PAGES", 1)

    @app.task
    async def work() -> None: ...

    await work.enqueue_many([work.call()] * 10)
    ids = [id for (id,) in app.sql("select id from offpath_job order by id")]
    for n, id in enumerate(ids):  # five lines of two; the first of the last line waits for nobody
        line, place, state = "abcde"[n // 2], n % 2, 1 if n % 2 or n == 8 else 2
        app.sql(f"update offpath_job set line = '{line}', place = {place}, state = {state} where id = '{id}'")
    keeping = Upkeep(app.store, app.registry, clock(app.store), 5.0)
    left: list[int] = []
    for _ in range(3):
        await keeping._lines()
        left.append(states(app)[1])
    assert left == [6, 6, 5]


async def test_running_jobs_whose_worker_has_no_row_are_found(app: App) -> None:
    @app.task
    async def work() -> None: ...

    await work.enqueue()
    await claim(app, "work", 1)
    app.sql("delete from offpath_worker")
    async with kept(app):
        await until(lambda: states(app) == {2: 1})


async def test_jobs_whose_deadline_passes_while_they_wait_are_failed(app: App) -> None:
    @app.task
    async def work() -> None: ...

    late = await work.using(deadline=0.01, queue="nobody serves it").enqueue()
    await until(lambda: app.sql("select 1 from offpath_job where deadline < ?", app.store.now()))
    async with kept(app):
        assert '"deadline"' in (await app.ended(late)).error


@pytest.mark.parametrize("duty", ["expire", "orphans", "overdue"])
async def test_a_poisoned_job_is_skipped_and_reported_and_does_not_stop_the_others(
    app: App, caplog: pytest.LogCaptureFixture, duty: str
) -> None:
    caplog.set_level("INFO", "offpath.upkeep")

    @app.task
    async def work(n: int) -> None: ...

    made = await work.enqueue_many([work.call(n=n) for n in range(700)])
    bad = {made[n].id for n in (0, 1, 350, 699)}
    if duty == "overdue":
        app.sql("update offpath_job set deadline = 1")
    else:
        await claim(app, "work", 700)
        app.sql("update offpath_worker set lapsed_at = 1" if duty == "expire" else "delete from offpath_worker")
    ids = ", ".join(f"'{id}'" for id in bad)
    for write in ("update", "delete"):
        app.sql(
            f"create trigger poison_{write} before {write} on offpath_job when old.id in ({ids}) "
            "begin select raise(abort, 'poisoned'); end"
        )
    held = states(app)
    async with kept(app) as upkeep:
        upkeep.lapsed([DEAD] if duty == "expire" else [])
        word = "upkeep.overdue" if duty == "overdue" else "upkeep.recovered"
        await until(lambda: any(record.getMessage().startswith(word) for record in caplog.records))
    after = states(app)
    (state,) = held
    assert after.pop(state) == 4
    assert after == ({} if duty == "overdue" else {2: 696})
    assert {id for (id,) in app.sql("select id from offpath_job where state = ?", state)} == bad
    said = [vars(record)["offpath"] for record in caplog.records if "upkeep.skipped" in record.getMessage()]
    assert {(one["duty"], one["job"]) for one in said} == {(duty, id) for id in bad}
    assert len(said) == 4, "each once in a round"
    assert all("poisoned" in one["error"] for one in said)


async def test_where_nothing_can_be_written_no_job_is_blamed_for_ever(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offpath.engine.upkeep.MOST_BAD", 3)

    @app.task
    async def work(n: int) -> None: ...

    await work.enqueue_many([work.call(n=n) for n in range(20)])
    app.sql("update offpath_job set deadline = 1")
    app.sql("create trigger poison before delete on offpath_job begin select raise(abort, 'poisoned'); end")
    async with kept(app):
        await until(lambda: any("upkeep.failed duty=overdue" in record.getMessage() for record in caplog.records))
    assert sum("upkeep.skipped" in record.getMessage() for record in caplog.records) == 3


async def test_what_has_outlived_its_time_is_deleted(make: Callable[..., App]) -> None:
    app = make(retention=0)

    @app.task
    async def work() -> None: ...

    await work.enqueue_many([work.call() for _ in range(20)])
    await app.run_until_empty()
    async with kept(app):
        await until(lambda: app.sql("select count(*) from offpath_history") == [(0,)])


async def test_a_task_that_another_live_worker_knows_is_not_unknown(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    async def elsewhere() -> None: ...

    @app.task
    async def gone() -> None: ...

    await elsewhere.enqueue()
    await gone.enqueue()
    app.registry._tasks.clear()
    lease = app.store.lease()
    lease.register("another", 15, '["elsewhere@1"]', "")
    lease.register("dead", 15, '["gone@1"]', "")
    app.sql("update offpath_worker set lapsed_at = 1 where id = 'dead'")
    await Upkeep(app.store, app.registry, clock(app.store), 5.0).unknown()
    lease.close()
    said = [record.getMessage() for record in caplog.records if "worker.unknown" in record.getMessage()]
    assert said == ["worker.unknown task=gone version=1 jobs=1"]


async def test_an_unknown_task_is_reported_with_its_number_and_an_error_elsewhere_stops_nothing(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    async def gone() -> None: ...

    await gone.enqueue_many([gone.call() for _ in range(7)])
    del app.registry._tasks["gone"]
    app.sql("drop table offpath_operation")  # pruning cannot be done

    def said(word: str) -> list[str]:
        return [record.getMessage() for record in caplog.records if record.getMessage().startswith(word)]

    async with kept(app):
        await until(lambda: said("worker.unknown"))
    assert "task=gone version=1 jobs=7" in said("worker.unknown")[0]
    assert "duty=prune" in said("upkeep.failed")[0]
