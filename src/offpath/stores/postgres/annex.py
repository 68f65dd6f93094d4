"""What an application's event loop enqueues, written by that loop itself: no thread to wake, and none to share the
interpreter's lock with (docs/decisions/0044).

Only what is one statement, and so a transaction by itself: nobody's row stays locked while the loop is held up.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from ...ports import Enqueued, Hint, NewJob
from .address import Address
from .committer import Committer, Item
from .pool import Pool
from .verbs import PostgresVerbs

LINES = 2  # connections: the second one is opened when many gather
LAST = 5.0  # s that whoever closes the store from another thread waits for the loop


class Annex:
    """Belongs to one event loop and is called there, but for `end`."""

    def __init__(self, address: Address, verbs: PostgresVerbs, announce: Callable[[Sequence[Hint]], None]) -> None:
        self.guests = 0  # how often the loop has moved in
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._pool = Pool(address, LINES)
        self._committer = Committer(self._pool, self._pool, verbs, announce, self._spawn, _delivered, LINES)

    def enqueue(self, jobs: Sequence[NewJob]) -> asyncio.Future[list[Enqueued]]:
        """Without keys: those may wait for others."""
        future: asyncio.Future[list[Enqueued]] = self._loop.create_future()
        self._committer.add(Item(_Answer(future), jobs))
        return future

    async def close(self) -> None:
        """Finish what was enqueued, then close."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._pool.close()

    def end(self) -> None:
        """The same from any thread, which waits where it can; a loop that runs no more finishes nothing."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._closing = self._loop.create_task(self.close())
        elif self._loop.is_running():
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self.close(), self._loop).result(LAST)
        else:
            self._pool.abandon()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        # Of nobody's context: a group is not part of the request whose job happens to be its first.
        task = self._loop.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Answer:
    """`committer.Answer` for somebody on the same loop."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[list[Enqueued]]) -> None:
        self._future = future

    @property
    def done(self) -> bool:
        return self._future.done()

    def set(self, value: list[Enqueued]) -> None:
        if not self._future.done():  # whoever awaited it was cancelled
            self._future.set_result(value)

    def fail(self, error: BaseException) -> None:
        if not self._future.done():
            self._future.set_exception(error)


def _delivered(answers: Iterable[object]) -> None:
    """They have been told."""
