"""Consuming, end to end, from each of the brokers."""

import asyncio
import json
from typing import Any

import pytest

from offpath import Offpath
from offpath.cloudevents import CloudEvent, decode, encode
from offpath.errors import JobFailed
from offpath.ports import Message, Received, Source

from .conftest import Make, only
from .kit import PAID, Order, consuming, make_queue, members, opened, paid, rows, send, send_raw, settled, until

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def packing(jobs: Offpath, **options: Any) -> list[int]:
    """The orders that it has packed, as they come."""
    packed: list[int] = []

    @jobs.on(PAID, **options)
    async def pack(event: CloudEvent[Order]) -> int:
        packed.append(event.data.order)
        return event.data.order

    return packed


async def test_each_group_has_each_event_once_however_often_it_comes(make: Make, broker_url: str, topic: str) -> None:
    shop, bank = make("shop"), make("bank")
    packed, booked = packing(shop), packing(bank)
    async with consuming(shop, bank), opened(broker_url) as broker:
        for _ in range(3):
            await send(broker, topic, *(paid(n, f"key-{n % 5}") for n in range(20)))
        await send(broker, topic, paid(99, type="com.example.order.lost.v1"), paid(100))
        await until(lambda: 100 in packed and 100 in booked)
        await settled(shop, 21)
        await settled(bank, 21)
    for jobs, done in ((shop, packed), (bank, booked)):
        assert sorted(done) == [*range(20), 100]
        assert len(await rows(jobs)) == 21


async def test_poison_is_a_dead_letter_with_its_bytes_and_the_consumer_lives(
    make: Make, broker_url: str, topic: str, kind: str
) -> None:
    jobs = make()
    packed = packing(jobs)
    poison = [
        Message(b"\xff\xfe\x00 no text", {"task": "pack"}),
        Message(b'{"specversion":"9.0","id":"1"}', type="application/cloudevents+json"),
        members(task="offpath.receive", args={"letter": "x"}, queue="default"),
    ]
    async with consuming(jobs), opened(broker_url) as broker:
        if kind in ("redis", "rabbitmq"):
            poison.append(Message(b"\x80" * (15 * MIB if kind == "rabbitmq" else 50 * MIB)))
        await send(broker, topic, paid(1))
        await send_raw(broker, topic, *poison)
        await send(broker, topic, paid(2))
        await until(lambda: sorted(packed) == [1, 2])
        dead = await settled(jobs, len(poison), state="failed")
        assert {info.task for info in dead} == {"offpath.receive"}
        letters = [await jobs.raw(info.id) for info in dead]
        assert sorted(letter.body for letter in letters) == sorted(one.body for one in poison)
        assert {json.loads(letter.message)["headers"].get("task") for letter in letters} == {"pack", None}
        assert all(topic in letter.place for letter in letters)
        again = await jobs.retry(dead[0].id)
        with pytest.raises(JobFailed):
            await again.result(timeout=60)
    assert sorted(packed) == [1, 2]


@only("redis")
async def test_after_a_deploy_that_understands_it_a_dead_letter_is_read_again(
    make: Make, broker_url: str, topic: str
) -> None:
    old = make()

    @old.on(PAID)
    def pack(event: CloudEvent[int]) -> None: ...

    async with consuming(old), opened(broker_url) as broker:
        await send(broker, topic, paid(5, "k"))
        [dead] = await settled(old, 1)
    assert dead.error is not None
    assert "integer" in dead.error["detail"]
    new = make()
    packed = packing(new)
    async with consuming(new):
        made = await (await new.retry(dead.id)).result(timeout=60)
        await settled(new, 2, state="succeeded")
        assert packed == [5]
        assert made == [info.id for info in await rows(new, task="pack")]
        assert await (await new.retry(dead.id)).result(timeout=60) == [], "once"
    assert packed == [5]


async def test_a_foreign_producer_updates_users_by_plain_json(make: Make, broker_url: str, topic: str) -> None:
    jobs, got = make(group=""), list[tuple[int, dict[str, object]]]()
    async with opened(broker_url) as broker:
        queue = await make_queue(broker, topic)

    @jobs.on(queue=queue)
    async def apply_user_update(userId: int, userData: dict[str, object]) -> None:
        got.append((userId, userData))

    async with consuming(jobs), opened(broker_url) as broker:
        good = [members(userId=n, userData={"name": f"u{n}"})._replace(id=f"m-{n}") for n in range(5)]
        bad = members(userId="nobody", userData={})._replace(id="m-bad")
        await send_raw(broker, queue, *good, bad, *good, subject="", direct=True)
        await settled(jobs, 5, task="apply_user_update")
        [dead] = await settled(jobs, 1, state="failed")
        await until(lambda: len(got) == 5)
    assert sorted(got, key=lambda one: one[0]) == [(n, {"name": f"u{n}"}) for n in range(5)]
    assert dead.error is not None
    assert "'userId'" in dead.error["detail"]


@only("redis", "rabbitmq", "sqs")
async def test_a_message_that_asks_for_an_answer_gets_one(make: Make, broker_url: str, topic: str) -> None:
    jobs = make(source="/shop")
    packing(jobs)
    async with opened(broker_url) as broker:
        answers = await make_queue(broker, f"{topic}-answers")
        waiting = await broker.consume(Source(answers, "queue", ""))
        async with consuming(jobs):
            asking = encode(paid(7), broker.kind)._replace(reply_to=answers, correlation="c-7")
            await send_raw(broker, topic, asking)
            got: list[Received] = []
            async with asyncio.timeout(60):
                while not got:
                    got = await waiting.receive(10, 1.0)
            await waiting.accept(got)
        await waiting.close()
    answer = decode(got[0].message, broker.kind)
    assert answer.type == "dev.offpath.job.succeeded.v1"
    assert answer.data["result"] == 7
    assert got[0].message.correlation == "c-7"
