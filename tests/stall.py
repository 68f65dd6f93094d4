"""Stop a process as SIGSTOP does, but not in the middle of a transaction of SQLite."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path


def stall(pid: int, file: Path | None = None) -> None:
    """Stop `pid`; with `file`, its SQLite database, not while it has the write lock: only its going on or its death
    frees that, and a test of leases would wait for ever (3 of 20 times where a sync takes 150 ms)."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        if file is None or _free(file):
            return
        os.kill(pid, signal.SIGCONT)


def _free(file: Path) -> bool:
    # Two seconds: somebody else who commits, however slow the disk, is done by then. If not, it is stopped once more.
    with contextlib.closing(sqlite3.connect(file, timeout=2, isolation_level=None)) as connection:
        try:
            connection.execute("begin immediate")
        except sqlite3.OperationalError:
            return False
        connection.execute("rollback")
        return True
