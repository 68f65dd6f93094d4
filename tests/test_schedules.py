"""`jobs.schedules`: put, looked at, paused, run and deleted, on both stores."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from offpath import Context, Offpath, Schedule
from offpath.core.options import moment
from offpath.core.schedule import tick_of
from offpath.errors import ConfigurationError, Conflict, NotFound
from offpath.ports import Found, JobFilter

HOURLY = Schedule.every(timedelta(hours=1))


@pytest.fixture(params=["sqlite", "postgresql"])
def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Offpath]:
    sqlite = request.param == "sqlite"
    jobs = Offpath(f"sqlite:///{tmp_path}/a.db" if sqlite else request.getfixturevalue("tables_url"))

    @jobs.task(name="render")
    async def render(what: str) -> str:
        return what

    @jobs.task(name="told")
    async def told(ctx: Context) -> list[str]:
        assert ctx.tick is not None
        return [ctx.schedule or "", ctx.tick.isoformat()]

    jobs.migrate()
    yield jobs
    jobs.close()


async def test_put_and_look(jobs: Offpath) -> None:
    render = jobs.registry.get("render")
    assert render is not None
    made = await jobs.schedules.put("daily", Schedule.cron("0 8 * * *", zone="Europe/Berlin"), render.call("a"))
    assert (made.name, made.task, made.paused, made.declared, made.skipped) == ("daily", "render", False, False, 0)
    assert made.next_at is not None
    assert made.next_at == Schedule.cron("0 8 * * *", zone="Europe/Berlin").upcoming(1, made.created_at)[0]
    assert await jobs.schedules.get("daily") == made
    await jobs.schedules.put("another", HOURLY, render.call("b"))
    assert [one.name for one in await jobs.schedules.list()] == ["another", "daily"]

    assert await jobs.schedules.put("daily", made.schedule, render.call("a")) == made, "the same again changes nothing"
    other = await jobs.schedules.put(
        "daily", Schedule.cron("0 8 * * *", zone="Europe/Berlin", jitter=5), render.call("x")
    )
    assert (other.next_at, other.created_at) == (made.next_at, made.created_at)
    assert other.updated_at > made.updated_at
    moved = await jobs.schedules.put("daily", HOURLY, render.call("x"))
    assert moved.next_at == moved.updated_at + timedelta(hours=1)

    await jobs.schedules.delete("daily")
    assert [one.name for one in await jobs.schedules.list()] == ["another"]


async def test_explain(jobs: Offpath) -> None:
    render = jobs.registry.get("render")
    assert render is not None
    daily = Schedule.cron("30 2 * * *", zone="Europe/Berlin", start=datetime(2035, 3, 24, tzinfo=UTC))
    await jobs.schedules.put("daily", daily, render.call("a"))
    ticks = await jobs.schedules.explain("daily", 3)
    assert [tick.isoformat() for tick in ticks] == [
        "2035-03-24T02:30:00+01:00", "2035-03-25T03:00:00+02:00", "2035-03-26T02:30:00+02:00",
    ]  # fmt: skip
    assert len(await jobs.schedules.explain("daily")) == 10
    jobs.schedule("only declared", daily, render.call("a"))
    assert (await jobs.schedules.explain("only declared", 1))[0] == ticks[0]
    once = Schedule.at(datetime(2035, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC))
    await jobs.schedules.put("once", once, render.call("a"))
    assert await jobs.schedules.explain("once") == [datetime(2035, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)]
    await jobs.schedules.put("past", Schedule.at(datetime(2001, 1, 1, tzinfo=UTC)), render.call("a"))
    assert await jobs.schedules.explain("past") == []
    assert (await jobs.schedules.get("past")).next_at is None


async def test_pause_and_resume(jobs: Offpath) -> None:
    told = jobs.registry.get("told")
    assert told is not None
    await jobs.schedules.put("often", Schedule.every(0.1, overlap="allow", catch_up=1000), told.call())
    paused = await jobs.schedules.pause("often")
    assert paused.paused
    assert await jobs.schedules.pause("often") == paused
    await asyncio.sleep(0.3)  # ticks that would be due by now
    going = await jobs.schedules.resume("often")
    assert not going.paused
    assert going.next_at is not None
    assert going.next_at > paused.updated_at + timedelta(seconds=0.3), "those of the pause are not made up for"
    assert await jobs.schedules.resume("often") == going
    async with jobs.worker():
        while (await jobs.schedules.get("often")).last_tick is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the store tells nobody of a row
    ticks = [tick_of(row.options) for one in await everything(jobs) if (row := one.job or one.finished) is not None]
    assert min(tick for found in ticks if found for tick in found[1:]) == moment(going.next_at, "")


async def everything(jobs: Offpath) -> list[Found]:
    return await jobs.store.read(jobs.store.verbs.list_jobs(JobFilter(), None, 1000))


async def test_run_now(jobs: Offpath) -> None:
    told = jobs.registry.get("told")
    assert told is not None
    await jobs.schedules.put("hourly", HOURLY, told.call())
    await jobs.schedules.pause("hourly")
    before = await jobs.schedules.get("hourly")
    job = await jobs.schedules.run_now("hourly")
    again = await jobs.schedules.run_now("hourly")
    assert (job.existing, again.existing, again.id) == (False, True, job.id)
    async with jobs.worker():
        name, tick = await job.result(timeout=100)
    after = await jobs.schedules.get("hourly")
    assert name == "hourly"
    assert before.created_at < datetime.fromisoformat(tick) <= (after.last_at or before.created_at), "now"
    assert (after.next_at, after.last_tick, after.last_job) == (before.next_at, None, job.id)


def test_in_plain_code(jobs: Offpath) -> None:
    told = jobs.registry.get("told")
    assert told is not None
    schedules = jobs.schedules
    assert schedules.put("hourly", HOURLY, told.call()).result().name == "hourly"
    assert [one.name for one in schedules.list().result()] == ["hourly"]
    assert schedules.run_now("hourly").result().id == schedules.get("hourly").result().last_job
    assert len(schedules.explain("hourly", 2).result()) == 2
    assert schedules.pause("hourly").result().paused
    schedules.delete("hourly").result()
    with pytest.raises(NotFound, match="no schedule 'hourly'"):
        schedules.get("hourly").result()


async def test_what_is_not_there(jobs: Offpath) -> None:
    schedules = jobs.schedules
    for method in (
        schedules.get,
        schedules.pause,
        schedules.resume,
        schedules.run_now,
        schedules.delete,
        schedules.explain,
    ):
        with pytest.raises(NotFound, match="no schedule 'nobody'"):
            await method("nobody")
        with pytest.raises(ConfigurationError, match="schedule name"):
            await method("with\x00nul")


async def test_what_cannot_be_put(jobs: Offpath) -> None:
    render = jobs.registry.get("render")
    assert render is not None
    other = Offpath("sqlite:///other.db")

    @other.task
    async def stranger() -> None: ...

    for given, text in (
        ((HOURLY, render), "task render needs arguments"),
        ((HOURLY, stranger.call()), "another application's"),
        ((HOURLY, render.using(key="k").call("a")), "key cannot go with"),
        (("hourly", render.call("a")), "Schedule.cron"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            await jobs.schedules.put("x", *given)
    assert await jobs.schedules.list() == []


async def test_what_running_code_declares_is_the_codes(jobs: Offpath) -> None:
    told = jobs.registry.get("told")
    assert told is not None
    jobs.schedule("declared", HOURLY, told.call())
    async with jobs.worker() as worker:
        await worker.ready.wait()
        assert (await jobs.schedules.get("declared")).declared
        with pytest.raises(Conflict, match="change it there"):
            await jobs.schedules.put("declared", HOURLY, told.call())
        with pytest.raises(Conflict, match="or pause it"):
            await jobs.schedules.delete("declared")
        assert (await jobs.schedules.pause("declared")).paused
    await jobs.schedules.put("declared", HOURLY, told.call())
    assert not (await jobs.schedules.get("declared")).declared
    await jobs.schedules.delete("declared")


async def test_every_on_the_facade(jobs: Offpath) -> None:
    ran = asyncio.Event()

    @jobs.every(hours=1)
    async def sync(ctx: Context) -> None:
        ran.set()

    async with jobs.worker():
        await asyncio.wait_for(ran.wait(), 100)
    assert (await jobs.schedules.get("sync")).declared
