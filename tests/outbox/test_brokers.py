"""The same on every broker: what is published arrives, in order within a key where the broker has an order, and a job
answers to a queue."""

from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath
from offpath.app.places import make_broker
from offpath.ports import Source
from offpath.ports.broker import Shape

from .kit import SOON, event, reading

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
