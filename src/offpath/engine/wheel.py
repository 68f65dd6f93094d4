"""One timer for the deadlines of all slots of a lane; it runs only while something does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from .slot import Slot

TICK = 0.05  # s between two looks
INSIST = 1.0  # s until a coroutine that has not stopped is cancelled again


class Wheel:
    """Calls `overdue(slot)` for every slot whose `limit` has passed."""

    def __init__(self, slots: Iterable[Slot], elapsed: Callable[[], float], overdue: Callable[[Slot], None]) -> None:
        self._slots, self._elapsed, self._overdue = slots, elapsed, overdue
        self._timer: asyncio.TimerHandle | None = None

    def turn(self) -> None:
        """Something runs: see that the wheel turns. On the loop."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        now = self._elapsed()
        for slot in tuple(self._slots):
            if slot.job is None:
                continue
            self.turn()
            if slot.limit <= now:
                self._overdue(slot)
            elif slot.again <= now:
                slot.again = now + INSIST
                slot.insist()
