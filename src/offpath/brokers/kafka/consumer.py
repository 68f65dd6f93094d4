"""Reading a topic as a member of a consumer group."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import cast

from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from ...errors import BrokerUnavailable, ConfigurationError
from ...ports import Message, Received, Source
from ...ports.broker import ENOUGH
from .offsets import Offsets
from .settings import Settings, Trouble, cause
from .thread import Thread
from .topics import ensure

SLICE = 0.25  # s that reading waits at a time: an acceptance waits behind it
QUEUE_GROUP = "offpath."  # and the queue: groups that read different things would wait for each other
OURS_NO_MORE = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._NO_OFFSET,
        KafkaError._STATE,
    }
)
"""A commit is too late, or in the middle of a rebalance. Where the partition is kept, the next one says it all."""
PASSING = frozenset({KafkaError._MAX_POLL_EXCEEDED, KafkaError._PARTITION_EOF})
"""Told by way of reading. The first: nobody has read for long, so others have the partitions; reading joins again."""


class KafkaConsumer:
    """All of librdkafka runs in `_thread`; `_guard` is for what the loop's thread touches as well."""

    def __init__(self, settings: Settings, source: Source) -> None:
        self._settings, self._source = settings, source
        self._group = QUEUE_GROUP + source.address if source.shape == "queue" else source.group
        self._trouble = Trouble(settings.where)
        self._thread = Thread("offpath-kafka-reader")
        self._guard = threading.Lock()
        self._offsets = Offsets()
        self._read: list[Record] = []  # and not handed out yet
        self._reading: asyncio.Future[None] | None = None
        self._client: Client | None = None
        self._away = False  # nobody answered when last asked

    async def open(self) -> None:
        await self._thread.call(self._subscribe)

    async def receive(self, most: int, wait: float) -> list[Received]:
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        while True:
            if self._reading is None:
                slice_ = max(0.0, min(SLICE, end - loop.time()))
                self._reading = self._thread.call(partial(self._look, most, slice_))
            reading = self._reading
            try:
                await asyncio.shield(reading)  # a cancelled caller's messages are the next one's
            finally:
                if reading.done():
                    self._reading = None
            received = self._hand_out(most)
            if received or loop.time() >= end:
                return received

    async def accept(self, received: Sequence[Received]) -> None:
        with self._guard:
            for one in received:
                self._offsets.accept(*_tag(one))
        await self._thread.call(self._commit)

    async def give_back(self, received: Sequence[Received]) -> None:
        await self._thread.call(partial(self._rewind, [_tag(one) for one in received]))

    async def close(self) -> None:
        reading, self._reading = self._reading, None
        await self._thread.close(self._leave)
        if reading is not None:
            with contextlib.suppress(BrokerUnavailable):
                await reading

    def _hand_out(self, most: int) -> list[Received]:
        with self._guard:
            records, self._read = self._read[:most], self._read[most:]
            for record in records:
                self._offsets.handed(*_place(record))
        return [self._received(record) for record in records]

    def _received(self, record: Record) -> Received:
        partition, offset = _place(record)
        where = self._source.address
        return Received(_message(record), (partition, offset), f"{where}/{partition}@{offset}", where)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        try:
            client = Client(self._settings.consumer(self._group, self._trouble.tell))
        except KafkaException as e:
            raise ConfigurationError(f"kafka: {cause(e).str()}") from None
        self._client = client
        deadline = time.monotonic() + self._settings.timeout
        # Before it subscribes, there is nothing that polling could read.
        ensure(client, self._source.address, self._settings, self._trouble, deadline, lambda: client.poll(0))
        client.subscribe([self._source.address], on_revoke=self._revoked, on_lost=self._lost)

    def _look(self, most: int, wait: float) -> None:
        """Read until there are `most`, or enough bytes of them, or none is there; wait for the first only.

        librdkafka finds its way back to the cluster by itself, as the same member of the group. So an outage is told,
        and the client stays: a new one would wait until the old one's `session` is over.
        """
        client = self._alive()
        size = sum(len(record.value() or b"") for record in self._read)
        while len(self._read) < most and size < ENOUGH:
            record = client.poll(0.0 if self._read else wait)
            if record is None:
                break
            error = record.error()
            if error is None:
                size += len(record.value() or b"")
                with self._guard:
                    self._read.append(record)
            elif error.code() not in PASSING:
                if not self._read:
                    raise self._outage(error)
                self._trouble.tell(error)
                break
        if not self._read and (self._away or self._trouble.known):
            self._ask(client)
        self._commit()  # what could not be, in an outage

    def _ask(self, client: Client) -> None:
        """Whether somebody answers again."""
        try:
            client.list_topics(self._source.address, timeout=SLICE)
        except KafkaException as e:
            raise self._outage(cause(e)) from None
        self._away = False
        self._trouble.forget()

    def _outage(self, error: KafkaError) -> BrokerUnavailable:
        self._away = True
        made = self._trouble.unavailable(error)
        made.alive = True
        return made

    def _commit(self) -> None:
        """What cannot be committed now is with the next reading: until then a death would bring it again."""
        client = self._alive()
        if self._away:
            return  # it would wait for the cluster, and so would whoever reads
        try:
            self._commit_of(client, None)
        except BrokerUnavailable:
            self._away = True

    def _commit_of(self, client: Client, only: set[int] | None) -> None:
        with self._guard:
            ready = {p: o for p, o in self._offsets.ready().items() if only is None or p in only}
        if not ready:
            return
        topic = self._source.address
        try:
            answered = client.commit(
                offsets=[TopicPartition(topic, p, o) for p, o in ready.items()], asynchronous=False
            )
        except KafkaException as e:
            if cause(e).code() in OURS_NO_MORE:
                return
            raise self._trouble.unavailable(cause(e)) from None
        with self._guard:
            for one in answered or ():
                if one.error is None:
                    self._offsets.committed(one.partition, ready[one.partition])

    def _rewind(self, tags: list[tuple[int, int]]) -> None:
        client = self._alive()
        with self._guard:
            again = self._offsets.rewind(tags)
            self._read = [record for record in self._read if record.partition() not in again]
        for partition, offset in again.items():
            try:
                client.seek(TopicPartition(self._source.address, partition, offset))
            except KafkaException as e:
                if cause(e).code() != KafkaError._STATE:  # else it is not ours any more
                    raise self._trouble.unavailable(cause(e)) from None

    def _revoked(self, client: Client, partitions: list[TopicPartition]) -> None:
        """Called from within `poll` and `close`, while the partitions are still ours."""
        with contextlib.suppress(BrokerUnavailable):
            self._commit_of(client, {one.partition for one in partitions})
        self._forget(partitions)

    def _lost(self, client: Client, partitions: list[TopicPartition]) -> None:
        self._forget(partitions)

    def _forget(self, partitions: Iterable[TopicPartition]) -> None:
        gone = {one.partition for one in partitions}
        with self._guard:
            self._read = [record for record in self._read if record.partition() not in gone]
            for partition in gone:
                self._offsets.forget(partition)

    def _alive(self) -> Client:
        if self._client is None:
            raise BrokerUnavailable("the connection to Kafka is not open")
        return self._client

    def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _tag(received: Received) -> tuple[int, int]:
    return cast("tuple[int, int]", received.tag)  # `_received` made it


def _place(record: Record) -> tuple[int, int]:
    partition, offset = record.partition(), record.offset()
    if partition is None or offset is None:
        raise BrokerUnavailable("Kafka gave a message without a place")
    return partition, offset


def _message(record: Record) -> Message:
    headers = {name: _text(value) for name, value in _pairs(record.headers())}
    own = {name.lower(): name for name in headers}

    def take(name: str) -> str | None:
        there = own.get(name)
        return None if there is None else headers.pop(there)

    key = record.key()
    return Message(
        record.value() or b"",
        type=take("content-type"),
        key=None if key is None else _text(key),
        id=take("message-id"),
        reply_to=take("reply-to"),
        correlation=take("correlation-id"),
        headers=headers,
    )


def _pairs(headers: object) -> Iterable[tuple[str, str | bytes | None]]:
    """librdkafka's binding gives a list; its types say it may be a dict."""
    pairs = headers.items() if isinstance(headers, dict) else headers or ()
    return cast("Iterable[tuple[str, str | bytes | None]]", pairs)


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
