"""Events of an attempt's own on their way to the store: in order, some at a time, ten times a second at most."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable

from ..core.job import Job
from ..core.outputs import room
from ..errors import StoreUnavailable
from ..observe import signal
from ..ports import Pending, Store
from ..privacy.known import scrub_line
from ..tasks import Ready
from .clock import Clock
from .progress import SPACING, Written

MOST = 100  # lines in one transaction
MOST_BYTES = 1 << 20
PAUSES = (0.05, 5.0)  # s, first and last, while the store does not answer


class Emitter:
    """The sink of one attempt's `ctx.events`. Unlike progress no line is left out."""

    def __init__(
        self,
        store: Store,
        worker: str,
        job: Job,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        on_stale: Callable[[], None],
        told: Callable[[], str | None],
    ) -> None:
        """`told`: why the attempt has been told to stop, if it has: then nobody waits much longer for the store."""
        self._store, self._worker, self._job, self._loop, self._clock = store, worker, job, loop, clock
        self._on_stale, self._told = on_stale, told
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, concurrent.futures.Future[bool]]] = deque()
        self._sent = 0
        self._next = 0.0
        self._stale = self._held = self._closed = False
        self._sending: asyncio.Task[None] | None = None

    def __call__(self, line: str) -> Pending[bool]:
        """Take a line, from any thread."""
        if self._stale or self._closed:
            return Ready(not self._stale)
        if not self._job.watched:  # nobody could read it
            return Ready(True)
        line = scrub_line(line, (self._job.id, self._job.fence))
        future: concurrent.futures.Future[bool] = concurrent.futures.Future()
        with self._lock:
            room(self._sent, len(self._waiting))
            self._sent += 1
            self._waiting.append((line, future))
        if self._held:
            return Ready(True)
        self._loop.call_soon_threadsafe(self._start)
        return Written(future)

    def hold(self) -> None:
        """Send nothing: see `Reporter.hold`."""
        self._held = True

    def held(self) -> list[str]:
        """What has not been sent, for the attempt's own transaction to carry."""
        return [line for line, _ in self._waiting]

    def forget(self) -> None:
        """It has been carried."""
        self._closed = True
        self._waiting.clear()

    def _start(self) -> None:
        if self._sending is None and self._waiting and not self._closed:
            self._sending = self._loop.create_task(self._send())

    async def _send(self) -> None:
        try:
            while self._waiting:
                wait = self._next - self._clock.elapsed()
                if wait > 0 and not self._closed:
                    await asyncio.sleep(wait)
                await self._write()
        finally:
            self._sending = None

    async def _write(self) -> None:
        """The first page of what waits; it leaves the line only when it is written, refused, or given up."""
        page: list[tuple[str, concurrent.futures.Future[bool]]] = []
        size = 0
        for line, future in list(self._waiting)[:MOST]:
            size += len(line)
            if page and size > MOST_BYTES:
                break
            page.append((line, future))
        self._next = self._clock.elapsed() + SPACING
        job, lines = self._job, [line for line, _ in page]
        verbs = self._store.verbs
        pause, last = PAUSES
        while True:
            try:
                written = self._stale is False and await self._store.perform(
                    lambda: verbs.emit(job.id, job.fence, self._worker, lines)
                )
                break
            except StoreUnavailable as error:
                signal("store.unavailable", error=f"events of job {job.id}: {error}")
                if self._told() is not None:
                    written = True  # nobody can tell; the attempt's own end meets the same trouble
                    break
                await asyncio.sleep(self._clock.spread(pause))
                pause = min(2 * pause, last)
        if not written and not self._stale:
            self._stale = True
            self._on_stale()
        with self._lock:
            for _ in page:
                self._waiting.popleft()
        for _, future in page:
            if future.set_running_or_notify_cancel():
                future.set_result(written)

    async def close(self) -> None:
        """The attempt has ended: write the rest now, before the job is settled."""
        self._closed = True
        while self._waiting or self._sending is not None:
            if self._sending is None:
                self._sending = self._loop.create_task(self._send())
            await asyncio.gather(self._sending, return_exceptions=True)
