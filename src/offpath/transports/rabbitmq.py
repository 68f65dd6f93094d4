"""Hints by RabbitMQ: a fan-out exchange `offpath.LINE`, and for each process that listens a queue of its own.

The URL and its options are those of `brokers.rabbitmq`; `prefetch` and `make` are for events alone. The user needs to
configure, write and read what is called `offpath.*`.

The queue is an exclusive classic one, in memory, which goes with the connection. With `hints=quorum` it is a quorum
queue: it is deleted by who made it, or, when that process dies, by the server a minute later (x-expires); one that a
killed server does not find again (rabbitmq-server issue 15725) stops all hints until it is deleted. Either holds at
most 10,000 messages, none for longer than a minute. A message counts as sent when the broker has confirmed it.
docs/decisions/0032 compares the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

from ..brokers.address import Address
from ..brokers.rabbitmq.connection import Line, Settings, connect, settings
from ..brokers.rabbitmq.frames import aiormq
from ..core.checks import shown
from ..errors import BrokerError, BrokerUnavailable, ConfigurationError
from ..ports import Transport
from .carrier import Carrier
from .line import LAST
from .notes import MAX_BYTES
from .wire import Hear, Lost, Wire

BOUNDS: dict[str, Any] = {"x-message-ttl": 60_000, "x-max-length": 10_000}  # ms; messages
QUEUES: dict[str, dict[str, Any]] = {
    "quorum": {"durable": True, "arguments": {**BOUNDS, "x-queue-type": "quorum", "x-expires": 60_000}},
    "classic": {"exclusive": True, "arguments": {**BOUNDS, "x-queue-type": "classic"}},
}
"""By `hints=`: how a listener's queue is declared."""


def transport(address: Address, line: str) -> Transport:
    """ConfigurationError for an option that AMQP URLs do not have, MissingExtraError without the extra."""
    given, kind = settings(address), address.options.get("hints", "classic")
    if kind not in QUEUES:
        raise ConfigurationError(f"hints= of the rabbitmq URL is {' or '.join(QUEUES)}, not {shown(kind)}")
    return Carrier(_Rabbitmq(given, line, QUEUES[kind]), connect=given.timeout)


class _Rabbitmq:
    name, limit, pace = "rabbitmq", MAX_BYTES, 1.0

    def __init__(self, given: Settings, line: str, queue: dict[str, Any]) -> None:
        self._given, self._exchange, self._queue = given, f"offpath.{line}", queue

    async def connect(self, lost: Lost) -> Wire:
        line = await connect(self._given, "offpath hints")
        try:
            channel = await line.channel(confirms=True)
            await line.ask(channel.exchange_declare(self._exchange, exchange_type="fanout", durable=True))
        except BaseException:
            line.drop()
            raise
        channel.closing.add_done_callback(lambda _: lost(BrokerUnavailable(f"{line.name} closed the connection")))
        return _Wire(line, channel, self._exchange, self._queue)


class _Wire:
    deaf = ""

    def __init__(self, line: Line, channel: aiormq.abc.AbstractChannel, exchange: str, queue: dict[str, Any]) -> None:
        self._line, self._channel, self._exchange, self._queue = line, channel, exchange, queue
        self._mine = self._tag = ""

    async def listen(self, hear: Hear) -> None:
        async def on_message(message: aiormq.abc.DeliveredMessage) -> None:
            hear(message.body)

        line, channel = self._line, self._channel
        mine = f"{self._exchange}.{secrets.token_hex(8)}"
        await line.ask(channel.queue_declare(mine, **self._queue))
        self._mine = mine
        await line.ask(channel.queue_bind(mine, self._exchange))
        self._tag = (await line.ask(channel.basic_consume(mine, on_message, no_ack=True))).consumer_tag or ""

    async def send(self, messages: Sequence[str]) -> None:
        publish = self._channel.basic_publish
        await asyncio.gather(*(self._line.ask(publish(m.encode(), exchange=self._exchange)) for m in messages))

    async def echo(self, message: str) -> None:
        await self.send([message])

    async def ping(self) -> None:
        await self._line.ask(self._channel.exchange_declare(self._exchange, passive=True))

    async def close(self, well: bool) -> None:
        try:
            if well:
                with contextlib.suppress(BrokerError, TimeoutError):
                    async with asyncio.timeout(LAST / 2):
                        await self._leave()
                        await self._line.close()
        finally:
            self._line.drop()

    async def _leave(self) -> None:
        """Not waiting for the queue to expire."""
        if self._tag:
            await self._line.ask(self._channel.basic_cancel(self._tag))
        if self._mine:
            await self._line.ask(self._channel.queue_delete(self._mine))
