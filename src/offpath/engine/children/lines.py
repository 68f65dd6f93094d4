"""Progress of an attempt in a child, on its way to the worker: the first line at once, then at most ten a second."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
import time
from collections.abc import Callable, Hashable

from ...ports import Pending
from ...privacy.known import scrub_line
from ...tasks import Ready
from ..progress import SPACING, Written
from .wire import Message


class Lines:
    """The sink of the Context of one attempt after the other."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._guard = threading.Lock()
        self._late = threading.Lock()  # held from the taking of a line that has waited until it is sent
        self._numbers = itertools.count(1)
        self._waiting: dict[int, concurrent.futures.Future[bool]] = {}
        self._next = 0.0
        self._latest: str | None = None
        self._timer: threading.Timer | None = None
        self._stale = False
        self._open = False
        self._attempt: Hashable = None

    def begin(self, attempt: Hashable) -> None:
        with self._guard:
            self._attempt = attempt
            self._open, self._stale, self._latest, self._next = True, False, None, 0.0
            self._waiting.clear()

    def __call__(self, line: str) -> Pending[bool]:
        """Take a line, from any thread. What comes too soon after another waits, and the latest of it is sent."""
        line = scrub_line(line, self._attempt)
        with self._guard:
            if self._stale or not self._open:
                return Ready(not self._stale)
            now = time.monotonic()
            if now < self._next:
                self._latest = line
                if self._timer is None:
                    self._timer = timer = threading.Timer(self._next - now, self._due)
                    timer.daemon = True
                    timer.start()
                return Ready(True)
            self._next = now + SPACING
            number, written = self._number()
        self._send({"say": "progress", "n": number, "line": line})
        return Written(written)

    def _number(self) -> tuple[int, concurrent.futures.Future[bool]]:
        number = next(self._numbers)
        written: concurrent.futures.Future[bool] = concurrent.futures.Future()
        self._waiting[number] = written
        return number, written

    def _due(self) -> None:
        with self._late:
            with self._guard:
                self._timer = None
                line, self._latest = self._latest, None
                if line is None or not self._open:
                    return
                self._next = time.monotonic() + SPACING
                number, _ = self._number()
            self._send({"say": "progress", "n": number, "line": line})

    def written(self, number: int, ok: bool) -> None:
        """The worker's answer; False: another worker has the job by now."""
        with self._guard:
            self._stale = self._stale or not ok
            future = self._waiting.pop(number, None)
        if future is not None and future.set_running_or_notify_cancel():
            future.set_result(ok)

    def end(self) -> None:
        """The attempt has ended: send what has waited, and nothing after that."""
        with self._late:
            with self._guard:
                self._open = False
                line, self._latest = self._latest, None
                timer, self._timer = self._timer, None
                number = next(self._numbers)
            if timer is not None:
                timer.cancel()
            if line is not None:
                self._send({"say": "progress", "n": number, "line": line})
