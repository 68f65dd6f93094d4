"""Time and chance, in one place, so that tests can hold both in their hands."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from ..ports import Store


class Clock(NamedTuple):
    """Where the engine takes time and chance from.

    now      the store's clock, µs since the epoch: what goes into rows
    elapsed  seconds that only ever grow: what durations and timeouts are measured with
    awake    the same, but it also grows while the machine sleeps: what leases are measured with
    chance   uniform in [0, 1): jitter
    """

    now: Callable[[], int]
    elapsed: Callable[[], float]
    awake: Callable[[], float]
    chance: Callable[[], float]

    def spread(self, seconds: float, by: float = 0.2) -> float:
        """`seconds`, a little less or more, so that many workers do not do the same thing at once."""
        return seconds * (1 + by * (2 * self.chance() - 1))


def clock(store: Store) -> Clock:
    """The real one."""
    return Clock(store.now, time.monotonic, boottime, random.random)


# CLOCK_MONOTONIC stands still while a laptop or a virtual machine is suspended: a lease measured with it would look
# fresh after an hour of sleep. Where the system has no better clock, the first renewal afterwards tells the truth.
if sys.platform == "linux":

    def boottime() -> float:
        """Seconds since boot, suspension included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    boottime = time.monotonic
