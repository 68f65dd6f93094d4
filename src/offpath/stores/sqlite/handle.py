"""A connection that is opened when first used, used by one thread at a time, and never open while the process forks.

SQLite keeps its account of file locks per process, in memory. A fork copies that account but not the locks: the child
believes that it holds what it does not hold, and the write-ahead log can be deleted under its feet (commits lost), or
it sees a lock of the parent's for ever. So a fork (gunicorn's preload, multiprocessing) waits until no connection of
ours is in use, closes them, and both sides open them again at their next use. See sqlite.org/howtocorrupt.html §2.6.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from types import TracebackType
from weakref import WeakSet


class Handle:
    """`with handle as connection: …`; `open` makes the connection, in the thread that needs it first."""

    def __init__(self, open: Callable[[], sqlite3.Connection]) -> None:
        self._open = open
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        with _opening:
            _handles.add(self)

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        if self._connection is None:
            try:
                with _opening:
                    self._connection = self._open()
            except BaseException:
                self._lock.release()
                raise
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_handles: WeakSet[Handle] = WeakSet()
_opening = threading.Lock()  # guards the set above, and holds back connections that would open during a fork
_forking = threading.Lock()
_held: list[Handle] = []


def _before_fork() -> None:
    _forking.acquire()
    while True:
        _opening.acquire()
        new = [handle for handle in _handles if handle not in _held]
        if not new:
            return  # all are closed, and nothing opens before the fork is over
        _opening.release()
        for handle in new:
            handle._lock.acquire()
            _held.append(handle)
            handle._shut()


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()
    _opening.release()
    _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
