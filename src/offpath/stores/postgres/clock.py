"""The server's clock between two looks at it."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...core.options import SECOND
from ...ports import Now, Verb

EVERY = 60 * SECOND  # quartz that is wrong by 100 ppm is wrong by 6 ms then

_COUNTER = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS, which lacks it, counts sleep in the other


def awake() -> int:
    """µs that only ever grow, also while this host sleeps."""
    return time.clock_gettime_ns(_COUNTER) // 1000


class ServerClock:
    """Counted on by one that nobody sets: the wall clock is stepped (by NTP, by hand, after sleep), and we with it.
    `look` is called when it is time to look again, by whoever asks for the time, and must not wait."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        here = awake()
        self._apart = time.time_ns() // 1000 - here  # until it has been seen, as if it were this host's
        self._due = here + EVERY

    def now(self) -> int:
        here = awake()
        if here > self._due:
            self._due = here + EVERY  # also when nobody answers
            self._look()
        return here + self._apart

    def seen(self, there: int, since: int) -> None:
        """It read `there` at some moment after `since` (of `awake`). We go no further than we must: what was long on
        its way says little."""
        here = awake()
        self._apart = min(max(self._apart, there - here), there - since)
        self._due = here + EVERY


def ask() -> Verb[int]:
    answer: int = yield Now()
    return answer
