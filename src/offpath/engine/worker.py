"""One process's worker: what it does, in order. Everything else in this room is one line of this file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from uuid import uuid4

from ..core.workers import About
from ..errors import ConfigurationError, StoreError
from ..observe import signal
from ..observe.pulse import Pulse, beating
from ..ports import Store, Transport
from ..privacy.known import guard_logging
from ..settings import Settings
from ..tasks import Registry
from . import children
from .census import Census
from .clock import Clock, clock
from .consumers import Consumers
from .crew import Crew
from .leases import Keeper, Listener
from .limits import Freed, Gate
from .outage import Outage
from .pump import Pump
from .schedules import Ticker, known
from .shutdown import drain, on_signals
from .stats import Book
from .upkeep import Upkeep
from .wake import Alarm, Ear
from .watch import LOOK, Watch

PACKAGE = __name__.partition(".")[0]
LAST_WORD = 2.0  # s for the counts of a worker that ends


class Worker:
    """Runs jobs until told to stop.

    queues       the queues it serves; None = all
    until_empty  it ends by itself once nothing is ready or running (jobs scheduled for later do not hold it)
    time         where it takes time and chance from; tests bring their own
    consumers    what reads the application's subscriptions meanwhile; None: nothing is to be read
    """

    def __init__(
        self,
        store: Store,
        transport: Transport,
        registry: Registry,
        settings: Settings,
        *,
        queues: Sequence[str] | None = None,
        until_empty: bool = False,
        time: Clock | None = None,
        consumers: Callable[[Clock], Consumers] | None = None,
    ) -> None:
        if children.in_child:
            raise ConfigurationError(
                'a process for tasks (executor="process") imports this module to find them, and that starts a worker: '
                'put what starts it under `if __name__ == "__main__":`'
            )
        self.ready = asyncio.Event()  # registered, and claiming
        self._store, self._transport, self._registry, self._settings = store, transport, registry, settings
        self._queues, self._until_empty = queues, until_empty
        self._clock = time if time is not None else clock(store)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._crew: Crew | None = None
        self._ticker: Ticker | None = None
        self._consumers = None if consumers is None else consumers(self._clock)
        self._stops = 0
        self._stopping, self._hurry = asyncio.Event(), asyncio.Event()

    def stop(self) -> None:
        """Stop in order; called a second time, at once. From any thread."""
        self._stops += 1
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._told)

    def _told(self) -> None:
        if self._stops:
            self._stopping.set()
        if self._stops > 1:
            self._hurry.set()

    def _about(self) -> About:
        settings = self._settings
        return About(
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._clock.now(),
            concurrency=settings.concurrency,
            queues=None if self._queues is None else tuple(self._queues),
            version=sys.modules[PACKAGE].__version__,
            lease=settings.lease,
            alerts=tuple(rule.name for rule in self._registry.alerts),
        )

    @property
    def abandoned(self) -> int:
        """Attempts that would not stop and still run in this process. What wants to end must not wait for them:
        `asyncio.run` would, for coroutines, and for ever."""
        return 0 if self._crew is None else sum(len(lane.abandoned) for lane in self._crew.lanes)

    def _unsealed(self) -> None:
        tasks = [name for name in self._registry.names() if (task := self._registry.get(name)) and task.secret]
        if tasks and not self._settings.secret_keys:
            signal("worker.unsealed", tasks=",".join(tasks))

    async def run(self, *, signals: bool = False) -> None:
        """The worker's life. `signals`: SIGTERM and SIGINT stop it (only on the main thread).

        ConfigurationError when a task needs something nobody provides; SchemaError when the tables are too old.
        """
        self._loop = asyncio.get_running_loop()
        self._told()
        guard_logging()
        self._unsealed()
        with on_signals(self.stop) if signals else contextlib.nullcontext():
            crew = self._crew = Crew(self._store, self._registry, self._settings, self._clock, self._transport.announce)
            crew.until_empty = self._until_empty
            await asyncio.to_thread(self._store.open)
            if rules := self._registry.limits.rules():
                await self._store.perform(lambda: self._store.verbs.declare(rules))
            self._transport.open()
            crew.start()
            try:
                if self._consumers is not None:
                    self._consumers.start()
                if not self._until_empty:  # one that is to end by itself leaves schedules to others: they would keep it
                    self._ticker = Ticker(self._store, self._registry, self._clock)
                    await self._ticker.begin()
                while not self._stopping.is_set():
                    await Life(self, crew).live()
            finally:
                if self._consumers is not None:
                    await self._consumers.stop()
                await crew.close()


class Life:
    """The worker under one id. A verdict ends it, and the next life begins under another."""

    def __init__(self, worker: Worker, crew: Crew) -> None:
        settings, store, clock = worker._settings, worker._store, worker._clock
        self.id = str(uuid4())
        self._worker, self._crew, self._settings, self._store, self._clock = worker, crew, settings, store, clock
        self._loop = loop = asyncio.get_running_loop()
        self._registered = asyncio.Event()
        self._emptied = asyncio.Event()
        self._parting = self._again = False
        self._looking: asyncio.Task[None] | None = None
        self._look = asyncio.Lock()  # of two looks the later one is to be believed
        self._census = Census(store, worker._registry, clock, worker._queues)
        self._book = Book(store, crew.tally, crew, clock, self.id, worker._about())
        self._upkeep = Upkeep(store, worker._registry, clock, settings.renew, self._book, settings.retention_stats)
        self._watch = Watch(loop, crew.lanes, clock, self.id)
        self._keeper = Keeper(
            store,
            self.id,
            known(worker._registry, fires=not worker._until_empty),
            f"{socket.gethostname()}:{os.getpid()}",
            (settings.lease, settings.renew),
            clock,
            Listener(
                confirmed=lambda: self._on_loop(self._confirmed),
                lost=lambda: self._on_loop(self._lost),
                lapsed=lambda dead: self._on_loop(self._upkeep.lapsed, dead),
            ),
            self._watch.stuck,
        )
        self._pump = Pump(
            store,
            self._keeper,
            clock,
            crew.intakes(settings.poll),
            self._census.queues,
            policy=crew.policy,
            running=crew.running,
            mates=crew.mates,
            tally=crew.tally,
            held=crew.held,
            concurrency=settings.concurrency,
        )
        self._alarm = Alarm(store, clock, self._pump.hint)
        self._pump.short = self._short
        self._pump.lined = frozenset(one.task for one in worker._registry.subscriptions if one.ordered)
        self._pump.freed = self._freed = Freed(worker._transport.announce)
        for intake in self._pump.intakes:
            intake.gate = Gate(clock, self._limited)
        crew.begin(self._keeper, self._pump, self._alarm)

    async def live(self) -> None:
        """Register, work, and end: told to stop, nothing left to do, or judged dead."""
        with beating(self._pulse):
            await self._live()

    async def _live(self) -> None:
        worker, crew, pump = self._worker, self._crew, self._pump
        self._watch.start()
        self._keeper.start()
        duties: list[asyncio.Task[Any]] = []
        ear: Ear | None = None
        try:
            if not await _first(self._registered, worker._stopping):
                return
            ear = Ear(worker._transport, pump.hint, crew.look_for_cancels, self._look_around)
            pumping = self._loop.create_task(pump.run())
            duties = [self._loop.create_task(duty) for duty in self._duties()]
            self._alarm.look()
            signal(
                "worker.started",
                pid=os.getpid(),
                worker=self.id,
                queues=",".join(name for name, _ in self._census.queues()),
                tasks=len(worker._registry.names()),
                concurrency=self._settings.concurrency,
            )
            worker.ready.set()
            await self._work(pumping)
        finally:
            worker.ready.clear()
            for duty in duties:
                duty.cancel()
            await asyncio.gather(*duties, return_exceptions=True)
            if ear is not None:
                ear.close()
            if self._looking is not None:
                self._looking.cancel()
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(LAST_WORD):
                    await self._book.flush()
            self._alarm.close()
            self._freed.close()
            self._keeper.leave()
            self._watch.stop()
            await asyncio.to_thread(self._keeper.join, self._settings.lease)
            self._watch.join(LOOK)

    def _pulse(self) -> Pulse:
        """How it is. Any thread."""
        worker, lanes, pool = self._worker, self._crew.lanes, self._crew.pool
        return Pulse(
            self.id,
            {lane.kind: sum(slot.job is not None for slot in tuple(lane.slots)) for lane in lanes},
            {lane.kind: lane.count for lane in lanes},
            worker.abandoned,
            self._keeper.age,
            self._settings.lease,
            self._keeper.trouble,
            self._watch.now(),
            worker.ready.is_set() and not self._keeper.fenced_now,
            worker._stopping.is_set(),
            () if pool is None else pool.pids(),
        )

    def _duties(self) -> list[Coroutine[Any, Any, None]]:
        ticker = self._worker._ticker
        return [self._upkeep.run(), self._mind(), *([ticker.run()] if ticker is not None else [])]

    async def _work(self, pumping: asyncio.Task[None]) -> None:
        worker, crew = self._worker, self._crew
        stopping = [self._loop.create_task(event.wait()) for event in (worker._stopping, self._emptied)]
        try:
            await asyncio.wait({pumping, *stopping}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            worker._hurry.set()  # whoever cancels us does not want to wait; but what we hold is given back
            await self._end(pumping)
            raise
        finally:
            for task in stopping:
                task.cancel()
        if not pumping.done():
            await self._end(pumping)
        elif pumping.exception() is not None:
            error = pumping.exception()
            signal("worker.crashed", worker=self.id, error=repr(error), exc_info=error)
            pumping.result()
        else:
            crew.lost()

    async def _end(self, pumping: asyncio.Task[None]) -> None:
        worker, crew = self._worker, self._crew
        worker._stopping.set()
        if worker._consumers is not None:
            worker._consumers.stopping.set()  # nothing new while what is here is brought to its end
        returned = await drain(self.id, crew.lanes, self._pump, pumping, self._settings.drain, worker._hurry)
        signal("worker.stopped", worker=self.id, done=crew.succeeded, failed=crew.failed, returned=returned)

    async def _mind(self) -> None:
        """Small things, once per poll: new queues, claims that stand about, cancel requests whose hint was lost."""
        clock, settings, crew, pump = self._clock, self._settings, self._crew, self._pump
        cancels_at, outage = 0.0, Outage()
        while True:
            await asyncio.sleep(clock.spread(min(1.0, settings.poll)))
            try:
                await self._around()
                outage.over()
            except Exception as error:  # the pump meets the same trouble; what follows is due all the same
                if outage.worth_telling(error, clock.elapsed()):
                    signal("upkeep.failed", duty="census", error=str(error))
            for intake in pump.intakes:
                pump.give_back(intake.stagnant())
            if clock.elapsed() >= cancels_at:
                cancels_at = clock.elapsed() + settings.renew
                crew.look_for_cancels()

    async def _around(self) -> None:
        """New queues; and those that were paused or resumed, at once."""
        async with self._look:
            changed = await self._census.refresh()
        if changed:
            self._pump.rest(self._census.paused)
            self._pump.hint()  # there may be work in what was resumed

    def _look_around(self) -> None:
        """A queue was paused or resumed. A look that is on its way may have seen neither: look again after it."""
        self._again = True
        if self._looking is None or self._looking.done():
            self._looking = self._loop.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        with contextlib.suppress(StoreError):  # the next poll looks again
            while self._again:
                self._again = False
                await self._around()

    def _limited(self) -> bool:
        return self._worker._registry.limits.any or self._census.limited

    def _short(self) -> None:
        """A claim found less than was wanted: when does the next job fall due, and is there anything left at all?"""
        self._alarm.look()
        if self._worker._until_empty and not self._crew.load and not self._pump.pending:
            self._checking = self._loop.create_task(self._check_empty())

    async def _check_empty(self) -> None:
        with contextlib.suppress(StoreError):
            if self._parting or not await self._census.empty() or self._crew.load:
                return
            self._parting = True
            try:
                await self._upkeep.unknown()  # what is left although it is ready: nobody may ever run it
            finally:
                self._emptied.set()

    # -- from the keeper ---------------------------------------------------------------------------------------------

    def _on_loop(self, call: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody is left to be told
            self._loop.call_soon_threadsafe(call, *args)

    def _confirmed(self) -> None:
        self._registered.set()
        self._crew.confirmed()

    def _lost(self) -> None:
        self._pump.lost = True
        self._pump.stir()
        self._registered.set()


async def _first(wanted: asyncio.Event, instead: asyncio.Event) -> bool:
    """Wait for either; True when it was `wanted`."""
    tasks = [asyncio.ensure_future(event.wait()) for event in (wanted, instead)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return wanted.is_set()
