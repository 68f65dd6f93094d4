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
from .declaring import bind, close, declare_queue, declare_topic
from .frames import aiormq
from .ordered import ExclusiveConsumer, shared
from .routes import HOLD, routes
from .sending import publish, settled

MIB = 2**20
QUIET = 10.0  # s, at most, after which a consumer that hears nothing asks: an exchange may have been deleted


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
        self._routes = routes(f"{address.host}:{self._settings.port}/{self._settings.vhost}")

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
                for run in runs(outgoing, alone=self._routes.doubtful):
                    again = await self._send(outgoing, run, answers)
                    known += [place for place in run if place not in again]
                    for place in again:  # the channel went with one: which?
                        if await self._send(outgoing, [place], answers):
                            address = shown(outgoing[place].address)
                            raise BrokerUnavailable(f"{self._settings.name}: the exchange {address} is deleted at once")
                        known.append(place)
            except BrokerUnavailable as e:
                e.confirmed = (*(place for place in known if answers[place] is None), *e.confirmed)
                raise
        return answers

    async def consume(self, source: Source) -> Consumer:
        line = await self._line("consume")
        queue = source.address
        if source.shape != "queue":
            await declare_topic(line, source.address)
            queue = f"{source.address}.{source.group}"
        make = self._make or source.shape != "queue"
        there = await declare_queue(line, queue, make=make, ordered=source.ordered)
        alone = source.ordered and there and not await shared(line, queue)
        if source.shape != "queue":
            channel = await line.channel()
            await line.ask(bind(channel, source, queue))
            await close(channel)
        if alone:
            return ExclusiveConsumer(lambda: self._read_alone(line, source, queue))
        return await self._read(line, source, queue)

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

    async def _read(self, line: Line, source: Source, queue: str, *, exclusive: bool = False) -> RabbitConsumer:
        channel = await line.channel()
        try:
            await line.ask(channel.basic_qos(prefetch_count=self._prefetch))
            consumer = RabbitConsumer(line, channel, source, queue, min(QUIET, self._settings.heartbeat))
            await line.ask(channel.basic_consume(queue, consumer.deliver, exclusive=exclusive))
        except BaseException:
            await close(channel)
            raise
        return consumer

    async def _read_alone(self, line: Line, source: Source, queue: str) -> RabbitConsumer | None:
        """None while somebody else reads."""
        try:
            return await self._read(line, source, queue, exclusive=True)
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
        gone = isinstance(closed, aiormq.exceptions.ChannelNotFoundEntity)  # the exchange: somebody has deleted it
        had: list[int] = []
        again: list[int] = []
        for place, error in results.items():
            out, address = outgoing[place], outgoing[place].address
            if error is None:
                had.append(place)
                if not out.direct:
                    self._routes.led(address, out.subject)
            elif isinstance(error, aiormq.exceptions.PublishError) and out.direct:
                answers[place] = BrokerRefused(f"{line.name} has no queue {shown(address)}: was it deleted?")
            elif isinstance(error, aiormq.exceptions.PublishError):
                if self._routes.returned(address, out.subject):
                    full = BrokerUnavailable(
                        f"{line.name}: no queue is bound to {shown(address)} for {shown(out.subject)} any more; "
                        f"it waits {HOLD:g} s for one"
                    )
                else:
                    had.append(place)
            elif isinstance(error, aiormq.exceptions.DeliveryError):
                text = f"{line.name} cannot take it for {shown(address)}: is a queue full, or without majority?"
                if outgoing[place].answer:  # nobody else is to wait for that queue
                    answers[place] = BrokerRefused(text)
                    continue
                full = BrokerUnavailable(text)
            elif closed is not None and (gone or len(results) > 1) and not isinstance(error, ValueError | TypeError):
                self._known.discard(address)
                again.append(place)
            else:
                answer = said(line.name, line.timeout, error)
                if isinstance(answer, BrokerUnavailable):
                    raise answer from error
                answers[place] = answer
        if again:  # what was sent after the server's word would be taken for an offence: not on this connection again
            self._leave(line)
        if full is not None:
            full.alive, full.confirmed = True, tuple(had)
            raise full
        return again

    async def _may_go(self, line: Line, out: Outgoing, place: int, answers: list[BrokerRefused | None]) -> bool:
        try:
            fits(out, line.frame)
            if not out.direct:
                await self._exchange(line, out.address)
                if self._routes.waits(out.address):
                    anew = BrokerUnavailable(
                        f"{line.name}: the exchange {shown(out.address)} was gone and has been made anew; "
                        f"nothing is sent there for {HOLD:g} s, so that those who read bind their queues again"
                    )
                    anew.alive = True
                    raise anew
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
            if not await declare_topic(line, name):
                self._routes.made(name)
            self._known.add(name)
