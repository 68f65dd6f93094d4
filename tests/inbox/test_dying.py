"""I23: the broker is told after the commit, wherever a consumer dies, and whoever has its messages then."""

import asyncio
import sys
import time
from typing import ClassVar

import pytest
from pydantic import BaseModel, field_validator

from offpath import Offpath
from offpath.cloudevents import CloudEvent

from .conftest import Make, only
from .kit import PAID, Order, consuming, opened, paid, rows, send, settled, until

pytestmark = pytest.mark.anyio

COUNT = 30


@pytest.mark.parametrize("where", ["before", "after"])
@only("redis", "rabbitmq")
async def test_a_consumer_killed_around_its_commit_loses_nothing_and_doubles_nothing(
    make: Make, broker_url: str, topic: str, where: str
) -> None:
    jobs, packed = make(), list[int]()

    @jobs.on(PAID)
    async def pack(event: CloudEvent[Order]) -> int:
        packed.append(event.data.order)
        return event.data.order

    async with consuming(jobs):
        pass  # from now on the group has what is published
    async with opened(broker_url) as broker:
        await send(broker, topic, *map(paid, range(COUNT)))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.inbox.child", jobs.settings.url, broker_url, topic, where, "10"
    )
    async with asyncio.timeout(60):
        assert await child.wait() == -9
    taken = len(await rows(jobs))
    assert 10 <= taken < COUNT if where == "before" else taken >= 10
    async with consuming(jobs):
        await settled(jobs, COUNT)
        async with opened(broker_url) as broker:
            await send(broker, topic, paid(COUNT))
        await settled(jobs, COUNT + 1)
    assert sorted(packed) == list(range(COUNT + 1))
    assert len(await rows(jobs)) == COUNT + 1


class Slow(BaseModel):
    """Reading it takes its time, which is that of the consumer: nothing is committed meanwhile."""

    pace: ClassVar[float] = 0.0

    order: int

    @field_validator("order")
    @classmethod
    def slow(cls, value: int) -> int:
        time.sleep(cls.pace)  # in a thread of the consumer's
        return value


@only("redis")
async def test_a_place_that_changes_hands_in_the_middle_doubles_nothing(
    make: Make, broker_url: str, topic: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka shares partitions anew; SQS shows again, after two seconds, what takes three; over Redis whoever waits
    has what was not accepted for half a second."""
    monkeypatch.setattr(Slow, "pace", 0.4 if kind == "sqs" else 0.03)
    one, two = make(), make()
    packed: list[int] = []

    def packing(jobs: Offpath) -> None:
        @jobs.on(PAID)
        async def pack(event: CloudEvent[Slow]) -> None:
            packed.append(event.data.order)

    packing(one)
    packing(two)
    async with consuming(one), opened(broker_url) as broker:
        await send(broker, topic, *(paid(n, f"key-{n}") for n in range(COUNT)))
        async with consuming(two):
            await send(broker, topic, *(paid(n, f"key-{n}") for n in range(COUNT, 2 * COUNT)))
            await until(lambda: len(packed) >= COUNT)
            await settled(one, 2 * COUNT)
        await send(broker, topic, paid(2 * COUNT))
        await settled(one, 2 * COUNT + 1)
    assert sorted(packed) == list(range(2 * COUNT + 1))
