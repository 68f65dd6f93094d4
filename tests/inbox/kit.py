"""Two applications and a broker between them: what the tests of consuming have in common."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from offpath import Offpath
from offpath.brokers.address import parse
from offpath.cloudevents import CloudEvent, encode
from offpath.engine.consumers import Consumers
from offpath.engine.worker import Worker
from offpath.ports import Broker, Consumer, Message, Outgoing, Received, Source

TIMEOUT = 60.0
PAID = "com.example.order.paid.v1"
KINDS = ("redis", "rabbitmq", "kafka", "sqs")
OPTIONS = {
    "redis": "min_idle=0.5&takeover=1",
    "kafka": "create=2&session=6",
    "sqs": "visibility=2&poll=1",
    "rabbitmq": "make=1",
}
"""With which what a dead consumer had comes again soon."""


@dataclass
class Order:
    order: int


def paid(order: int, key: str | None = None, **more: Any) -> CloudEvent[Any]:
    given = {"type": PAID, "source": "/orders", "id": f"order-{order}", "data": {"order": order}, "partitionkey": key}
    return CloudEvent(**(given | more))


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Broker]:
    address = parse(url)
    broker: Broker = import_module(f"offpath.brokers.{address.kind}").broker(address)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


async def send(broker: Broker, topic: str, *events: CloudEvent[Any], direct: bool = False) -> None:
    """All of them, confirmed."""
    outgoing = [Outgoing(topic, event.type, encode(event, broker.kind), direct) for event in events]
    assert await broker.publish(outgoing) == [None] * len(outgoing)


async def send_raw(broker: Broker, topic: str, *messages: Message, subject: str = PAID, direct: bool = False) -> None:
    """The same, for what is no event."""
    outgoing = [Outgoing(topic, subject, message, direct) for message in messages]
    assert await broker.publish(outgoing) == [None] * len(outgoing)


async def make_queue(broker: Broker, name: str) -> str:
    """The address of a queue, which is there from now on. (SQS makes a group's; the others make what is asked for.)"""
    if broker.kind != "sqs":
        return name
    await (await broker.consume(Source(name, "topic", "q"))).close()
    return f"{name}--q"


@contextlib.asynccontextmanager
async def consuming(*applications: Offpath) -> AsyncIterator[None]:
    """With a worker for each; its consumers have their places at the broker by now."""
    async with contextlib.AsyncExitStack() as stack:
        with heard("inbox.consuming") as places:
            for jobs in applications:
                await stack.enter_async_context(jobs.worker())
            wanted = sum(len(jobs._inbox().readings()) for jobs in applications)
            await until(lambda: len(places) >= wanted)
        yield


async def until(holds: Callable[[], Any]) -> None:
    """Wait for what no signal tells."""
    async with asyncio.timeout(TIMEOUT):
        while not holds():  # noqa: ASYNC110 (there is no event)
            await asyncio.sleep(0.01)


async def rows(jobs: Offpath, **which: Any) -> list[Any]:
    return [info async for info in jobs.list(**which)]


async def settled(jobs: Offpath, count: int, **which: Any) -> list[Any]:
    """Wait until so many jobs have ended; gives them."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            found = [info for info in await rows(jobs, **which) if info.finished_at is not None]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


@contextlib.contextmanager
def heard(*names: str) -> Iterator[list[dict[str, Any]]]:
    """The signals of these names that are given meanwhile."""
    found: list[dict[str, Any]] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said: dict[str, Any] = getattr(record, "offpath", {})
            if said.get("signal") in names:
                found.append(said)

    root = logging.getLogger("offpath")
    ear, level = Ear(), root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        yield found
    finally:
        root.removeHandler(ear)
        root.setLevel(level)


# ── a broker in this process ─────────────────────────────────────────────────────────────────────────────────────────


class Small:
    """A broker that goes wrong when it is told to. `kind` is how events are encoded; what was not accepted comes again
    to the next consumer, as with any broker."""

    kind = "kafka"

    def __init__(self) -> None:
        self.waiting: dict[str, list[Message]] = {}
        self.accepted: list[Received] = []
        self.given_back: list[Received] = []
        self.received = 0
        self.fail: dict[str, Exception] = {}
        self.opened = self.closed = 0
        self._stirred = asyncio.Event()

    def put(self, address: str, *messages: Message | CloudEvent[Any]) -> None:
        coded = [encode(one, self.kind) if isinstance(one, CloudEvent) else one for one in messages]
        self.waiting.setdefault(address, []).extend(coded)
        self.stir()

    def stir(self) -> None:
        self._stirred.set()
        self._stirred = asyncio.Event()

    async def may(self, verb: str) -> None:
        if verb in self.fail:
            raise self.fail[verb]

    async def open(self) -> None:
        await self.may("open")
        self.opened += 1

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Any]:
        for one in outgoing:
            self.put(one.address, one.message)
        return [None for _ in outgoing]

    async def consume(self, source: Source) -> Consumer:
        await self.may("consume")
        return SmallConsumer(self, source)

    async def close(self) -> None:
        self.closed += 1


class SmallConsumer:
    def __init__(self, broker: Small, source: Source) -> None:
        self._broker, self._source, self._next = broker, source, 0

    async def receive(self, most: int, wait: float) -> list[Received]:
        broker, where = self._broker, self._source.address
        await broker.may("receive")
        stirred = broker._stirred
        if self._next >= len(broker.waiting.get(where, ())):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stirred.wait(), wait)
        await broker.may("receive")
        there = broker.waiting.get(where, [])[self._next : self._next + most]
        first, self._next = self._next, self._next + len(there)
        broker.received += len(there)
        return [Received(one, first + n, f"{where}/0@{first + n}", where, 1) for n, one in enumerate(there)]

    async def accept(self, received: Sequence[Received]) -> None:
        await self._broker.may("accept")
        self._broker.accepted.extend(received)

    async def give_back(self, received: Sequence[Received]) -> None:
        self._broker.given_back.extend(received)
        self._next = min(self._next, *(int(str(one.tag)) for one in received))

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def reading(jobs: Offpath, broker: Small) -> AsyncIterator[Worker]:
    """A worker that reads this broker."""
    worker = Worker(
        jobs.store,
        jobs.transport,
        jobs.registry,
        jobs.settings,
        consumers=lambda time: Consumers(jobs._inbox(), lambda: broker, jobs.store, jobs.registry, jobs.settings, time),
    )
    running = asyncio.create_task(worker.run())
    try:
        await worker.ready.wait()
        yield worker
    finally:
        worker.stop()
        await running


def members(**said: Any) -> Message:
    """Plain JSON, as a foreign producer sends it."""
    return Message(json.dumps(said).encode())
