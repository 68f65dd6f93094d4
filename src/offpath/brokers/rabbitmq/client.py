"""Publishing to exchanges and queues, over connections that are made anew when they are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ...core.checks import shown
from ...errors import BrokerRefused, BrokerUnavailable
from ...ports import Consumer, Outgoing, Source
from ..address import Address
from ..options import flag, whole
from .coding import fits, runs
from .connection import Line, connect, said, settings
from .consumer import RabbitConsumer
from .declaring import close, declare_queue, declare_topic
from .frames import aiormq
from .ordered import ExclusiveConsumer, shared
from .sending import publish, settled

MIB = 2**20
ALL = "#"


class RabbitBroker:
    """See `ports.Broker`."""

    kind = "rabbitmq"

    def __init__(self, address: Address) -> None:
        self._settings = settings(address)
        self._prefetch = whole(address, "prefetch", 100, most=65_535)
        self._make = flag(address, "make")
        self._open = False
        self._lines: dict[str, Line] = {}
        self._turns = {"publish": asyncio.Lock(), "consume": asyncio.Lock()}
        self._publishing = asyncio.Lock()
        self._channel: aiormq.abc.AbstractChannel | None = None  # to publish
        self._known: set[str] = set()  # exchanges that are there

    async def open(self) -> None:
        self._open = True
        try:
            await self._line("publish")
        except BaseException:
            self._open = False
            raise

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        answers: list[BrokerRefused | None] = [None] * len(outgoing)
        async with self._publishing:  # or the server's word on one message would be taken for that on another's
            known: list[int] = []  # what became of these
            try:
                for run in runs(outgoing):
                    again = await self._send(outgoing, run, answers)
                    known += [place for place in run if place not in again]
                    for place in again:  # the channel went with one: which?
                        await self._send(outgoing, [place], answers)
                        known.append(place)
            except BrokerUnavailable as e:
                e.confirmed = (*(place for place in known if answers[place] is None), *e.confirmed)
                raise
        return answers

    async def consume(self, source: Source) -> Consumer:
        line = await self._line("consume")
        queue = source.address
        if source.shape != "queue":
            await self._exchange(line, source.address)
            queue = f"{source.address}.{source.group}"
        make = self._make or source.shape != "queue"
        there = await declare_queue(line, queue, make=make, ordered=source.ordered)
        alone = source.ordered and there and not await shared(line, queue)
        if source.shape != "queue":
            channel = await line.channel()
            for subject in source.subjects or (ALL,):
                await line.ask(channel.queue_bind(queue, source.address, subject))
            await close(channel)
        if alone:
            return ExclusiveConsumer(lambda: self._read_alone(line, source.address, queue))
        return await self._read(line, source.address, queue)

    async def close(self) -> None:
        self._open = False
        self._channel = None
        lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            await line.close()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _line(self, what: str) -> Line:
        """The connection to publish, or that to consume; made anew when it was lost."""
        async with self._turns[what]:
            self._must_be_open()
            line = self._lines.get(what)
            if line is None or line.lost:
                if line is not None:
                    line.drop()
                if what == "publish":  # what was known is that line's
                    self._channel = None
                    self._known.clear()
                line = await connect(self._settings, f"offpath {what}")
                try:
                    self._must_be_open()  # still
                except BrokerUnavailable:
                    await line.close()
                    raise
                self._lines[what] = line
            return line

    async def _read(self, line: Line, address: str, queue: str, *, exclusive: bool = False) -> RabbitConsumer:
        channel = await line.channel()
        try:
            await line.ask(channel.basic_qos(prefetch_count=self._prefetch))
            consumer = RabbitConsumer(line, channel, address, queue, float(self._settings.heartbeat))
            await line.ask(channel.basic_consume(queue, consumer.deliver, exclusive=exclusive))
        except BaseException:
            await close(channel)
            raise
        return consumer

    async def _read_alone(self, line: Line, address: str, queue: str) -> RabbitConsumer | None:
        """None while somebody else reads."""
        try:
            return await self._read(line, address, queue, exclusive=True)
        except BrokerRefused as e:
            if "in exclusive use" in str(e):
                return None
            raise

    def _must_be_open(self) -> None:
        if not self._open:
            raise BrokerUnavailable(f"the connection to {self._settings.name} is not open")

    async def _send(
        self, outgoing: Sequence[Outgoing], places: Sequence[int], answers: list[BrokerRefused | None]
    ) -> list[int]:
        """Send those, all at once and in order. Their answers go to `answers`; what is given back went with a channel
        that the server closed, over one of them."""
        line = await self._line("publish")
        try:
            await line.unblocked(line.timeout)
            ready = [place for place in places if await self._may_go(line, outgoing[place], place, answers)]
            if self._channel is None or self._channel.is_closed:
                self._channel = await line.channel(confirms=True)
            size = sum(len(outgoing[place].message.body) for place in ready)
            sending = [publish(self._channel, outgoing[place]) for place in ready]
            results = dict(zip(ready, await settled(sending, line.timeout + size / MIB), strict=True))
            return self._judge(line, outgoing, results, answers)
        except TimeoutError as e:
            self._leave(line)
            await line.unblocked(0.05)
            raise said(line.name, line.timeout, e) from e
        except BrokerUnavailable as e:
            if not e.alive:
                self._leave(line)  # whatever is on its way is not waited for any more
            raise

    def _judge(
        self,
        line: Line,
        outgoing: Sequence[Outgoing],
        results: Mapping[int, BaseException | None],
        answers: list[BrokerRefused | None],
    ) -> list[int]:
        """What the server said to each: see `_send`."""
        full: BrokerUnavailable | None = None
        closed = next((e for e in results.values() if isinstance(e, aiormq.exceptions.ChannelClosed)), None)
        again: list[int] = []
        for place, error in results.items():
            address = outgoing[place].address
            if error is None:
                continue
            if isinstance(error, aiormq.exceptions.PublishError):
                answers[place] = BrokerRefused(f"{line.name} has no queue {shown(address)}: was it deleted?")
            elif isinstance(error, aiormq.exceptions.DeliveryError):
                text = f"{line.name} cannot take it for {shown(address)}: is a queue full, or without majority?"
                if outgoing[place].answer:  # nobody else is to wait for that queue
                    answers[place] = BrokerRefused(text)
                    continue
                full = BrokerUnavailable(text)
                full.alive = True
            elif closed is not None and len(results) > 1 and not isinstance(error, ValueError | TypeError):
                self._known.discard(address)  # somebody may have deleted the exchange
                again.append(place)
            else:
                answer = said(line.name, line.timeout, error)
                if isinstance(answer, BrokerUnavailable):
                    raise answer from error
                answers[place] = answer
        if full is not None:
            full.confirmed = tuple(place for place, error in results.items() if error is None)
            raise full
        if again:  # what was sent after the server's word would be taken for an offence: not on this connection again
            self._leave(line)
        return again

    async def _may_go(self, line: Line, out: Outgoing, place: int, answers: list[BrokerRefused | None]) -> bool:
        try:
            fits(out, line.frame)
            if not out.direct:
                await self._exchange(line, out.address)
        except BrokerRefused as e:
            answers[place] = e
        return answers[place] is None

    def _leave(self, line: Line) -> None:
        line.drop()
        if self._lines.get("publish") is line:
            del self._lines["publish"]

    async def _exchange(self, line: Line, name: str) -> None:
        """See that it is there. BrokerRefused when it cannot be."""
        if name not in self._known:
            await declare_topic(line, name)
            self._known.add(name)
