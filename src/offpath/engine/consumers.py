"""The consumers of a worker: one for each place that is read, beside the jobs that run.

receive → take (one transaction) → accept. What is not accepted comes again, and is known then: so nothing is lost, and
nothing is doubled, wherever it stops. Messages in hand are kept while the store is away for a while, and not given back
each time: brokers count how often they have handed a message out, and some give it up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import BrokerRefused, BrokerUnavailable, StoreUnavailable
from ..observe import signal
from ..ports import Broker, Consumer, Received, Source, Store
from ..ports.broker import ENOUGH
from ..settings import Settings
from ..tasks import Reading, Registry
from .clock import Clock
from .inbox import Inbox

R = TypeVar("R")

FIRST, MOST = 1, 200  # messages received at once: as many as seems wise, see `wise`
BYTES = ENOUGH  # of them (or one message) taken in one transaction
OFTEN = 5  # times that a message is handed out before it is told
WAIT = 5.0  # s for which a broker is asked for messages before it is asked anew
FIRST_PAUSE, LAST_PAUSE = 0.1, 15.0  # s between two tries
HOLD = 30.0  # s for which messages are kept in hand while the store is away
LOOK = 0.5  # s between two looks at how deep a queue is
CALM = 0.8  # of the backlog: below it, consuming goes on
PARTING = 10.0  # s that a broker may take to let us go


class Stopped(Exception):
    """The worker stops."""


@dataclass(slots=True)
class Depth:
    """Of a queue: as it was at the last look, and what has been taken since."""

    depth: int = 0
    deep: bool = False
    look_at: float = 0.0


class Consumers:
    """All of them, on the worker's loop. `make`: a broker, not yet open."""

    def __init__(
        self,
        inbox: Inbox,
        make: Callable[[], Broker],
        store: Store,
        registry: Registry,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self.inbox, self.store, self.settings, self.clock = inbox, store, settings, clock
        self.link = Link(make, clock)
        self.stopping = asyncio.Event()
        self._registry = registry
        self._running: list[asyncio.Task[None]] = []
        self._depths: dict[str, Depth] = {}

    def start(self) -> None:
        """ConfigurationError for what cannot be shared among workers."""
        loop = asyncio.get_running_loop()
        self._running = [loop.create_task(Reader(self, reading).run()) for reading in self.inbox.readings()]

    async def stop(self) -> None:
        """Receive nothing more; what has been received is finished, or given back. At most a few seconds."""
        self.stopping.set()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=PARTING)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            self._running = []
        await self.link.close()

    async def deep(self, queue: str) -> bool:
        """Whether so many jobs of the queue wait that no more are taken; once it was so, until there are fewer."""
        most, seen = self.settings.backlog, self._depths.setdefault(queue, Depth())
        if self.clock.elapsed() >= seen.look_at or (not seen.deep and seen.depth >= most):
            seen.depth = await self.store.read(self.store.verbs.depth(queue, most))
            seen.deep = seen.depth >= (max(1, int(most * CALM)) if seen.deep else most)
            seen.look_at = self.clock.elapsed() + LOOK
        return seen.deep

    def taken(self, queues: Sequence[str], jobs: int) -> None:
        """So many more, in one of these queues: until the next look it counts for each."""
        for queue in queues:
            self._depths.setdefault(queue, Depth()).depth += jobs

    def queues(self, reading: Reading) -> list[str]:
        """Where the jobs of its messages go."""
        tasks = (self._registry.get(one.task) for one in reading.subscriptions)
        return list({task.options.queue: None for task in tasks if task is not None})

    async def pause(self, seconds: float) -> None:
        """Stopped at once when the worker stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), self.clock.spread(seconds))
        if self.stopping.is_set():
            raise Stopped

    async def unless_stopped(self, work: Coroutine[Any, Any, R]) -> R:
        """The answer; Stopped when the worker stops first: then it is cancelled."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                with contextlib.suppress(BaseException):
                    await task
        if task.cancelled():
            raise Stopped
        return task.result()


class Link:
    """The broker that all consumers of a worker share; opened when it is needed, and anew when it has failed."""

    def __init__(self, make: Callable[[], Broker], clock: Clock) -> None:
        self._make, self._clock = make, clock
        self._broker: Broker | None = None
        self._opening = asyncio.Lock()
        self._failed_at: float | None = None
        self.kind = ""

    async def broker(self) -> Broker:
        async with self._opening:
            if self._broker is None:
                made = self._make()
                self.kind = made.kind
                try:
                    await made.open()
                except BaseException:
                    await _quietly(made.close())
                    raise
                self._broker = made
            return self._broker

    async def broken(self, broker: Broker) -> None:
        """It does not let anybody consume: the next one is to be another."""
        async with self._opening:
            if self._broker is broker:
                self._broker = None
                await _quietly(broker.close())

    def failed(self, error: Exception) -> None:
        if self._failed_at is None:
            self._failed_at = self._clock.elapsed()
            signal("broker.failed", broker=self.kind, error=str(error))

    def works(self) -> None:
        if self._failed_at is not None:
            seconds, self._failed_at = self._clock.elapsed() - self._failed_at, None
            signal("broker.restored", broker=self.kind, seconds=seconds)

    async def close(self) -> None:
        broker, self._broker = self._broker, None
        if broker is not None:
            await _quietly(broker.close())


class Reader:
    """Reads one place."""

    def __init__(self, all_: Consumers, reading: Reading) -> None:
        self._all, self._reading = all_, reading
        self._source: Source = reading.source
        self._queues = all_.queues(reading)
        self._pause = FIRST_PAUSE
        self._most = FIRST
        self._told = ""

    async def run(self) -> None:
        """Until the worker stops; whatever goes wrong, it is tried again."""
        with contextlib.suppress(Stopped):
            while True:
                try:
                    await self._once()
                except (Stopped, asyncio.CancelledError):
                    raise
                except BrokerUnavailable as error:
                    self._all.link.failed(error)
                except StoreUnavailable as error:
                    self._tell(error)
                    await self._store_is_there()
                except Exception as error:
                    self._tell(error, trace=not isinstance(error, BrokerRefused))
                await self._all.pause(self._pause)
                self._pause = min(2 * self._pause, LAST_PAUSE)

    async def _once(self) -> None:
        link = self._all.link
        broker = await self._all.unless_stopped(link.broker())
        try:
            consumer = await self._all.unless_stopped(broker.consume(self._source))
        except BrokerUnavailable:
            await link.broken(broker)
            raise
        signal("inbox.consuming", broker=broker.kind, source=self._source.address)
        try:
            while True:
                await self._shallow()
                try:
                    received = await self._receive(consumer)
                except BrokerUnavailable as error:
                    if not error.alive:
                        raise
                    link.failed(error)  # it finds its way back by itself
                    await self._all.pause(self._pause)
                    continue
                link.works()
                self._told, self._pause = "", FIRST_PAUSE
                if received:
                    self._most = wise(self._most, received)
                    self._tell_repeated(received)
                    await self._take(broker.kind, consumer, received)
                elif self._all.stopping.is_set():
                    raise Stopped
        finally:
            await _quietly(consumer.close())

    async def _shallow(self) -> None:
        """Wait until there is room for more jobs. (Nothing is received meanwhile: the broker keeps it.)"""
        while any([await self._all.deep(queue) for queue in self._queues]):
            await self._all.pause(LOOK)

    async def _receive(self, consumer: Consumer) -> list[Received]:
        """What came although we stop is given back."""
        task = asyncio.ensure_future(consumer.receive(min(self._most, MOST), WAIT))
        stop = asyncio.ensure_future(self._all.stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
        try:
            received = await task
        except BrokerUnavailable:
            self._most = FIRST  # it may be that so many do not come through
            raise
        except asyncio.CancelledError:
            if self._all.stopping.is_set():
                raise Stopped from None
            raise
        if received and self._all.stopping.is_set():
            await _quietly(consumer.give_back(received))
            raise Stopped
        return received

    async def _take(self, kind: str, consumer: Consumer, received: Sequence[Received]) -> None:
        """Commit, then acknowledge; not too many bytes at once."""
        while received:
            few = received[: together(received)]
            try:
                await self._held(kind, few)
            except Exception:
                await _quietly(consumer.give_back(received))
                raise
            await consumer.accept(few)
            received = received[len(few) :]

    async def _held(self, kind: str, received: Sequence[Received]) -> None:
        """Commit. While the store is away they stay in hand, but not for long."""
        began, pause = self._all.clock.elapsed(), FIRST_PAUSE
        while True:
            try:
                return await self._commit(kind, received)
            except StoreUnavailable as error:
                self._tell(error)
                if self._all.stopping.is_set() or self._all.clock.elapsed() - began > HOLD:
                    raise
            with contextlib.suppress(Stopped):
                await self._all.pause(pause)  # one more try, if we stop
            pause = min(2 * pause, LAST_PAUSE)

    async def _commit(self, kind: str, received: Sequence[Received]) -> None:
        taken = await self._all.inbox.take(kind, received, self._reading)
        self._all.taken(self._queues, sum(len(one.jobs) for one in taken))

    async def _store_is_there(self) -> None:
        """Wait for it before more is received."""
        pause, store = FIRST_PAUSE, self._all.store
        while True:
            await self._all.pause(pause)
            with contextlib.suppress(StoreUnavailable):
                await store.read(store.verbs.depth(self._queues[0], 1))
                return
            pause = min(2 * pause, LAST_PAUSE)

    def _tell(self, error: Exception, *, trace: bool = False) -> None:
        """Once for each reason."""
        said = f"{type(error).__name__}: {error}" if trace else str(error)
        if said != self._told:
            self._told = said
            extra = {"exc_info": error} if trace else {}
            signal("inbox.failed", broker=self._all.link.kind, source=self._where, error=said, **extra)

    def _tell_repeated(self, received: Sequence[Received]) -> None:
        """Before they are taken: it may be what kills us."""
        worst = max(received, key=lambda one: one.times)
        if worst.times >= OFTEN:
            kind = self._all.link.kind
            signal("inbox.repeated", broker=kind, source=self._where, place=worst.place, times=worst.times)

    @property
    def _where(self) -> str:
        return f"{self._source.shape} {self._source.address}"


def wise(most: int, received: Sequence[Received]) -> int:
    """How many to ask for, after `most` were asked for: twice as many when all came and had few bytes, and no more than
    would have `BYTES` together if they are as large as these. So that a backlog of large ones does not come at once."""
    size = sum(len(one.message.body) for one in received)
    if size > BYTES:
        return max(FIRST, len(received) * BYTES // size)
    return min(2 * most, MOST) if len(received) >= most and 2 * size <= BYTES else most


def together(received: Sequence[Received]) -> int:
    """How many of them, from the first on, are taken in one transaction."""
    size = 0
    for count, one in enumerate(received):
        size += len(one.message.body)
        if size > BYTES:
            return max(1, count)
    return len(received)


async def _quietly(work: Awaitable[None]) -> None:
    """What cannot be done for a connection that is lost need not be."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(work, PARTING)
