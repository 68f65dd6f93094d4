"""A thread of our own with an event loop of its own: whoever calls may be on any loop, on none, or block one."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar
from weakref import WeakSet

R = TypeVar("R")


class LoopThread:
    """Starts at once. `post` and `call` may be used from any thread but this one."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        shared.add(self.loop)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Call it there soon. RuntimeError once the thread has ended."""
        self.loop.call_soon_threadsafe(call, *args)

    def spawn(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """On this thread: a task that is kept until it has ended."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call(self, work: Coroutine[Any, Any, R], timeout: float | None = None) -> R:
        """Run it there and wait; TimeoutError after `timeout` seconds, and then it is cancelled."""
        future: Future[R] = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    async def settled(self) -> None:
        """On this thread: until every task that was spawned has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def stop(self) -> None:
        """End the thread; nothing may be waiting for it any more."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


shared: WeakSet[Any] = WeakSet()
"""What a fork's child has in common with its parent: event loops (the kernel's set of watched sockets is one for both)
and connections."""


def _forsake() -> None:
    """In the child: none of them is ever finalized. asyncpg would close a connection that is collected, which takes its
    socket out of the set that the parent waits on: the parent would never hear from its server again. A reference in a
    module is not enough, it goes when the interpreter ends."""
    for one in list(shared):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))


os.register_at_fork(after_in_child=_forsake)
