"""What stirs a worker: hints from the transport, jobs that fall due, and cancel requests. All of it only saves time:
the poll would find the work, and the renewal interval the requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import StoreError
from ..ports import Hint, Store, Transport
from .clock import Clock

REST = 0.1  # s between two looks at when the next job falls due


class Ear:
    """Hears hints on any thread and passes them to the loop, several at once as one."""

    def __init__(
        self,
        transport: Transport,
        on_work: Callable[[], None],
        on_cancel: Callable[[], None],
        on_queue: Callable[[], None],
    ) -> None:
        self._on_work, self._on_cancel, self._on_queue = on_work, on_cancel, on_queue
        self._loop = asyncio.get_running_loop()
        self._work = self._cancel = self._queue = False
        self._leave = transport.subscribe(self._heard)

    def close(self) -> None:
        self._leave()

    def _heard(self, hint: Hint) -> None:
        if hint.kind == "event":
            return
        stirred = self._work or self._cancel or self._queue
        if hint.kind == "work":
            # No look at the names: a worker may serve queues it has not heard of, and a needless look costs little.
            self._work = True
        elif hint.kind == "cancel":
            self._cancel = True
        else:
            self._queue = True
        if not stirred:
            try:
                self._loop.call_soon_threadsafe(self._pass_on)
            except RuntimeError:  # the loop has been closed: nobody is left to be stirred
                self._work = self._cancel = self._queue = False

    def _pass_on(self) -> None:
        work, cancel, queue = self._work, self._cancel, self._queue
        self._work = self._cancel = self._queue = False
        if work:
            self._on_work()
        if cancel:
            self._on_cancel()
        if queue:
            self._on_queue()


class Alarm:
    """Rings when the next scheduled job falls due, so that it starts at its time and not at the next poll."""

    def __init__(self, store: Store, clock: Clock, ring: Callable[[], None]) -> None:
        self._store, self._clock, self._ring = store, clock, ring
        self._loop = asyncio.get_running_loop()
        self._due: int | None = None
        self._rung = -1  # the moment it has rung for; a job that stays due (nobody knows its task) rings once
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._again = False
        self._rest_until = 0.0

    def close(self) -> None:
        for waiting in (self._timer, self._looking):
            if waiting is not None:
                waiting.cancel()

    def at(self, due: int) -> None:
        """A job falls due at this moment (µs): we have just put it there."""
        if self._due is None or due < self._due:
            self._set(due)

    def look(self) -> None:
        """Ask the store when the next one falls due: now, or when the last look has rested."""
        if self._looking is None:
            self._looking = self._loop.create_task(self._look())
        else:
            self._again = True

    async def _look(self) -> None:
        try:
            while True:
                self._again = False
                if (rest := self._rest_until - self._clock.elapsed()) > 0:
                    await asyncio.sleep(rest)
                due = await self._store.read(self._store.verbs.next_due())
                self._rest_until = self._clock.elapsed() + REST
                if due is not None and due != self._rung:
                    self._set(due)
                if not self._again:
                    return
        except StoreError:
            return  # the pump meets the same trouble and tells of it
        finally:
            self._looking = None

    def _set(self, due: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_later(max(0.0, (due - self._clock.now()) / 1e6), self._ringing)

    def _ringing(self) -> None:
        if self._due is not None and self._due > self._clock.now():  # timers count another clock, in coarser steps
            self._set(self._due)
            return
        self._rung, self._due, self._timer = self._due or -1, None, None
        self._ring()
