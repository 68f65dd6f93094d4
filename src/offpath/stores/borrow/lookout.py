"""Hints for work that was enqueued where no driver tells of the commit: its rows are looked for until others see them.

The caller's transaction pays nothing for it. A NOTIFY in it would: PostgreSQL lets one commit at a time through that
carries one. Nor is anything hung on the caller's connection; the looks go through a connection of the store's own.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from ...errors import OffpathError
from ...ports import Announce, Enqueued, Hint, Pending

STEP = 0.005
"""Seconds to the first look and, at least, between two. Most transactions have ended by then."""

REST = 30
"""How much longer than a look took there is none after it, up to `LONGEST_REST` seconds: where commits never end, and
workers are busy anyhow, the looks take a few hundredths of a processor at most."""

LONGEST_REST = 0.25

PATIENCE = 2.0
"""Seconds after which it is left to the poll. A look comes half the age later than the one before, and so, from here
on, would come no sooner than a worker's own poll."""

MOST = 200
"""Expected at a time. When so many are, others will do: a hint wakes workers, and they take all there is."""


class Expected(NamedTuple):
    due: float  # when to look next, as `time.monotonic` tells it
    since: float
    id: str  # one job of the call; the others stand or fall with it
    hints: tuple[Hint, ...]


class Lookout:
    """`look` tells which of some job ids can be seen by now; `announce` is given the hints of those.

    `expect` may be called from any thread, after `close`, and in a fork's child: it starts a thread when it must.
    """

    def __init__(self, look: Callable[[Sequence[str]], Pending[Collection[str]]], announce: Announce) -> None:
        self._look = look
        self._announce = announce
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._expected: list[Expected] = []  # a heap
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
            self._rest = now + min(REST * (now - start), LONGEST_REST)

    def _next(self) -> list[Expected]:
        """Waits for the next look and gives what it is for; nothing once it is closed."""
        with self._changed:
            while self._thread is threading.current_thread():
                now = time.monotonic()
                self._until = max(self._rest, self._expected[0].due) if self._expected else math.inf
                if self._until <= now:
                    due: list[Expected] = []
                    while self._expected and self._expected[0].due <= now + STEP:
                        due.append(heappop(self._expected))
                    return due
                self._changed.wait(None if self._until == math.inf else self._until - now)
            return []

    def _expect_again(self, unseen: list[Expected]) -> None:
        now = time.monotonic()
        with self._changed:
            if self._thread is threading.current_thread():
                for one in unseen:
                    age = now - one.since
                    if age < PATIENCE:
                        heappush(self._expected, one._replace(due=now + max(STEP, age / 2)))
