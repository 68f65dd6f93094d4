"""FastStream receives from a real broker, the worker runs the jobs; acknowledged when committed, never before."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from faststream.confluent import KafkaBroker
from faststream.rabbit import Channel, RabbitBroker
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel, model_validator
from redis import Redis

from offpath import Offpath
from offpath.brokers import kafka
from offpath.brokers.address import parse
from offpath.cloudevents import CloudEvent, encode
from offpath.errors import ConfigurationError, StoreUnavailable
from offpath.integrations import faststream
from offpath.integrations.faststream import subscriber
from offpath.ports import Message, Outgoing, Received
from tests.inbox.kit import heard
from tests.stores.kit import Child

PAID = "com.example.order.paid.v1"


class Shop:
    """An application with two tasks, and what they have been given."""

    def __init__(self, folder: Path) -> None:
        self.jobs = Offpath(f"sqlite:///{folder}/shop.db", poll=0.05)
        self.jobs.migrate()
        self.given: list[Any] = []

        @self.jobs.task(name="apply_user_update")
        async def apply_user_update(userId: int, userData: dict[str, object]) -> None:
            self.given.append((userId, userData))

        @self.jobs.task(name="paid")
        async def paid(event: CloudEvent[dict[str, int]]) -> None:
            self.given.append((event.id, event.data))

        self.update, self.paid = apply_user_update, paid

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not what():  # noqa: ASYNC110 (a list tells nobody)
                await asyncio.sleep(0.02)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    made = Shop(tmp_path)
    yield made
    await asyncio.to_thread(made.jobs.close)


@pytest.fixture
def name() -> str:
    return f"updates-{uuid4().hex[:12]}"


UPDATE = {"userId": 7, "userData": {"username": "ada"}}


async def test_a_message_becomes_one_job_however_often_it_comes(shop: Shop, name: str, rabbitmq_url: str) -> None:
    broker = RabbitBroker(rabbitmq_url, logger=None)
    subscriber(shop.jobs, broker, name)(shop.update)
    async with broker, shop.jobs.worker():
        await broker.start()
        for _ in range(3):
            await broker.publish(UPDATE, name, message_id="m1")
        await broker.publish({"userId": "8", "userData": {}}, name, message_id="m2")
        await shop.until(lambda: len(shop.given) == 2)
    assert sorted(shop.given, key=str) == [(7, {"username": "ada"}), (8, {})]
    assert await shop.jobs.count() == 2


async def test_what_cannot_be_read_is_a_dead_letter_and_the_next_is_taken(
    shop: Shop, name: str, rabbitmq_url: str
) -> None:
    broker = RabbitBroker(rabbitmq_url, logger=None)
    subscriber(shop.jobs, broker, name)(shop.update)
    async with broker, shop.jobs.worker():
        await broker.start()
        await broker.publish(b"\xff\xfe no JSON", name)
        await broker.publish({"userId": "nobody", "userData": {}}, name)
        await broker.publish(UPDATE, name)
        await shop.until(lambda: len(shop.given) == 1)
        await shop.until(lambda: shop.jobs.dead_letters.count_sync() == 2)
    raws = {(await shop.jobs.raw(job.id)).body async for job in shop.jobs.dead_letters.list()}
    assert b"\xff\xfe no JSON" in raws


async def test_what_a_validator_with_a_bug_is_given_comes_once(shop: Shop, name: str, rabbitmq_url: str) -> None:
    class Buggy(BaseModel):
        @model_validator(mode="before")
        @classmethod
        def look(cls, data: Any) -> Any:
            return data["no such"]

    @shop.jobs.task(name="buggy")
    async def buggy(data: Buggy) -> None: ...

    broker = RabbitBroker(rabbitmq_url, logger=None)
    subscriber(shop.jobs, broker, name)(buggy)
    async with broker:
        await broker.start()
        await broker.publish({"data": {}}, name)
        await shop.until(lambda: shop.jobs.count_sync() == 1)
    assert [info.task async for info in shop.jobs.list()] == ["offpath.receive"]
    async with await aio_pika.connect(rabbitmq_url) as look, await look.channel() as channel:
        assert (await channel.declare_queue(name, passive=True)).declaration_result.message_count == 0


async def test_it_is_acknowledged_after_the_commit_and_waits_while_the_database_is_away(
    shop: Shop, name: str, rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = RabbitBroker(rabbitmq_url, logger=None)
    subscriber(shop.jobs, broker, name)(shop.update)
    take, tries, back = shop.jobs.take, 0, asyncio.Event()

    async def away(*args: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if not back.is_set():
            raise StoreUnavailable("the database is away")
        return await take(*args, **more)

    monkeypatch.setattr(shop.jobs, "take", away)
    async with broker:
        await broker.start()
        with heard("inbox.failed") as signals:
            await broker.publish(UPDATE, name)
            await shop.until(lambda: tries > 2)
        assert [said["error"] for said in signals] == ["the database is away"], "told once"
        assert await unacknowledged(rabbitmq_url, name) == 0, "nothing is ready again: the one message is held"
        back.set()
        async with shop.jobs.worker():
            await shop.until(lambda: shop.given == [(7, {"username": "ada"})])
    async with await aio_pika.connect(rabbitmq_url) as look, await look.channel() as channel:
        assert (await channel.declare_queue(name, passive=True)).declaration_result.message_count == 0


async def test_a_message_is_handed_back_when_its_time_is_up_however_long_a_try_takes(
    shop: Shop, name: str, rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faststream, "PATIENCE", 0.2)
    broker = RabbitBroker(rabbitmq_url, logger=None)
    subscriber(shop.jobs, broker, name)(shop.update)
    take, tried = shop.jobs.take, list[Received]()

    async def away(kind: str, received: Sequence[Received], *more: Any) -> Any:
        tried.extend(received)
        if received[0] is not tried[0]:  # delivered again
            return await take(kind, received, *more)
        await asyncio.sleep(0.3)  # as long as a database may take to say that it is locked
        raise StoreUnavailable("the database is locked")

    monkeypatch.setattr(shop.jobs, "take", away)
    async with broker, shop.jobs.worker():
        await broker.start()
        await broker.publish(UPDATE, name)
        await shop.until(lambda: len(shop.given) == 1)
    assert len(tried) == 2, "one try, which took longer than it may wait, and one when it came again"


async def unacknowledged(url: str, name: str) -> int:
    async with await aio_pika.connect(url) as look, await look.channel() as channel:
        return int((await channel.declare_queue(name, passive=True)).declaration_result.message_count or 0)


async def test_in_order_rabbitmq_hands_over_one_at_a_time(
    shop: Shop, name: str, rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = RabbitBroker(rabbitmq_url, logger=None)
    subscriber(shop.jobs, broker, name, types=(PAID,), ordered=True)(shop.paid)
    take, begun = shop.jobs.take, list[Received]()

    async def slow(kind: str, received: Sequence[Received], *more: Any) -> Any:
        begun.extend(received)
        if len(begun) == 1:
            await asyncio.sleep(0.3)  # the first commit takes a while: nothing may overtake it
        return await take(kind, received, *more)

    monkeypatch.setattr(shop.jobs, "take", slow)
    async with broker, shop.jobs.worker():
        await broker.start()
        for n in range(10):
            event = CloudEvent(type=PAID, source="/orders", id=f"e{n}", partitionkey="k", data={"order": n})
            message = encode(event, "http", "structured")
            await broker.publish(message.body, name, content_type=message.type)
        await shop.until(lambda: len(shop.given) == 10)
    assert [data["order"] for _, data in shop.given] == list(range(10))


async def test_redis_streams_and_cloud_events(shop: Shop, name: str, redis_url: str) -> None:
    broker = RedisBroker(redis_url, logger=None)
    stream = StreamSub(name, group="shop", consumer="one")
    subscriber(shop.jobs, broker, stream=stream, types=(PAID,))(shop.paid)
    event = encode(CloudEvent(type=PAID, source="/orders", id="e1", data={"order": 4}), "http", "structured")
    async with broker, shop.jobs.worker():
        await broker.start()
        for _ in range(2):
            await broker.publish(event.body, stream=name, headers={"content-type": event.type or ""})
        await shop.until(lambda: len(shop.given) == 1)
        await shop.until(lambda: shop.jobs.count_sync() == 1)
    assert shop.given == [("e1", {"order": 4})]


async def test_what_a_killed_process_had_of_a_redis_stream_is_claimed(
    shop: Shop, name: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faststream, "CLAIM", 100)
    database = tmp_path / "shop.db"
    broker = RedisBroker(redis_url, logger=None)
    subscriber(shop.jobs, broker, stream=StreamSub(name, group="shop", consumer="one"))(shop.update)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as lock, Redis.from_url(redis_url) as look:
        child = Child("tests.integrations.faststream_child", str(database), redis_url, name)
        try:
            assert await asyncio.to_thread(child.hear) == "here"
            lock.execute("begin immediate")
            await broker.connect()
            await broker.publish(UPDATE, stream=name)
            await shop.until(lambda: look.xpending(name, "shop")["pending"] == 1)
        finally:
            await asyncio.to_thread(child.kill)
        lock.execute("rollback")
        async with broker, shop.jobs.worker():
            await broker.start()
            await shop.until(lambda: shop.given == [(7, {"username": "ada"})])
            await shop.until(lambda: look.xpending(name, "shop")["pending"] == 0)


async def test_what_redis_would_not_bring_again_is_held_until_the_database_is_back(
    shop: Shop, name: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faststream, "PATIENCE", 0.0)
    broker = RedisBroker(redis_url, logger=None)
    subscriber(shop.jobs, broker, stream=StreamSub(name, group="shop", consumer="one"))(shop.update)
    take, tries = shop.jobs.take, 0

    async def away(*args: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreUnavailable("the database is away")
        return await take(*args, **more)

    monkeypatch.setattr(shop.jobs, "take", away)
    async with broker, shop.jobs.worker():
        await broker.start()
        for n in range(2):
            await broker.publish({**UPDATE, "userId": n}, stream=name)
        await shop.until(lambda: len(shop.given) == 2)
    assert sorted(n for n, _ in shop.given) == [0, 1]


async def test_kafka_by_its_place(shop: Shop, name: str, kafka_url: str) -> None:
    sender = kafka.broker(parse(f"{kafka_url}?create=1"))
    await sender.open()
    bodies = [json.dumps({**UPDATE, "userId": n}).encode() for n in range(3)]
    assert await sender.publish([Outgoing(name, "", Message(body)) for body in bodies]) == [None] * 3
    await sender.close()
    # Without CreateTopics, which the mock does not know: the client would wait a minute for it.
    broker = KafkaBroker(kafka_url.removeprefix("kafka://"), logger=None, allow_auto_create_topics=False)
    subscriber(shop.jobs, broker, name, group_id=f"{name}-shop", auto_offset_reset="earliest")(shop.update)
    async with broker, shop.jobs.worker():
        await broker.start()
        await shop.until(lambda: len(shop.given) == 3)
    assert sorted(n for n, _ in shop.given) == [0, 1, 2]


async def test_what_it_refuses(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="takes a broker of FastStream"):
        subscriber(shop.jobs, object(), "q")
    with pytest.raises(ConfigurationError, match="ack_policy is ours"):
        subscriber(shop.jobs, RabbitBroker(), "q", ack_policy="manual")
    with pytest.raises(ConfigurationError, match="goes above"):
        subscriber(shop.jobs, RabbitBroker(), "q")(lambda userId: None)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="what to read"):
        subscriber(shop.jobs, RabbitBroker())(shop.update)
    with pytest.raises(ConfigurationError, match=r"give Channel\(prefetch_count=1\)"):
        subscriber(shop.jobs, RabbitBroker(), "q", ordered=True, channel=Channel(prefetch_count=2))
    with pytest.raises(ConfigurationError, match="leave max_workers out"):
        subscriber(shop.jobs, RedisBroker(), ordered=True, stream="s", max_workers=2)
    with pytest.raises(ConfigurationError, match="XGROUP CREATE s g 0 MKSTREAM"):
        subscriber(shop.jobs, RedisBroker(), stream=StreamSub("s", group="g", consumer="one", last_id="0"))
    with pytest.raises(ConfigurationError, match="no_ack is ours"):
        subscriber(shop.jobs, RedisBroker(), stream=StreamSub("s", group="g", consumer="one", no_ack=True))


async def test_a_stream_that_claims_by_itself_gets_no_second_subscriber(shop: Shop) -> None:
    for options, readers in (({}, 2), ({"min_idle_time": 5}, 1), ({"claim_min_idle_time": 5}, 1)):
        broker, claims = RedisBroker(), dict[str, Any](options)
        subscriber(shop.jobs, broker, stream=StreamSub("s", group="g", consumer="one", **claims))(shop.update)
        assert len(broker.subscribers) == readers
