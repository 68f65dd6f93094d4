"""What only Kafka does: partitions, rebalances, topics that are not there. On librdkafka's mock, see `servers/kafka.py`
for what that cannot do; on a real one with OFFPATH_TEST_KAFKA_URL."""

import asyncio
import contextlib
from importlib import import_module

import pytest

from offpath.brokers.address import parse
from offpath.brokers.kafka import consumer
from offpath.brokers.kafka.producer import KafkaBroker
from offpath.brokers.kafka.settings import read
from offpath.errors import BrokerRefused, BrokerUnavailable, ConfigurationError
from offpath.ports.broker import Broker, Consumer, Outgoing, Received, Source
from servers.kafka import Kafka
from tests.brokers.kinds import MockKafka
from tests.brokers.test_suite import PATIENCE, keyed, of, reading, send, take


@pytest.fixture
def kind(kafka_url: str) -> MockKafka:
    return MockKafka(kafka_url)


async def test_f37_a_rebalance_in_the_middle_loses_nothing_and_commits_nothing_of_others(
    kind: MockKafka, unique: str
) -> None:
    """Messages are in the hands of one member when another comes. What the first accepts too late it does not commit
    for partitions that are the other's by now: were the other to die, they would come to a third."""
    slow = "session=3"  # the mock gives members a second less to come to the new round; who misses it loses all
    async with kind.opened(slow) as broker:
        first = await broker.consume(Source(unique, "topic", of(unique)))
        await send(broker, unique, *(keyed(n, f"key-{n}") for n in range(40)))
        held = await take(first, 40)
        second = await broker.consume(Source(unique, "topic", of(unique)))
        theirs: list[Received] = []
        async with asyncio.timeout(PATIENCE):
            while not theirs:
                _, more = await asyncio.gather(first.receive(50, 0.1), second.receive(50, 0.1))
                theirs += more
        assert {place(one) for one in theirs} < {place(one) for one in held}
        await first.accept(held)
        await first.close()
        await second.close()
        async with reading(broker, unique) as third:
            seen: set[str] = set()
            async with asyncio.timeout(PATIENCE):
                while not {one.place for one in theirs} <= seen:
                    seen |= {one.place for one in await third.receive(50, 1)}
            assert len(seen) < 40  # what stayed with the first was committed


def place(one: Received) -> str:
    return one.place.partition("@")[0]


async def test_messages_of_a_key_are_where_javas_producers_send_them(kind: MockKafka, unique: str) -> None:
    """murmur2: "key" of four partitions is in the one that Java's DefaultPartitioner takes."""
    from confluent_kafka import murmur2

    async with kind.opened() as broker, reading(broker, unique) as consumer:
        await send(broker, unique, *(keyed(n, f"key-{n}") for n in range(8)))
        for one in await take(consumer, 8):
            assert one.message.key is not None
            assert place(one) == f"{unique}/{murmur2(one.message.key.encode(), 4)}"


async def test_of_large_messages_few_are_read_at_once(
    kind: MockKafka, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "ENOUGH", 100)
    async with kind.opened() as broker, reading(broker, unique) as reader:
        await send(broker, unique, *(keyed(n)._replace(body=b"x" * 60) for n in range(7)))
        pages: list[int] = []
        async with asyncio.timeout(PATIENCE):
            while sum(pages) < 7:
                pages.append(len(await reader.receive(50, 1)))
        assert max(pages) == 2


async def test_a_topic_that_is_not_there_is_refused_and_the_others_go_on(kind: MockKafka, unique: str) -> None:
    async with kind.opened() as maker, reading(maker, unique):
        pass
    broker: Broker = import_module("offpath.brokers.kafka").broker(parse(kind.url))
    await broker.open()
    try:
        there, refused, bad = await broker.publish(
            [Outgoing(topic, "x", keyed(1)) for topic in (unique, f"{unique}-none", "no topic")]
        )
        assert there is None
        assert "create=" in str(refused)
        assert "249" in str(bad)
        with pytest.raises(BrokerRefused, match=f"{unique}-none"):
            await broker.consume(Source(f"{unique}-none", "topic", of(unique)))
    finally:
        await broker.close()


async def test_what_was_not_confirmed_is_not_sent_behind_our_back(kind: MockKafka, unique: str) -> None:
    """A publish that failed is sent anew, in order: nothing of the first try may come after it."""
    with kind.proxy() as proxy:
        async with kind.opened("timeout=2", proxy.url) as broker:
            await send(broker, unique, keyed(0))
            await asyncio.to_thread(proxy.cut)
            with pytest.raises(BrokerUnavailable):
                await broker.publish([Outgoing(unique, "x", keyed(n)) for n in (1, 2)])
            await asyncio.to_thread(proxy.restore)
            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        assert await broker.publish([Outgoing(unique, "x", keyed(n)) for n in (1, 2, 3)]) == [None] * 3
                        break
                    except BrokerUnavailable:
                        continue
            async with reading(broker, unique) as consumer:
                assert [int(one.message.body) for one in await take(consumer, 4)] == [0, 1, 2, 3]
                assert await consumer.receive(1, 0.1) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://h:9092?nonsense=1", "know .*not 'nonsense'"),
        ("kafka://h:9092?enable.auto.commit=true", "not 'enable.auto.commit'"),
        ("kafka://h:9092?sasl.password=x", "not 'sasl.password'"),
        ("kafka://h:9092?create=many", "whole number"),
        ("kafka://h:9092?partitioner=mine", "murmur2_random"),
        ("kafka://h:9092?reset=now", "earliest, latest"),
        ("kafka://h:9092?sasl=PLAIN", "user and a password"),
        ("kafka://user@h:9092", "needs a password"),
        ("kafka://u:p@h:9092?sasl=GSSAPI", "SCRAM-SHA-256"),
        ("kafka://h:9092/topic", "no path"),
        ("kafka://h:9092?timeout=0", "in seconds"),
    ],
)
def test_what_a_url_cannot_say_is_told(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read(parse(url))


async def test_a_property_that_librdkafka_does_not_know_is_told() -> None:
    broker: Broker = import_module("offpath.brokers.kafka").broker(parse("kafka://h:9092?socket.nonsense=1"))
    with pytest.raises(ConfigurationError, match=r"socket\.nonsense"):
        await broker.open()
    await broker.close()


def test_passwords_go_by_sasl_and_tls_when_asked() -> None:
    plain = read(parse("kafka://u:p@a:1,b:2?sasl=scram-sha-512")).client
    assert plain["bootstrap.servers"] == "a:1,b:2"
    assert plain["security.protocol"] == "SASL_PLAINTEXT"
    assert plain["sasl.mechanism"] == "SCRAM-SHA-512"
    assert read(parse("kafkas://u:p@a:1")).client["security.protocol"] == "SASL_SSL"
    assert read(parse("kafkas://a:1?ssl.ca.location=/x")).client["ssl.ca.location"] == "/x"


async def test_no_topic_is_made_for_an_answer(kind: MockKafka, unique: str) -> None:
    """Whoever asked may have named anything. A topic that is there takes it."""
    async with kind.opened() as broker:
        (refused,) = await broker.publish([Outgoing(unique, "x", keyed(1), True, True)])
        assert "create it" in str(refused)
        assert await broker.publish([Outgoing(unique, "x", keyed(1))]) == [None]
        assert await broker.publish([Outgoing(unique, "x", keyed(2), True, True)]) == [None]


async def test_more_time_is_given_for_more_bytes(kind: MockKafka) -> None:
    broker = KafkaBroker(read(parse(kind.url)))
    assert broker._deadline(20 * 2**20) - broker._deadline() > 19


async def test_an_outage_is_told_and_the_reader_goes_on_as_the_same_member(kafka_server: Kafka, unique: str) -> None:
    """A new member would have nothing until the old one's session is over: here two minutes."""
    kafka_server.topic(unique, 2)
    url = f"{kafka_server.url}?session=120&timeout=2&wait=10"
    async with Sender(url) as before:
        await send(before, unique, keyed(0))
        consumer = await before.consume(Source(unique, "topic", of(unique)))
        [first] = await take(consumer, 1)
        kafka_server.down()
        said = await outage(consumer)
        assert said.alive
        await consumer.accept([first])  # as far as may be; the rest is with the next reading
        kafka_server.up()
        async with Sender(url) as after:
            await send(after, unique, keyed(1))
        async with asyncio.timeout(PATIENCE):
            while not (found := await received_at_last(consumer)):
                pass
        assert [one.message.body for one in found] == [keyed(1).body]
        await consumer.close()


async def outage(consumer: Consumer) -> BrokerUnavailable:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert await consumer.receive(10, 0.2) == []
            except BrokerUnavailable as error:
                return error


async def received_at_last(consumer: Consumer) -> list[Received]:
    with contextlib.suppress(BrokerUnavailable):
        return await consumer.receive(10, 0.2)
    return []


class Sender:
    """A broker, opened again and again until it answers."""

    def __init__(self, url: str) -> None:
        self._broker = KafkaBroker(read(parse(url)))

    async def __aenter__(self) -> KafkaBroker:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self._broker.open()
                    return self._broker
                except BrokerUnavailable:
                    continue

    async def __aexit__(self, *_: object) -> None:
        await self._broker.close()
