"""What only RabbitMQ does: see `offpath.brokers.rabbitmq`."""

import asyncio
import datetime
import logging
import re
import struct
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiormq
import pytest
from pamqp import commands, header

from offpath.brokers.address import parse
from offpath.brokers.rabbitmq import broker, routes
from offpath.brokers.rabbitmq.coding import text
from offpath.brokers.rabbitmq.frames import readable_delivery, readable_header
from offpath.errors import BrokerRefused, BrokerUnavailable, ConfigurationError
from offpath.ports.broker import Message, Outgoing, Source
from tests import brokers
from tests.brokers.kinds import Rabbit
from tests.brokers.test_suite import keyed, lost, of, reading, send, take


@pytest.fixture
async def channel(rabbitmq_url: str) -> AsyncIterator[Any]:
    """By which somebody else works on the server."""
    async with aiormq.connect(rabbitmq_url) as connection:
        yield await connection.channel()


async def test_a_group_has_only_the_types_that_it_asks_for(rabbitmq_url: str, unique: str) -> None:
    async with Rabbit(rabbitmq_url).opened() as broker:
        some = await broker.consume(Source(unique, "topic", "some", ("org.made.v1", "org.left.v1")))
        every = await broker.consume(Source(unique, "stream", "every"))
        kinds = ["org.made.v1", "org.other.v1", "org.left.v1", "org.made.v2"]
        outgoing = [Outgoing(unique, kind, Message(kind.encode())) for kind in kinds]
        assert await broker.publish(outgoing) == [None] * 4
        assert [one.message.body for one in await take(some, 2)] == [b"org.made.v1", b"org.left.v1"]
        assert [one.message.body.decode() for one in await take(every, 4)] == kinds
        assert await some.receive(1, 0.1) == []
        await some.close()
        await every.close()


async def test_queues_are_durable_quorum_queues_and_messages_persistent(
    rabbitmq_url: str, unique: str, channel: Any
) -> None:
    async with Rabbit(rabbitmq_url).opened() as broker:
        async with reading(broker, unique):
            pass
        await send(broker, unique, keyed(1))
    with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="'quorum'"):
        await channel.queue_declare(f"{unique}.{of(unique)}", durable=True)
    fresh = await channel.connection.channel()
    got = await fresh.basic_get(f"{unique}.{of(unique)}")
    assert got.header.properties.delivery_mode == 2


async def test_what_is_there_already_is_used_as_it_is(rabbitmq_url: str, unique: str, channel: Any) -> None:
    await channel.exchange_declare(unique, exchange_type="fanout")  # neither durable nor a topic
    await channel.queue_declare(f"{unique}.{of(unique)}", durable=True)  # classic
    async with Rabbit(rabbitmq_url).opened() as broker, reading(broker, unique) as consumer:
        await send(broker, unique, keyed(1))
        (got,) = await take(consumer, 1)
        assert got.times == 1
    async with Rabbit(rabbitmq_url).opened() as broker, reading(broker, unique) as consumer:
        assert [one.times for one in await take(consumer, 1)] == [0]  # a classic queue does not count
    await channel.exchange_delete(unique)


async def test_an_exchange_that_was_deleted_is_made_again(rabbitmq_url: str, unique: str, channel: Any) -> None:
    async with Rabbit(rabbitmq_url).opened() as broker:
        await send(broker, unique, keyed(1))
        await channel.exchange_delete(unique)
        await send(broker, unique, *(keyed(n) for n in range(2, 5)))
        await channel.exchange_delete(unique)
        await send(broker, unique, keyed(5))
        await channel.exchange_declare(unique, passive=True)


async def test_a_reader_whose_exchange_was_deleted_says_so_and_makes_it_again(
    rabbitmq_url: str, unique: str, channel: Any
) -> None:
    async with Rabbit(rabbitmq_url).opened("heartbeat=1") as broker:
        async with reading(broker, unique) as consumer:
            await channel.exchange_delete(unique)
            await lost(consumer)
            with pytest.raises(BrokerUnavailable, match="no exchange"):
                await consumer.receive(1, 0)
        async with reading(broker, unique) as consumer:
            await send(broker, unique, keyed(1))
            assert [one.message.body for one in await take(consumer, 1)] == [b"1"]


async def test_a_reader_binds_its_queue_to_an_exchange_that_others_have_made_anew(
    rabbitmq_url: str, unique: str, channel: Any
) -> None:
    async with Rabbit(rabbitmq_url).opened("heartbeat=1") as broker:
        wanted = Source(unique, "topic", "some", ("org.made.v1", "org.left.v1"))
        consumer = await broker.consume(wanted)
        await channel.exchange_delete(unique)
        await channel.exchange_declare(unique, exchange_type="topic", durable=True)
        async with asyncio.timeout(60):
            for subject in wanted.subjects:
                while not (got := await consumer.receive(1, 0.2)):
                    await channel.basic_publish(b"x", exchange=unique, routing_key=subject)
                await consumer.accept(got)
        await consumer.close()


async def test_an_outage_is_said_by_us_and_not_by_the_client_library(
    rabbitmq_url: str, unique: str, channel: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless somebody wants to hear that: by a level of its logger, or of connections that are not ours."""

    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name.startswith("aiormq")]

    kind = Rabbit(rabbitmq_url)
    with kind.proxy() as proxy:

        async def outage() -> None:
            proxy.restore()
            async with kind.opened(url=proxy.url) as broker, reading(broker, unique) as consumer:
                await send(broker, unique, keyed(1))
                proxy.cut()
                await lost(consumer)
                with pytest.raises(BrokerUnavailable):
                    await send(broker, unique, keyed(2))

        await outage()
        async with kind.opened() as broker, reading(broker, unique) as consumer:
            await channel.queue_delete(f"{unique}.{of(unique)}")
            await lost(consumer)
        assert said() == []

        proxy.restore()
        theirs = await aiormq.connect(proxy.url)
        proxy.cut()
        await asyncio.wait({theirs.closing}, timeout=60)
        assert len(said()) == 1

        caplog.set_level(logging.WARNING, "aiormq")
        await outage()
        assert len(said()) > 1


@pytest.mark.parametrize("count", [1, 3])
async def test_what_goes_to_an_exchange_that_is_made_anew_waits_for_those_who_read(
    rabbitmq_url: str, unique: str, channel: Any, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them: a first group that is bound again would hide the others."""
    monkeypatch.setattr(routes, "HOLD", 600.0)
    outgoing = [Outgoing(unique, "com.example.made.v1", keyed(n)) for n in range(count)]
    async with Rabbit(rabbitmq_url).opened("heartbeat=1") as broker, reading(broker, unique) as consumer:
        await send(broker, unique, keyed(9))
        await consumer.accept(await take(consumer, 1))
        await channel.exchange_delete(unique)
        with pytest.raises(BrokerUnavailable, match="has been made anew") as said:
            await broker.publish(outgoing)
        assert (said.value.alive, said.value.confirmed) == (True, ())
    async with (
        Rabbit(rabbitmq_url).opened() as broker,
        reading(broker, unique) as consumer,
    ):  # it has not been forgotten
        with pytest.raises(BrokerUnavailable, match="has been made anew"):
            await broker.publish(outgoing)
        monkeypatch.setattr(routes, "HOLD", 0.0)
        assert await broker.publish(outgoing) == [None] * count
        assert [one.message.body for one in await take(consumer, count)] == [b"%d" % n for n in range(count)]


async def test_what_no_queue_takes_any_more_waits_for_one_and_is_dropped_and_told_in_the_end(
    rabbitmq_url: str, unique: str, channel: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = f"{unique}.{of(unique)}"
    other = Outgoing(f"{unique}-nobody", "com.example.made.v1", keyed(0))
    ours = [Outgoing(unique, "com.example.made.v1", keyed(n)) for n in range(1, 4)]
    monkeypatch.setattr(routes, "HOLD", 600.0)
    async with Rabbit(rabbitmq_url).opened() as broker, reading(broker, unique) as consumer:
        await send(broker, unique, keyed(0))
        await channel.queue_unbind(queue, unique, "#")
        for confirmed in ((0,), ()):  # then each is sent alone
            with pytest.raises(
                BrokerUnavailable, match=r"no queue is bound to .* for 'com\.example\.made\.v1'"
            ) as said:
                await broker.publish([*([other] if confirmed else ()), *ours])
            assert (said.value.alive, said.value.confirmed) == (True, confirmed)
        await channel.queue_bind(queue, unique, "#")
        assert await broker.publish(ours) == [None] * 3
        assert [one.message.body for one in await take(consumer, 4)] == [b"0", b"1", b"2", b"3"]
        assert caplog.text.count("outbox.unrouted") == 1  # that nobody has ever read

        monkeypatch.setattr(routes, "HOLD", 0.0)
        for told in (2, 3):
            await channel.queue_unbind(queue, unique, "#")
            for _ in range(2):
                assert await broker.publish(ours) == [None] * 3
            assert caplog.text.count("outbox.unrouted") == told
            await channel.queue_bind(queue, unique, "#")
            await send(broker, unique, keyed(told))
            assert [one.message.body for one in await take(consumer, 1)] == [b"%d" % told]


def test_routes_are_doubtful_for_as_long_as_something_waits() -> None:
    now = 0.0
    known = routes.Routes(lambda: now)
    known.led("topic", "type")
    known.made("topic")
    known.made("other")
    assert (known.waits("topic"), known.waits("other")) == (True, False)
    assert known.returned("topic", "type")
    assert known.doubtful
    assert not known.returned("topic", "other type")
    now += routes.HOLD
    assert not known.waits("topic")
    assert not known.doubtful
    assert not known.returned("topic", "type")
    assert not known.returned("topic", "type")


async def test_a_queue_that_was_deleted_under_its_reader_is_said_and_made_again(
    rabbitmq_url: str, unique: str, channel: Any
) -> None:
    async with Rabbit(rabbitmq_url).opened() as broker:
        async with reading(broker, unique) as consumer:
            await channel.queue_delete(f"{unique}.{of(unique)}")
            await lost(consumer)
            with pytest.raises(BrokerUnavailable, match="was it deleted"):
                await consumer.receive(1, 0)
        async with reading(broker, unique) as consumer:
            await send(broker, unique, keyed(2))
            assert [one.message.body for one in await take(consumer, 1)] == [b"2"]


async def test_make_makes_the_queue_that_is_to_be_consumed(rabbitmq_url: str, unique: str) -> None:
    async with Rabbit(rabbitmq_url).opened("make=1") as broker, reading(broker, unique, shape="queue") as consumer:
        await send(broker, unique, keyed(1), direct=True)
        assert len(await take(consumer, 1)) == 1


async def test_replies_with_one_id_in_one_batch_are_each_told_their_own_answer(
    rabbitmq_url: str, unique: str, channel: Any
) -> None:
    await channel.queue_declare(unique, durable=True)
    async with Rabbit(rabbitmq_url).opened() as broker:
        places = [unique, f"{unique}-nobody", unique, f"{unique}-nobody"]
        same = Message(b"x", id="the-same")
        answers = await broker.publish([Outgoing(place, "x", same, direct=True) for place in places])
        assert [isinstance(answer, BrokerRefused) for answer in answers] == [False, True, False, True]


async def test_what_amqp_cannot_say_is_refused_and_ends_no_connection(rabbitmq_url: str, unique: str) -> None:
    async with Rabbit(rabbitmq_url).opened() as broker, reading(broker, unique) as consumer:
        impossible = [
            Outgoing(unique, "x", Message(b"x", {"much": "x" * 200_000})),  # more than a frame
            Outgoing(unique, "x", Message(b"x", {"n" * 300: "x"})),
            Outgoing(unique, "x", Message(b"x", id="i" * 300)),
            Outgoing(unique, "s" * 300, Message(b"x")),
            Outgoing("t" * 300, "x", Message(b"x")),
            Outgoing("", "x", Message(b"x")),
        ]
        answers = await broker.publish([Outgoing(unique, "x", keyed(0)), *impossible, Outgoing(unique, "x", keyed(1))])
        assert [isinstance(answer, BrokerRefused) for answer in answers] == [False, *[True] * len(impossible), False]
        assert {one.message.body for one in await take(consumer, 2)} == {b"0", b"1"}


@pytest.mark.parametrize("name", ["poisön topic", "a*b", "a(b)", "x" * 128, ""])
async def test_a_name_that_cannot_be_is_refused_with_what_can(rabbitmq_url: str, unique: str, name: str) -> None:
    known = re.escape("here: 1 to 127 letters (a-z, A-Z), digits, spaces and any of -_.:@#,/+")
    async with Rabbit(rabbitmq_url).opened("make=1") as broker, reading(broker, unique) as consumer:
        refused, taken = await broker.publish([Outgoing(name, "x", keyed(0)), Outgoing(unique, "x", keyed(1))])
        assert re.search(f"^'{re.escape(name[:50])}.* cannot be a RabbitMQ exchange {known}$", str(refused))
        assert taken is None
        with pytest.raises(BrokerRefused, match=f" cannot be a RabbitMQ exchange {known}$"):
            await broker.consume(Source(name, "topic", "g"))
        with pytest.raises(BrokerRefused, match=f" cannot be a RabbitMQ queue {known} "):
            await broker.consume(Source(name, "queue", "g"))
        with pytest.raises(
            BrokerRefused, match=rf" cannot be a RabbitMQ queue {known} \(that of a group is its topic, "
        ):
            await broker.consume(Source(unique, "topic", name or "grüp"))
        assert len(await take(consumer, 1)) == 1


async def test_every_character_that_may_be_in_a_name_may(rabbitmq_url: str, unique: str) -> None:
    name = f"{unique} aZ9-_.:@#,/+".ljust(120, "x")
    async with Rabbit(rabbitmq_url).opened() as broker, reading(broker, name, "g") as consumer:
        await send(broker, name, keyed(1))
        assert len(await take(consumer, 1)) == 1


async def test_headers_of_other_types_are_text(rabbitmq_url: str, unique: str, channel: Any) -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    headers: Any = {"n": 5, "on": True, "x": 1.5, "when": when, "no": None, "list": [1, "é"], "table": {"a": {"b": 2}}}
    async with Rabbit(rabbitmq_url).opened() as broker, reading(broker, unique) as consumer:
        properties = commands.Basic.Properties(headers=headers, content_encoding="gzip", expiration="60000")
        await channel.basic_publish(b"x", exchange=unique, routing_key="any", properties=properties)
        (got,) = await take(consumer, 1)
        assert got.message.headers == {
            "n": "5",
            "on": "true",
            "x": "1.5",
            "when": "2026-01-02T03:04:05+00:00",
            "no": "",
            "list": '[1, "é"]',
            "table": '{"a": {"b": 2}}',
            "content-encoding": "gzip",
        }
    assert text(Decimal("1.20")) == "1.20"
    assert text(bytearray(b"\xff")) == "\ufffd"


def test_a_header_that_cannot_be_read_is_made_readable_in_its_length() -> None:
    """A38: a date far away in a property, bytes that are no text in names, a table cut short."""
    properties = commands.Basic.Properties(
        message_id="xx-id", content_type="text/plain", headers={"xx-a": "xx-b", "raw": bytearray(b"\xff")}
    )
    whole = header.ContentHeader(body_size=3, properties=properties).marshal()
    assert readable_header(whole) == whole
    fixed = readable_header(whole.replace(b"xx-", b"\xff\xc0-"))
    read = header.ContentHeader()
    read.unmarshal(fixed)
    assert (len(fixed), read.properties.message_id) == (len(whole), "??-id")
    assert read.properties.headers == {"??-a": b"\xff\xc0-b", "raw": bytearray(b"\xff")}

    dated = header.ContentHeader(
        body_size=3, properties=commands.Basic.Properties(timestamp=datetime.datetime.now(datetime.UTC))
    )
    for stamp in (2**62, 2**64 - 1):
        fixed = readable_header(dated.marshal()[:-8] + struct.pack(">Q", stamp))
        read = header.ContentHeader()
        read.unmarshal(fixed)
        assert (read.body_size, read.properties.timestamp, read.properties.message_id) == (3, None, None)
    cut = readable_header(whole[:-5])
    assert len(cut) == len(whole) - 5
    header.ContentHeader().unmarshal(cut)


def test_a_routing_key_that_is_no_text_is_made_readable() -> None:
    frame = commands.Basic.Deliver("tag", 1, False, "exchange", "key-xx")
    raw = struct.pack(">I", frame.index) + frame.marshal()
    fixed = readable_delivery(raw.replace(b"xx", b"\xff\xfe"))
    read = commands.Basic.Deliver("", 0, False, "", "")
    read.unmarshal(fixed[4:])
    assert (read.routing_key, read.delivery_tag) == ("key-??", 1)


async def test_a_vhost_that_is_not_there_is_one_sentence(rabbitmq_url: str) -> None:
    made = broker(parse(rabbitmq_url.rpartition("/")[0] + "/no%2Fsuch"))
    with pytest.raises(BrokerUnavailable, match=r"said: .*no/such.*asks for vhost 'no/such'"):
        await made.open()
    await made.close()


async def test_a_consumer_does_not_get_more_than_prefetch_before_it_accepts(rabbitmq_url: str, unique: str) -> None:
    async with Rabbit(rabbitmq_url).opened("prefetch=3") as broker, reading(broker, unique) as consumer:
        await send(broker, unique, *(keyed(n) for n in range(5)))
        got = await take(consumer, 3)
        assert await consumer.receive(10, 0.1) == []
        await consumer.accept(got[:1])
        assert [one.message.body for one in await take(consumer, 1)] == [b"3"]


async def test_a_quiet_line_is_asked_whether_it_is_there(rabbitmq_url: str, unique: str) -> None:
    """Longer than `heartbeat` without a message, and giving up to wait meanwhile, costs nothing."""
    async with Rabbit(rabbitmq_url).opened("heartbeat=1") as broker, reading(broker, unique) as consumer:
        for _ in range(25):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(consumer.receive(1, 10), 0.06)
        await send(broker, unique, keyed(1))
        assert len(await take(consumer, 1)) == 1


async def test_a_server_short_of_memory_is_said_in_time_and_served_later(
    rabbitmq_server: brokers.Broker, unique: str
) -> None:
    """F36: a memory alarm. Who consumes goes on."""
    kind = Rabbit(rabbitmq_server.url)
    async with kind.opened("timeout=3") as broker, reading(broker, unique) as consumer:
        await send(broker, unique, keyed(1))
        await asyncio.to_thread(rabbitmq_server.control, "set_vm_memory_high_watermark", "0.000001")
        try:
            with pytest.raises(BrokerUnavailable, match="short of memory"):
                await broker.publish([Outgoing(unique, "x", keyed(2))])
            await consumer.accept(await take(consumer, 1))
        finally:
            await asyncio.to_thread(rabbitmq_server.control, "set_vm_memory_high_watermark", "0.4")
        async with asyncio.timeout(60):
            while True:
                try:
                    await send(broker, unique, keyed(3))
                    break
                except BrokerUnavailable:
                    pass  # the alarm takes its time to end; each try waits for `timeout`
        async with asyncio.timeout(60):
            while b"3" not in {one.message.body for one in await consumer.receive(10, 1)}:
                pass


@pytest.mark.soak
async def test_a_message_that_is_held_too_long_comes_again(rabbitmq_server: brokers.Broker, unique: str) -> None:
    """F36: consumer_timeout."""
    kind = Rabbit(rabbitmq_server.url)
    await asyncio.to_thread(rabbitmq_server.control, "eval", "application:set_env(rabbit, consumer_timeout, 1000).")
    await asyncio.to_thread(rabbitmq_server.control, "eval", "application:set_env(rabbit, channel_tick_interval, 500).")
    try:
        async with kind.opened() as broker:
            async with reading(broker, unique) as consumer:
                await send(broker, unique, keyed(1))
                got = await take(consumer, 1)
                await lost(consumer)
                with pytest.raises(BrokerUnavailable, match="timed out"):
                    await consumer.accept(got)
            async with reading(broker, unique) as consumer:
                (again,) = await take(consumer, 1)
                assert (again.message.body, again.times) == (b"1", 2)
                await consumer.accept([again])
    finally:
        await asyncio.to_thread(
            rabbitmq_server.control, "eval", "application:set_env(rabbit, consumer_timeout, 1800000)."
        )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("amqp://h/?prefetch=0", "prefetch= .* whole number from 1"),
        ("amqp://h/?heartbeat=x", "heartbeat= .* whole number"),
        ("amqp://h/?make=yes", "make= .* 0 or 1"),
        ("amqp://h/?timeout=0", "timeout= .* in seconds"),
        ("amqp://h/?maxlen=1", "rabbitmq URLs know timeout, "),
        ("amqp://h/?ca=x.pem", "TLS, as in amqps://"),
        ("amqps://h/?ca=/nowhere.pem", "certificates .* cannot be read"),
    ],
)
def test_a_url_that_is_wrong_is_refused_before_anything_is_opened(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        broker(parse(url))


async def test_a_full_queue_holds_up_nobody_elses_messages(rabbitmq_url: str, unique: str, channel: Any) -> None:
    """That of an answer refuses it; that of ours has it sent again, alone."""
    await channel.queue_declare(unique, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    await channel.queue_declare(f"{unique}-other")
    full, other = Outgoing(unique, "x", keyed(1), True, True), Outgoing(f"{unique}-other", "x", keyed(2), True)
    async with Rabbit(rabbitmq_url).opened() as broker:
        assert await broker.publish([full]) == [None]
        refused, taken = await broker.publish([full, other])
        assert "full" in str(refused)
        assert taken is None
        with pytest.raises(BrokerUnavailable, match="full") as said:
            await broker.publish([other, other, full._replace(answer=False), other._replace(message=keyed(3)), other])
        assert said.value.alive
        assert said.value.confirmed == (0, 1, 3)  # the last has not been sent: an id twice is sent apart
        assert await broker.publish([other]) == [None]
    for name in (unique, f"{unique}-other"):
        await channel.queue_delete(name)
