"""What workers do with schedules: declare them, fire what is due once, and keep to what each says of late ticks."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from offpath import Context, Limit, Retry, Schedule, Snooze
from offpath.core.options import SECOND
from offpath.core.schedule import ScheduleRow, declared, template
from offpath.engine import schedules
from offpath.engine.clock import clock
from offpath.engine.worker import Worker

from .kit import App

HOUR = 3600
LONG = 100.0  # s: what nobody should ever wait for, on a machine that is busy with other things
AT_ONCE = Schedule.every(HOUR, at_once=True)


async def until(true: Callable[[], Any]) -> None:
    """Wait for something that only a look can tell: the rows of a database."""
    async with asyncio.timeout(LONG):
        while not true():  # noqa: ASYNC110 (nobody is there to set an event)
            await asyncio.sleep(0.005)


async def soon(what: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(what, LONG)


def declare(app: App, name: str, when: Schedule, task: Any, *args: Any) -> None:
    app.registry.schedule(name, when, task.call(*args).core)


def keep(app: App, name: str, when: Schedule, task: Any, *, ago: float, **given: Any) -> int:
    """Put one by hand, as the API would, whose next tick was so many seconds ago; gives that tick."""
    now = app.store.now()
    tick = now - round(ago * SECOND)
    call = task.call().core
    made = template(call, None)
    row = ScheduleRow(name, when.as_json(), call.task, made, (), tick, tick, False, 1, None, None, None, 0, now, now)

    def change(*_: Any) -> ScheduleRow:
        return row._replace(**given)

    app.store.perform(app.store.verbs.change_schedule(name, change)).result()
    return tick


def row_of(app: App, name: str) -> ScheduleRow:
    row = app.store.read(app.store.verbs.schedule(name)).result()
    assert row is not None
    return row


def ticks(app: App, name: str) -> list[int]:
    """The ticks that have become jobs, in the order of their making."""
    rows = app.sql("select options from offpath_job union all select options from offpath_history")
    said = [json.loads(options) for (options,) in rows if options]
    return sorted(one["tick"] for one in said if one.get("schedule") == name)


@pytest.fixture
def counted(app: App) -> tuple[Any, list[Context]]:
    """A task, and the contexts it was called with."""
    seen: list[Context] = []

    @app.task
    async def work(ctx: Context) -> None:
        seen.append(ctx)

    return work, seen


Counted = tuple[Any, list[Context]]


async def test_a_declared_schedule_is_written_down_and_fired(app: App, counted: Counted) -> None:
    work, seen = counted
    declare(app, "hourly", AT_ONCE, work)
    async with app.worker():
        await until(lambda: len(seen) == 1)
    row = row_of(app, "hourly")
    assert row.next_at == row.anchor + HOUR * SECOND
    assert (seen[0].schedule, seen[0].job) == ("hourly", row.last_job)
    assert seen[0].tick is not None
    assert round(seen[0].tick.timestamp() * SECOND) == row.last_tick == row.anchor


async def test_at_once_is_for_the_first_worker_of_all(app: App, counted: Counted) -> None:
    work, seen = counted
    declare(app, "hourly", AT_ONCE, work)
    async with app.worker():
        await until(lambda: len(seen) == 1)
        first = row_of(app, "hourly")
        async with app.worker():
            assert row_of(app, "hourly") == first._replace(busy=row_of(app, "hourly").busy), "one was there"
    async with app.worker():
        await until(lambda: len(seen) == 2)
    assert row_of(app, "hourly").anchor > first.anchor


async def test_jobs_of_ticks_are_under_the_limits_of_their_task(app: App) -> None:
    @app.task(limit=Limit(concurrency=1))
    async def work() -> None: ...

    declare(app, "hourly", AT_ONCE, work)
    async with app.worker():
        await until(lambda: app.sql("select count(*) from offpath_history where lane is not null") == [(1,)])


async def test_of_many_missed_ticks_the_newest_is_run(app: App, counted: Counted) -> None:
    work, seen = counted
    tick = keep(app, "hourly", Schedule.every(HOUR), work, ago=10 * HOUR + 60)
    async with app.worker():
        await until(lambda: len(seen) == 1)
    assert ticks(app, "hourly") == [tick + 10 * HOUR * SECOND]
    assert row_of(app, "hourly").next_at == tick + 11 * HOUR * SECOND


async def test_as_many_are_made_up_for_as_it_says(app: App, counted: Counted) -> None:
    work, seen = counted
    tick = keep(app, "some", Schedule.every(HOUR, overlap="allow", catch_up=4), work, ago=10 * HOUR + 60)
    async with app.worker():
        await until(lambda: len(seen) == 4)
    assert ticks(app, "some") == [tick + n * HOUR * SECOND for n in (7, 8, 9, 10)]


async def test_what_is_too_late_is_dropped(app: App, counted: Counted) -> None:
    work, seen = counted
    keep(app, "none", Schedule.every(HOUR, catch_up=0), work, ago=600)
    keep(app, "late", Schedule.every(HOUR, late=300), work, ago=600)
    in_time = keep(app, "in time", Schedule.every(HOUR, late=1200), work, ago=600)
    async with app.worker():
        await until(
            lambda: seen and all((row_of(app, n).next_at or 0) > app.store.now() for n in ("none", "late", "in time"))
        )
    assert (ticks(app, "none"), ticks(app, "late"), ticks(app, "in time")) == ([], [], [in_time])
    assert row_of(app, "none").last_at is None


async def test_ticks_queue_and_run_one_after_the_other_in_their_order(app: App) -> None:
    running: list[Context] = []
    gate = asyncio.Event()

    @app.task
    async def work(ctx: Context) -> None:
        running.append(ctx)
        await gate.wait()
        gate.clear()

    tick = keep(app, "queued", Schedule.every(HOUR, overlap="queue", catch_up=3), work, ago=4 * HOUR + 60)
    neighbour = keep(app, "neighbour", Schedule.every(HOUR, overlap="allow"), work, ago=0)
    async with app.worker():
        await until(lambda: len(running) == 2)  # its own and the neighbour's
        assert ticks(app, "queued") == [tick + 2 * HOUR * SECOND], "the newest three, and the oldest of them first"
        assert row_of(app, "queued").next_at == tick + 3 * HOUR * SECOND
        for n in (3, 4):
            while ticks(app, "queued")[-1] != tick + n * HOUR * SECOND:
                gate.set()
                await asyncio.sleep(0.01)  # lets whoever holds the gate go on
        await until(lambda: len(running) == 4)
        while app.sql("select * from offpath_job"):
            gate.set()
            await asyncio.sleep(0.01)
    assert ticks(app, "neighbour") == [neighbour]
    assert row_of(app, "queued").skipped == 0


async def test_a_tick_that_finds_the_last_run_still_there_is_dropped(app: App) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    @app.task
    async def work() -> None:
        begun.set()
        await gate.wait()

    keep(app, "often", Schedule.every(0.1), work, ago=0)
    async with app.worker():
        await soon(begun.wait())
        await until(lambda: row_of(app, "often").skipped >= 3)
        assert app.sql("select count(*) from offpath_job") == [(1,)]
        gate.set()
        await until(lambda: len(ticks(app, "often")) > 1)


async def test_a_replaced_run_is_asked_to_stop(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "LOOK", 0.05)
    first, second, stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.task
    async def work() -> None:
        if first.is_set():
            second.set()
            return
        first.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    keep(app, "fresh", Schedule.every(HOUR, overlap="replace"), work, ago=0)
    async with app.worker():
        await soon(first.wait())
        app.sql("update offpath_schedule set next_at = ?", app.store.now())
        await soon(stopped.wait())
        await soon(second.wait())


async def test_a_run_that_fails_is_followed_by_the_next_tick(app: App) -> None:
    runs: list[int] = []

    @app.task(retry=Retry(max_attempts=1))
    async def work() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise ValueError("bad day")

    declare(app, "sync", Schedule.every(0.1, at_once=True), work)
    async with app.worker():
        await until(lambda: len(runs) >= 3)


async def test_a_run_that_snoozes_goes_on_at_once(app: App) -> None:
    """The last page was full: again, now, and never beside another run."""
    pages = [100, 100, 100, 7]

    @app.task
    async def work() -> None:
        if pages.pop(0) == 100:
            raise Snooze(0)

    declare(app, "sync", AT_ONCE, work)
    async with app.worker():
        await until(lambda: not pages and app.sql("select count(*) from offpath_history") == [(1,)])
    assert app.sql("select attempt, fence from offpath_history") == [(1, 4)]


async def test_a_stop_in_mid_batch_leaves_the_rest_and_spends_no_attempt(tmp_path: Path) -> None:
    app = App(tmp_path / "jobs.db", drain=0.1)
    try:
        done: list[int] = []
        begun = asyncio.Event()
        stopping = asyncio.Event()

        @app.task
        async def work() -> None:
            for row in range(len(done), 100):
                if row == 3 and not stopping.is_set():
                    begun.set()
                    await asyncio.Event().wait()
                done.append(row)

        declare(app, "sync", AT_ONCE, work)
        async with app.worker():
            await soon(begun.wait())
            stopping.set()
        assert done == [0, 1, 2]
        assert app.sql("select state, attempt, crashes from offpath_job") == [(2, 1, 0)]
        async with app.worker():
            await until(lambda: len(done) == 100)
        assert done == list(range(100)), "each once"
    finally:
        app.close()


async def test_a_plain_function_stops_where_it_looks(tmp_path: Path) -> None:
    app = App(tmp_path / "jobs.db", drain=0.1)
    try:
        done: list[int] = []
        begun, again = threading.Event(), threading.Event()

        @app.task
        def work(ctx: Context) -> None:
            while len(done) < 100:
                if ctx.canceled:
                    return
                if len(done) < 3 or again.is_set():
                    done.append(len(done))
                else:
                    begun.set()
                    time.sleep(0.001)  # it works on, until it is told to stop

        declare(app, "sync", AT_ONCE, work)
        async with app.worker():
            await until(begun.is_set)
        assert done == [0, 1, 2]
        assert app.sql("select state, attempt, crashes from offpath_job") == [(2, 1, 0)]
        again.set()
        async with app.worker():
            await until(lambda: len(done) == 100)
    finally:
        app.close()


async def test_jitter_puts_a_job_off(app: App, counted: Counted) -> None:
    work, _ = counted
    tick = keep(app, "spread", Schedule.every(10 * HOUR, jitter=HOUR), work, ago=0)
    async with app.worker(time=certain(app, 0.5)):
        await until(lambda: ticks(app, "spread"))
    assert app.sql("select state, run_at from offpath_job") == [(0, tick + HOUR * SECOND // 2)]


def certain(app: App, chance: float) -> Any:
    return clock(app.store)._replace(chance=lambda: chance)


async def test_only_whoever_declares_a_schedule_fires_it(app: App, counted: Counted) -> None:
    work, seen = counted
    keep(app, "of another version", Schedule.every(HOUR), work, ago=60, declared=("mark",))
    keep(app, "by api", Schedule.every(HOUR), work, ago=30)
    async with app.worker():
        await until(lambda: seen)
    assert ticks(app, "of another version") == []


async def test_a_worker_that_ends_by_itself_leaves_schedules_alone(app: App, counted: Counted) -> None:
    work, seen = counted
    declare(app, "declared", AT_ONCE, work)
    keep(app, "by api", Schedule.every(HOUR), work, ago=30)
    await app.run_until_empty()
    assert app.store.read(app.store.verbs.schedule("declared")).result() is None
    assert seen == []


async def test_a_paused_one_is_not_fired(app: App, counted: Counted) -> None:
    work, seen = counted
    keep(app, "paused", Schedule.every(HOUR), work, ago=60, paused=True)
    keep(app, "neighbour", Schedule.every(HOUR), work, ago=30)
    async with app.worker():
        await until(lambda: seen)
    assert ticks(app, "paused") == []


@pytest.mark.parametrize(
    "given",
    [
        {"spec": '{"kind": "lunar"}'},
        {"spec": '{"kind": "cron", "line": "0 8 * * *", "zone": "Mars/Olympus"}'},
        {"spec": "not JSON"},
        {"call": "{}"},
    ],
    ids=["of a newer version", "zone of another machine", "broken", "no call"],
)
async def test_one_that_cannot_be_read_spares_its_neighbours(
    app: App, counted: Counted, caplog: pytest.LogCaptureFixture, given: dict[str, str]
) -> None:
    work, seen = counted
    spec = given.get("spec", "")
    tick = keep(app, "bad", Schedule.every(HOUR), work, ago=60)
    for column, text in given.items():
        app.sql(f"update offpath_schedule set {column} = ? where name = 'bad'", text)
    keep(app, "neighbour", Schedule.every(HOUR), work, ago=30)
    async with app.worker():
        await until(lambda: seen)
        await until(lambda: any("schedule.failed schedule=bad" in line for line in caplog.messages))
    assert app.sql("select next_at from offpath_schedule where name = 'bad'") == [(tick,)], "as due as before"
    assert ticks(app, "bad") == []
    assert spec == given.get("spec", "")


async def test_one_that_the_store_will_not_have_spares_its_neighbours(
    app: App, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    work, _ = counted
    names = [f"s{n}" for n in range(5)]
    for name in names:
        keep(app, name, Schedule.every(HOUR), work, ago=60)
    app.sql(
        "create trigger poison before insert on offpath_job when new.key = 'schedule:s2' "
        "begin select raise(abort, 'poisoned'); end"
    )
    async with app.worker():
        await until(lambda: sum(map(len, (ticks(app, name) for name in names))) == 4)
        await until(lambda: any("schedule.failed schedule=s2" in line for line in caplog.messages))
    assert ticks(app, "s2") == []


async def test_two_workers_fire_each_tick_once(app: App, counted: Counted) -> None:
    work, seen = counted
    names = [f"s{n}" for n in range(700)]  # more than a page
    for name in names:
        keep(app, name, Schedule.every(HOUR), work, ago=60)
    async with app.worker(), app.worker():
        await until(lambda: len(seen) == len(names))
    assert sorted(ctx.schedule or "" for ctx in seen) == sorted(names)
    assert app.sql("select count(*) from offpath_history") == [(len(names),)]


# ── deploys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def versions(tmp_path: Path) -> Any:
    """Two versions of one application on one database: the newer one says two hours."""
    apps = [App(tmp_path / "jobs.db") for _ in range(2)]
    for app, hours in zip(apps, (1, 2), strict=True):

        async def work() -> None: ...

        declare(app, "report", Schedule.every(hours * HOUR), app.task(work, name="work"))
    yield apps
    for app in apps:
        app.close()


def mark(app: App) -> str:
    return app.registry.schedules["report"][1].mark


async def test_side_by_side_the_newer_version_wins_and_going_back_is_possible(versions: list[App]) -> None:
    old, new = versions
    async with old.worker():
        assert row_of(old, "report").declared == (mark(old),)
        async with new.worker():
            assert row_of(old, "report").declared == (mark(new), mark(old))
            async with old.worker():  # one of the old ones is started again
                assert row_of(old, "report").declared[0] == mark(new)
    async with old.worker():  # all of the new ones have gone
        assert row_of(old, "report").declared[0] == mark(old)
    row = row_of(old, "report")
    assert Schedule.from_json(row.spec) == Schedule.every(HOUR)
    assert row.next_at == row.anchor + HOUR * SECOND


async def test_a_worker_that_yielded_looks_again(versions: list[App], monkeypatch: pytest.MonkeyPatch) -> None:
    """A rolling deploy backwards: the older version's workers start while those of the newer one are there still."""
    monkeypatch.setattr(schedules, "AGAIN", 0.05)
    monkeypatch.setattr(schedules, "LOOK", 0.05)
    old, new = versions
    async with old.worker():
        pass
    newer = Worker(new.store, new.transport, new.registry, new.settings)
    running = asyncio.ensure_future(newer.run())
    await soon(newer.ready.wait())
    async with old.worker():
        assert row_of(old, "report").declared[0] == mark(new)
        newer.stop()
        await soon(running)
        await until(lambda: row_of(old, "report").declared[0] == mark(old))


def test_the_mark_is_of_all_that_is_said() -> None:
    same = declared("a", "b", "c", "d")
    assert declared("a", "b", "c", "d") == same
    others: list[Callable[[], Any]] = [
        lambda: declared("x", "b", "c", "d"),
        lambda: declared("a", "x", "c", "d"),
        lambda: declared("a", "b", "x", "d"),
        lambda: declared("a", "b", "c", "x"),
    ]
    assert len({other().mark for other in others} | {same.mark}) == 5
