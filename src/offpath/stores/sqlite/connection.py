"""Opening SQLite the way offpath needs it, running verbs on a connection, and saying what went wrong in its words."""

from __future__ import annotations

import contextlib
import os
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import SchemaError, StoreError, StoreUnavailable
from ...ports import Hint, Statement, Verb
from ..statements import drive, positional

R = TypeVar("R")

BUSY_SECONDS = 10.0
SAFE_VERSION = (3, 51, 3)  # before it, a WAL reset beside a checkpoint can lose a commit (sqlite.org/wal.html)


ahead: dict[str, int] = {}
"""How far the testing kit has moved the clock of a database, µs, by the path of its file."""


def now() -> int:
    """The clock of a one-host store: this host's, µs since the epoch."""
    return time.time_ns() // 1000


def connect(path: str) -> sqlite3.Connection:
    """A connection in autocommit mode (we say BEGIN ourselves), usable from any one thread at a time.

    It never waits inside SQLite for another's lock: `begin` does the waiting.

    A file that does not exist is created with mode 0600; StoreUnavailable when it cannot be opened.
    """
    try:
        _create(path)
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            # Several that create the file at once are in each other's way here, and SQLite does not wait by itself.
            _patiently(lambda: connection.execute("pragma journal_mode=wal"), BUSY_SECONDS)
            connection.execute("pragma synchronous=full")
            connection.execute("pragma journal_size_limit=67108864")
            connection.execute("pragma busy_timeout=0")
        except sqlite3.Error:
            connection.close()
            raise
    except (OSError, sqlite3.Error) as e:
        raise StoreUnavailable(f"cannot open the SQLite database {path}: {_plain(e)}") from e
    return connection


_creating = threading.Lock()


def _create(path: str) -> None:
    """Make the file, readable by nobody else, unless it is there.

    A file that is there must not be opened and closed here: closing *any* descriptor of a file drops all locks that
    this process holds on it, those of our other connections too (sqlite.org/howtocorrupt.html §2.2). The last
    connection of another process would then believe it is alone and delete the log that we are writing to.
    """
    with _creating, contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def begin(connection: sqlite3.Connection, patience: float = BUSY_SECONDS) -> None:
    """BEGIN IMMEDIATE; StoreUnavailable when another writer does not end within `patience` seconds."""
    in_turn(lambda: connection.execute("begin immediate"), patience)


def in_turn(call: Callable[[], R], patience: float = BUSY_SECONDS) -> R:
    """`call` writes; wait for other writers in short, uneven steps, and say so when one does not end.

    SQLite's own busy handler sleeps up to 100 ms at a time; beside a busy writer that is most of the latency.
    """
    try:
        return _patiently(call, patience)
    except sqlite3.OperationalError as e:
        if not is_busy(e):
            raise
        raise StoreUnavailable(
            f"the database stayed locked by another writer for {patience:g} s: `offpath doctor` says how to find it; "
            "if it is an open transaction of your own code, enqueue in it: using(tx=…)"
        ) from e


def _patiently(call: Callable[[], R], patience: float) -> R:
    """Repeat `call` for up to `patience` seconds while another connection is in its way."""
    deadline = time.monotonic() + patience
    pause = 0.0002
    while True:
        try:
            return call()
        except sqlite3.OperationalError as e:
            if not is_busy(e) or time.monotonic() > deadline:
                raise
        time.sleep(pause * (0.5 + random.random()))
        pause = min(pause * 1.5, 0.004)


def execute(connection: sqlite3.Connection, statement: Statement) -> Any:
    # sqlite3 gives the interpreter's lock away to look up the name of each parameter that has one.
    sql, names = positional(statement.sql)
    cursor = connection.execute(sql, [statement.params[name] for name in names])
    if cursor.description is None:
        return statement.read([(cursor.rowcount,)])
    return statement.read(cursor.fetchall())


def run(
    connection: sqlite3.Connection, verb: Verb[R], hint: Callable[[Hint], None], clock: Callable[[], int] = now
) -> R:
    """Drive a verb on this connection, inside whatever transaction is open."""
    return drive(verb, lambda statement: execute(connection, statement), clock, hint)


def is_busy(error: sqlite3.OperationalError) -> bool:
    text = str(error)
    return "locked" in text or "busy" in text


def explain(error: BaseException, path: str) -> StoreError:
    """A driver's error as one of ours."""
    text = _plain(error)
    if re.search(r"no such table: (?:\w+\.)?offpath_(?:job|enqueue)\b", text):
        return SchemaError(f"there are no offpath tables in {path}: run `offpath migrate`, or `await jobs.migrate()`")
    if "no such table: offpath_" in text or "no such column" in text:
        return SchemaError(f"the tables in {path} do not fit this version of offpath ({text}): run `offpath migrate`")
    if "full" in text or isinstance(error, sqlite3.OperationalError):
        return StoreUnavailable(f"the SQLite database {path} cannot be written now: {text}")
    return StoreError(f"the SQLite database {path} refused: {text}")


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
