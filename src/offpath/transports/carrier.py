"""A transport over a line of any kind: who listens in this process, and the thread that the line lives on.

The connection is made in the background and made again when it is lost (see line.py). While there is none polling goes
on: pickup then takes the poll interval.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from weakref import WeakSet

from ..observe import signal
from ..ports import Hint
from .line import CONNECT, Line
from .wire import Kind

PATIENCE = 5.0  # s for a line to end


class Carrier:
    """See `ports.Transport`. `connect` is seconds for one attempt to connect."""

    def __init__(self, kind: Kind, *, connect: float = CONNECT) -> None:
        self._kind, self._patience = kind, connect
        self._closed = False
        self._start_anew()
        _all.add(self)

    def _start_anew(self) -> None:
        self._listeners: list[Callable[[Hint], None]] = []
        self._guard = threading.Lock()
        self._line: Line | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to connect, in the background: a server that is away is no error."""
        self._closed = False
        self._connect()

    def subscribe(self, on_hint: Callable[[Hint], None]) -> Callable[[], None]:
        """As in `ports`; a hint without names of each kind is heard as soon as the hints of others are."""
        self._closed = False
        with self._guard:
            self._listeners.append(on_hint)
        if line := self._connect():
            line.stir()

        def leave() -> None:
            with self._guard:
                if on_hint in self._listeners:
                    self._listeners.remove(on_hint)

        return leave

    def announce(self, hints: Sequence[Hint]) -> None:
        for hint in hints:
            self._tell(hint)
        if line := self._line or self._connect():
            line.send(hints)

    def close(self) -> None:
        """What has been announced still leaves, within a second; after that only `open` and `subscribe` connect."""
        with self._guard:
            self._closed = True
            self._listeners.clear()
            thread = self._end()
        if thread is not None and thread is not threading.current_thread():
            thread.join(PATIENCE)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self) -> threading.Thread | None:
        """The thread, if there is one, that ends now."""
        line, self._line = self._line, None
        thread, self._thread = self._thread, None
        if line is not None:
            line.end()
        return thread

    def _let_go(self) -> threading.Thread | None:
        """The main thread has ended. Who listens still works, on another, and closes in time."""
        with self._guard:
            return None if self._listeners else self._end()

    def _tell(self, hint: Hint) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(hint)
            except Exception as e:
                signal("transport.failed", transport=self._kind.name, error=e, exc_info=e)

    def _connect(self) -> Line | None:
        with self._guard:
            if self._line is None and not self._closed:
                line = Line(self._kind, self._tell, lambda: bool(self._listeners), self._patience)
                thread = threading.Thread(target=_serve, args=(line,), name="offpath-hints", daemon=True)
                try:
                    thread.start()
                except RuntimeError as e:  # no more threads, or the interpreter is going down: the poll finds the work
                    signal("transport.failed", transport=self._kind.name, error=e)
                else:
                    self._line, self._thread = line, thread
            return self._line

    def _forked(self) -> None:
        """In the child: the thread is not there, and the connection and whoever listened are the parent's."""
        if self._line is not None:
            self._line.abandon()
        self._start_anew()


def _serve(line: Line) -> None:
    with contextlib.suppress(asyncio.CancelledError), asyncio.Runner(loop_factory=line.new_loop) as runner:
        runner.run(line.serve())


_all: WeakSet[Carrier] = WeakSet()


def _after_fork() -> None:
    for transport in list(_all):
        transport._forked()


os.register_at_fork(after_in_child=_after_fork)


def _end_all() -> None:
    """What a process announces just before it ends leaves as well. And no thread of ours is caught in the middle of a
    connection by an interpreter that goes down: libraries for TLS and for databases may crash then."""
    threads = [transport._let_go() for transport in list(_all)]
    until = time.monotonic() + PATIENCE
    for thread in threads:
        if thread is not None:
            thread.join(max(0.0, until - time.monotonic()))


# Not `atexit`: by then the executors have ended, without which asyncio resolves no name. They are told this way, too.
with contextlib.suppress(RuntimeError):  # the main thread has ended
    import concurrent.futures.thread  # noqa: F401 (told of the end after us, for it asked before)  # pyright: ignore

    getattr(threading, "_register_atexit", atexit.register)(_end_all)
