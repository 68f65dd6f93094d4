"""Reading a queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from ...errors import BrokerError, BrokerUnavailable
from ...ports import Received, Source
from .coding import decode, tag_of
from .connection import Line, said
from .declaring import bind, close
from .frames import aiormq, commands


class RabbitConsumer:
    """See `ports.Consumer`. What it does not hear in `quiet` seconds it asks for: a line may be deaf, and an exchange
    deleted, of which its queues are told nothing."""

    def __init__(
        self, line: Line, channel: aiormq.abc.AbstractChannel, source: Source, queue: str, quiet: float
    ) -> None:
        self._line, self._channel = line, channel
        self._source, self._queue, self._quiet = source, queue, quiet
        self._here: deque[Received] = deque()  # delivered, or given back
        self._out: set[int] = set()  # handed out, and neither accepted nor given back
        self._stirred = asyncio.Event()
        self._lost: BrokerUnavailable | None = None
        self._heard = asyncio.get_running_loop().time()
        self._probing: asyncio.Task[None] | None = None
        self._closing: asyncio.Future[Any] = channel.closing
        self._closing.add_done_callback(self._ended)
        channel.on_consumer_cancel_callbacks.add(self._cancelled)

    async def deliver(self, delivered: aiormq.abc.DeliveredMessage) -> None:
        """From the channel, in the order of the queue."""
        self._here.append(decode(delivered, self._source.address, self._queue))
        self._stirred.set()

    async def receive(self, most: int, wait: float) -> list[Received]:
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        while True:
            if self._lost is not None:
                raise self._lost
            if self._here:
                break
            if self._probing is None and clock() >= self._heard + self._quiet:
                self._probing = asyncio.ensure_future(self._probe())
            self._stirred.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until if self._probing else min(until, self._heard + self._quiet)):
                    await self._stirred.wait()
            if clock() >= until and not self._stirred.is_set():
                return []
        self._heard = clock()
        taken = [self._here.popleft() for _ in range(min(most, len(self._here)))]
        self._out.update(tag_of(one) for one in taken)
        return taken

    async def accept(self, received: Sequence[Received]) -> None:
        if self._lost is not None:
            raise self._lost
        tags = [tag for one in received if (tag := tag_of(one)) in self._out]
        self._out.difference_update(tags)
        if tags:
            await self._ask(self._acknowledge(tags))

    async def give_back(self, received: Sequence[Received]) -> None:
        """To this consumer, as the first that it reads next; to others when it is closed."""
        if self._lost is not None:
            raise self._lost
        back = [one for one in received if tag_of(one) in self._out]
        self._out.difference_update(tag_of(one) for one in back)
        self._here = deque(sorted([*back, *self._here], key=tag_of))
        self._stirred.set()

    async def close(self) -> None:
        """What was not accepted goes back to the queue."""
        self._lost = self._lost or BrokerUnavailable(f"the consumer of {self._queue} is closed")
        self._stirred.set()
        if self._probing is not None:
            self._probing.cancel()
        await close(self._channel)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _acknowledge(self, tags: Sequence[int]) -> None:
        for tag in tags[:-1]:
            await self._channel.basic_ack(tag, wait=False)
        await self._channel.basic_ack(tags[-1])

    async def _probe(self) -> None:
        """In a task of its own: whoever waits in `receive` may give up waiting, and the channel with the question."""
        with contextlib.suppress(BrokerUnavailable):
            await self._ask(self._channel.queue_declare(self._queue, passive=True))
            await self._ask(bind(self._channel, self._source, self._queue))  # the exchange may be another by now
            self._heard = asyncio.get_running_loop().time()
        self._probing = None
        self._stirred.set()

    async def _ask(self, what: Any) -> None:
        try:
            await self._line.ask(what)
        except BrokerError as e:
            self._lost = self._lost or BrokerUnavailable(str(e))
            raise self._lost from e

    def _ended(self, closing: asyncio.Future[Any]) -> None:
        if self._lost is None:
            error = None if closing.cancelled() else closing.exception()
            text = str(said(self._line.name, self._line.timeout, error)) if error is not None else "it was closed"
            self._lost = BrokerUnavailable(f"the consumer of {self._queue} has ended: {text}")
        self._stirred.set()

    def _cancelled(self, frame: commands.Basic.Cancel) -> None:
        self._lost = BrokerUnavailable(f"{self._line.name} has ended the consumer of {self._queue}: was it deleted?")
        self._stirred.set()
