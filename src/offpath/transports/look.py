"""A look at the SQLite file: has anyone committed to it since the last one? The net under the datagrams.

SQLite's account of its file locks must not be inherited by a fork (sqlite.org/howtocorrupt.html §2.6): while the
process forks no look goes on and no connection is open. The next look opens its own, and answers yes once in vain.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from urllib.parse import quote
from weakref import WeakSet


class Look:
    """`changed()` costs 4 µs (`PRAGMA data_version`); any thread may call it."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        with _looking:
            _looks.add(self)
            self._version = self._read()

    def changed(self) -> bool:
        with _looking:
            version = self._read()
            same = version == self._version
            self._version = version
            return not same

    def close(self) -> None:
        with _looking:
            self._shut()

    def _read(self) -> int:
        try:
            if self._connection is None:
                if not os.path.exists(self._database):
                    return 0
                uri = f"file:{quote(self._database)}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            return int(self._connection.execute("pragma data_version").fetchone()[0])
        except sqlite3.Error:
            return 0

    def _shut(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._version = -1  # another connection counts from another number


_looks: WeakSet[Look] = WeakSet()
_looking = threading.Lock()


def _before_fork() -> None:
    _looking.acquire()
    for look in _looks:
        look._shut()


os.register_at_fork(before=_before_fork, after_in_parent=_looking.release, after_in_child=_looking.release)
