"""The same on every broker: what is published arrives, in order within a key where the broker has an order, and a job
answers to a queue."""

import asyncio
from pathlib import Path
from typing import Any

import aiormq
import pytest

from offpath import Offpath
from offpath.app.places import make_broker
from offpath.brokers.rabbitmq import routes
from offpath.ports import Source
from offpath.ports.broker import Shape
from tests import brokers

from .kit import SOON, event, reading, until

pytestmark = pytest.mark.anyio

BROKERS = [
    pytest.param(name, marks=[pytest.mark.servers(name), *([pytest.mark.timeout(420)] if name == "rabbitmq" else [])])
    for name in ("redis", "rabbitmq", "kafka", "sqs")
]
ORDERED = {"redis", "rabbitmq", "kafka"}


@pytest.mark.parametrize("name", BROKERS)
async def test_evt_11_events_and_answers_go_over_each_broker(
    name: str, unique: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(request.getfixturevalue(f"{name}_url")) + {"kafka": "?create=2", "rabbitmq": "?make=1"}.get(name, "")
    jobs = Offpath(f"sqlite:///{tmp_path}/app.db", broker=url, topic=unique, source="/shop", poll=0.1)

    @jobs.task
    async def add(a: int, b: int) -> int:
        return a + b

    await _queue(jobs, f"{unique}-answers")
    async with jobs, reading(jobs, unique) as read, jobs.worker():
        made = [await jobs.publish(event(n, key)) for n in range(10) for key in ("a", "b")]
        for one in made:
            await one.result(timeout=SOON)
        arrived = await read(20)
        await add.using(reply_to=f"{unique}-answers", correlation="c-1").enqueue(1, 2)
        async with reading(jobs, f"{unique}-answers", "queue") as answers:
            said = await answers(1)
    for key in ("a", "b"):
        numbers = arrived.numbers(key)
        assert (numbers if name in ORDERED else sorted(numbers)) == list(range(10))
    assert {one.source for one in arrived.events} == {"/shop"}
    assert said.events[0].data["result"] == 3
    assert said.messages[0].correlation == "c-1"


@pytest.mark.servers("rabbitmq")
@pytest.mark.timeout(420)
async def test_what_waited_for_a_rabbitmq_that_lost_its_disk_reaches_those_who_come_back_later(
    rabbitmq_server: brokers.Broker, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who publishes is back first, and makes the exchange."""
    monkeypatch.setattr(routes, "HOLD", 600.0)
    jobs = Offpath(f"sqlite:///{tmp_path}/app.db", broker=rabbitmq_server.url, topic=unique, source="/shop", poll=0.1)
    async with jobs, jobs.worker():
        async with reading(jobs, unique) as read:
            await (await jobs.publish(event(0))).result(timeout=SOON)
            await read(1)
        await asyncio.to_thread(rabbitmq_server.kill)
        made = [await jobs.publish(event(n)) for n in range(1, 20)]
        await asyncio.to_thread(rabbitmq_server.wipe)
        await asyncio.to_thread(rabbitmq_server.start)
        await until(lambda: _has_exchange(rabbitmq_server.url, unique))
        async with reading(jobs, unique) as read:
            monkeypatch.setattr(routes, "HOLD", 0.0)
            for one in made:
                await one.result(timeout=SOON)
            assert (await read(19)).numbers() == list(range(1, 20))


async def _has_exchange(url: str, name: str) -> bool:
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        try:
            await channel.exchange_declare(name, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return False
        return True


async def _queue(jobs: Offpath, name: str) -> None:
    """Whoever waits for answers has a queue by then; SQS leaves it to its owner to make one."""
    broker: Any = make_broker(jobs.settings)
    await broker.open()
    try:
        if broker.kind == "sqs":
            await broker._client.create_queue(QueueName=name)
        else:
            shape: Shape = "topic" if broker.kind == "kafka" else "queue"  # Kafka: in a group that nobody waits for
            await (await broker.consume(Source(name, shape, f"{name}-maker"))).close()
    finally:
        await broker.close()
