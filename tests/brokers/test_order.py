"""A source that is read in order (`ports.Consumer`), asked of each broker that has an order, several consumers of a
group: whoever is handed a message has had the earlier ones of its key, or they have been accepted."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from offpath.ports.broker import Broker, Consumer, Received, Source
from tests.brokers.kinds import Kind
from tests.brokers.test_suite import PATIENCE, keyed, of, send, take

KEYS = 5


class Watch:
    """Sees whether order is kept. Messages are numbered; the key of n is n % KEYS."""

    def __init__(self) -> None:
        self.accepted: set[int] = set()
        self.handed: dict[Consumer, list[int]] = {}

    def see(self, consumer: Consumer, received: Sequence[Received]) -> None:
        handed = self.handed.setdefault(consumer, [])
        for one in received:
            n = int(one.message.body)
            before = set(range(n % KEYS, n, KEYS))
            missing = before - self.accepted - set(handed)
            assert not missing, f"{n} was handed out while {missing} were with somebody else, or nobody"
            handed.append(n)

    async def accept(self, consumer: Consumer, received: Sequence[Received]) -> None:
        self.accepted |= {int(one.message.body) for one in received}  # as committed, whatever the broker hears of it
        await consumer.accept(received)


async def ordered(broker: Broker, kind: Kind, name: str, shape: str = "topic") -> Consumer:
    async with asyncio.timeout(PATIENCE):
        return await broker.consume(Source(name, "queue" if shape == "queue" else "topic", of(name), ordered=True))


async def put(broker: Broker, name: str, *numbers: int, direct: bool = False) -> None:
    await send(broker, name, *(keyed(n, f"key-{n % KEYS}") for n in numbers), direct=direct)


@pytest.fixture(autouse=True)
def _with_an_order(kind: Kind) -> None:
    if not kind.orders:
        pytest.skip("this broker keeps no order")


async def test_no_two_consumers_have_messages_of_one_key_at_a_time(kind: Kind, name: str) -> None:
    """Small batches, each in hand for a moment, and consumers that come and go."""
    if not kind.apart:
        pytest.skip("this stand-in does not")
    watch, done = Watch(), asyncio.Event()

    async def consume(broker: Broker, turns: int) -> None:
        """Read `turns` batches, and begin anew."""
        while not done.is_set():
            consumer = await ordered(broker, kind, name)
            try:
                for _ in range(turns):
                    got = await consumer.receive(3, 0.2)
                    watch.see(consumer, got)
                    await asyncio.sleep(0.002)  # in hand: others would go on meanwhile, if they could
                    await watch.accept(consumer, got[:-1] if len(got) == 3 else got)
                    if len(got) == 3:
                        await consumer.give_back(got[-1:])
                    if len(watch.accepted) == kind.many:
                        done.set()
                        break
            finally:
                await consumer.close()

    async with kind.opened(kind.soon) as broker, kind.opened(kind.soon) as other:
        await (await ordered(broker, kind, name)).close()
        async with asyncio.timeout(2 * PATIENCE), asyncio.TaskGroup() as tasks:
            for turns, one in ((10, broker), (23, broker), (40, other)):
                tasks.create_task(consume(one, 10**9 if kind.stay else turns))
            for start in range(0, kind.many, 10):
                await put(other, name, *range(start, start + 10))
    assert len(watch.accepted) == kind.many


async def test_what_the_lost_one_had_in_hand_comes_first_to_the_one_that_takes_over(kind: Kind, name: str) -> None:
    """It is gone without a word, with messages in hand; it may even be alive, and commit them."""
    watch = Watch()
    with kind.proxy() as proxy:
        if kind.behind(proxy) == proxy.url:
            pytest.skip("who cuts this stand-in from one cuts it from all: tests/inbox/test_order.py")
        async with contextlib.AsyncExitStack() as stack:
            lost = await stack.enter_async_context(kind.opened(f"timeout=5&{kind.soon}".strip("&"), proxy.url))
            broker = await stack.enter_async_context(kind.opened(kind.soon, kind.behind(proxy)))
            first = await ordered(lost, kind, name)
            await put(broker, name, *range(10))
            got = await take(first, 5)
            watch.see(first, got)
            await watch.accept(first, got[:2])
            heir = await ordered(broker, kind, name)
            await put(broker, name, *range(10, 20))
            if kind.one_active:
                assert await heir.receive(10, 0.3) == []
            await asyncio.to_thread(proxy.cut)
            watch.accepted |= {int(one.message.body) for one in got[2:4]}  # it still commits, and can tell nobody
            async with asyncio.timeout(PATIENCE):
                while len(watch.accepted) < 20:
                    more = await heir.receive(3, 1)
                    watch.see(heir, more)
                    await watch.accept(heir, more)
            if kind.one_active:
                assert list(dict.fromkeys(watch.handed[heir])) == list(range(2, 20))
            await heir.close()
            with contextlib.suppress(Exception):
                await first.close()


async def test_whoever_stands_by_takes_over_when_the_active_one_closes(kind: Kind, name: str) -> None:
    if not kind.one_active:
        pytest.skip("here each consumer has keys of its own")
    await kind.make_queue(name)
    async with kind.opened() as broker:
        one, two = await ordered(broker, kind, name, "queue"), await ordered(broker, kind, name, "queue")
        await put(broker, name, *range(4), direct=True)
        got = await take(one, 3)
        assert await two.receive(10, 0.2) == []
        await one.accept(got[:1])
        await one.give_back(got[2:])
        again = await take(one, 1)
        assert [int(each.message.body) for each in again] == [2]
        await one.close()
        assert [int(each.message.body) for each in await take(two, 3)] == [1, 2, 3]
        await two.close()
