"""What only SQS does: topics that are queues of a common prefix, text, ten attributes. On moto's server."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given
from hypothesis import strategies as st

from offpath.brokers.address import parse
from offpath.brokers.sqs import consumer
from offpath.brokers.sqs.client import SqsBroker, read
from offpath.brokers.sqs.coding import ATTRIBUTES, ENTRIES, TOTAL, Entry, batches, decode, encode
from offpath.brokers.sqs.names import group_queue, is_of, own_queue
from offpath.errors import BrokerRefused, BrokerUnavailable, ConfigurationError
from offpath.ports.broker import Message, Outgoing
from tests.brokers.kinds import Sqs, SqsFifo
from tests.brokers.test_suite import keyed, reading, send, take


def test_names_of_queues() -> None:
    assert group_queue("a.b", "auth") == "a-b--auth"
    assert group_queue("a.b.fifo", "auth") == "a-b--auth.fifo"
    assert is_of("a--auth", "a")
    assert not is_of("a--auth.fifo", "a")
    assert not is_of("ab--auth", "a")
    assert own_queue("orders.done") == ("orders-done", None)
    assert own_queue("https://sqs.evil.example/123456789012/orders.fifo") == ("orders.fifo", "123456789012")
    for topic, group in [
        ("a--b", "c"),
        ("a", "b--c"),
        ("a-", "b"),
        ("a", "-b"),
        ("", "b"),
        ("ä", "b"),
        ("a" * 79, "b"),
    ]:
        with pytest.raises(BrokerRefused):
            group_queue(topic, group)
    for address in ("https://sqs.example/x", "a b", "x" * 81):
        with pytest.raises(BrokerRefused):
            own_queue(address)


TEXT = st.text(max_size=20)


@given(
    st.builds(
        Message,
        st.binary(max_size=50) | TEXT.map(lambda text: text.encode("utf-8", "replace")),
        st.dictionaries(TEXT, TEXT, max_size=12),
        st.none() | TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
    ),
    st.booleans(),
)
@example(Message(b"", {"a": "", "b": "\0", "c": "\0\0"}, correlation="\0", reply_to=""), True)
def test_any_message_comes_through_and_within_the_rules(message: Message, fifo: bool) -> None:
    fields = encode(message, fifo).fields
    assert len(fields["MessageAttributes"]) <= ATTRIBUTES
    assert fields["MessageBody"]
    assert all(value.get("StringValue") or value.get("BinaryValue") for value in fields["MessageAttributes"].values())
    said = {
        "Body": fields["MessageBody"],
        "MessageAttributes": fields["MessageAttributes"],
        "Attributes": {"MessageGroupId": fields["MessageGroupId"]} if fifo else {},
        "MessageId": "given by SQS",
    }
    assert decode(said) == message._replace(id="given by SQS" if message.id is None else message.id)


@given(st.lists(st.integers(1, TOTAL), max_size=40))
def test_batches_are_within_both_limits_and_in_order(sizes: list[int]) -> None:
    made = list(batches((n, Entry({}, size)) for n, size in enumerate(sizes)))
    assert [n for batch in made for n, _ in batch] == list(range(len(sizes)))
    for batch in made:
        assert len(batch) <= ENTRIES
        assert len(batch) == 1 or sum(entry.size for _, entry in batch) <= TOTAL


async def test_a_topic_goes_to_each_group_that_there_is_and_to_none_without(sqs_url: str, unique: str) -> None:
    kind = Sqs(sqs_url)
    async with kind.opened() as broker:
        await send(broker, unique, keyed(0))  # nobody is there to have it
        async with reading(broker, unique, "one") as one, reading(broker, unique, "two") as two:
            await send(broker, unique, keyed(1))
            for consumer in (one, two):
                got = await take(consumer, 1)
                assert [each.message.body for each in got] == [b"1"]
                await consumer.accept(got)


async def test_a_group_whose_queue_was_deleted_holds_nobody_up(sqs_url: str, unique: str) -> None:
    kind = Sqs(sqs_url)
    groups = ("one", "two")
    async with kind.opened("refresh=60") as broker, AsyncExitStack() as stack:
        one, _ = [await stack.enter_async_context(reading(broker, unique, group)) for group in groups]
        await send(broker, unique, keyed(1))
        url = (await kind.do("get_queue_url", QueueName=group_queue(unique, "two")))["QueueUrl"]
        await kind.do("delete_queue", QueueUrl=url)
        await send(broker, unique, keyed(2))
        assert len(await take(one, 2)) == 2


async def test_what_sqs_says_nothing_about_is_not_taken_for_sent(
    sqs_url: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sqs(sqs_url).opened() as broker, reading(broker, unique):
        client = cast("Any", broker)._client

        async def forgetful(**asked: Any) -> dict[str, Any]:
            return {"Successful": [{"Id": one["Id"]} for one in asked["Entries"][1:]]}

        monkeypatch.setattr(client, "send_message_batch", forgetful)
        with pytest.raises(BrokerUnavailable, match="what became of a message"):
            await broker.publish([Outgoing(unique, "x", keyed(n)) for n in range(3)])


async def test_the_same_id_twice_is_there_once_in_a_fifo_queue(sqs_url: str, unique: str) -> None:
    async with SqsFifo(sqs_url).opened() as broker, reading(broker, f"{unique}.fifo") as consumer:
        await send(broker, f"{unique}.fifo", keyed(1), keyed(1))
        await send(broker, f"{unique}.fifo", keyed(1), keyed(2))
        assert [one.message.body for one in await take(consumer, 2)] == [b"1", b"2"]


async def test_f38_a_message_whose_visibility_has_run_out_comes_again_and_its_old_receipt_is_passed_over(
    sqs_url: str, unique: str
) -> None:
    async with Sqs(sqs_url).opened("visibility=1") as broker, reading(broker, unique) as consumer:
        await send(broker, unique, keyed(1))
        old = await take(consumer, 1)
        new = await take(consumer, 1)  # a second later
        assert new[0].times == 2
        await consumer.accept(new)
        await consumer.accept(old)


async def test_a_receive_that_is_cancelled_at_its_second_look_hides_nothing(sqs_url: str, unique: str) -> None:
    """What that look finds is the next caller's; SQS would hide it for `visibility` seconds."""
    answered, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        def __init__(self, client: Any) -> None:
            self.client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self.client, name)

        async def receive_message(self, **said: Any) -> Any:
            answer = await self.client.receive_message(**said)
            if said["WaitTimeSeconds"] == 0:
                answered.set()
                await go_on.wait()
            return answer

    async with Sqs(sqs_url).opened("visibility=600") as broker, reading(broker, unique) as reader:
        assert isinstance(reader, consumer.SqsConsumer)
        await send(broker, unique, *map(keyed, range(ENTRIES + 3)))
        reader._client = Slow(reader._client)
        waiting = asyncio.create_task(reader.receive(50, 5))
        await answered.wait()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        go_on.set()
        got = await take(reader, ENTRIES + 3)
        assert sorted(int(one.message.body) for one in got) == list(range(ENTRIES + 3))


async def test_of_large_messages_few_are_received_at_once(
    sqs_url: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "ENOUGH", 100)
    async with Sqs(sqs_url).opened() as broker, reading(broker, unique) as reader:
        await send(broker, unique, *(keyed(n)._replace(body=b"x" * 60) for n in range(ENTRIES + 2)))
        assert len(await reader.receive(50, 5)) == ENTRIES, "as many as one look gives"


async def test_what_is_too_large_is_refused_before_it_is_sent(sqs_url: str, unique: str) -> None:
    async with Sqs(sqs_url).opened() as broker, reading(broker, unique):
        (refused,) = await broker.publish([Outgoing(unique, "x", Message(b"\xff" * 800_000))])
        assert "1048576" in str(refused)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqs://key:secret@eu-central-1", "sqs://region"),
        ("sqs://key@127.0.0.1:1/us-east-1", "needs its secret"),
        ("sqs://eu-central-1?visibility=0", "whole number"),
        ("sqs://eu-central-1?poll=21", "from 1 to 20"),
        ("sqs://eu-central-1?keep=15", "from 1 to 14"),
        ("sqs://eu-central-1?wait=1", "not 'wait'"),
    ],
)
def test_what_a_url_cannot_say_is_told(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read(parse(url))


def test_of_a_group_one_message_is_on_its_way() -> None:
    """SQS may take the second of a batch and fail at the first."""
    made = [(n, Entry({"MessageGroupId": group}, 1)) for n, group in enumerate("aabcbda")]
    assert [[n for n, _ in batch] for batch in batches(made)] == [[0], [1, 2, 3], [4, 5, 6]]


async def test_answers_go_to_our_own_account_and_to_those_that_the_url_names(sqs_url: str, unique: str) -> None:
    kind = Sqs(sqs_url)
    await kind.make_queue(unique)
    ours = own_queue((await kind.do("get_queue_url", QueueName=unique))["QueueUrl"])[1]
    other = "999999999999"
    async with kind.opened() as broker:
        sent = [
            Outgoing(f"https://sqs.example/{account}/{unique}", "x", keyed(1), True, True) for account in (ours, other)
        ]
        taken, refused = await broker.publish(sent)
        assert taken is None
        assert f"accounts={other}" in str(refused)
    async with kind.opened(f"accounts={other}") as broker:
        assert await broker.publish(sent[1:]) == [None]  # (moto does not look at the account)
    with pytest.raises(ConfigurationError, match="twelve digits"):
        read(parse("sqs://eu-central-1?accounts=1"))


async def test_an_answer_to_a_queue_that_we_may_not_write_to_is_refused(sqs_url: str, unique: str) -> None:
    """What AWS says of such a queue; moto lets everybody write."""
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "SendMessageBatch")

    async def deny(**_: object) -> None:
        raise denied

    kind = Sqs(sqs_url)
    await kind.make_queue(unique)
    async with kind.opened() as opened:
        broker = cast("SqsBroker", opened)
        async with reading(broker, unique):
            for name in ("send_message_batch", "get_queue_url"):
                with pytest.MonkeyPatch.context() as patch:
                    broker._queues.clear()
                    patch.setattr(broker._client, name, deny)
                    (refused,) = await broker.publish([Outgoing(unique, "x", keyed(1), True, True)])
                    assert isinstance(refused, BrokerRefused)
                    broker._queues.clear()
                    with pytest.raises(BrokerUnavailable, match="credentials"):
                        await broker.publish([Outgoing(unique, "x", keyed(1), True)])
