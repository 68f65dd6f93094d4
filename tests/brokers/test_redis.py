"""What only Redis does: see `offpath.brokers.redis`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Connection, Redis

from offpath.brokers.address import parse
from offpath.brokers.redis import broker
from offpath.brokers.redis.coding import fields, message, too_large
from offpath.brokers.redis.connection import Line
from offpath.brokers.redis.consumer import LEFT, RedisConsumer
from offpath.errors import BrokerRefused, BrokerUnavailable, ConfigurationError
from offpath.ports.broker import Message, Outgoing, Source
from servers.redis import Redis as Server
from tests.brokers.kinds import Valkey
from tests.brokers.test_suite import keyed, of, reading, send, take


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    client: Any = Redis.from_url(redis_url, protocol=2, decode_responses=True)
    yield client
    await client.aclose()


def test_an_entry_without_a_body_is_json_of_its_fields_and_data_or_payload_may_be_the_body() -> None:
    assert message({b"userId": b"5", b"name": b"\xff"}) == Message(
        b'{"userId": "5", "name": "\\ufffd"}', {"userId": "5", "name": "\ufffd"}, "application/json"
    )
    assert message({b"data": b"\xff", b"n": b"1"}) == Message(b"\xff", {"n": "1"})
    assert message({b"payload": b"{}", b"content-type": b"application/json"}) == Message(b"{}", {}, "application/json")
    assert message({b"body": b"b", b"data": b"d"}) == Message(b"b", {"data": "d"})
    assert message({b"id": b"7", b"message-id": b"8", b"reply-to": b"r"}).id == "8"  # `id` may be theirs
    assert message({b"id": b"7", b"key": b"k"}).body == b'{"id": "7", "key": "k"}'


def test_an_entry_says_no_more_than_the_message() -> None:
    assert fields(Message(b"b")) == {"body": b"b"}
    assert list(fields(Message(b"", {"h": "1"}, "t", "k", "i", "r", "c"))) == [
        *("h", "content-type", "message-id", "message-key", "reply-to", "correlation-id", "body")
    ]


async def test_maxlen_trims_and_without_it_nobody_does(redis_url: str, unique: str, client: Any) -> None:
    kind = Valkey(redis_url)
    many = [keyed(n) for n in range(500)]
    async with kind.opened("maxlen=100") as trimming, kind.opened() as keeping:
        await send(trimming, unique, *many)
        assert 100 <= await client.xlen(unique) < 300
        await send(keeping, f"{unique}-kept", *many)
        assert await client.xlen(f"{unique}-kept") == 500


async def test_a_group_begins_with_the_oldest_entry_or_with_what_comes(redis_url: str, unique: str) -> None:
    kind = Valkey(redis_url)
    async with kind.opened() as oldest, kind.opened("from=$") as newest:
        await send(oldest, unique, keyed(1))
        async with reading(oldest, unique, "all") as all_of_it, reading(newest, unique, "new") as new:
            await send(oldest, unique, keyed(2))
            assert [one.message.body for one in await take(all_of_it, 2)] == [b"1", b"2"]
            assert [one.message.body for one in await take(new, 1)] == [b"2"]


async def test_what_a_dead_consumer_had_goes_to_another_and_is_counted(redis_url: str, unique: str) -> None:
    """I23: taken, never accepted, and its process is gone without a word."""
    kind = Valkey(redis_url)
    async with kind.opened("min_idle=0.1") as broker, reading(broker, unique) as heir:
        await send(broker, unique, *(keyed(n) for n in range(3)))
        dead = await broker.consume(Source(unique, "topic", of(unique)))
        await dead.accept((await take(dead, 3))[:1])
        again = await take(heir, 2)
        assert [(one.message.body, one.times) for one in again] == [(b"1", 2), (b"2", 2)]
        await heir.accept(again)
        await dead.close()
        assert await heir.receive(10, 0.3) == []


async def test_what_others_have_left_comes_a_few_at_a_time(redis_url: str, unique: str) -> None:
    """It may be what was too large for them."""
    kind, pages = Valkey(redis_url), list[int]()
    async with kind.opened("min_idle=0.1") as broker, reading(broker, unique) as heir:
        await send(broker, unique, *(keyed(n) for n in range(31)))
        dead = await broker.consume(Source(unique, "topic", of(unique)))
        await take(dead, 31)
        async with asyncio.timeout(60):
            while sum(pages) < 31:
                if got := await heir.receive(100, 1):
                    await heir.accept(got)
                    pages.append(len(got))
        assert pages == [1, 2, 4, 8, 16]
        await dead.close()


async def test_what_was_deleted_meanwhile_holds_nobody_up(redis_url: str, unique: str, client: Any) -> None:
    kind = Valkey(redis_url)
    async with kind.opened("min_idle=0.1") as broker, reading(broker, unique) as heir:
        await send(broker, unique, *(keyed(n) for n in range(4)))
        dead = await broker.consume(Source(unique, "topic", of(unique)))
        for one in (await take(dead, 4))[:3]:
            await client.xdel(unique, str(one.tag))
        assert [one.message.body for one in await take(heir, 1)] == [b"3"]
        await dead.close()


async def test_closed_consumers_leave_no_name_and_nothing_pending_to_themselves(
    redis_url: str, unique: str, client: Any
) -> None:
    kind = Valkey(redis_url)
    async with kind.opened() as broker:
        async with reading(broker, unique) as consumer:
            await send(broker, unique, *(keyed(n) for n in range(3)))
            await take(consumer, 2)
        left = {one["name"]: one["pending"] for one in await client.xinfo_consumers(unique, of(unique))}
        assert left == {LEFT: 2}
        async with reading(broker, unique) as consumer:
            assert [one.message.body for one in await take(consumer, 3)] == [b"0", b"1", b"2"]


async def test_a_read_that_was_cancelled_can_be_followed_by_another(redis_url: str, unique: str) -> None:
    """`asyncio.wait_for(consumer.receive(…))`: what the server gives to the abandoned read is not lost to anybody."""
    kind = Valkey(redis_url)
    async with kind.opened() as broker, reading(broker, unique) as consumer:
        seen: set[bytes] = set()
        for n in range(20):
            waiting = asyncio.create_task(consumer.receive(10, 30))
            await asyncio.sleep(0.001 * (n % 4))  # at whatever point it is
            sending = asyncio.create_task(send(broker, unique, keyed(n)))
            await asyncio.sleep(0.0005 * (n % 3))
            waiting.cancel()
            await sending
            (result,) = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(result, list):
                seen |= {one.message.body for one in result}
        async with asyncio.timeout(60):
            while len(seen) < 20:
                seen |= {one.message.body for one in await consumer.receive(10, 1)}


@pytest.mark.parametrize("step", ["xpending_range", "xclaim", "xreadgroup"])
async def test_what_the_server_gave_to_a_step_that_was_cancelled_comes_again(
    redis_url: str, unique: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has done it, and its answer is not heard; `min_idle` is far off."""
    kind = Valkey(redis_url)
    async with kind.opened() as broker, reading(broker, unique) as consumer:
        assert isinstance(consumer, RedisConsumer)
        await send(broker, unique, keyed(1), keyed(2))
        if step != "xreadgroup":
            await consumer.give_back(await take(consumer, 2))
        done, real = asyncio.Event(), getattr(consumer._reader, step)

        async def unheard(*words: Any, **more: Any) -> None:
            await real(*words, **more)
            done.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(consumer._reader, step, unheard)
            waiting = asyncio.create_task(consumer.receive(10, 30))
            await done.wait()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        seen: set[bytes] = set()
        async with asyncio.timeout(60):
            while seen != {b"1", b"2"}:
                seen |= {one.message.body for one in await consumer.receive(10, 1)}


async def test_a_name_that_holds_something_else_is_refused(redis_url: str, unique: str, client: Any) -> None:
    await client.lpush(unique, "a BullMQ list, say")
    async with Valkey(redis_url).opened() as broker:
        with pytest.raises(BrokerRefused, match="something else than a stream"):
            await broker.consume(Source(unique, "queue", ""))
        (refused,) = await broker.publish([Outgoing(unique, "x", Message(b"x"))])
        assert isinstance(refused, BrokerRefused)
    await client.delete(unique)


async def test_a_stream_that_was_deleted_under_its_reader_is_made_again(
    redis_url: str, unique: str, client: Any
) -> None:
    """F35: FLUSHALL."""
    async with Valkey(redis_url).opened() as broker:
        async with reading(broker, unique) as consumer:
            await send(broker, unique, keyed(1))
            waiting = asyncio.create_task(consumer.receive(1, 30))
            await waiting
            waiting = asyncio.create_task(consumer.receive(1, 30))
            await asyncio.sleep(0.02)  # it waits at the server; if not yet, the answer is the same
            await client.delete(unique)
            with pytest.raises(BrokerUnavailable):
                await waiting
        async with reading(broker, unique) as consumer:
            await send(broker, unique, keyed(2))
            assert [one.message.body for one in await take(consumer, 1)] == [b"2"]


async def test_a_user_who_may_not_is_told_so(redis_server: Server, unique: str) -> None:
    admin: Any = Redis.from_url(redis_server.url, protocol=2)
    await admin.acl_setuser("ann", enabled=True, passwords=["+pass"], keys=["ann-*"], categories=["+@all"])
    url = f"redis://ann:pass@{urlsplit(redis_server.url).netloc.rpartition('@')[2]}/0"
    async with Valkey(redis_server.url).opened(url=url) as broker:
        answers = await broker.publish([Outgoing(name, "x", Message(b"x")) for name in ("ann-1", unique, "ann-1")])
        assert [type(answer) for answer in answers] == [type(None), BrokerRefused, type(None)]
        assert await admin.xlen("ann-1") == 2
        with pytest.raises(BrokerRefused, match="does not let this user"):
            await broker.consume(Source(unique, "topic", of(unique)))
    await admin.acl_setuser("bob", enabled=True, passwords=["+pass"], keys=["*"], commands=["+@all", "-client|kill"])
    async with Valkey(redis_server.url).opened(url=url.replace("ann", "bob", 1)) as broker:
        async with reading(broker, "ann-1") as consumer:  # closing without being allowed to tidy up is no error
            await take(consumer, 2)
        async with reading(broker, "ann-1") as consumer:
            await take(consumer, 2)
    await admin.aclose()


async def test_a_server_without_memory_takes_nothing_of_a_batch_and_all_of_it_later(
    redis_server: Server, unique: str
) -> None:
    """So that a later message of a key never stands before an earlier one."""
    admin: Any = Redis.from_url(redis_server.url, protocol=2)
    async with Valkey(redis_server.url).opened() as broker:
        await admin.config_set("maxmemory", 1)
        with pytest.raises(BrokerUnavailable, match="memory") as said:
            await broker.publish([Outgoing(unique, "x", Message(b"private-matter")) for n in range(3)])
        assert "private-matter" not in str(said.value)
        assert await admin.xlen(unique) == 0
        await admin.config_set("maxmemory", 0)
        await send(broker, unique, *(keyed(n) for n in range(3)))
        assert await admin.xlen(unique) == 3
    await admin.aclose()


async def test_a_database_that_is_not_there_is_said_at_once(redis_url: str) -> None:
    made = broker(parse(redis_url.rpartition("/")[0] + "/999"))
    with pytest.raises(BrokerUnavailable, match="DB index is out of range"):
        await made.open()
    await made.close()


def test_more_than_redis_can_hold_is_refused_before_it_is_sent() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 2**30

    assert "512 MiB" in str(too_large(Outgoing("t", "x", Message(Huge()))))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://h/one", "number of a database"),
        ("redis://h/0?maxlen=-1", "maxlen= .* whole number"),
        ("redis://h/0?from=1", "from= .* is 0 or"),
        ("redis://h/0?timeout=soon", "timeout= .* in seconds"),
        ("redis://h/0?min_idle=nan", "min_idle= .* in seconds"),
        ("redis://h/0?takeover=0", "takeover= .* from 0.1"),
        ("redis://h/0?what=1", "redis URLs know timeout, "),
        ("redis://h/0?ca=x.pem", "TLS, as in rediss://"),
        ("rediss://h/0?ca=/nowhere.pem", "certificates .* cannot be read"),
        ("rediss://h/0?key=/nowhere.pem", "needs cert="),
    ],
)
def test_a_url_that_is_wrong_is_refused_before_anything_is_opened(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        broker(parse(url))


async def test_no_stream_is_made_for_an_answer(redis_url: str, unique: str) -> None:
    """Whoever asked may have named anything. It is refused alone, in a transaction or out of it."""
    async with Valkey(redis_url).opened() as broker:
        sent = [
            Outgoing(f"{unique}-none", "x", keyed(1), True, True),
            Outgoing(unique, "x", keyed(2)),
            Outgoing(unique, "x", keyed(3), True, True),
        ]
        refused, *taken = await broker.publish(sent)
        assert "for an answer none is made" in str(refused)
        assert taken == [None, None]
        broken = sent[0]._replace(address="\0" * 3)
        assert isinstance((await broker.publish([broken]))[0], BrokerRefused)


@pytest.mark.servers("redis")
async def test_a_connection_that_opens_while_the_line_is_closed_is_closed_too(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(parse(redis_url))
    await line.open()
    client = line.client()
    pool: Any = client.connection_pool
    await pool.disconnect()  # so that the next command opens one
    begun, go = asyncio.Event(), asyncio.Event()
    original = Connection._connect

    async def slow(self: Connection) -> None:
        begun.set()
        await go.wait()
        await original(self)

    monkeypatch.setattr(Connection, "_connect", slow)
    asking = asyncio.create_task(line.ask(client.ping()))
    await asyncio.wait_for(begun.wait(), 60)
    await line.close()
    go.set()
    await asyncio.gather(asking, return_exceptions=True)
    there = [*pool._available_connections, *pool._in_use_connections]
    assert there
    assert not any(one.is_connected for one in there)
