"""The loop: receive, commit, acknowledge; and what becomes of that when something is away. On a broker in this process,
which goes wrong on request, and the real stores."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from offpath import Context, Offpath
from offpath.cloudevents import CloudEvent, encode
from offpath.engine import consumers
from offpath.engine.consumers import Consumers
from offpath.engine.crew import Crew
from offpath.engine.worker import Worker
from offpath.errors import BrokerRefused, BrokerUnavailable, ConfigurationError, StoreUnavailable
from offpath.ports import Consumer, Message, Received, Source, Store
from offpath.ports.inbox import Entry

from .kit import PAID, Order, Small, heard, members, paid, reading, rows, settled, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db"


@pytest.fixture
def jobs(url: str) -> Iterator[Offpath]:
    made = application(url)
    yield made
    made.close()


def application(url: str, **settings: Any) -> Offpath:
    jobs = Offpath(url, group="shop", topic="orders", poll=0.05, **settings)
    jobs.done = []  # type: ignore[attr-defined]

    @jobs.on(PAID)
    async def pack(ctx: Context, event: CloudEvent[Order]) -> int:
        jobs.done.append(event.data.order)  # type: ignore[attr-defined]
        return event.data.order

    return jobs


@pytest.fixture
def broker() -> Small:
    return Small()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(consumers, "LAST_PAUSE", 0.05)


class Away:
    """The store, refusing to take as long as `left` is not used up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store, error: Exception) -> None:
        self.left, self.tries, self.error = 0, 0, error
        real = store.verbs.take

        def take(entries: Sequence[Entry], seconds: float) -> Any:
            if self.left:
                self.left -= 1
                self.tries += 1
                raise self.error
            return (yield from real(entries, seconds))

        monkeypatch.setattr(store.verbs, "take", take)


async def test_a_message_is_acknowledged_after_its_job_is_committed(
    jobs: Offpath, broker: Small, tmp_path: Path
) -> None:
    """I23."""
    seen: list[int] = []

    class Looking(Small):
        async def may(self, verb: str) -> None:
            if verb == "accept":
                with sqlite3.connect(tmp_path / "app.db") as other:  # what another process sees at this moment
                    seen.append(other.execute("select count(*) from offpath_inbox").fetchone()[0])
                other.close()

    looking = Looking()
    looking.put("orders", paid(1), paid(2))
    async with reading(jobs, looking):
        await until(lambda: len(looking.accepted) == 2)
    assert seen == [1, 2]


async def test_a_message_that_comes_again_is_acknowledged_again_and_makes_no_job(jobs: Offpath, broker: Small) -> None:
    with heard("inbox.received") as signals:
        async with reading(jobs, broker):
            for _ in range(3):
                broker.put("orders", *map(paid, range(5)))
            await until(lambda: len(broker.accepted) == 15)
    assert sum(said["jobs"] for said in signals) == 5
    assert sum(said["known"] for said in signals) == 10
    assert len(await rows(jobs)) == 5


async def test_large_messages_are_not_all_taken_in_one_transaction(
    jobs: Offpath, broker: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(encode(paid(1), "kafka").body)
    monkeypatch.setattr(consumers, "BYTES", 2 * size)
    monkeypatch.setattr(consumers, "FIRST", 5)
    broker.put("orders", *map(paid, range(1, 6)))
    with heard("inbox.received") as signals:
        async with reading(jobs, broker):
            await until(lambda: len(broker.accepted) == 5)
    assert [said["jobs"] for said in signals] == [2, 2, 1]
    assert [one.tag for one in broker.accepted] == [0, 1, 2, 3, 4]


async def test_of_large_messages_few_are_asked_for_and_of_small_ones_many(jobs: Offpath) -> None:
    """Two hundred of fifty megabytes do not come at once."""
    asked: list[int] = []

    class Counting(Small):
        async def consume(self, source: Source) -> Consumer:
            consumer = await super().consume(source)
            receive = consumer.receive

            async def counted(most: int, wait: float) -> list[Received]:
                if got := await receive(most, wait):
                    asked.append(most)
                return got

            consumer.receive = counted  # type: ignore[method-assign]
            return consumer

    counting = Counting()
    large = [paid(n, data={"order": n, "x": "x" * 3_000_000}) for n in range(31, 35)]
    counting.put("orders", *map(paid, range(31)), *large)
    async with reading(jobs, counting):
        await until(lambda: len(counting.accepted) == 35)
        assert asked[:6] == [1, 2, 4, 8, 16, 32]
        with heard("broker.failed") as signals:
            counting.fail["receive"] = BrokerUnavailable("it did not come through")
            counting.stir()
            await until(lambda: signals)
        del counting.fail["receive"]
        counting.put("orders", paid(40))
        await until(lambda: len(counting.accepted) >= 36)
    assert asked[-1] > 1, "and then as before"
    assert 1 in asked[6:], "so many did not come through"


def test_how_many_are_wise() -> None:
    small, large = (Received(Message(b"x" * size), 0, "", "") for size in (10, consumers.BYTES // 2))
    assert consumers.wise(4, [small] * 4) == 8
    assert consumers.wise(4, [small] * 3) == 4, "that was all there is"
    assert consumers.wise(consumers.MOST, [small] * consumers.MOST) == consumers.MOST
    assert consumers.wise(1, [large]) == 2
    assert consumers.wise(2, [large] * 2) == 2
    assert consumers.wise(200, [large] * 200) == 2
    assert consumers.wise(200, [Received(Message(b"x" * 3 * consumers.BYTES), 0, "", "")]) == 1


async def test_a_message_that_is_handed_out_again_and_again_is_told_of(jobs: Offpath) -> None:
    class Again(Small):
        async def consume(self, source: Source) -> Consumer:
            consumer = await super().consume(source)
            receive = consumer.receive

            async def again(most: int, wait: float) -> list[Received]:
                return [one._replace(times=int(str(one.tag)) + 3) for one in await receive(most, wait)]

            consumer.receive = again  # type: ignore[method-assign]
            return consumer

    broker = Again()
    broker.put("orders", *map(paid, range(3)))
    with heard("inbox.repeated") as signals:
        async with reading(jobs, broker):
            await until(lambda: len(broker.accepted) == 3)
    assert [(said["place"], said["times"]) for said in signals] == [("orders/0@2", 5)]


async def test_what_a_validator_with_a_bug_is_given_is_a_dead_letter_and_its_neighbours_are_taken(
    jobs: Offpath, broker: Small
) -> None:
    class Buggy(BaseModel):
        order: int

        @model_validator(mode="before")
        @classmethod
        def look(cls, data: Any) -> Any:
            return {"order": data["order"]["number"]}

    @jobs.on("com.example.order.lost.v1")
    async def look_for(event: CloudEvent[Buggy]) -> None: ...

    @jobs.on("com.example.order.found.v1")
    async def found(event: CloudEvent[Order]) -> None: ...

    lost = paid(1, type="com.example.order.lost.v1", data={})
    taken = await jobs.take("http", [Received(encode(one, "http"), None, "/events", "") for one in (lost, paid(2))])
    assert [one.outcome for one in taken] == ["unreadable", "new"]
    assert taken[0].why == "look_for: it cannot be read: KeyError: 'order'"


async def test_whoever_takes_messages_has_only_that_one_buried_which_the_store_will_not_have(
    jobs: Offpath, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = jobs.store.verbs.take

    def take(entries: Sequence[Entry], seconds: float) -> Any:
        if any(entry.id == "order-1" for entry in entries):
            raise ValueError("secret of the database")
        return (yield from real(entries, seconds))

    monkeypatch.setattr(jobs.store.verbs, "take", take)
    received = [Received(encode(paid(n), "http"), None, "/events", "") for n in range(3)]
    with heard("inbox.unreadable") as signals:
        sent = await jobs.take("http", received, keep=False)
        kept = await jobs.take("http", received)
    assert [one.outcome for one in sent] == ["new", "unreadable", "new"]
    assert [one.outcome for one in kept] == ["known", "unreadable", "known"]
    assert sent[1].why == "no job can be made of it: ValueError"
    assert (await jobs.raw(kept[1].jobs[0])).body == received[1].message.body
    assert [said["error"] for said in signals] == ["ValueError: secret of the database"] * 2


async def test_who_waits_for_an_answer_that_no_broker_would_carry_has_his_job_all_the_same(jobs: Offpath) -> None:
    message = encode(paid(1), "http")._replace(reply_to="orders.done", correlation="7")
    with heard("inbox.unanswered") as signals:
        [taken] = await jobs.take("http", [Received(message, None, "/events", "")], keep=False)
    assert taken.outcome == "new"
    assert [said["messages"] for said in signals] == [1]


async def test_a_worker_whose_places_cannot_be_read_closes_what_it_has_opened(
    url: str, broker: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, closed, close = Offpath(url), list[Crew](), Crew.close

    async def watched(crew: Crew) -> None:
        closed.append(crew)
        await close(crew)

    monkeypatch.setattr(Crew, "close", watched)

    @jobs.on(topic="orders")
    def pack(order: int) -> None: ...

    worker = Worker(
        jobs.store,
        jobs.transport,
        jobs.registry,
        jobs.settings,
        consumers=lambda time: Consumers(jobs._inbox(), lambda: broker, jobs.store, jobs.registry, jobs.settings, time),
    )
    with pytest.raises(ConfigurationError, match="group"):
        await worker.run()
    assert len(closed) == 1
    jobs.close()


async def test_a_type_that_nobody_wants_is_passed_over(jobs: Offpath, broker: Small) -> None:
    async with reading(jobs, broker):
        broker.put("orders", paid(1, type="com.example.order.lost.v1"), paid(2))
        await settled(jobs, 1)
        await until(lambda: len(broker.accepted) == 2)
    assert [info.task for info in await rows(jobs)] == ["pack"]


async def test_two_handlers_of_a_type_each_get_a_job(jobs: Offpath, broker: Small) -> None:
    @jobs.on(PAID)
    def bill(event: CloudEvent[Order]) -> None: ...

    async with reading(jobs, broker):
        broker.put("orders", paid(1))
        assert {info.task for info in await settled(jobs, 2)} == {"pack", "bill"}


async def test_of_a_handler_that_it_does_not_fit_the_others_get_theirs(jobs: Offpath, broker: Small) -> None:
    @jobs.on(PAID)
    def bill(event: CloudEvent[str]) -> None: ...

    async with reading(jobs, broker):
        broker.put("orders", paid(1))
        found = {info.task: info.state for info in await settled(jobs, 2)}
    assert found == {"pack": "succeeded", "offpath.receive": "failed"}
    assert broker.accepted


async def test_while_the_store_is_away_messages_stay_in_hand(
    jobs: Offpath, broker: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away(monkeypatch, jobs.store, StoreUnavailable("gone fishing"))
    away.left = 5
    with heard("inbox.failed") as signals:
        async with reading(jobs, broker):
            broker.put("orders", paid(1))
            await settled(jobs, 1)
            await until(lambda: broker.accepted)
    assert broker.received == 1, "it was not given back each time: brokers count"
    assert not broker.given_back
    assert [said["error"] for said in signals] == ["gone fishing"], "told once"


async def test_after_a_while_they_are_given_back_and_nothing_is_received(
    jobs: Offpath, broker: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "HOLD", 0.0)
    away = Away(monkeypatch, jobs.store, StoreUnavailable("gone fishing"))
    away.left = 2
    async with reading(jobs, broker):
        broker.put("orders", paid(1))
        await settled(jobs, 1)
        await until(lambda: broker.accepted)
    assert broker.given_back


async def test_a_broker_that_goes_away_is_tried_until_it_is_back(jobs: Offpath, broker: Small) -> None:
    broker.fail["open"] = BrokerUnavailable("nobody at localhost:1")
    with heard("broker.failed", "broker.restored") as signals:
        async with reading(jobs, broker):
            await until(lambda: signals)
            del broker.fail["open"]
            broker.put("orders", paid(1))
            await settled(jobs, 1)
            broker.fail["receive"] = BrokerUnavailable("it hung up")
            broker.stir()
            await until(lambda: len(signals) == 3)
            broker.put("orders", paid(2))
            broker.fail["consume"] = BrokerUnavailable("still not")
            await until(lambda: broker.closed >= 2)
            broker.fail.clear()
            await settled(jobs, 2)
    assert [(said["signal"], said.get("error")) for said in signals] == [
        ("broker.failed", "nobody at localhost:1"), ("broker.restored", None),
        ("broker.failed", "it hung up"), ("broker.restored", None),
    ]  # fmt: skip


async def test_what_could_not_be_acknowledged_comes_again_and_is_known(jobs: Offpath, broker: Small) -> None:
    broker.fail["accept"] = BrokerUnavailable("it hung up")
    async with reading(jobs, broker):
        broker.put("orders", paid(1), paid(2))
        await settled(jobs, 2)
        await until(lambda: broker.received >= 4)
        broker.fail.clear()
        await until(lambda: len(broker.accepted) >= 2)
    assert len(await rows(jobs)) == 2


async def test_a_queue_that_is_not_there_is_told_of_and_looked_for_again(jobs: Offpath, broker: Small) -> None:
    broker.fail["consume"] = BrokerRefused("there is no queue 'orders'")
    with heard("inbox.failed") as signals:
        async with reading(jobs, broker):
            await until(lambda: signals)
            broker.fail.clear()
            broker.put("orders", paid(1))
            await settled(jobs, 1)
    assert [said["error"] for said in signals] == ["there is no queue 'orders'"]


async def test_a_message_that_the_store_will_not_have_is_buried_and_its_neighbours_are_taken(
    jobs: Offpath, broker: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = jobs.store.verbs.take

    def take(entries: Sequence[Entry], seconds: float) -> Any:
        if any(entry.id == "order-3" for entry in entries):
            raise ValueError("no such number")
        return (yield from real(entries, seconds))

    monkeypatch.setattr(jobs.store.verbs, "take", take)
    broker.put("orders", *map(paid, range(6)))
    async with reading(jobs, broker):
        found = await settled(jobs, 6)
        await until(lambda: len(broker.accepted) == 6)
    assert sorted(info.state for info in found) == ["failed", *["succeeded"] * 5]


async def test_a_worker_that_stops_gives_back_what_it_has_not_committed(
    jobs: Offpath, broker: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away(monkeypatch, jobs.store, StoreUnavailable("gone fishing"))
    away.left = 10**9
    async with reading(jobs, broker):
        broker.put("orders", paid(1))
        await until(lambda: away.tries)
    assert [one.place for one in broker.given_back] == ["orders/0@0"]
    assert not broker.accepted
    away.left = 0
    async with reading(jobs, broker):
        await settled(jobs, 1)


async def test_nothing_is_pulled_while_the_queue_is_deep(
    url: str, broker: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "LOOK", 0.02)
    monkeypatch.setattr(consumers, "MOST", 5)
    jobs = application(url, backlog=10)
    await jobs.queues.pause("default")
    broker.put("orders", *map(paid, range(50)))
    async with reading(jobs, broker):
        await until(lambda: len(broker.accepted) >= 10)
        deep = [info for info in await rows(jobs) if info.task == "pack"]
        assert 10 <= len(deep) <= 15
        await jobs.queues.resume("default")
        await settled(jobs, 50)
    assert sorted(jobs.done) == list(range(50))  # type: ignore[attr-defined]
    jobs.close()


async def test_plain_json_is_the_arguments_of_the_task(url: str, broker: Small) -> None:
    got: list[tuple[int, dict[str, object]]] = []
    jobs = Offpath(url, poll=0.05)

    @jobs.on(queue="user-updates")
    async def apply_user_update(userId: int, userData: dict[str, object], again: bool = False) -> None:
        got.append((userId, userData))

    data = {"email": "a@example.org", "age": 3}
    async with reading(jobs, broker):
        broker.put("user-updates", members(userId=7, userData=data), members(userId="8", userData={}))
        broker.put(
            "user-updates", members(userId="x", userData={}), members(userId=1), members(userId=1, b=2, userData={})
        )
        broker.put("user-updates", Message(b"[1,2]"), Message(b"null"), Message(b'{"userId":NaN,"userData":{}}'))
        broker.put("user-updates", Message(b"{} trailing"), Message(b""), Message(b"\xff\xfe"), Message(b"[" * 100_000))
        await settled(jobs, 12)
        await until(lambda: len(broker.accepted) == 12)
    assert got == [(7, data), (8, {})]
    errors = [info.error["detail"] for info in await rows(jobs, state="failed") if info.error]
    assert len(errors) == 10
    assert any("'userId'" in said and "integer" in said for said in errors)
    assert any("'userData'" in said and "missing" in said for said in errors)
    assert any("'b'" in said for said in errors)
    assert any("UTF-8" in said for said in errors)
    jobs.close()


async def test_jobs_of_one_key_run_in_the_order_received_over_two_workers(url: str) -> None:
    """With failures in between: a job that fails holds up its key, and no other."""
    broker, order, tries = Small(), list[tuple[str, int]](), dict[int, int]()
    applications = [Offpath(url, group="g", topic="orders", poll=0.05) for _ in range(2)]
    running: set[str] = set()
    for jobs in applications:

        @jobs.on(PAID, ordered=True, **retrying())
        async def pack(event: CloudEvent[Order]) -> None:
            key, n = str(event.partitionkey), event.data.order
            assert key not in running
            running.add(key)
            try:
                await asyncio.sleep(0)
                tries[n] = tries.get(n, 0) + 1
                if n % 7 == 3 and tries[n] < 3:
                    raise RuntimeError("not yet")
                order.append((key, n))
            finally:
                running.discard(key)

    async with reading(applications[0], broker), reading(applications[1], Small()):
        broker.put("orders", *(paid(n, "abc"[n % 3]) for n in range(60)))
        await settled(applications[0], 60)
    for key in "abc":
        mine = [n for k, n in order if k == key]
        assert mine == sorted(mine)
    assert len(order) == 60
    for jobs in applications:
        jobs.close()


def retrying() -> Any:
    from offpath import Backoff, Retry

    return {"retry": Retry(max_attempts=5, backoff=Backoff.fixed(0.02))}
