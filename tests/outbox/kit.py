"""What the tests of the outbox share: applications on both stores, and a reader of what has arrived."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from offpath import Offpath
from offpath.app.places import make_broker
from offpath.cloudevents import CloudEvent, decode
from offpath.ports import Message, Source
from offpath.ports.broker import Shape

SOON = 60.0
"""Seconds: nothing here takes one of them on a machine at rest."""
TYPE = "com.example.order.placed.v1"

Make = Callable[..., Offpath]


def event(n: int, key: str | None = "k", **given: Any) -> CloudEvent[Any]:
    return CloudEvent(**{"type": TYPE, "data": {"n": n}, "partitionkey": key, **given})


class Arrived(NamedTuple):
    """In the order in which they came."""

    messages: list[Message]
    kind: str

    @property
    def events(self) -> list[CloudEvent[Any]]:
        return [decode(message, self.kind) for message in self.messages]

    def numbers(self, key: str | None = None) -> list[int]:
        """Of the first time each came."""
        found: dict[str, int] = {}
        for one in self.events:
            if key in (None, one.partitionkey):
                found.setdefault(one.id, one.data["n"])
        return list(found.values())


@contextlib.asynccontextmanager
async def reading(jobs: Offpath, address: str, shape: Shape = "topic") -> AsyncIterator[Callable[[int], Any]]:
    """Gives a function that waits for so many messages. A group begins where it is made first: read before publishing
    where the broker keeps nothing for a group that is not there."""
    broker = make_broker(jobs.settings)
    await broker.open()
    consumer = await broker.consume(Source(address, shape, "readers"))
    found: list[Message] = []

    async def read(count: int) -> Arrived:
        async with asyncio.timeout(SOON):
            while len(found) < count:
                for one in await consumer.receive(500, 0.5):
                    found.append(one.message)
                    await consumer.accept([one])
        return Arrived(found, broker.kind)

    try:
        yield read
    finally:
        await consumer.close()
        await broker.close()


async def until(what: Callable[[], Any]) -> None:
    """Look at something that nobody tells of, until it is so."""
    async with asyncio.timeout(2 * SOON):
        while not await what():  # noqa: ASYNC110 (nobody is there to set an event)
            await asyncio.sleep(0.01)


async def backlog(jobs: Offpath) -> int:
    return (await jobs.store.read(jobs.store.verbs.backlog()))[0]
