"""`jobs.publish` end to end: from the caller's transaction to the broker."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from offpath import Context, Offpath
from offpath.cloudevents import CloudEvent
from offpath.core.health import Vitals, judge
from offpath.errors import ArgumentError, ConfigurationError, JobFailed
from offpath.testing import run_inline
from offpath.tracing import continuing

from .kit import SOON, TYPE, Make, backlog, event, reading, until

pytestmark = [pytest.mark.anyio, pytest.mark.servers("redis")]


def engine_of(jobs: Offpath) -> Any:
    url = jobs.settings.url
    made = (
        url.replace("sqlite", "sqlite+aiosqlite")
        if "sqlite" in url
        else url.replace("postgresql", "postgresql+asyncpg")
    )
    return create_async_engine(made)


async def test_evt_11_an_event_is_published_once_its_transaction_has_committed(make: Make) -> None:
    jobs = make()
    engine = engine_of(jobs)
    async with jobs, jobs.worker(), reading(jobs, jobs.settings.topic) as read:
        async with AsyncSession(engine) as session:
            async with session.begin():
                await session.execute(text("create table thing (n integer)"))
            await session.begin()
            await jobs.publish(event(1), tx=session)
            await session.rollback()
            async with session.begin():
                undone = await session.begin_nested()
                await jobs.publish(event(2), tx=session)
                await undone.rollback()
                await session.execute(text("insert into thing values (3)"))
                made = await jobs.publish(event(3), tx=session)
        await made.result(timeout=SOON)
        arrived = await read(1)
        assert arrived.numbers() == [3]
        assert await backlog(jobs) == 0
    await engine.dispose()


async def test_evt_01_what_an_event_leaves_open_is_filled_in(make: Make) -> None:
    jobs = make()
    said = CloudEvent(
        type=TYPE, data={"n": 2}, id="mine", source="urn:x", subject="orders/2", extensions={"tries": 3, "big": True}
    )
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with jobs, jobs.worker(), reading(jobs, jobs.settings.topic) as read:
        with continuing(parent):
            first = await jobs.publish(event(1))
        await first.result(timeout=SOON)
        await (await jobs.publish(said)).result(timeout=SOON)
        one, two = (await read(2)).events
    assert (one.source, one.type, one.data, one.partitionkey) == ("/shop", TYPE, {"n": 1}, "k")
    assert one.id
    assert one.time is not None
    assert str(one.extensions["traceparent"]).startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert (two.source, two.id, two.subject, two.data) == ("urn:x", "mine", "orders/2", {"n": 2})


async def test_evt_09_what_cannot_be_an_event_is_refused_at_once(make: Make) -> None:
    jobs = make()
    for wrong, said in (
        ("an event", "must be a CloudEvent"),
        (event(1, data="x" * 65_536), "64 KiB|65,536|more than"),
        (event(1, data=object()), "data"),
    ):
        with pytest.raises(ArgumentError, match=said):
            await jobs.publish(wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="1,000"):
        await jobs.publish_many([event(n) for n in range(1_001)])
    with pytest.raises(ArgumentError, match="must be a list"):
        await jobs.publish_many(event(1))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="source"):
        await make(source="").publish(event(1))
    with pytest.raises(ConfigurationError, match="to must be text"):
        await jobs.publish(event(1), to="")
    assert await jobs.publish_many([]) == []
    assert await backlog(jobs) == 0


async def test_events_go_where_their_type_says_or_the_caller(make: Make, unique: str) -> None:
    jobs = make()
    declared = jobs.event(TYPE, data=dict[str, int], topic=f"{unique}-declared")
    async with jobs, jobs.worker():
        with pytest.raises(ArgumentError, match="data"):
            await jobs.publish(declared({"n": "many"}))  # type: ignore[dict-item]
        done = [
            await jobs.publish(declared({"n": 1})),
            await jobs.publish(declared({"n": 2}), to=f"{unique}-other"),
            await jobs.publish(event(3, type="com.example.other.v1")),
            await jobs.send(f"{unique}-queue", {"userId": 7, "userData": {"name": "Zoë"}}, key="7"),
        ]
        for one in done:
            await one.result(timeout=SOON)
        for address, n in ((f"{unique}-declared", 1), (f"{unique}-other", 2), (jobs.settings.topic, 3)):
            async with reading(jobs, address) as read:
                assert (await read(1)).numbers() == [n]
        async with reading(jobs, f"{unique}-queue", "queue") as read:
            [plain] = (await read(1)).messages
    assert json.loads(plain.body) == {"userId": 7, "userData": {"name": "Zoë"}}
    assert (plain.type, plain.key, plain.headers) == ("application/json", "7", {})


async def test_events_of_a_key_arrive_in_order_while_two_workers_send(make: Make) -> None:
    jobs, other = make(), make()
    keys = [f"key {n}" for n in range(6)]

    async def tell(key: str) -> None:
        for n in range(12):
            await (jobs, other)[n % 2].publish(event(n, key))

    async with jobs, other, reading(jobs, jobs.settings.topic) as read, jobs.worker(), other.worker():
        await asyncio.gather(*(tell(key) for key in keys))
        await until(lambda: _empty(jobs))
        arrived = await read(len(keys) * 12)
    for key in keys:
        assert arrived.numbers(key) == list(range(12))


async def _empty(jobs: Offpath) -> bool:
    return await backlog(jobs) == 0


async def test_one_job_sends_for_all_and_ends_their_jobs(make: Make) -> None:
    jobs = make()
    async with jobs, reading(jobs, jobs.settings.topic) as read:
        made = await jobs.publish_many([event(n) for n in range(450)])
        async with jobs.worker() as worker:
            for one in made:
                await one.result(timeout=SOON)
            await read(450)
        assert worker._crew is not None
        assert worker._crew.succeeded < 50


async def test_an_event_that_is_refused_is_a_dead_letter_and_the_others_go_on(
    make: Make, unique: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    from redis.asyncio import Redis

    jobs = make()
    bad = f"{unique}-text"
    async with Redis.from_url(redis_url, protocol=2) as client:
        await client.set(bad, "no stream")
        async with jobs, jobs.worker(), reading(jobs, jobs.settings.topic) as read:
            refused = event(2)
            made = [await jobs.publish(event(1)), await jobs.publish(refused, to=bad), await jobs.publish(event(3))]
            await made[0].result(timeout=SOON)
            await made[2].result(timeout=SOON)
            with pytest.raises(JobFailed, match="something else than a stream"):
                await made[1].result(timeout=SOON)
            assert (await made[1].info()).attempt == 1
            assert (await read(2)).numbers() == [1, 3]
            assert "outbox.refused" in caplog.text
            with pytest.raises(JobFailed):  # it is refused again
                await (await jobs.retry(made[1].id)).result(timeout=SOON)
            await client.delete(bad)
            await (await jobs.retry(made[1].id)).result(timeout=SOON)
            async with reading(jobs, bad) as again:
                assert (await again(1)).numbers() == [2]
    assert await backlog(jobs) == 0


async def test_what_is_canceled_before_it_was_sent_is_not_sent(make: Make) -> None:
    jobs = make()
    async with jobs, reading(jobs, jobs.settings.topic) as read:
        made = await jobs.publish_many([event(n) for n in range(3)])
        await made[1].cancel("a mistake")
        async with jobs.worker():
            await made[2].result(timeout=SOON)
            assert (await read(2)).numbers() == [0, 2]
            again = await jobs.retry(made[1].id)  # it was only put aside
            await again.result(timeout=SOON)
            assert (await read(3)).numbers() == [0, 2, 1]


async def test_a_task_publishes_in_its_own_transaction(make: Make) -> None:
    jobs = make()
    engine = engine_of(jobs)

    @jobs.task
    async def place(ctx: Context, n: int) -> None:
        async with AsyncSession(engine) as session, session.begin():
            await jobs.publish(event(n), tx=session)

    async with jobs, jobs.worker(), reading(jobs, jobs.settings.topic) as read:
        await (await place.enqueue(5)).result(timeout=SOON)
        assert (await read(1)).numbers() == [5]
    await engine.dispose()


def test_the_doctor_tells_what_waits() -> None:
    at = 10**15
    vitals = Vitals(at, [], set(), [], 0, [])
    assert [check for check in judge(vitals) if check.check == "outbox"] == []
    for age, state in ((5, "ok"), (90, "warning"), (3_700, "problem")):
        [check] = [one for one in judge(vitals._replace(outbox=(7, at - age * 10**6))) if one.check == "outbox"]
        assert check.state == state
        assert check.detail == f"7 events wait to be published, the oldest for {age:,} s"


def test_without_a_broker_there_is_nothing_to_pay_and_nothing_to_publish_to(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/app.db", source="/x")

    @jobs.task
    async def add() -> None: ...

    assert jobs.registry.names() == [add.name]
    assert not jobs.registry.limits.any
    with pytest.raises(ConfigurationError, match="no broker"):
        jobs.publish_sync(event(1))
    with pytest.raises(ConfigurationError, match="no broker"):
        jobs.send_sync("q", 1)
    with pytest.raises(ConfigurationError, match="no broker"):
        add.using(reply_to="q").enqueue_sync()
    jobs.close()


async def test_publishing_from_synchronous_code(tmp_path: Path, redis_url: str, unique: str) -> None:
    path = tmp_path / "app.db"
    jobs = Offpath(f"sqlite:///{path}", broker=redis_url, source="/x", topic=unique)

    def work() -> list[str]:
        one = jobs.publish_sync(event(1))
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("begin immediate")
        two = jobs.publish_sync(event(2), tx=connection)
        many = jobs.publish_many_sync([event(3), event(4)], tx=connection)
        connection.execute("commit")
        connection.close()
        return [one.id, two.id, *(job.id for job in many)]

    async with jobs, reading(jobs, unique) as read:
        await asyncio.to_thread(work)
        async with jobs.worker():
            assert (await read(4)).numbers() == [1, 2, 3, 4]


async def test_inline_keeps_what_was_published(tmp_path: Path, redis_url: str) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/app.db", broker=redis_url, source="/x")

    @jobs.task
    async def place(n: int) -> None:
        await jobs.publish(event(n))

    with run_inline(jobs) as inline:
        await place.enqueue(1)
        made = await jobs.publish(event(2))
        await made.result()
        await jobs.send("q", {"a": 1})
    assert [one["data"]["n"] for one in inline.published[:2]] == [1, 2]
    assert inline.published[0]["source"] == "/x"
    assert inline.published[2] == {"a": 1}
    assert not (tmp_path / "app.db").exists()
