"""Publishing to Kafka.

Not with `confluent_kafka.aio`: its producer cannot send headers, and its consumer tells of a rebalance on another
thread than the one that reads, when what has been read meanwhile may be somebody else's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Record

from ...core.checks import shown
from ...errors import BrokerRefused, BrokerUnavailable, ConfigurationError
from ...ports import Consumer, Message, Outgoing, Source
from .consumer import KafkaConsumer
from .settings import Settings, Trouble, cause
from .thread import Thread
from .topics import ensure, metadata

MIB = 2**20
SLICE = 0.2  # s that closing waits for a send to notice
REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
    }
)
"""What no repetition changes."""
TOGETHER = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
    }
)
"""Of those, what a broker says of a whole batch, though one record may be at fault."""


class KafkaBroker:
    kind = "kafka"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trouble = Trouble(settings.where)
        self._thread: Thread | None = None
        self._producer: Producer | None = None
        self._topics: set[str] = set()  # that are there

    async def open(self) -> None:
        if self._thread is None:
            self._thread = Thread("offpath-kafka")
        await self._thread.call(self._connect)

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        return await self._open().call(partial(self._publish, list(outgoing)))

    async def consume(self, source: Source) -> Consumer:
        self._open()
        consumer = KafkaConsumer(self._settings, source)
        try:
            await consumer.open()
        except BaseException:
            await consumer.close()
            raise
        return consumer

    async def close(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await thread.close(self._discard)

    def _open(self) -> Thread:
        if self._thread is None:
            raise BrokerUnavailable("the connection to Kafka is not open")
        return self._thread

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        producer = self._ready()
        try:
            metadata(producer, None, self._trouble, self._deadline(), lambda: producer.poll(0))
        except BrokerUnavailable:
            self._discard()
            raise

    def _ready(self) -> Producer:
        if self._producer is None:
            try:
                self._producer = Producer(self._settings.producer(self._trouble.tell))
            except KafkaException as e:
                raise ConfigurationError(f"kafka: {cause(e).str()}") from None
        return self._producer

    def _deadline(self, size: int = 0) -> float:
        return time.monotonic() + self._settings.timeout + size / MIB

    def _publish(self, outgoing: list[Outgoing]) -> list[BrokerRefused | None]:
        said: dict[int, KafkaError | BrokerRefused | None] = {}
        self._ready().poll(0)
        self._trouble.forget()
        try:
            self._send(range(len(outgoing)), outgoing, said)
            doubtful = [i for i, error in said.items() if isinstance(error, KafkaError) and error.code() in TOGETHER]
            if len(outgoing) > 1:
                for i in doubtful:
                    self._send([i], outgoing, said)
        except BrokerUnavailable as e:
            e.confirmed = tuple(i for i, error in said.items() if error is None)
            self._discard()
            raise
        answers: list[BrokerRefused | None] = []
        for i, one in enumerate(outgoing):
            error = said[i]
            if isinstance(error, KafkaError):
                self._topics.discard(one.address)  # it may have been deleted
                error = _refused(one, error)
            answers.append(error)
        return answers

    def _send(
        self, which: Sequence[int], outgoing: list[Outgoing], said: dict[int, KafkaError | BrokerRefused | None]
    ) -> None:
        """Send these and wait for what becomes of each. BrokerUnavailable when that stays open for one."""
        producer = self._ready()
        deadline = self._deadline(sum(len(outgoing[i].message.body) for i in which))
        waiting = set(which)

        def report(i: int, error: KafkaError | None, record: Record) -> None:
            if error is None or error.code() in REFUSALS:
                said[i] = error
                waiting.discard(i)

        for i in which:
            one = outgoing[i]
            try:
                if one.address not in self._topics:
                    settings = self._settings._replace(partitions=None) if one.answer else self._settings
                    ensure(producer, one.address, settings, self._trouble, deadline, lambda: producer.poll(0))
                    self._topics.add(one.address)
                self._produce(producer, one, partial(report, i), deadline)
            except BrokerRefused as e:
                said[i] = e
                waiting.discard(i)
        while waiting and len(producer) and time.monotonic() < deadline and not self._closing():
            producer.flush(min(SLICE, max(0.0, deadline - time.monotonic())))
            if self._trouble.known:
                break
        if waiting:
            raise self._trouble.unavailable()

    def _produce(
        self, producer: Producer, one: Outgoing, report: Callable[[KafkaError | None, Record], None], deadline: float
    ) -> None:
        message = one.message
        while True:
            try:
                producer.produce(one.address, message.body, message.key, on_delivery=report, headers=_headers(message))
            except BufferError:  # too much is on its way
                if time.monotonic() >= deadline or self._closing():
                    raise self._trouble.unavailable() from None
                producer.poll(SLICE)
            except KafkaException as e:
                if cause(e).code() in REFUSALS:
                    raise BrokerRefused(
                        f"Kafka refuses it on the topic {shown(one.address)}: {cause(e).str()}"
                    ) from None
                raise self._trouble.unavailable(cause(e)) from None
            else:
                producer.poll(0)
                return

    def _closing(self) -> bool:
        return self._thread is None or self._thread.closing

    def _discard(self) -> None:
        """With all that it has not sent: what is sent again must not come twice, nor before what it comes after."""
        producer, self._producer = self._producer, None
        self._topics.clear()
        if producer is not None:
            producer.purge()
            producer.flush(0)


def _refused(one: Outgoing, error: KafkaError) -> BrokerRefused:
    return BrokerRefused(f"Kafka refuses it on the topic {shown(one.address)}: {error.str()}")


def _headers(message: Message) -> list[tuple[str, str | bytes | None]]:
    headers: list[tuple[str, str | bytes | None]] = list(message.headers.items())
    ours = (
        ("content-type", message.type),
        ("message-id", message.id),
        ("reply-to", message.reply_to),
        ("correlation-id", message.correlation),
    )
    headers += [(name, value) for name, value in ours if value is not None]
    return headers
