"""Is the event loop alive? Asked from the keeper's thread, which goes on when the loop stands still."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from ..observe import signal
from .clock import Clock
from .slots import Lane

SLOW = 1.0  # s without an answer: a handler blocks the loop


class Watch:
    """A handler that blocks the loop does not cost the lease, for the work goes on. But when attempts are past their
    time and the loop cannot even tell them so, this process is no use any more: then the lease is given up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lanes: Sequence[Lane], clock: Clock, worker: str) -> None:
        self._loop, self._lanes, self._clock, self._worker = loop, lanes, clock, worker
        self._asked: float | None = None  # when the loop was asked, while it has not answered
        self._warned = False

    def stuck(self) -> bool:
        """Called by the keeper before each renewal."""
        now = self._clock.elapsed()
        if self._asked is None:
            self._asked = now
            with contextlib.suppress(RuntimeError):  # closed: the keeper is about to hear of it
                self._loop.call_soon_threadsafe(self._answer)
            return False
        blocked = now - self._asked
        if blocked < SLOW:
            return False
        if not self._warned:
            self._warned = True
            signal("worker.blocked", worker=self._worker, seconds=blocked)
        return any(lane.overrun(now) for lane in self._lanes)

    def _answer(self) -> None:
        self._asked = None
        self._warned = False
