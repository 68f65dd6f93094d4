"""Progress of an attempt on its way to the store: at most ten lines a second, the latest wins, the last is written."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Generic

from ..core.job import Job
from ..errors import StoreError
from ..observe import signal
from ..ports import Pending, R, Store
from ..privacy.known import scrub_line
from ..tasks import Ready
from .clock import Clock

SPACING = 0.1  # s between two lines of one attempt


class Written(Generic[R]):
    """Something on its way to the store: `await` it on any loop, or block for it with `.result()` from any thread."""

    __slots__ = ("_future",)

    def __init__(self, future: concurrent.futures.Future[R]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, R]:
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def result(self, timeout: float | None = None) -> R:
        return self._future.result(timeout)


class Reporter:
    """The sink of one attempt's Context. Every write carries the fence, so a late worker writes nothing."""

    def __init__(
        self,
        store: Store,
        worker: str,
        job: Job,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        on_stale: Callable[[], None],
    ) -> None:
        self._store, self._worker, self._job = store, worker, job
        self._loop, self._clock, self._on_stale = loop, clock, on_stale
        self._latest: deque[str] = deque(maxlen=1)  # put in from any thread, taken out on the loop
        self._next = 0.0
        self._stale = self._closed = self._held = self._asleep = False
        self._sending: asyncio.Task[None] | None = None
        self._ours: concurrent.futures.Future[bool] | None = None

    def __call__(self, progress: str) -> Pending[bool]:
        """Take a line, from any thread (`Context` calls it under its lock).

        The first after a while is written at once, and awaiting it waits for that: it keeps a tight loop in step with
        the store. What comes before the next is due is kept, and awaiting it waits for nothing.
        """
        if self._stale or self._closed:
            return Ready(not self._stale)
        if not self._job.watched:  # nobody could read it
            return Ready(True)
        now = self._clock.elapsed()
        self._latest.append(scrub_line(progress, (self._job.id, self._job.fence)))
        if self._held:
            return Ready(True)
        if self._ours is not None or now < self._next:
            self._loop.call_soon_threadsafe(self._start)
            return Ready(True)
        written: concurrent.futures.Future[bool] = concurrent.futures.Future()
        self._ours = written
        self._loop.call_soon_threadsafe(self._start)
        return Written(written)

    def hold(self) -> None:
        """Send nothing before `close`: the attempt's own transaction keeps other writers out, and may wait for them."""
        self._held = True

    @property
    def latest(self) -> str | None:
        """The line that has not been sent."""
        return self._latest[0] if self._latest else None

    def forget(self) -> None:
        """The attempt's own transaction has carried what there was."""
        self._closed = True
        self._latest.clear()

    def _start(self) -> None:
        if self._sending is None and self._latest and not self._closed:
            self._sending = self._loop.create_task(self._send())

    async def _send(self) -> None:
        """Write the latest line, and what has come meanwhile when it is due."""
        try:
            while self._latest and not self._stale:
                wait = self._next - self._clock.elapsed()
                if wait > 0 and not self._closed:
                    self._asleep = True
                    await asyncio.sleep(wait)
                    self._asleep = False
                await self._write()
        finally:
            self._sending = None
            self._answer()

    async def _write(self) -> None:
        if not self._latest:
            return
        text = self._latest.popleft()
        self._next = self._clock.elapsed() + SPACING
        job = self._job
        try:
            verbs = self._store.verbs
            written = await self._store.perform(lambda: verbs.progress(job.id, job.fence, self._worker, text))
        except StoreError as error:  # the next line will do; progress is no reason to fail a job
            signal("store.unavailable", error=f"progress of job {job.id}: {error}")
            written = True
        if not written:
            self._stale = True
            self._on_stale()
        self._answer()

    def _answer(self) -> None:
        ours, self._ours = self._ours, None
        if ours is not None and ours.set_running_or_notify_cancel():
            ours.set_result(not self._stale)

    async def close(self) -> None:
        """The attempt has ended: write the last line now, before the job is settled."""
        self._closed = True
        if (sending := self._sending) is not None:
            if self._asleep:
                sending.cancel()
            # What is on its way is waited for: behind the job's end, on another connection, it would be refused.
            await asyncio.gather(sending, return_exceptions=True)
        if not self._stale:
            await self._write()
