"""Threads for plain functions. The lanes bound how many run at once; here are only as many as that needs.

They are daemons: one that never returns must not keep the process from ending (`concurrent.futures` would wait for it).
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")

Work = tuple["asyncio.Future[Any]", Callable[[], Any], contextvars.Context]


class Threads:
    """A thread takes one function at a time; a new one is started when none is idle."""

    def __init__(self, keep: int) -> None:
        """At most `keep` idle threads stay for the next function."""
        self._keep = keep
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._free = 0  # idle threads, less the work already on its way to them
        self._lock = threading.Lock()
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._count = 0

    async def run(self, fn: Callable[[], R]) -> R:
        """Call `fn` in a thread, in a copy of the present context. Cancelling this does not stop `fn`."""
        loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        with self._lock:
            start = self._free <= 0
            if not start:
                self._free -= 1
        if start:
            self._count += 1
            threading.Thread(target=self._serve, name=f"offpath-thread-{self._count}", daemon=True).start()
        self._work.put((future, fn, contextvars.copy_context()))
        return await future

    def close(self) -> None:
        """Let the idle threads go; those that are busy go when they are done."""
        with self._lock:
            idle, self._free, self._keep = self._free, 0, 0
        for _ in range(idle):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            future, fn, context = work
            value: Any = None
            error: BaseException | None = None
            try:
                value = context.run(fn)
            except BaseException as exc:
                error = exc
            with self._lock:
                # Counted as idle before the loop hears of it, else the next function would start a thread for itself.
                stay = self._free < self._keep
                if stay:
                    self._free += 1
            self._tell(future, value, error)
            del work, future, fn, context, value, error  # an idle thread keeps nothing alive
            if not stay:
                return

    def _tell(self, future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
        """One wake-up of the loop brings all that is done by then."""
        first = not self._done
        self._done.append((future, value, error))
        if first:
            try:
                assert self._loop is not None  # noqa: S101
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody is waiting any more
                self._done.clear()

    def _deliver(self) -> None:
        while self._done:
            future, value, error = self._done.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            elif isinstance(error, StopIteration):  # a future refuses it; a coroutine could not raise it either
                future.set_exception(RuntimeError(f"the function raised {error!r}"))
            else:
                future.set_exception(error)
