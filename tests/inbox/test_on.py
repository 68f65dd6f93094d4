"""What `jobs.on` declares and refuses, and what a message asks for by it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from offpath import Context, Offpath
from offpath.cloudevents import CloudEvent, encode
from offpath.engine.messages import LARGEST, Sorted, rest, sort, whole
from offpath.errors import ConfigurationError
from offpath.ports import Message, Received
from offpath.tasks import Subscription, Task, readings

from .kit import PAID, Order, heard, members, paid, settled


@pytest.fixture
def jobs(tmp_path: Any) -> Offpath:
    return Offpath(f"sqlite:///{tmp_path}/app.db", group="shop", topic="orders")


def only(jobs: Offpath) -> Subscription:
    [one] = jobs.registry.subscriptions
    return one


# ── declaring ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_handler_of_events_is_a_task_and_a_subscription(jobs: Offpath) -> None:
    @jobs.on(PAID, "com.example.order.paid.v2", topic="shop", group="packers", ordered=True, priority=2)
    async def pack(ctx: Context, event: CloudEvent[Order], copies: int = 1) -> None: ...

    assert isinstance(pack, Task)
    assert (pack.name, pack.options.priority) == ("pack", 2)
    assert only(jobs) == Subscription(
        "pack", (PAID, "com.example.order.paid.v2"), "shop", "topic", "packers", True, "cloudevent", "event"
    )
    assert only(jobs).data is Order


def test_a_handler_may_stand_above_a_task(jobs: Offpath) -> None:
    @jobs.on(PAID)
    @jobs.task(queue="packing", name="wrap")
    def pack(order: Annotated[CloudEvent[Order], "a note"]) -> None: ...

    assert (only(jobs).task, only(jobs).parameter, pack.options.queue) == ("wrap", "order", "packing")


@pytest.mark.anyio
async def test_a_handler_is_called_like_the_function_it_is(jobs: Offpath) -> None:
    @jobs.on(PAID)
    async def pack(ctx: Context, event: CloudEvent[Order]) -> int:
        return event.data.order

    assert await pack(CloudEvent(type=PAID, data=Order(3))) == 3


def test_a_declared_event_says_its_topic(jobs: Offpath) -> None:
    Paid = jobs.event(PAID, data=Order, topic="shop")

    @jobs.on(Paid)
    def pack(event: CloudEvent[Order]) -> None: ...

    assert (only(jobs).types, only(jobs).address) == ((PAID,), "shop")


def test_the_same_declaration_twice_is_one(jobs: Offpath) -> None:
    def pack(event: CloudEvent[Order]) -> None: ...

    jobs.on(PAID)(pack)
    jobs.on(PAID)(pack)
    assert len(jobs.registry.subscriptions) == 1


def test_one_place_has_one_consumer(jobs: Offpath) -> None:
    """Two of a group would have half of the messages each."""

    @jobs.on(PAID)
    def pack(event: CloudEvent[Order]) -> None: ...

    @jobs.on("b.c", topic="orders", group="shop")
    def bill(event: CloudEvent[Order]) -> None: ...

    @jobs.on(PAID, group="others")
    def audit(event: CloudEvent[Order]) -> None: ...

    @jobs.on(queue="orders")
    def plain(order: int) -> None: ...

    found = [(*one.source[:4], [each.task for each in one.subscriptions]) for one in jobs._inbox().readings()]
    assert found == [
        ("orders", "topic", "shop", (PAID, "b.c"), ["pack", "bill"]),
        ("orders", "topic", "others", (PAID,), ["audit"]),
        ("orders", "queue", "", (), ["plain"]),
    ]


def test_a_topic_without_a_group_is_refused_when_a_worker_starts(tmp_path: Any) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/app.db", broker="redis://localhost")

    @jobs.on(PAID)
    def pack(event: CloudEvent[Order]) -> None: ...

    with pytest.raises(ConfigurationError, match=r"task pack consumes the topic 'events'.*group=.*OFFPATH_GROUP"):
        jobs.make_worker()
    jobs.make_worker(until_empty=True)  # it consumes nothing


def test_without_a_broker_a_worker_says_that_only_http_can_bring_anything(jobs: Offpath) -> None:
    @jobs.on(PAID)
    def pack(event: CloudEvent[Order]) -> None: ...

    with heard("inbox.idle") as signals:
        jobs.make_worker()
    assert [said["tasks"] for said in signals] == ["pack"]


def nothing() -> None: ...
def no_event(order: int) -> None: ...
def bare(event) -> None: ...  # type: ignore[no-untyped-def]
def two(a: CloudEvent[int], b: CloudEvent[int]) -> None: ...
def more(event: CloudEvent[int], user: int) -> None: ...
def event(event: CloudEvent[int]) -> None: ...


@pytest.mark.parametrize(
    ("declare", "what"),
    [
        (lambda on: on()(event), "needs to know what to read"),
        (lambda on: on(event), "is called with what to consume"),
        (lambda on: on(3)(event), "takes types of events"),
        (lambda on: on("")(event), "the type of an event must be text"),
        (lambda on: on("a\x00b")(event), r"U\+0000"),
        (lambda on: on(PAID, topic="a", queue="b")(event), "reads one place: give topic or queue"),
        (lambda on: on(PAID, topic="")(event), "topic must be text"),
        (lambda on: on(PAID, group="a\nb")(event), "group must not contain"),
        (lambda on: on(PAID, ordered=1)(event), "ordered"),
        (lambda on: on(PAID)(no_event), "takes no event: give it a parameter"),
        (lambda on: on(PAID)(bare), "its parameter event has no such annotation"),
        (lambda on: on(PAID)(two), "one event at a time, not a and b"),
        (lambda on: on(PAID)(more), "'user' that no message gives"),
        (lambda on: on(queue="q")(event), "jobs.on says of no type which"),
        (lambda on: on(queue="q")(nothing), "has no parameters"),
        (lambda on: on(PAID, timeout=-1)(event), "timeout"),
    ],
)
def test_what_cannot_be_is_told_at_once(jobs: Offpath, declare: Callable[[Any], Any], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        declare(jobs.on)
    assert not jobs.registry.subscriptions


def test_options_are_the_tasks_where_there_is_one(jobs: Offpath) -> None:
    with pytest.raises(ConfigurationError, match="above task event takes no options"):
        jobs.on(PAID, priority=3)(jobs.task(event))


# ── what a message asks for ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Parcel:
    order: int
    weight: float = 0.0


def asked(jobs: Offpath, message: Message, kind: str = "kafka", place: str = "orders/0@7") -> Sorted:
    one = Received(message, None, place, "orders")
    return sort(kind, one, jobs.registry.subscriptions, jobs.registry.get, answers=True)


def test_the_event_is_stored_as_it_came_with_its_data_as_declared(jobs: Offpath) -> None:
    @jobs.on(PAID)
    def pack(event: CloudEvent[Parcel]) -> None: ...

    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    sent = paid(1, "k", data={"order": "5"}, subject="s", extensions={"traceparent": trace})
    for kind in ("kafka", "rabbitmq", "redis", "sqs", "http"):
        [found] = asked(jobs, encode(sent, kind), kind).asked
        event = pack.decode(found.call.args)["event"]
        assert event.data == Parcel(5)
        assert (event.id, event.source, event.subject, event.partitionkey) == ("order-1", "/orders", "s", "k")
        assert (found.source, found.id, found.line) == ("/orders", "order-1", None)
        assert found.trace == (trace, None)


def test_an_ordered_handler_has_lines_for_the_events_that_have_a_key(jobs: Offpath) -> None:
    @jobs.on(PAID, ordered=True)
    def pack(event: CloudEvent[Order]) -> None: ...

    lines = [asked(jobs, encode(paid(n, key), "kafka")).asked[0].line for n, key in enumerate(("a", "a", "b", None))]
    assert lines[0] == lines[1] != lines[2]
    assert lines[3] is None


def test_whoever_waits_for_an_answer_gets_one(jobs: Offpath) -> None:
    @jobs.on(PAID)
    def pack(event: CloudEvent[Order]) -> None: ...

    message = encode(paid(1), "kafka")
    [found] = asked(jobs, message._replace(reply_to="answers", correlation="c1")).asked
    assert (found.call.using.reply_to, found.call.using.correlation) == ("answers", "c1")
    [found] = asked(jobs, message._replace(correlation="c1")).asked
    assert found.call.using.correlation is None
    [wrong] = asked(jobs, message._replace(reply_to="a\x00b")).misfits
    assert "reply_to" in wrong.why


def test_plain_json_is_known_by_its_id_or_by_its_place(jobs: Offpath) -> None:
    @jobs.on(queue="orders")
    def pack(order: int) -> None: ...

    def identity(message: Message, kind: str, place: str = "orders@1") -> tuple[str, str | None]:
        [found] = asked(jobs, message, kind, place).asked
        return found.source, found.id

    one = members(order=1)
    assert identity(one._replace(id="m-1"), "rabbitmq") == ("orders", "m-1")
    assert identity(one, "rabbitmq") == ("orders", None), "nothing says that it is the same"
    for kind in ("kafka", "redis"):
        assert identity(one, kind) == identity(one, kind)
        assert identity(one, kind) != identity(one, kind, "orders@2")
        assert identity(one, kind) != identity(members(order=2), kind), "a topic may be made anew, and count from 0"


def test_what_others_send_cannot_grow_our_indexes(jobs: Offpath) -> None:
    @jobs.on(PAID, ordered=True)
    def pack(event: CloudEvent[Order]) -> None: ...

    [found] = asked(jobs, encode(paid(1, "k" * 5000, id="i" * 5000, source="/" + "s" * 5000), "kafka")).asked
    assert max(map(len, (found.id or "", found.source, found.line or ""))) < 256


def test_a_message_never_names_a_task(jobs: Offpath) -> None:
    """A38: whatever somebody writes into the broker, worst case it is a dead letter."""

    @jobs.on(PAID)
    def pack(event: CloudEvent[Order]) -> None: ...

    @jobs.task
    def wipe() -> None: ...

    forged = members(task="wipe", args={}, name="wipe", queue="default")
    assert not asked(jobs, forged).asked
    named = encode(paid(1, type="wipe"), "kafka")
    assert asked(jobs, named._replace(headers={**named.headers, "task": "wipe"})) == Sorted([], [])


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Message(b"\xff\xfe\x00"), "no CloudEvent"),
        (Message(b"{}", type="application/cloudevents+json"), "specversion"),
        (Message(b"\xff", type="application/cloudevents+json"), "UTF-8"),
        (Message(b"[]", type="application/cloudevents-batch+json"), "batch"),
        (encode(paid(1), "kafka")._replace(headers={"ce_specversion": "2.0", "ce_type": PAID}), "specversion"),
        (encode(paid(1), "kafka")._replace(body=b"{"), "JSON"),
        (Message(b" " * (LARGEST + 1)), "bytes, more than"),
        (encode(paid(1, data={"order": 1, "text": "x" * (1 << 20)}), "kafka"), "bytes, more than"),
        (encode(paid(1, data={"order": "one"}), "kafka"), "valid integer"),
        (encode(paid(1, data={"order": 1, "text": "\x00"}), "kafka"), "NUL"),
    ],
)
def test_what_cannot_be_read_says_why(jobs: Offpath, message: Message, why: str) -> None:
    @jobs.on(PAID)
    def pack(event: CloudEvent[dict[str, Any]]) -> None: ...

    found = asked(jobs, message)
    if "valid integer" in why:
        jobs.registry.subscriptions.clear()

        @jobs.on(PAID)
        def typed(event: CloudEvent[Order]) -> None: ...

        found = asked(jobs, message)
    assert not found.asked
    [misfit] = found.misfits
    assert re.search(why, misfit.why), misfit.why


def test_a_message_is_put_together_again_as_it_was() -> None:
    one = encode(paid(1, "k"), "rabbitmq")._replace(reply_to="r", correlation="c")
    assert whole(one.body, rest(one)) == one


def test_a_place_is_read_in_order_when_one_of_those_who_read_it_wants_that() -> None:
    wanted = [Subscription("a", ("t",)), Subscription("b", ("t",), ordered=True), Subscription("c", ("t",), "other")]
    assert [(one.source.address, one.source.ordered) for one in readings(wanted, "t", "g")] == [
        *(("t", True), ("other", False))
    ]


def test_readings_of_nothing_are_none() -> None:
    assert readings([], "t", "g") == []


@pytest.mark.anyio
async def test_a_batch_takes_events_too(jobs: Offpath) -> None:
    got: list[int] = []

    @jobs.on(PAID)
    @jobs.batch(size=10, wait=0.05)
    async def pack(events: list[CloudEvent[Order]]) -> None:
        got.extend(event.data.order for event in events)

    assert (only(jobs).parameter, only(jobs).data) == ("events", Order)
    received = [Received(encode(paid(n), "http"), None, "POST /events", "") for n in range(5)]
    assert [taken.outcome for taken in await jobs.take("http", received)] == ["new"] * 5
    async with jobs.worker():
        await settled(jobs, 5)
    assert sorted(got) == list(range(5))
    jobs.close()
