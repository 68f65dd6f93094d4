"""`ordered=True`: the jobs of one key run one after the other, in the order in which the messages came, however many
workers consume, and whatever becomes of them."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from offpath import Backoff, Offpath, Retry
from offpath.cloudevents import CloudEvent
from offpath.engine import consumers

from .conftest import Make, only
from .kit import PAID, Order, consuming, opened, paid, rows, send, settled, until

pytestmark = pytest.mark.anyio

KEYS = "abcde"
COUNT = 150
RETRYING = Retry(max_attempts=5, backoff=Backoff.fixed(0.02))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a few messages: whoever could read beside another would have every chance."""
    monkeypatch.setattr(consumers, "MOST", 3)


@pytest.fixture
def done() -> list[tuple[str, int]]:
    """Keys and numbers, in the order in which their jobs succeeded."""
    return []


@pytest.fixture
def application(make: Make, done: list[tuple[str, int]]) -> Callable[[], Offpath]:
    """One more process of the service, as it were. Some of its jobs fail at first."""
    tries: dict[int, int] = {}

    def application() -> Offpath:
        jobs = make()

        @jobs.on(PAID, ordered=True, retry=RETRYING)
        async def pack(event: CloudEvent[Order]) -> None:
            n = event.data.order
            tries[n] = tries.get(n, 0) + 1
            if n % 19 == 4 and tries[n] < 3:
                raise RuntimeError("not yet")
            done.append((str(event.partitionkey), n))

        return jobs

    return application


def events(start: int, stop: int) -> list[CloudEvent[Any]]:
    return [paid(n, KEYS[n % len(KEYS)]) for n in range(start, stop)]


def in_order(done: list[tuple[str, int]], count: int, kind: str) -> None:
    """Each once; and those of a key one after the other, where the broker has an order at all."""
    assert sorted(n for _, n in done) == list(range(count))
    for key in KEYS if kind != "sqs" else ():
        mine = [n for k, n in done if k == key]
        assert mine == sorted(mine)


@only("redis", "rabbitmq", "kafka")
async def test_jobs_of_one_key_run_in_order_on_two_workers_although_some_fail(
    application: Callable[[], Offpath], broker_url: str, topic: str, kind: str, done: list[tuple[str, int]]
) -> None:
    one, two = application(), application()
    async with consuming(one, two), opened(broker_url) as broker:
        for start in range(0, COUNT, 10):
            await send(broker, topic, *events(start, start + 10))
        await settled(one, COUNT)
    in_order(done, COUNT, kind)


@only("redis", "rabbitmq")
async def test_order_holds_while_workers_come_and_go(
    application: Callable[[], Offpath], broker_url: str, topic: str, kind: str, done: list[tuple[str, int]]
) -> None:
    """Each stops with messages in hand, and the other reads on, in turn."""
    workers = [application(), application()]

    async def begun(before: int) -> None:
        await until(lambda: len(done) > before)

    third = COUNT // 3
    async with contextlib.AsyncExitStack() as stack, opened(broker_url) as broker:
        stacks = [await stack.enter_async_context(contextlib.AsyncExitStack()) for _ in workers]
        await stacks[0].enter_async_context(consuming(workers[0]))
        for turn in range(3):
            await stacks[1 - turn % 2].enter_async_context(consuming(workers[1 - turn % 2]))
            await send(broker, topic, *events(turn * third, (turn + 1) * third))
            await begun(turn * third)
            await stacks[turn % 2].aclose()
        await settled(workers[0], COUNT)
    in_order(done, COUNT, kind)


@contextlib.asynccontextmanager
async def another(jobs: Offpath, broker_url: str, topic: str, where: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a process of its own, which is the one who reads, and has made its first job."""
    async with consuming(jobs):
        pass  # from now on the group has what is published
    deaf = "&heartbeat=1" if broker_url.startswith("amqp") else ""  # RabbitMQ is to notice soon that it sleeps
    words = (jobs.settings.url, broker_url + deaf, topic, where, "10", "ordered")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.inbox.child", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with opened(broker_url) as broker:
            await send(broker, topic, *events(0, 1))
        async with asyncio.timeout(60):
            while not await rows(jobs):  # noqa: ASYNC110 (it is another process that makes it)
                await asyncio.sleep(0.05)
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@pytest.mark.parametrize("where", ["before", "after"])
@only("redis", "rabbitmq", never=("sqs",))
async def test_when_the_one_who_reads_is_killed_with_messages_in_hand_order_holds(
    application: Callable[[], Offpath], broker_url: str, topic: str, kind: str, done: list[tuple[str, int]], where: str
) -> None:
    """I23 in order: nothing is lost, nothing doubled, and what it had in hand comes before what follows."""
    one, *_ = workers = [application() for _ in range(1 if kind == "kafka" else 2)]  # it has two partitions
    async with another(one, broker_url, topic, where) as child, consuming(*workers), opened(broker_url) as broker:
        for start in range(0, COUNT, 10):
            await send(broker, topic, *events(max(start, 1), start + 10))
        async with asyncio.timeout(60):
            assert await child.wait() == -signal.SIGKILL
        await settled(one, COUNT)
    in_order(done, COUNT, kind)
    assert len(await rows(one)) == COUNT


@only("redis", "rabbitmq", never=("kafka", "sqs"))
async def test_one_that_was_taken_for_dead_and_wakes_with_messages_in_hand_puts_nothing_out_of_order(
    application: Callable[[], Offpath], broker_url: str, topic: str, kind: str, done: list[tuple[str, int]]
) -> None:
    """It sleeps between receiving and committing. Another takes over; in the midst of that it wakes, and commits."""
    one, two = application(), application()
    async with another(one, broker_url, topic, "asleep") as child, consuming(one, two), opened(broker_url) as broker:
        await send(broker, topic, *events(1, COUNT // 2))
        assert child.stdout is not None
        assert child.stdin is not None
        async with asyncio.timeout(60):
            assert await child.stdout.readline() == b"asleep\n"
        made = len(await rows(one))
        await until(lambda: len(done) > made)  # others go on
        await send(broker, topic, *events(COUNT // 2, COUNT))
        child.stdin.write(b"wake\n")
        await settled(one, COUNT)
        child.terminate()
        async with asyncio.timeout(60):
            assert await child.wait() == 0
    in_order(done, COUNT, kind)
    assert len(await rows(one)) == COUNT
