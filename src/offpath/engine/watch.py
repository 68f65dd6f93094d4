"""Is the event loop alive? Asked from a thread of its own, which goes on when the loop stands still."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from ..core.job import Job
from ..observe import signal
from .clock import Clock
from .slots import Lane

LOOK = 0.25  # s between two looks
SLOW = 4  # looks without an answer, so about a second: a handler blocks the loop
DEPTH = 5  # frames of the handler that are named


class Watch:
    """A handler that blocks the loop does not cost the lease, for the work goes on. But when attempts are past their
    time and the loop cannot even tell them so, this process is no use any more: then the lease is given up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lanes: Sequence[Lane], clock: Clock, worker: str) -> None:
        """On the loop's own thread."""
        self._loop, self._lanes, self._clock, self._worker = loop, lanes, clock, worker
        self._ident = threading.get_ident()
        self._asked: float | None = None  # when the loop was asked, while it has not answered
        self.lag = 0.0  # s that it took to answer the last time
        self._looks = 0  # since then; a process that was stopped for a while has not looked
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"offpath-watch-{worker[:8]}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def stuck(self) -> bool:
        """Called by the keeper before each renewal."""
        if self._asked is None or self._looks < SLOW:
            return False
        now = self._clock.elapsed()
        return any(lane.overrun(now) for lane in self._lanes)

    def _run(self) -> None:
        while not self._ended.wait(LOOK):
            asked = self._asked
            if asked is None:
                self._looks = 0
                self._asked = self._clock.elapsed()
                try:
                    self._loop.call_soon_threadsafe(self._answer)
                except RuntimeError:  # closed
                    return
                continue
            self._looks += 1
            if self._looks == SLOW:
                self._warn(self._clock.elapsed() - asked)

    def _answer(self) -> None:
        if self._asked is not None:
            self.lag = self._clock.elapsed() - self._asked
        self._asked = None

    def now(self) -> float:
        """Seconds that the loop took to answer, or has taken so far. Any thread."""
        asked = self._asked
        return self.lag if asked is None else max(self.lag, self._clock.elapsed() - asked)

    def _warn(self, seconds: float) -> None:
        job = self._blocker()
        signal(
            "worker.blocked",
            worker=self._worker,
            seconds=seconds,
            job="" if job is None else job.id,
            task="" if job is None else job.task,
            where=where(sys._current_frames().get(self._ident)),
        )

    def _blocker(self) -> Job | None:
        """The job whose attempt has the loop; None when it is something else that runs there."""
        current = asyncio.current_task(self._loop)
        if current is None:
            return None
        return next((s.job for lane in self._lanes for s in tuple(lane.slots) if s.handle is current), None)


_OURS = (os.path.dirname(__file__) + os.sep, os.path.dirname(asyncio.__file__) + os.sep)


def where(frame: FrameType | None) -> str:
    """Where a thread is, as `tasks.py:12 in render > client.py:88 in send`: from the handler's own frame inwards."""
    said: list[str] = []
    while frame is not None and not frame.f_code.co_filename.startswith(_OURS):
        file = os.path.basename(frame.f_code.co_filename)
        said.append(f"{file}:{frame.f_lineno} in {frame.f_code.co_name}")
        frame = frame.f_back
    said.reverse()
    return " > ".join(said if len(said) <= DEPTH else [*said[:2], "…", *said[-DEPTH + 2 :]])
