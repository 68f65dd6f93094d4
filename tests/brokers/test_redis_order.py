"""Reading in order from Redis: who is active, and what becomes of what others left. See `offpath.brokers.redis`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from offpath.brokers.redis.ordered import OrderedRedisConsumer
from offpath.errors import BrokerRefused
from offpath.ports.broker import Broker, Received, Source
from servers.redis import Redis as Server
from tests.brokers.kinds import Valkey
from tests.brokers.test_suite import PATIENCE, keyed, of, reading, send, take

QUICK = "takeover=0.3"


@pytest.fixture(params=["redis", "redis7"])
def kind(request: pytest.FixtureRequest) -> Valkey:
    return Valkey(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def client(kind: Valkey) -> AsyncIterator[Any]:
    client: Any = Redis.from_url(kind.url, protocol=2, decode_responses=True)
    yield client
    await client.aclose()


async def ordered(broker: Broker, name: str) -> OrderedRedisConsumer:
    consumer = await broker.consume(Source(name, "topic", of(name), ordered=True))
    assert isinstance(consumer, OrderedRedisConsumer)
    return consumer


def fall_silent(consumer: OrderedRedisConsumer) -> None:
    """As one whose process has been stopped: it gives no more signs of life."""
    assert consumer._keeping is not None
    consumer._keeping.cancel()


def numbers(received: list[Received]) -> list[int]:
    return [int(one.message.body) for one in received]


async def test_one_that_fell_silent_is_passed_over_and_stands_by_when_it_wakes(kind: Valkey, unique: str) -> None:
    async with kind.opened(QUICK) as broker:
        one, two = await ordered(broker, unique), await ordered(broker, unique)
        await send(broker, unique, *(keyed(n) for n in range(6)))
        held = await take(one, 4)
        fall_silent(one)
        assert numbers(await take(two, 6)) == [0, 1, 2, 3, 4, 5]
        await one.accept(held)  # it has woken; of what it had, the other is no more to be told
        await send(broker, unique, keyed(6))
        assert await one.receive(10, 0.5) == []
        await one.give_back(held)
        assert numbers(await take(two, 1)) == [6]
        await two.close()
        assert numbers(await take(one, 3)) == [4, 5, 6]
        await one.close()


async def test_whoever_gives_signs_of_life_stays_active_however_long_nothing_is_asked_of_it(
    kind: Valkey, unique: str
) -> None:
    """The store is away, or the queue of jobs is deep."""
    async with kind.opened(QUICK) as broker:
        one, two = await ordered(broker, unique), await ordered(broker, unique)
        await send(broker, unique, keyed(1), keyed(2))
        held = await take(one, 1)
        assert await two.receive(10, 1.0) == []
        await one.accept(held)
        assert numbers(await take(one, 1)) == [2]
        await one.close()
        await two.close()


async def test_who_is_active_is_a_key_that_goes_with_it(kind: Valkey, unique: str, client: Any) -> None:
    key = f"{unique}:{of(unique)}:active"
    async with kind.opened("takeover=20") as broker:
        one, two = await ordered(broker, unique), await ordered(broker, unique)
        assert await one.receive(1, 0) == await two.receive(1, 0) == []
        assert 10_000 < await client.pttl(key) <= 20_000
        await two.close()
        assert await client.exists(key) == 1, "it was not his"
        await one.close()
        assert await client.exists(key) == 0


async def test_whoever_takes_over_has_all_that_was_left_a_few_at_a_time_before_he_reads_on(
    kind: Valkey, unique: str, client: Any
) -> None:
    """It may be what was too large for the ones before him. What has been deleted meanwhile holds nobody up."""
    async with kind.opened(QUICK) as broker:
        one = await ordered(broker, unique)
        await send(broker, unique, *(keyed(n) for n in range(40)))
        held = await take(one, 31)
        fall_silent(one)
        for each in held[3:9]:
            await client.xdel(unique, str(each.tag))
        two, pages = await ordered(broker, unique), list[list[int]]()
        async with asyncio.timeout(PATIENCE):
            while sum(map(len, pages)) < 34:
                if got := await two.receive(100, 1):
                    assert got[-1].times == (1 if int(got[-1].message.body) > 30 else 2)
                    await two.accept(got)
                    pages.append(numbers(got))
        assert [n for page in pages for n in page] == [n for n in range(40) if not 3 <= n < 9]
        assert len(pages[0]) == 1
        assert len(pages[1]) <= 2
        await two.close()
        await one.close()


async def test_what_one_left_that_reads_without_order_comes_too(kind: Valkey, unique: str) -> None:
    """A worker of an earlier release, say."""
    async with kind.opened(f"{QUICK}&min_idle=0.1") as broker:
        await (await ordered(broker, unique)).close()
        await send(broker, unique, *(keyed(n) for n in range(3)))
        async with reading(broker, unique) as old:
            consumer = await ordered(broker, unique)
            assert await consumer.receive(1, 0) != []
            held = await take(old, 2)
            assert numbers(await take(consumer, 2)) == numbers(held)
            await consumer.close()


async def test_a_read_in_order_that_was_cancelled_loses_nothing(kind: Valkey, unique: str) -> None:
    async with kind.opened(QUICK) as broker:
        consumer, seen = await ordered(broker, unique), list[int]()
        for n in range(20):
            waiting = asyncio.create_task(consumer.receive(10, 30))
            await asyncio.sleep(0.001 * (n % 4))  # at whatever point it is
            sending = asyncio.create_task(send(broker, unique, keyed(n)))
            await asyncio.sleep(0.0005 * (n % 3))
            waiting.cancel()
            await sending
            (result,) = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(result, list):
                seen += numbers(result)
        seen += numbers(await take(consumer, 20 - len(seen)))
        assert seen == list(range(20))
        await consumer.close()


async def test_a_server_without_memory_is_read_from_in_order(redis_server: Server, unique: str) -> None:
    """By whoever is active, and by whoever takes over: it is reading on that helps."""
    admin: Any = Redis.from_url(redis_server.url, protocol=2)
    async with Valkey(redis_server.url).opened(QUICK) as broker:
        one, two = await ordered(broker, unique), await ordered(broker, unique)
        await send(broker, unique, *(keyed(n) for n in range(3)))
        await take(one, 1)
        await admin.config_set("maxmemory", 1)
        await take(one, 1)
        fall_silent(one)
        assert numbers(await take(two, 3)) == [0, 1, 2]
        await two.close()
        await one.close()
    await admin.aclose()


async def test_a_user_who_may_not_run_scripts_is_told_so(redis_server: Server, unique: str) -> None:
    admin: Any = Redis.from_url(redis_server.url, protocol=2)
    await admin.acl_setuser("ann", enabled=True, passwords=["+pass"], keys=["*"], commands=["+@all", "-eval"])
    url = f"redis://ann:pass@{urlsplit(redis_server.url).netloc.rpartition('@')[2]}/0"
    async with Valkey(redis_server.url).opened(url=url) as broker:
        with pytest.raises(BrokerRefused, match="eval"):
            await ordered(broker, unique)
    await admin.aclose()
