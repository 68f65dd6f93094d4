"""Hints by Kafka: a topic `offpath.LINE` that every process reads from its end, without a consumer group.

The URL and its options are those of `brokers.kafka`; `create`, `partitioner`, `reset` and `session` are for events
alone. `wait` matters: a server that lets a question for messages wait that long even when some come (librdkafka's mock
does, Kafka does not) makes hints as late.

The topic is made, with one partition and ten minutes' retention, when it is missing and the user may; whoever makes it
beforehand chooses as they like. A message counts as sent when the partition's leader has it.

Kafka's library has threads and sockets of its own, which a fork copies and cannot stop: a child that was forked after
the transport was opened keeps its parent's connections half alive until it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakSet

from ..brokers.address import Address
from ..brokers.kafka.settings import Settings, Trouble, cause, read
from ..brokers.kafka.topics import ensure, metadata
from ..errors import BrokerUnavailable, MissingExtraError
from ..ports import Transport
from .carrier import Carrier
from .notes import MAX_BYTES
from .reading import Reading
from .wire import Hear, Lost, Wire

try:
    from confluent_kafka import KafkaError, KafkaException, TopicPartition
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.aio import AIOConsumer, AIOProducer
except ImportError as e:
    raise MissingExtraError("kafka://", "kafka") from e

RETENTION = {"retention.ms": "600000", "cleanup.policy": "delete"}
LOOK = 0.25  # s that a thread may be inside of the library: so long does closing wait for it
AT_ONCE = 500  # messages to one reading
STALE = 4_000  # ms after which a message is not sent any more: the line has given up on it


def transport(address: Address, line: str) -> Transport:
    """ConfigurationError for an option that Kafka URLs do not have."""
    settings = read(address)
    return Carrier(_Kafka(settings, line), connect=settings.timeout)


class _Kafka:
    name, limit, pace = "kafka", MAX_BYTES, 1.0

    def __init__(self, settings: Settings, line: str) -> None:
        self.settings, self.topic = settings._replace(partitions=1), f"offpath.{line}"

    async def connect(self, lost: Lost) -> Wire:
        wire = _Wire(self, lost)
        try:
            await wire.begin()
        except BaseException:
            wire.abandon()
            raise
        return wire

    def config(self, failed: Callable[[KafkaError], None], **more: object) -> dict[str, Any]:
        """`failed` is called on the loop, as long as there is one."""
        loop = asyncio.get_running_loop()

        def tell(error: KafkaError) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(failed, error)

        ours = {name.replace("_", "."): value for name, value in more.items()}
        # Left to itself the library writes to stderr; what goes wrong is said in our own signals.
        return _Config(self.settings.client | ours | {"error_cb": tell, "log_level": 0, "client.id": "offpath-hints"})


class _Config(dict[str, Any]):
    """Keeps its callbacks. `confluent_kafka.aio` would put in their place what waits, on a thread of the library's, for
    a coroutine on the loop; when the loop has ended meanwhile, for ever."""

    def __setitem__(self, name: str, value: Any) -> None:
        if not name.endswith("_cb"):
            super().__setitem__(name, value)


class _Wire:
    deaf = ""

    def __init__(self, kind: _Kafka, lost: Lost) -> None:
        self._kind, self._lost = kind, lost
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="offpath-kafka")
        self._trouble = Trouble(kind.settings.where)
        self._partitions: list[int] = []
        config = kind.config(self._told, linger_ms=0, acks=1, message_timeout_ms=STALE)
        self._producer = AIOProducer(config, executor=self._threads, buffer_timeout=0)
        self._consumer: AIOConsumer | None = None
        self._reading: Reading | None = None
        self._closing = False
        _open.add(self)

    def _told(self, error: KafkaError) -> None:
        """Of the producer. Its connections may be closed for not being used: that is no loss."""
        self._trouble.tell(error)

    def _failed(self, error: KafkaError) -> None:
        """Of the consumer, which always waits for messages."""
        self._trouble.tell(error)
        if self._trouble.known:
            self._lost(self._trouble.unavailable())

    async def begin(self) -> None:
        """Connect, and have the topic."""
        self._partitions = await asyncio.get_running_loop().run_in_executor(self._threads, self._ensure)

    def _ensure(self) -> list[int]:
        """In a thread: the topic's partitions."""
        settings, topic, trouble = self._kind.settings, self._kind.topic, Trouble(self._kind.settings.where)
        client = AdminClient(settings.any_client(trouble.tell))
        deadline = time.monotonic() + settings.timeout

        def hear() -> None:
            if self._closing:
                raise BrokerUnavailable("it was closed meanwhile")
            client.poll(0)

        ensure(client, topic, settings, trouble, deadline, hear, RETENTION)
        return list(metadata(client, topic, trouble, deadline, hear).topics[topic].partitions)

    async def listen(self, hear: Hear) -> None:
        config = self._kind.config(
            self._failed,
            group_id="offpath-hints",  # it wants one, and does not join it
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_wait_max_ms=self._kind.settings.wait,
        )
        consumer = self._consumer = AIOConsumer(config, executor=self._threads)
        ends = []
        try:
            for partition in self._partitions:  # "the end" would be looked up later, and what came before that be lost
                place = TopicPartition(self._kind.topic, partition)
                _, end = await consumer.get_watermark_offsets(place, timeout=self._kind.settings.timeout)
                ends.append(TopicPartition(self._kind.topic, partition, end))
            await consumer.assign(ends)
        except KafkaException as e:
            raise self._trouble.unavailable(cause(e)) from e
        self._reading = Reading(self._read(consumer, hear), self._lost)

    async def _read(self, consumer: AIOConsumer, hear: Hear) -> None:
        while not self._closing:
            first = await consumer.poll(LOOK)
            if first is None:
                continue
            for message in [first, *await consumer.consume(AT_ONCE, 0)]:
                if (error := message.error()) is not None:
                    raise self._trouble.unavailable(error)
                hear(message.value() or b"")

    async def send(self, messages: Sequence[str]) -> None:
        try:
            sent = [await self._producer.produce(self._kind.topic, message.encode()) for message in messages]
            for one in sent:
                one.add_done_callback(_seen)  # should nobody wait for it to the end
            await self._producer.flush(STALE / 1000)
            await asyncio.gather(*sent)
        except KafkaException as e:
            raise self._trouble.unavailable(cause(e)) from e

    async def echo(self, message: str) -> None:
        await self.send([message])

    async def ping(self) -> None:
        try:
            await self._producer.list_topics(self._kind.topic, STALE / 1000)
        except KafkaException as e:
            await self._producer.poll(0)  # tells `_told` why
            raise self._trouble.unavailable(cause(e)) from e

    async def close(self, well: bool) -> None:
        self._closing = True
        try:
            if self._reading is not None:
                await self._reading.stop()
            if self._consumer is not None:
                await self._consumer.close()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Nothing is on its way that anybody waits for."""
        self._closing = True
        self._threads.shutdown(wait=False)
        _open.discard(self)


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


_open: WeakSet[_Wire] = WeakSet()


def _after_fork() -> None:
    """To let these go would wait for the library's threads, which a child does not have."""
    for wire in list(_open):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(wire))


os.register_at_fork(after_in_child=_after_fork)
