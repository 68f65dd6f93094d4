"""Reading in order from RabbitMQ: queues that send to one consumer, and queues that do not. See
`offpath.brokers.rabbitmq`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiormq
import pytest

from offpath.errors import BrokerRefused
from offpath.ports.broker import Source
from tests import brokers
from tests.brokers.kinds import Rabbit
from tests.brokers.test_suite import keyed, of, reading, send, take

SINGLE = "x-single-active-consumer"
QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
MANY: dict[str, Any] = {"x-max-length": 500, "x-overflow": "reject-publish", "x-dead-letter-exchange": "dead"}


@pytest.fixture
async def channel(rabbitmq_url: str) -> AsyncIterator[Any]:
    """By which somebody else works on the server."""
    async with aiormq.connect(rabbitmq_url) as connection:
        yield await connection.channel()


def source(name: str) -> Source:
    return Source(name, "queue", "", ordered=True)


async def test_the_queue_of_a_group_that_wants_order_sends_to_one_consumer(
    rabbitmq_url: str, unique: str, channel: Any
) -> None:
    async with Rabbit(rabbitmq_url).opened() as broker:
        consumers = [await broker.consume(Source(unique, "topic", "g", ordered=True)) for _ in range(3)]
        more = {"x-delivery-limit": -1} if channel.connection.server_properties["version"] >= "4" else {}
        await channel.queue_declare(f"{unique}.g", durable=True, arguments={**QUORUM, **more, SINGLE: True})
        plain = await broker.consume(Source(unique, "topic", "g"))  # of a release that does not ask for it
        await send(broker, unique, keyed(1), keyed(2))
        assert len(await take(consumers[0], 2)) == 2
        for one in (*consumers, plain):
            await one.close()


@pytest.mark.parametrize("shape", ["topic", "queue"])
async def test_a_queue_of_ours_that_was_made_without_order_is_refused_in_words_and_loses_nothing(
    rabbitmq_url: str, unique: str, shape: Any
) -> None:
    async with Rabbit(rabbitmq_url).opened("make=1") as broker:
        async with reading(broker, unique, shape=shape):
            await send(broker, unique, keyed(1), direct=shape == "queue")
        with pytest.raises(BrokerRefused, match=f"quorum queue .*{unique}.* without {SINGLE}.*run empty.*delete it"):
            await broker.consume(Source(unique, shape, of(unique), ordered=True))
        async with reading(broker, unique, shape=shape) as consumer:
            assert len(await take(consumer, 1)) == 1


@pytest.mark.parametrize(
    ("durable", "arguments"),
    [
        (True, {SINGLE: True}),
        (False, {SINGLE: True, "x-max-priority": 3, **MANY}),
        (True, {SINGLE: True, "x-queue-type": "classic", "x-message-ttl": 10**9}),
        (True, {SINGLE: True, **QUORUM, **MANY, "x-delivery-limit": 5, "x-expires": 10**8}),
        (True, {}),
        (False, {"x-message-ttl": 10**8, **MANY}),
        (True, {SINGLE: False, "x-queue-type": "classic"}),
    ],
    ids=lambda given: "-".join(map(str, given)) if isinstance(given, dict) else None,
)
async def test_queues_of_others_are_read_by_one_consumer_whatever_else_they_were_declared_with(
    rabbitmq_url: str, unique: str, channel: Any, durable: bool, arguments: dict[str, Any]
) -> None:
    """By single active consumer, or on classic queues by exclusive ones; as they are: nothing is declared anew."""
    await channel.queue_declare(unique, durable=durable, arguments=arguments)
    async with Rabbit(rabbitmq_url).opened() as broker:
        one, two = await broker.consume(source(unique)), await broker.consume(source(unique))
        await send(broker, unique, *(keyed(n) for n in range(5)), direct=True)
        got = await take(one, 4)
        assert await two.receive(10, 0.2) == []
        await one.accept(got[:1])
        await one.close()
        assert [int(each.message.body) for each in await take(two, 4)] == [1, 2, 3, 4]
        await two.close()
    await channel.queue_delete(unique)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (QUORUM, f"without {SINGLE}"),
        ({**QUORUM, **MANY, SINGLE: False}, f"without {SINGLE}"),
        ({"x-queue-type": "stream"}, "is a stream"),
    ],
)
async def test_queues_of_others_that_cannot_keep_an_order_are_refused(
    rabbitmq_url: str, unique: str, channel: Any, arguments: dict[str, Any], why: str
) -> None:
    await channel.queue_declare(unique, durable=True, arguments=arguments)
    async with Rabbit(rabbitmq_url).opened() as broker:
        with pytest.raises(BrokerRefused, match=f"{unique}.* {why}"):
            await broker.consume(source(unique))
    await channel.queue_delete(unique)


async def test_while_somebody_else_reads_a_classic_queue_we_stand_by(
    rabbitmq_url: str, unique: str, channel: Any
) -> None:
    await channel.queue_declare(unique, durable=True)
    async with Rabbit(rabbitmq_url).opened() as broker:
        async with reading(broker, unique, shape="queue"):  # without order: it shares with anybody
            consumer = await broker.consume(source(unique))
            assert await consumer.receive(1, 0.1) == []
            waiting = asyncio.create_task(consumer.receive(1, 60))
            await asyncio.sleep(0)
            waiting.cancel()
        await send(broker, unique, keyed(1), direct=True)
        assert len(await take(consumer, 1)) == 1
        await consumer.close()


async def test_a_user_who_may_not_ask_is_told_so(rabbitmq_server: brokers.Broker, unique: str) -> None:
    """It takes the right to configure a queue to learn what it was declared with."""
    await asyncio.to_thread(rabbitmq_server.control, "add_user", unique, "pass")
    await asyncio.to_thread(rabbitmq_server.control, "set_permissions", "-p", "/", unique, "^$", ".*", ".*")
    await Rabbit(rabbitmq_server.url).make_queue(unique)
    parts = urlsplit(rabbitmq_server.url)
    url = parts._replace(netloc=f"{unique}:pass@127.0.0.1:{parts.port}").geturl()
    async with Rabbit(rabbitmq_server.url).opened(url=url) as broker:
        with pytest.raises(BrokerRefused, match=f"{SINGLE} .*right to configure"):
            await broker.consume(source(unique))
