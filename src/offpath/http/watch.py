"""Who waits for what: one watcher for held polls and event streams alike, from hints to wake-ups.

While a request waits it holds an `asyncio.Event` here and nothing else: no database connection, no thread. Hints are
latency only; whoever waits also looks again by itself (`poll`), so a lost hint costs at most that long.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..ports import Hint, Transport

LOOK = 0.25  # s between two looks at whether the server is going down


class Watch:
    """One request's wait; made by `Watcher.watch`."""

    __slots__ = ("_event", "_loop", "_watcher", "id")

    def __init__(self, watcher: Watcher, id: str) -> None:
        self.id = id
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        """From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            return  # its loop has been closed: nobody waits there any more

    async def next(self, seconds: float) -> bool:
        """Return after a hint, or after `seconds` without one: look again. False: the server goes down, end now."""
        if self._watcher.closing:
            return False
        timer = self._loop.call_later(max(0.0, seconds), self._event.set)
        try:
            await self._event.wait()
        finally:
            timer.cancel()
        self._event.clear()
        return not self._watcher.closing


class Watcher:
    """Subscribed to the transport while anybody waits (and asks for it only then).

    going_down  asked now and then: True = the server stops, and whoever waits should end in good order
    """

    def __init__(self, transport: Callable[[], Transport], going_down: Callable[[], bool] = lambda: False) -> None:
        self._transport = transport
        self._going_down = going_down
        self._closed = False
        self._lock = threading.Lock()  # the two tables; taken by hints, so never held while calling the transport
        self._line = threading.Lock()  # the subscription
        self._waiting: dict[str, set[Watch]] = {}
        self._looks: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._count = 0

    @property
    def open(self) -> int:
        """How many requests wait here now."""
        return self._count

    @property
    def closing(self) -> bool:
        return self._closed or self._going_down()

    @contextmanager
    def watch(self, id: str) -> Iterator[Watch]:
        """Hear of one operation until the end of the block; on a running loop."""
        mine = Watch(self, id)
        with self._lock:
            self._count += 1
            self._waiting.setdefault(id, set()).add(mine)
            if mine._loop not in self._looks:
                self._looks[mine._loop] = mine._loop.call_later(LOOK, self._look, mine._loop)
        try:
            self._listen()
            yield mine
        finally:
            with self._lock:
                self._count -= 1
                self._waiting[mine.id].discard(mine)
                if not self._waiting[mine.id]:
                    del self._waiting[mine.id]
            self._listen()

    def close(self) -> None:
        """End every wait; new ones end at once. From any thread."""
        self._closed = True
        self._wake(None)

    def _listen(self) -> None:
        """Be subscribed exactly while somebody waits."""
        with self._line:
            if self._count and self._unsubscribe is None:
                self._unsubscribe = self._transport().subscribe(self._on_hint)
            elif not self._count and self._unsubscribe is not None:
                leave, self._unsubscribe = self._unsubscribe, None
                leave()

    def _on_hint(self, hint: Hint) -> None:
        if hint.kind == "event":
            self._wake(hint.names or None)

    def _wake(self, names: tuple[str, ...] | None) -> None:
        with self._lock:
            ids = list(self._waiting) if names is None else [name for name in names if name in self._waiting]
            waiting = [watch for id in ids for watch in self._waiting[id]]
        for watch in waiting:
            watch.wake()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            here = any(watch._loop is loop for watches in self._waiting.values() for watch in watches)
            if here:
                self._looks[loop] = loop.call_later(LOOK, self._look, loop)
            else:
                del self._looks[loop]
        if here and self.closing:
            self._wake(None)
