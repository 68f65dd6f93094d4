"""Crash at every step, as a user would write it: sound handlers pass, and each kind of unsound one is caught."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from offpath import Context, Offpath, Retry, provided
from offpath.integrations.sqlalchemy import immediate
from offpath.testing import Crash, crash_at_every_step, crash_everywhere, isolated

jobs = Offpath("sqlite:////nowhere/production.db", cancel_grace=1.0)
world: Counter[str] = Counter()


async def charge(order: int) -> str:
    world["charge"] += 1
    return f"receipt {order}"


def mail(receipt: str) -> None:
    world["mail"] += 1


@jobs.task(retry=Retry(max_attempts=1))
async def sound(ctx: Context, order: int) -> str:
    receipt = await ctx.step("charge", charge, order)
    ctx.progress(1, of=2)
    await ctx.step("mail", mail, receipt)
    return receipt


@jobs.task(retry=Retry(max_attempts=1))
def plain(ctx: Context, order: int) -> str:
    receipt = ctx.step("charge", charge, order).result()
    ctx.events.emit("charged")
    ctx.step("mail", mail, receipt).result()
    return receipt


@jobs.task(retry=Retry(max_attempts=1))
async def unsound(ctx: Context, order: int) -> str:
    receipt = await charge(order)  # not a step
    await ctx.step("mail", mail, receipt)
    return receipt


@jobs.task
async def parent(ctx: Context) -> None:
    await ctx.step("child", lambda: sound.using(key="child").enqueue_sync(1).id)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> Iterator[None]:
    with isolated(jobs, tmp_path):
        yield


STEPS = [
    "nothing is claimed yet",
    "{} is claimed and has not begun",
    "{} is about to do step 'charge'",
    "{} has done step 'charge', which is not remembered",
    "{} has remembered step 'charge'",
    "{} tells",
    "{} is about to do step 'mail'",
    "{} has done step 'mail', which is not remembered",
    "{} has remembered step 'mail'",
    "{} has ended and is not settled",
    "{} is settled, which its worker never hears",
    "",
]


@pytest.mark.parametrize(("task", "tells"), [(sound, "sound tells its progress"), (plain, "plain emits an event")])
async def test_a_sound_handler_survives_every_point(task: Any, tells: str) -> None:
    points: list[str] = []
    async for crash in crash_everywhere(jobs):
        world.clear()
        job = await task.enqueue(7)
        assert await crash.drain() == {"succeeded": 1}
        points.append(crash.point)
        assert await job.result() == "receipt 7"
        info = await job.info()
        in_vain = crash.point in ("", STEPS[0], STEPS[10].format(task.name))
        assert info.crashes == (0 if in_vain else 1), crash
        assert info.attempt == 1, "a crash spends no attempt"
        # A step is repeated exactly where it was done and not yet remembered.
        assert world["charge"] == 1 + (points[-1] == STEPS[3].format(task.name))
        assert world["mail"] == 1 + (points[-1] == STEPS[7].format(task.name))
    wanted = [tells if point == "{} tells" else point.format(task.name) for point in STEPS]
    assert points == wanted


async def test_an_unsound_one_is_caught_and_the_point_is_named() -> None:
    @crash_at_every_step(jobs)
    async def scenario(crash: Crash) -> None:
        world.clear()
        await unsound.enqueue(7)
        await crash.drain()
        assert world["charge"] == 1

    with pytest.raises(AssertionError) as failure:
        await scenario()
    assert failure.value.__notes__ == ["the worker died here: unsound is about to do step 'mail'"]
    assert not jobs.settings.url.endswith("production.db"), "everything is back where it was"


def test_in_a_plain_test_too(tmp_path: Path) -> None:
    runs = 0

    @crash_at_every_step(jobs)
    def scenario(folder: Path, *, crash: Crash) -> None:
        nonlocal runs
        runs += 1
        assert folder == tmp_path
        world.clear()
        sound.enqueue_sync(7)
        crash.drain_sync()
        assert 1 <= world["charge"] <= 2

    scenario(tmp_path)
    assert runs == len(STEPS)
    assert "crash" not in __import__("inspect").signature(scenario).parameters


def test_jobs_that_enqueue_others() -> None:
    points: set[str] = set()
    for crash in crash_everywhere(jobs):
        world.clear()
        parent.enqueue_sync()
        said = crash.drain_sync()
        points.add(crash.point)
        # Between the step and its memory the child may have ended: then its key is free, and there is a second one.
        repeated = crash.point == "parent has done step 'child', which is not remembered"
        assert said in ({"succeeded": 2}, {"succeeded": 3}) if repeated else said == {"succeeded": 2}
    assert {point.split(" ")[0] for point in points} == {"", "nothing", "parent", "sound"}


# ── transactions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def engine() -> Engine:
    return immediate(create_engine(jobs.settings.url))


@jobs.provider(lifetime="attempt")
def session() -> Iterator[Session]:
    made = engine()
    try:
        with Session(made) as one:
            yield one
    finally:
        made.dispose()


@jobs.provider(lifetime="attempt")
async def async_session() -> AsyncIterator[AsyncSession]:
    made = immediate(create_async_engine(jobs.settings.url.replace("sqlite", "sqlite+aiosqlite", 1)))
    try:
        async with AsyncSession(made) as one:
            yield one
    finally:
        await made.dispose()


@jobs.provider(lifetime="attempt")
def connection() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(jobs.settings.url.removeprefix("sqlite:///"))
    try:
        yield made
    finally:
        made.close()


@jobs.task(retry=Retry(max_attempts=1))
def own(ctx: Context, session: Session = provided(transaction=True)) -> None:
    session.execute(INSERT)


@jobs.task(retry=Retry(max_attempts=1))
async def own_async(ctx: Context, session: AsyncSession = provided(transaction=True)) -> None:
    await session.execute(INSERT)


@jobs.task(retry=Retry(max_attempts=1))
def own_raw(ctx: Context, session: sqlite3.Connection = provided(transaction=True)) -> None:
    session.execute(str(INSERT))


@jobs.task(retry=Retry(max_attempts=1))
def theirs() -> None:
    """Its own commit and the job's are two."""
    made = engine()
    try:
        with Session(made) as session, session.begin():
            session.execute(INSERT)
    finally:
        made.dispose()


INSERT = text("insert into note values ('x')")


def notes() -> int:
    with sqlite3.connect(jobs.settings.url.removeprefix("sqlite:///")) as one:
        [(count,)] = one.execute("select count(*) from note").fetchall()
    one.close()
    return int(count)


def make_table() -> None:
    one = sqlite3.connect(jobs.settings.url.removeprefix("sqlite:///"))
    one.execute("create table note (text text)")
    one.commit()
    one.close()


RETURNED = "{} has returned and is not settled in its own transaction"
SETTLED = "{} is settled in its own transaction and that is not committed"
COMMITTED = "{} has committed its own transaction"


@pytest.mark.parametrize("task", [own, own_async, own_raw], ids=lambda task: task.name)
async def test_the_jobs_own_transaction_writes_once_whenever_the_worker_dies(task: Any) -> None:
    points: list[str] = []
    async for crash in crash_everywhere(jobs):
        make_table()
        await task.enqueue()
        assert await crash.drain() == {"succeeded": 1}
        points.append(crash.point)
        assert notes() == 1
    middle = [] if task is own_raw else [f"a session of {task.name} commits", f"a session of {task.name} has committed"]
    assert points == [
        STEPS[0], STEPS[1].format(task.name), RETURNED.format(task.name), SETTLED.format(task.name), *middle,
        COMMITTED.format(task.name), "",
    ]  # fmt: skip


async def test_a_commit_of_the_tasks_is_a_point_too() -> None:
    """Two commits: what was committed and not settled is done again, and that can be seen."""
    twice: set[str] = set()
    async for crash in crash_everywhere(jobs):
        make_table()
        await theirs.enqueue()
        assert await crash.drain() == {"succeeded": 1}
        if notes() == 2:
            twice.add(crash.point)
    assert twice == {"a session of theirs has committed", "theirs has ended and is not settled"}


# ── what it cannot do it says ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_loop_that_runs_nothing_is_told() -> None:
    with pytest.raises(AssertionError, match="call `await crash"):
        async for _ in crash_everywhere(jobs):
            pass


async def test_drained_twice_only_one_worker_dies() -> None:
    runs = 0
    async for crash in crash_everywhere(jobs):
        runs += 1
        world.clear()
        await sound.enqueue(1)
        await crash.drain()
        first = crash.point
        await sound.enqueue(2)
        assert await crash.drain() == {"succeeded": 2}
        assert crash.point == first or not first
    assert runs > len(STEPS)


def test_the_decorator_wants_a_parameter() -> None:
    with pytest.raises(TypeError, match="needs a parameter `crash`"):
        crash_at_every_step(jobs)(lambda: None)


@pytest.mark.parametrize("catches", [True, False])
async def test_a_handler_that_catches_everything_is_dead_all_the_same(catches: bool) -> None:
    done: list[str] = []

    @jobs.task(name=f"stubborn-{catches}", retry=Retry(max_attempts=1))
    async def stubborn(ctx: Context) -> None:
        try:
            await ctx.step("one", asyncio.sleep, 0)
        except BaseException:
            if not catches:
                raise
        await ctx.step("two", asyncio.sleep, 0)
        done.append("two")

    async for crash in crash_everywhere(jobs):
        done.clear()
        await stubborn.enqueue()
        assert await crash.drain() == {"succeeded": 1}
        assert 1 <= len(done) <= 2
