"""What every broker owes (`ports.broker`), asked of each of them on a real server; `kinds.py` says what differs."""

import asyncio
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from offpath.errors import BrokerRefused, BrokerUnavailable
from offpath.ports.broker import Broker, Consumer, Message, Outgoing, Received, Source
from servers.server import free_port
from tests.brokers import Broker as Lent
from tests.brokers.kinds import BODY, Kind
from tests.webhooks.wire import certificate

PATIENCE = 60.0  # s

FULL = Message(
    body=b'{"a": "\xc3\xa9"}',
    headers={"ce_type": "com.example.made.v1", "note": "a b%C3%A9 é"},
    type="application/json; charset=utf-8",
    key="org:1",
    id="event-1",
    reply_to="answers",
    correlation="question-7",
)


def test_every_kind_is_known_by_its_address(kind: Kind) -> None:
    assert kind.broker().kind == kind.url.partition(":")[0].replace("amqp", "rabbitmq")


async def test_every_part_of_a_message_comes_through(kind: Kind, name: str) -> None:
    async with kind.opened() as broker, reading(broker, name) as consumer:
        await send(broker, name, FULL)
        (got,) = await take(consumer, 1)
        assert got.message.body == FULL.body
        for part in kind.parts - {"body", "headers"}:
            assert getattr(got.message, part) == getattr(FULL, part), part
        assert {name: got.message.headers.get(name) for name in FULL.headers} == FULL.headers
        assert got.where == name
        assert name in got.place
        assert got.times in (0, 1)


async def test_a_message_without_anything_but_a_body_comes_through(kind: Kind, name: str) -> None:
    async with kind.opened() as broker, reading(broker, name) as consumer:
        await send(broker, name, Message(b""), Message(BODY))
        got = await take(consumer, 2)
        assert sorted(one.message.body for one in got) == [b"", BODY]
        assert all(one.message.reply_to is one.message.correlation is one.message.key is None for one in got)


async def test_messages_of_one_key_come_in_order(kind: Kind, name: str) -> None:
    async with kind.opened() as broker, reading(broker, name) as consumer:
        third = kind.many // 3
        for start in range(0, kind.many, third):
            await send(broker, name, *(keyed(n, f"key-{n % 3}") for n in range(start, start + third)))
        got = await take(consumer, kind.many, accept=True)
        by_key: dict[str | None, list[int]] = defaultdict(list)
        for one in got:
            by_key[one.message.headers["of"]].append(int(one.message.body))
        assert by_key == {f"key-{n}": list(range(n, kind.many, 3)) for n in range(3)}


async def test_each_group_has_all_and_its_members_share(kind: Kind, name: str) -> None:
    async with kind.opened() as broker, AsyncExitStack() as stack:
        groups = [of(name), f"two-{name}", f"two-{name}"][: 3 if kind.shares else 2]
        consumers = [await stack.enter_async_context(reading(broker, name, group)) for group in groups]
        gathered: list[list[str]] = [[] for _ in consumers]
        wanted = kind.many
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for consumer, mine in zip(consumers, gathered, strict=True):
                tasks.create_task(keep_taking(consumer, mine, lambda: done(groups, gathered, wanted)))
            for start in range(0, wanted, 10):  # while they read, or the first may take all
                await send(broker, name, *(keyed(n, f"key-{n}") for n in range(start, start + 10)))
        whole = sorted(str(n) for n in range(wanted))
        once = set if kind.doubles else list
        assert sorted(once(gathered[0])) == whole
        assert sorted(once(text for mine in gathered[1:] for text in mine)) == whole
        assert all(gathered)


async def test_what_was_not_accepted_comes_again_to_the_next_consumer(kind: Kind, name: str) -> None:
    async with kind.opened() as broker:
        async with reading(broker, name) as consumer:
            await send(broker, name, *(keyed(n) for n in range(4)))
            first = await take(consumer, 4)
            await consumer.accept([one for one in first if int(one.message.body) < 2])
        async with reading(broker, name) as consumer:
            again = await take(consumer, 2)
            assert sorted(int(one.message.body) for one in again) == [2, 3]
            if kind.counts:
                assert all(one.times != 1 for one in again)
            await consumer.accept(again)
        async with reading(broker, name) as consumer:
            await send(broker, name, keyed(9))
            assert [one.message.body for one in await take(consumer, 1)] == [b"9"]


async def test_what_was_given_back_comes_again_in_its_order_and_before_what_follows(kind: Kind, name: str) -> None:
    async with kind.opened() as broker, reading(broker, name) as consumer:
        await send(broker, name, *(keyed(n) for n in range(3)))
        first = await take(consumer, 3)
        await consumer.accept(first[:1])
        await consumer.give_back(first[1:])
        await send(broker, name, keyed(3))
        again = await take(consumer, 3)
        assert [int(one.message.body) for one in again] == [1, 2, 3]
        await consumer.accept(again)
        assert await consumer.receive(10, 0.2) == []


async def test_what_was_given_back_often_is_not_lost(kind: Kind, name: str) -> None:
    """As when the store is away for a while: no limit of redeliveries takes the message from us."""
    async with kind.opened() as broker, reading(broker, name) as consumer:
        await send(broker, name, keyed(1))
        for _ in range(kind.often):
            await consumer.give_back(await take(consumer, 1))
        await consumer.accept(await take(consumer, 1))


async def test_accepting_twice_or_too_late_is_passed_over(kind: Kind, name: str) -> None:
    async with kind.opened() as broker, reading(broker, name) as consumer:
        await send(broker, name, keyed(1))
        got = await take(consumer, 1)
        await consumer.accept(got)
        await consumer.accept(got)
        await consumer.give_back(got)
        await consumer.accept([])
        await consumer.give_back([])
        await send(broker, name, keyed(2))
        assert [one.message.body for one in await take(consumer, 1)] == [b"2"]


async def test_a_new_process_continues_where_the_group_had_accepted(kind: Kind, name: str) -> None:
    async with kind.opened() as broker, reading(broker, name) as consumer:
        await send(broker, name, *(keyed(n) for n in range(5)))
        await consumer.accept(await take(consumer, 5))
    async with kind.opened() as broker:
        await send(broker, name, *(keyed(n) for n in range(5, 8)))  # while nobody reads
        async with reading(broker, name) as consumer:
            assert [int(one.message.body) for one in await take(consumer, 3)] == [5, 6, 7]


async def test_a_queue_is_shared_by_all_whatever_their_group(kind: Kind, name: str) -> None:
    await kind.make_queue(name)
    async with kind.opened() as broker:
        async with reading(broker, name, "one", "queue") as consumer:
            await send(broker, name, keyed(1), direct=True)
            await consumer.accept(await take(consumer, 1))
        async with reading(broker, name, "two", "queue") as consumer:
            await send(broker, name, keyed(2), direct=True)
            assert [one.message.body for one in await take(consumer, 1)] == [b"2"]


async def test_a_foreign_message_that_is_no_text_is_handed_over(kind: Kind, name: str) -> None:
    await kind.make_queue(name)
    async with kind.opened() as broker, reading(broker, name, shape="queue") as consumer:
        await kind.foreign(name)
        (got,) = await take(consumer, 1)
        assert got.message.body == BODY
        await consumer.accept([got])
        await send(broker, name, keyed(2), direct=True)
        assert [one.message.body for one in await take(consumer, 1)] == [b"2"]


async def test_a_large_message_comes_through_or_is_refused_alone(kind: Kind, name: str) -> None:
    """F39: 50 MiB, where the broker carries them."""
    large = Message(b"\xff" * kind.large, key="1")
    async with kind.opened() as broker, reading(broker, name) as consumer:
        assert await broker.publish([Outgoing(name, "x", large), Outgoing(name, "x", keyed(1))]) == [None, None]
        got = await take(consumer, 2)
        assert sorted(len(one.message.body) for one in got) == [1, kind.large]
        await consumer.accept(got)


async def test_a_refused_message_does_not_hold_up_its_neighbours(kind: Kind, name: str) -> None:
    async with kind.opened() as broker, reading(broker, name) as consumer:
        before = [Outgoing(name, "x", keyed(n)) for n in range(3)]
        after = [Outgoing(name, "x", keyed(n)) for n in range(3, 6)]
        answers = await broker.publish([*before, await kind.refused(name), *after])
        assert [isinstance(answer, BrokerRefused) for answer in answers] == [False] * 3 + [True] + [False] * 3
        assert [answer for answer in answers if answer is None] == [None] * 6
        firsts: dict[int, None] = {}  # some may come twice: the server may not have said which it has
        while len(firsts) < 6:
            firsts |= dict.fromkeys(int(one.message.body) for one in await take(consumer, 1, accept=True))
        assert list(firsts) == list(range(6))


async def test_a_queue_that_is_not_there_is_refused_in_words(kind: Kind, name: str) -> None:
    async with kind.opened() as broker:
        if kind.makes_queues:
            async with reading(broker, name, shape="queue") as consumer:
                assert await consumer.receive(1, 0.05) == []
        else:
            with pytest.raises(BrokerRefused, match=name):
                await broker.consume(Source(name, "queue", of(name)))
        if kind.checks_replies:
            (refused,) = await broker.publish([Outgoing(f"{name}-nobody", "x", Message(b"x"), direct=True)])
            assert isinstance(refused, BrokerRefused)
            assert f"{name}-nobody" in str(refused)


async def test_wrong_credentials_are_one_sentence_without_the_password(kind: Kind) -> None:
    if not kind.passwords:
        pytest.skip("this server asks for none")
    broker = kind.broker(url=kind.wrong_password())
    with pytest.raises(BrokerUnavailable, match=r"user|password|credentials") as said:
        await broker.open()
    assert "not-the-password" not in str(said.value)
    assert "\n" not in str(said.value)
    await broker.close()


async def test_a_host_that_is_not_there_is_one_sentence(kind: Kind) -> None:
    port = free_port()
    head, _, path = kind.url.partition("://")[2].rpartition("@")[2].partition("/")
    scheme = kind.url.partition("://")[0]
    broker = kind.broker(url=f"{scheme}://nobody:secret-word@{head.rpartition(':')[0] or head}:{port}/{path}")
    with pytest.raises(BrokerUnavailable, match=str(port)) as said:
        await broker.open()
    assert "secret-word" not in str(said.value)
    assert "\n" not in str(said.value)
    await broker.close()


async def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(kind: Kind) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1000):
                pass
        finally:
            writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    head, _, path = kind.url.partition("://")[2].partition("/")
    scheme = kind.url.partition("://")[0]
    user = head.rpartition("@")[0]
    broker = kind.broker("timeout=0.3", url=f"{scheme}://{user}{'@' if user else ''}127.0.0.1:{port}/{path}")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BrokerUnavailable):
            await broker.open()
        await broker.close()
    server.close()


async def test_tls_asks_the_server_who_it_is(kind: Kind, name: str, tmp_path: Path) -> None:
    if not kind.tls:
        pytest.skip("this stand-in has no TLS")
    context, file = certificate(tmp_path, "127.0.0.1")
    async with behind_tls(kind.url, context) as url:
        async with kind.opened(f"ca={file}", url) as broker, reading(broker, name) as consumer:
            await send(broker, name, FULL)
            await consumer.accept(await take(consumer, 1))
        stranger = kind.broker(url=url)
        with pytest.raises(BrokerUnavailable, match="certificate"):
            await stranger.open()
        await stranger.close()


async def test_a_line_that_is_cut_in_mid_publish_loses_nothing_that_was_confirmed(kind: Kind, name: str) -> None:
    """F36: cut between publish and confirm, again and again; whoever publishes sends again what was not confirmed."""
    with kind.proxy() as proxy:
        judged = kind.behind(proxy)
        async with kind.opened(url=judged) as judge, reading(judge, name):
            pass  # from here on, the group has all
        confirmed: list[int] = []
        n, several = 0, kind.many // 6
        for _ in range(3):
            async with kind.opened("timeout=5", proxy.url) as broker:
                batch = [Outgoing(name, "x", keyed(m)) for m in range(n, n + several)]
                publishing = asyncio.create_task(broker.publish(batch))
                await asyncio.sleep(0)  # let it begin
                await asyncio.to_thread(proxy.cut)
                try:
                    async with asyncio.timeout(PATIENCE):
                        await publishing
                except BrokerUnavailable:
                    pass
                else:
                    confirmed += range(n, n + several)
                    n += several
            await asyncio.to_thread(proxy.restore)
        async with kind.opened("timeout=5", proxy.url) as broker:
            await send(broker, name, *(keyed(m) for m in range(n, n + several)))
            confirmed += range(n, n + several)
        seen: list[int] = []
        async with kind.opened(url=judged) as judge, reading(judge, name) as consumer:
            async with asyncio.timeout(PATIENCE):
                while not set(confirmed) <= set(seen):
                    got = await consumer.receive(100, 1)
                    seen += [int(one.message.body) for one in got]
                    await consumer.accept(got)
        firsts = list(dict.fromkeys(seen))
        assert firsts == sorted(firsts)


async def test_a_deaf_line_is_noticed_by_who_publishes_and_who_reads(kind: Kind, name: str) -> None:
    """Connected, and nothing passes."""
    with kind.proxy() as proxy:
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(kind.opened(kind.alert, proxy.url))
            consumer = await stack.enter_async_context(reading(broker, name))
            await send(broker, name, keyed(1))
            await take(consumer, 1)
            proxy.deaf()
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(BrokerUnavailable):
                    await broker.publish([Outgoing(name, "x", keyed(2))])
                await lost(consumer)


async def test_a_reader_that_lost_its_line_says_so_and_can_begin_anew(kind: Kind, name: str) -> None:
    with kind.proxy() as proxy:
        async with AsyncExitStack() as stack:
            judge = await stack.enter_async_context(kind.opened(url=kind.behind(proxy)))
            broker = await stack.enter_async_context(kind.opened(f"timeout=5&{kind.soon}", proxy.url))
            async with reading(broker, name) as consumer:
                await send(judge, name, keyed(1))
                got = await take(consumer, 1)
                await asyncio.to_thread(proxy.cut)
                await lost(consumer)
                if kind.defers:
                    await consumer.accept(got)  # as far as may be: it is told with the next reading that succeeds
                else:
                    with pytest.raises(BrokerUnavailable):
                        await consumer.accept(got)
            with pytest.raises(BrokerUnavailable):
                await broker.consume(Source(name, kind.topic, of(name)))
            await asyncio.to_thread(proxy.restore)
            await send(judge, name, keyed(2))
            async with reading(broker, name) as consumer:
                bodies: set[bytes] = set()
                async with asyncio.timeout(PATIENCE):
                    while b"2" not in bodies:
                        bodies |= {one.message.body for one in await consumer.receive(10, 1)}


async def test_messages_outlive_the_death_of_the_server(kind: Kind, own: Lent, name: str) -> None:
    """F35, F36: kill -9, and up again on the same port: what was confirmed is there, what was accepted is not."""
    mine = type(kind)(own.url)
    async with mine.opened("timeout=5") as broker, reading(broker, name) as consumer:
        await send(broker, name, *(keyed(n) for n in range(20)))
        await consumer.accept(await take(consumer, 10))
        await asyncio.sleep(kind.settles)  # it is on the server's clock, and nothing says when
        await asyncio.to_thread(own.kill)
        with pytest.raises(BrokerUnavailable):
            await broker.publish([Outgoing(name, "x", keyed(99))])
        await asyncio.to_thread(own.start)
    deadline = time.monotonic() + PATIENCE
    while True:  # it accepts connections some time before it serves
        try:
            async with mine.opened(kind.soon) as broker, reading(broker, name) as consumer:
                await send(broker, name, keyed(20))
                left: set[int] = set()
                async with asyncio.timeout(PATIENCE):
                    while not set(range(10, 21)) <= left:
                        left |= {int(one.message.body) for one in await consumer.receive(50, 1)}
                assert 99 not in left
                return
        except BrokerUnavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)  # nothing tells when it will


async def test_closing_twice_and_using_what_is_closed(kind: Kind, name: str) -> None:
    async with kind.opened() as broker:
        consumer = await broker.consume(Source(name, kind.topic, of(name)))
        await consumer.close()
        await consumer.close()
    await broker.close()
    with pytest.raises(BrokerUnavailable):
        await broker.publish([Outgoing(name, "x", keyed(1))])
    with pytest.raises(BrokerUnavailable):
        await broker.consume(Source(name, kind.topic, of(name)))


async def test_a_receive_that_is_cancelled_loses_nothing(kind: Kind, name: str) -> None:
    """A worker that shuts down while it waits, or just as something comes."""
    seen: set[int] = set()
    async with kind.opened() as broker:
        for n in range(kind.turns):
            async with reading(broker, name) as consumer:
                waiting = asyncio.create_task(consumer.receive(10, 30))
                await asyncio.sleep(0.02)  # it waits at the server by then, or has something: it must not matter
                waiting.cancel()
                await send(broker, name, keyed(n))
                (got,) = await asyncio.gather(waiting, return_exceptions=True)
                if not isinstance(got, BaseException):
                    seen |= {int(one.message.body) for one in got}
                    await consumer.accept(got)
        async with reading(broker, name) as consumer, asyncio.timeout(PATIENCE):
            while seen != set(range(kind.turns)):
                seen |= {int(one.message.body) for one in await consumer.receive(10, 1)}


async def test_what_is_closed_leaves_no_task_behind(kind: Kind, name: str) -> None:
    before = asyncio.all_tasks()
    async with kind.opened() as broker, reading(broker, name) as consumer:
        await send(broker, name, keyed(1))
        await take(consumer, 1)
    if left := asyncio.all_tasks() - before:  # some end a turn of the loop later
        _, left = await asyncio.wait(left, timeout=PATIENCE)
    assert not left


@asynccontextmanager
async def behind_tls(url: str, context: ssl.SSLContext) -> AsyncIterator[str]:
    """The URL, by TLS: something that takes it off stands before the server."""
    parts = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(current_task())
        inner, outer = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(carry(reader, outer), carry(inner, writer))
        for one in (outer, writer):
            with suppress(OSError):
                await one.wait_closed()

    def current_task() -> asyncio.Task[None]:
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task is not None
        return task

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        user = parts.netloc.rpartition("@")[0]
        port = server.sockets[0].getsockname()[1]
        yield parts._replace(scheme=f"{parts.scheme}s", netloc=f"{user}@127.0.0.1:{port}").geturl()
    finally:
        server.close()
        await asyncio.wait(tasks, timeout=PATIENCE)


# ── help ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def keyed(n: int, key: str = "key") -> Message:
    """The message number `n`; header `of` says its key where the broker does not."""
    return Message(str(n).encode(), {"of": key}, key=key, id=f"id-{n}")


async def send(broker: Broker, address: str, *messages: Message, direct: bool = False) -> None:
    outgoing = [Outgoing(address, "com.example.made.v1", message, direct) for message in messages]
    async with asyncio.timeout(PATIENCE):
        assert await broker.publish(outgoing) == [None] * len(outgoing)


def of(address: str) -> str:
    """A group that reads nothing else: in Kafka, members of a group wait for each other, whatever they read."""
    return f"g-{address}"


@asynccontextmanager
async def reading(broker: Broker, address: str, group: str = "", shape: str = "topic") -> AsyncIterator[Consumer]:
    async with asyncio.timeout(PATIENCE):
        consumer = await broker.consume(Source(address, "queue" if shape == "queue" else "topic", group or of(address)))
    try:
        yield consumer
    finally:
        await consumer.close()


async def take(consumer: Consumer, count: int, *, accept: bool = False) -> list[Received]:
    """So many. `accept` them as they come: of a key in a FIFO queue, the next ones come only then."""
    got: list[Received] = []
    async with asyncio.timeout(PATIENCE):
        while len(got) < count:
            more = await consumer.receive(count - len(got), 1)
            if accept:
                await consumer.accept(more)
            got += more
    return got


async def lost(consumer: Consumer) -> None:
    """`receive` says that the line is lost, in the end."""

    async def read() -> None:
        while True:
            await consumer.receive(1, 0.1)

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(BrokerUnavailable):
            await read()


async def keep_taking(consumer: Consumer, into: list[str], finished: Callable[[], bool]) -> None:
    while not finished():
        got = await consumer.receive(5, 0.05)
        into += [one.message.body.decode() for one in got]
        await consumer.accept(got)


def done(groups: Sequence[str], gathered: Sequence[Sequence[str]], wanted: int) -> bool:
    counts: dict[str, int] = defaultdict(int)
    for group, mine in zip(groups, gathered, strict=True):
        counts[group] += len(mine)
    return all(count >= wanted for count in counts.values())
