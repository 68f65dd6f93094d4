"""The brokers under the suite: what differs between them, and nothing else.

A kind is a class, named like its server in `tests.brokers`: it says what this broker can, and does by the broker's own
client what offpath never does (a producer that is not ours, a queue that somebody else has made).
"""

import asyncio
import base64
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from offpath.brokers.address import parse
from offpath.ports.broker import Broker, Message, Outgoing, Shape
from servers.proxy import Proxy

MIB = 2**20


class Kind(ABC):
    """One broker, at `url`."""

    name: ClassVar[str]
    parts: ClassVar[frozenset[str]] = frozenset(Message._fields)
    """What of a message comes through."""
    topic: ClassVar[Shape] = "topic"
    """Where groups each have all, and the members of one share."""
    shares: ClassVar[bool] = True
    """Two consumers of a group both get some of a hundred messages of different keys."""
    makes_queues: ClassVar[bool] = True
    """A queue that is not there is made by `consume`; otherwise it is refused."""
    checks_replies: ClassVar[bool] = False
    """A `direct` message to a queue that is not there is refused."""
    defers: ClassVar[bool] = False
    """What is accepted while nobody answers is noted down, and told when somebody does."""
    counts: ClassVar[bool] = True
    """`times` grows when a message comes again."""
    passwords: ClassVar[bool] = True
    """Wrong credentials are turned down."""
    keeps: ClassVar[bool] = True
    """The fixture `<name>_server` can be killed and started again, and has its messages still."""
    tls: ClassVar[bool] = True
    """It can be spoken to by TLS."""
    often: ClassVar[int] = 25
    """How often a message is given back: more often than any limit of redeliveries that the broker has."""
    doubles: ClassVar[bool] = False
    """A message may come twice though nothing went wrong."""
    many: ClassVar[int] = 300
    """Messages, where it takes many."""
    turns: ClassVar[int] = 3
    """How often a consumer is cancelled and made anew."""
    large: ClassVar[int] = 50 * MIB
    """A body of so many bytes goes through."""

    alert: ClassVar[str] = "timeout=3"
    """Options with which a deaf line is noticed quickly."""
    settles: ClassVar[float] = 0.0
    """Seconds until a queue that was just made outlives the server's death: RabbitMQ writes down late that there is
    one (rabbitmq-server issue 15725)."""
    soon: ClassVar[str] = ""
    """Options with which a new consumer has soon what a consumer took that died without a word."""

    orders: ClassVar[bool] = True
    """It keeps the order of a key."""
    apart: ClassVar[bool] = True
    """Also of what several consumers read in the same moment."""
    stay: ClassVar[bool] = False
    """Consumers that come and go all the time get nothing done: a group has to meet for each."""
    one_active: ClassVar[bool] = False
    """Of several consumers that read in order, one has everything."""

    always: ClassVar[str] = ""
    """Options of every URL."""
    shared_with: ClassVar[str] = ""
    """The kind whose server does."""
    suffix: ClassVar[str] = ""
    """Of every name of a topic or queue."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextlib.asynccontextmanager
    async def opened(self, options: str = "", url: str = "") -> AsyncIterator[Broker]:
        broker = self.broker(options, url)
        try:
            await broker.open()
            yield broker
        finally:
            await broker.close()

    @contextlib.contextmanager
    def proxy(self) -> Iterator[Proxy]:
        """Something between a client and this server that goes wrong when it is told to."""
        with Proxy(self.url) as proxy:
            yield proxy

    def behind(self, proxy: Proxy) -> str:
        """The URL by which the server in front of which this proxy stands is reached in spite of it."""
        return self.url

    def broker(self, options: str = "", url: str = "") -> Broker:
        """Not yet open. `options` is what follows the question mark."""
        given = urlencode(dict(parse_qsl(f"{self.always}&{options}", keep_blank_values=True)))
        address = parse((url or self.url) + (f"?{given}" if given else ""))
        made: Broker = import_module(f"offpath.brokers.{address.kind}").broker(address)
        return made

    def wrong_password(self) -> str:
        """The URL with another password, `not-the-password`."""
        scheme, _, rest = self.url.partition("://")
        user = rest.rpartition("@")[0].partition(":")[0]
        return f"{scheme}://{user}:not-the-password@{rest.rpartition('@')[2]}"

    async def make_queue(self, name: str) -> None:  # noqa: B027 (nothing to do where `makes_queues`)
        """For whoever sends to it, and for `Source(name, "queue", …)`."""

    @abstractmethod
    async def refused(self, topic: str) -> Outgoing:
        """What this broker will never take."""

    @abstractmethod
    async def foreign(self, queue: str) -> None:
        """Put in that queue, as somebody else would, the body `BODY`; with a header or two that are not UTF-8 where the
        broker lets that pass."""


BODY = b"\xff\xfe\x00 no text"


class Valkey(Kind):
    name = "redis"
    soon = "min_idle=0.05&takeover=0.5"
    one_active = True

    async def refused(self, topic: str) -> Outgoing:
        await self._do("SET", f"{topic}-text", "no stream")
        return Outgoing(f"{topic}-text", "x", Message(b"x"))

    async def foreign(self, queue: str) -> None:
        await self._do("XADD", queue, "*", b"n\xffme", b"v\xfflue", "body", BODY)

    async def _do(self, *words: str | bytes) -> None:
        from redis.asyncio import Redis

        client = Redis.from_url(self.url, protocol=2)
        try:
            execute: Any = client.execute_command
            await execute(*words)
        finally:
            await client.aclose()


class Redis7(Valkey):
    name = "redis7"


class Rabbit(Kind):
    name = "rabbitmq"
    makes_queues = False
    checks_replies = True
    one_active = True
    alert = "timeout=3&heartbeat=1"
    settles = 2.0

    async def make_queue(self, name: str) -> None:
        import aiormq

        async with aiormq.connect(self.url) as connection:
            channel = await connection.channel()
            await channel.queue_declare(name, durable=True)

    async def refused(self, topic: str) -> Outgoing:
        """To an exchange that takes nothing from clients: the server closes the channel over it."""
        import aiormq

        async with aiormq.connect(self.url) as connection:
            channel = await connection.channel()
            await channel.exchange_declare(f"{topic}-internal", exchange_type="topic", durable=True, internal=True)
        return Outgoing(f"{topic}-internal", "x", Message(b"x"))

    async def foreign(self, queue: str) -> None:
        """By hand: no client of Python's would send it."""
        import aiormq
        from aiormq.abc import ChannelFrame
        from pamqp import body, commands, header

        properties = commands.Basic.Properties(
            content_type="xx-type",
            message_id="xx-id",
            headers={"xx-name": "xx-value", "n": 5, "on": True, "l": [1, "a"]},
        )
        async with aiormq.connect(self.url) as connection:
            channel = await connection.channel()
            frame = ChannelFrame.marshall(
                channel.number,
                [
                    commands.Basic.Publish(routing_key=queue),
                    header.ContentHeader(body_size=len(BODY), properties=properties),
                    body.ContentBody(BODY),
                ],
            )
            raw = frame.payload.replace(b"xx-", b"\xff\xfe-")
            await connection.write_queue.put(ChannelFrame(payload=raw, should_close=False))
            await channel.queue_declare(queue, passive=True)  # it has been read by then


class MockKafka(Kind):
    """librdkafka's mock cluster: it has no passwords, and keeps nothing when it ends. It makes topics only by their
    being asked for, so that `create=` is half tried here; with OFFPATH_TEST_KAFKA_URL it is tried in whole."""

    name = "kafka"
    defers = True
    stay = True
    shares = False  # a second member has its part after a rebalance: `test_kafka.py`
    always = "create=4&session=1.2"  # the mock waits a second less than that for a group to meet
    counts = False
    passwords = False
    tls = False
    keeps = False
    often = 3  # each takes half a second, and Kafka counts nothing
    turns = 2  # as long as a group takes to meet
    large = 900_000

    @contextlib.contextmanager
    def proxy(self) -> Iterator[Proxy]:
        """In front of a mock of its own, which sends its clients to the proxy."""
        from servers.kafka import Kafka

        with Kafka.scratch() as own, Proxy(own.url) as proxy:
            own.advertise(proxy.port)
            yield proxy

    def behind(self, proxy: Proxy) -> str:
        return proxy.url  # whoever goes in by another door is sent to this one

    async def refused(self, topic: str) -> Outgoing:
        return Outgoing(topic, "x", Message(b"x" * 2 * MIB))

    async def foreign(self, queue: str) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.url.partition("://")[2]})
        producer.produce(queue, BODY, b"k\xffy", headers=[("name", b"v\xfflue")])
        assert await asyncio.to_thread(producer.flush, 60) == 0


class Sqs(Kind):
    """moto's server: it believes every key, and keeps nothing when it ends."""

    name = "sqs"
    orders = False
    always = "poll=1&refresh=0.001"
    soon = "visibility=1"
    makes_queues = False
    checks_replies = True
    passwords = False
    tls = False
    keeps = False
    doubles = True
    many = 30  # moto takes its time for each
    often = 5
    turns = 2
    large = 700_000

    async def make_queue(self, name: str) -> None:
        await self.do("create_queue", QueueName=name, Attributes={"FifoQueue": "true"} if self.suffix else {})

    async def refused(self, topic: str) -> Outgoing:
        return Outgoing(topic, "x", Message(b"x" * 2 * MIB))

    async def foreign(self, queue: str) -> None:
        url = (await self.do("get_queue_url", QueueName=queue))["QueueUrl"]
        attributes = {
            "body-encoding": {"DataType": "String", "StringValue": "base64"},
            "name": {"DataType": "Binary", "BinaryValue": b"v\xfflue"},
        }
        ids = {"MessageGroupId": "1", "MessageDeduplicationId": "1"} if self.suffix else {}
        body = base64.b64encode(BODY).decode()
        await self.do("send_message", QueueUrl=url, MessageBody=body, MessageAttributes=attributes, **ids)

    async def do(self, verb: str, **words: Any) -> Any:
        from aiobotocore.session import get_session

        parts = urlsplit(self.url)
        async with get_session().create_client(
            "sqs",
            region_name=parts.path.strip("/"),
            endpoint_url=f"http://{parts.hostname}:{parts.port}",
            aws_access_key_id="offpath",
            aws_secret_access_key="offpath",
        ) as client:
            return await getattr(client, verb)(**words)


class SqsFifo(Sqs):
    name = "sqs-fifo"
    shared_with = "sqs"
    doubles = False
    orders = True
    apart = False  # moto looks once, at the beginning of a long poll, which groups others have messages of
    suffix = ".fifo"


KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Valkey, Redis7, Rabbit, MockKafka, Sqs, SqsFifo)}
