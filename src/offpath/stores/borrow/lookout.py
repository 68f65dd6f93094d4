"""Hints for work that was enqueued where no driver tells of the commit: its rows are looked for until others see them.

The caller's transaction pays nothing for it. A NOTIFY in it would: PostgreSQL lets one commit at a time through that
carries one. Nor is anything hung on the caller's connection; the looks go through a connection of the store's own.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import cache
from heapq import heappop, heappush
from typing import NamedTuple
from weakref import WeakSet

from ...errors import OffpathError
from ...ports import Announce, Enqueued, Hint, Pending

STEP = 0.005
"""Seconds to the first look and, at least, between two. Most transactions have ended by then."""

GROWTH = 0.25
"""A look comes so much of the age later than the one before: whoever's commit took long is told that much later."""

REST = 30
"""Once the `CREDIT` is spent, there is no look after one for so many times as long as it took, up to `LONGEST_REST`
seconds: where commits never end, and workers are busy anyhow, the looks take a few hundredths of a processor."""

LONGEST_REST = 0.25

CREDIT = 0.25
"""Seconds of looking that may be done without a rest; a second brings back 1 / `REST` of one. Enough for a transaction
now and then, however long it takes."""

PATIENCE = 2.0
"""Seconds after which it is left to the poll, which finds it within a second."""

MOST = 200
"""Expected at a time. When so many are, others will do: a hint wakes workers, and they take all there is."""

FAREWELL = 1.0
"""Seconds that the last look of a process may take."""


class Expected(NamedTuple):
    due: float  # when to look next, as `time.monotonic` tells it
    since: float
    id: str  # one job of the call; the others stand or fall with it
    hints: tuple[Hint, ...]


class Budget:
    """How much was looked, of late."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._at = 0.0

    def rest(self, now: float, took: float) -> float:
        """For how long to look no more, after a look that took so long and has just ended."""
        self._spent = max(0.0, self._spent - max(0.0, now - took - self._at) / REST) + took
        self._at = now
        return min(max(0.0, self._spent - CREDIT) * REST, LONGEST_REST)


class Lookout:
    """`look` tells which of some job ids can be seen by now; `announce` is given the hints of those.

    `expect` may be called from any thread, after `close`, and in a fork's child: it starts a thread when it must.
    """

    def __init__(self, look: Callable[[Sequence[str]], Pending[Collection[str]]], announce: Announce) -> None:
        self._look = look
        self._announce = announce
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._expected: list[Expected] = []  # a heap
        self._budget = Budget()
        self._rest = 0.0  # no look before this, as `time.monotonic` tells it
        self._until = math.inf  # the thread sleeps so long
        self._thread: threading.Thread | None = None

    def expect(self, said: Sequence[Enqueued], hints: Sequence[Hint]) -> None:
        """What `Home.follow` wants: `said` was enqueued in a transaction that may still be open."""
        if self._pid != os.getpid():
            self._renew()
        fresh = next((one.id for one in said if not one.existing), None)
        if fresh is None or len(self._expected) >= MOST:
            return
        now = time.monotonic()
        with self._changed:
            heappush(self._expected, Expected(now + STEP, now, fresh, tuple(hints)))
            if self._thread is None:
                _look_at_exit()
                self._thread = threading.Thread(target=self._run, name="offpath-lookout", daemon=True)
                self._thread.start()
            if max(now + STEP, self._rest) < self._until:
                self._changed.notify()

    def close(self) -> None:
        """What is still expected is left to the poll."""
        if self._pid != os.getpid():
            return  # the thread is the parent's
        with self._changed:
            thread, self._thread = self._thread, None
            self._expected.clear()
            self._changed.notify()
        if thread is not None:
            thread.join()

    def leave(self, until: float) -> None:
        """The process ends: one look, now, for all that is expected, and wait for it until then (`time.monotonic`)."""
        if self._pid != os.getpid():
            return
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify()
        if thread is not None:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self) -> None:
        while due := self._next():
            start = time.monotonic()
            try:
                seen = frozenset(self._look([one.id for one in due]).result())
            except OffpathError:
                continue  # the store cannot be read now: the poll, then
            hints = dict.fromkeys(hint for one in due if one.id in seen for hint in one.hints)
            if hints:
                self._announce(list(hints))
            self._expect_again([one for one in due if one.id not in seen])
            now = time.monotonic()
            self._rest = now + self._budget.rest(now, now - start)

    def _next(self) -> list[Expected]:
        """Waits for the next look and gives what it is for; once we leave all that is left, and then nothing."""
        due: list[Expected] = []
        with self._changed:
            while self._thread is threading.current_thread():
                now = time.monotonic()
                self._until = max(self._rest, self._expected[0].due) if self._expected else math.inf
                if self._until <= now:
                    while self._expected and self._expected[0].due <= now + STEP:
                        due.append(heappop(self._expected))
                    return due
                self._changed.wait(None if self._until == math.inf else self._until - now)
            if self._thread is not None:
                return []  # closed, and another has begun
            due, self._expected = self._expected, []
            return due

    def _expect_again(self, unseen: list[Expected]) -> None:
        now = time.monotonic()
        with self._changed:
            if self._thread is threading.current_thread():
                for one in unseen:
                    age = now - one.since
                    if age < PATIENCE:
                        heappush(self._expected, one._replace(due=now + max(STEP, age * GROWTH)))


_all: WeakSet[Lookout] = WeakSet()


@cache
def _look_at_exit() -> None:
    """Asked for with the first thread: what hints leave by is there by then, ends after us (`transports.carrier`)."""
    with contextlib.suppress(RuntimeError):  # the main thread has ended
        getattr(threading, "_register_atexit", atexit.register)(_leave_all)


def _leave_all() -> None:
    """A script that commits and ends is heard of at once, too."""
    until = time.monotonic() + FAREWELL
    for lookout in list(_all):
        lookout.leave(until)
