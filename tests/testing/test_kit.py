"""The testing kit, as users' own tests would use it."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from offpath import Backoff, Cancel, Context, JobFailed, Offpath, Retry, Snooze, provided
from offpath.errors import ArgumentError, ConfigurationError, NotFound, ResultError
from offpath.testing import (
    assert_enqueued,
    assert_not_enqueued,
    drain,
    drain_sync,
    enqueued,
    isolated,
    run_inline,
)

jobs = Offpath("sqlite:////nowhere/production.db")
sent: list[str] = []


class Pool:
    closed = False


@jobs.provider
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.closed = True


@jobs.task
async def send(to: str, at: datetime | None = None) -> str:
    sent.append(to)
    return to.upper()


@jobs.task
def plain(ctx: Context, n: int, pool: Pool = provided()) -> int:
    assert not pool.closed
    ctx.progress(1, of=2)
    return n * 2


@jobs.task
async def parent(names: list[str]) -> int:
    await send.enqueue_many([send.call(name) for name in names])
    plain.enqueue_sync(len(names))
    return len(names)


@jobs.task(retry=Retry(max_attempts=2, backoff=Backoff.fixed(3600)))
async def fails() -> None:
    raise ValueError("no")


@jobs.task
async def snoozes() -> None:
    raise Snooze(60)


@jobs.task
async def gives_up() -> None:
    raise Cancel("no need")


@jobs.task
async def returns_nonsense() -> int:
    return "many"  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> Iterator[None]:
    sent.clear()
    with isolated(jobs, tmp_path):
        yield


# -- isolated and drain ------------------------------------------------------------------------------------------------


def test_isolated_puts_everything_back(tmp_path: Path) -> None:
    assert jobs.settings.url == f"sqlite:///{tmp_path}/offpath-test.db"
    send.enqueue_sync("a")
    with isolated(jobs):
        assert enqueued(jobs) == []
        inner = Path(jobs.settings.url.removeprefix("sqlite:///"))
        send.enqueue_sync("b")
        assert inner.exists()
    assert not inner.parent.exists()
    assert [one.args for one in enqueued(jobs)] == [{"to": "a"}]


async def test_drain_runs_what_is_ready_and_what_that_enqueues() -> None:
    job = await parent.enqueue(["a", "b"])
    assert await drain(jobs) == {"succeeded": 4}
    assert sorted(sent) == ["a", "b"]
    assert await job.result() == 2
    assert await drain(jobs) == {"succeeded": 4}


def test_drain_leaves_what_is_for_later() -> None:
    send.using(delay=60).enqueue_sync("later")
    fails.enqueue_sync()
    snoozes.enqueue_sync()
    gives_up.enqueue_sync()
    assert drain_sync(jobs) == {"scheduled": 3, "canceled": 1}
    assert sent == []


async def test_drain_says_what_does_not_end() -> None:
    @jobs.task(name="forever")
    async def forever() -> None:
        await (await send.using(delay=3600).enqueue("x")).result()

    await forever.enqueue()
    for seconds in (0.3, 3, 30):  # held up, it may not have come as far in the first of them
        with pytest.raises(AssertionError) as caught:
            await drain(jobs, timeout=seconds)
        if "scheduled" in str(caught.value):
            break
    assert f"still running or ready after {seconds:g} s: {{'ready': 1, 'scheduled': 1}}" in str(caught.value)


# -- what has been enqueued --------------------------------------------------------------------------------------------


def test_what_has_been_enqueued_is_typed_and_in_order() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    send.enqueue_sync("a", at=at)
    plain.using(key="k", queue="low", priority=9).enqueue_sync(3)
    send.enqueue_sync("b")
    first, second, third = enqueued(jobs)
    assert (first.task, first.args, first.state) == ("send", {"to": "a", "at": at}, "ready")
    assert (second.queue, second.priority, second.key) == ("low", 9, "k")
    assert enqueued(jobs, send) == [first, third]
    assert assert_enqueued(jobs, send) == third
    assert assert_enqueued(jobs, send, at=at) == first
    assert assert_enqueued(jobs, plain, n=3) == second
    assert_not_enqueued(jobs, send, to="c")
    assert_not_enqueued(jobs, fails)
    drain_sync(jobs)
    assert assert_enqueued(jobs, send, to="b").state == "succeeded"


def test_the_messages_say_what_there_was_instead() -> None:
    with pytest.raises(AssertionError, match=r"send\(to='a'\) was not enqueued; nothing was"):
        assert_enqueued(jobs, send, to="a")
    plain.enqueue_sync(1)
    with pytest.raises(AssertionError, match=r"send\(to='a'\) was not enqueued; only plain"):
        assert_enqueued(jobs, send, to="a")
    send.enqueue_sync("b")
    with pytest.raises(AssertionError, match=r"send\(to='a'\) was not enqueued, but\n  send\(to='b'\)"):
        assert_enqueued(jobs, send, to="a")
    with pytest.raises(AssertionError, match=r"send\(to='b'\) was enqueued, as job "):
        assert_not_enqueued(jobs, send)


def test_a_transaction_that_was_rolled_back_enqueued_nothing(tmp_path: Path) -> None:
    jobs.migrate()
    connection = sqlite3.connect(tmp_path / "offpath-test.db")
    send.using(tx=connection).enqueue_sync("a")
    connection.rollback()
    connection.close()
    assert_not_enqueued(jobs, send)


def test_more_jobs_than_a_page_are_all_seen() -> None:
    send.enqueue_many_sync([send.call(str(n)) for n in range(1203)])
    assert [one.args["to"] for one in enqueued(jobs)] == [str(n) for n in range(1203)]


# -- inline ------------------------------------------------------------------------------------------------------------


async def test_inline_runs_where_it_is_enqueued(tmp_path: Path) -> None:
    with run_inline(jobs) as inline:
        job = await send.enqueue("a")
        assert sent == ["a"]
        assert await job.result() == "A"
        assert (await job.info()).state == "succeeded"
        doubled = await plain.using(delay=0, key="k").enqueue(4)
        assert doubled.result_sync() == 8
        assert send.enqueue_sync("b").result_sync() == "B"  # from synchronous code beside a running loop
        assert await (await parent.enqueue(["c", "d"])).result() == 2
        assert_enqueued(jobs, send, to="d")
        assert [one.task for one in enqueued(jobs)] == ["send", "plain", "send", "parent", "send", "send", "plain"]
        assert len(inline.all_found()) == 7
        with pytest.raises(ConfigurationError, match="already"), run_inline(jobs):
            pass
        with pytest.raises(NotFound):
            await jobs.get("x")
    assert list(tmp_path.iterdir()) == []  # no database was touched
    await send.enqueue("later")
    assert "later" not in sent


def test_inline_without_a_loop() -> None:
    with run_inline(jobs):
        assert plain.enqueue_sync(4).result_sync() == 8
        assert parent.enqueue_sync(["x"]).result_sync() == 1


async def test_inline_checks_what_a_worker_would() -> None:
    with run_inline(jobs):
        with pytest.raises(ArgumentError):
            await send.enqueue(3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no"):
            await fails.enqueue()
        with pytest.raises(ResultError):
            await returns_nonsense.enqueue()
        with pytest.raises(JobFailed, match="no need"):
            await (await gives_up.enqueue()).result()
        assert (await (await snoozes.enqueue()).info()).state == "scheduled"
    with run_inline(jobs, raises=False):
        job = await fails.enqueue()
        with pytest.raises(JobFailed, match="no"):
            await job.result()
        assert (await job.cancel()).state == "failed"


async def test_inline_leaves_what_is_for_later_and_keeps_its_key() -> None:
    with run_inline(jobs):
        later = await send.using(delay=3600, key="k").enqueue("later")
        assert sent == []
        assert (await later.info()).state == "scheduled"
        assert assert_enqueued(jobs, send, to="later").key == "k"
        again = await send.using(key="k").enqueue("now")
        assert (again.id, again.existing) == (later.id, True)
        assert (await later.cancel()).state == "canceled"
        fresh = await send.using(key="k").enqueue("now")
        assert not fresh.existing
        assert sent == ["now"]
        assert not (await send.using(key="k").enqueue("after")).existing  # the one before has ended: its key is free
        assert (await send.enqueue_many([send.using(key="x", delay=9).call("a"), send.using(key="x").call("b")]))[
            1
        ].existing
    assert sent == ["now", "after"]


async def test_inline_takes_the_transaction_that_a_real_enqueue_would(tmp_path: Path) -> None:
    elsewhere = sqlite3.connect(tmp_path / "elsewhere.db", isolation_level=None)
    here = sqlite3.connect(tmp_path / "offpath-test.db", isolation_level=None)
    try:
        with run_inline(jobs):
            with pytest.raises(ConfigurationError, match=r"tx must be .* not builtins.int"):
                send.using(tx=5).enqueue_sync("a")
            with pytest.raises(ConfigurationError, match=r"not builtins\.int"):
                await send.using(tx=5).enqueue("a")
            with pytest.raises(ConfigurationError, match="no open transaction"):
                await send.using(tx=here).enqueue("a")
            elsewhere.execute("begin")
            with pytest.raises(ConfigurationError, match="the jobs live in"):
                send.using(tx=elsewhere).enqueue_sync("a")
            assert sent == []
            here.execute("begin")
            await send.using(tx=here).enqueue("a")
            assert sent == ["a"]
    finally:
        elsewhere.close()
        here.close()


async def test_inline_takes_an_asynchronous_session(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/offpath-test.db")
    async with AsyncSession(engine) as session:
        with run_inline(jobs):
            await send.using(tx=session).enqueue("a")
            with pytest.raises(ConfigurationError, match="AsyncSession is asynchronous"):
                send.using(tx=session).enqueue_sync("b")
    await engine.dispose()
    assert sent == ["a"]
