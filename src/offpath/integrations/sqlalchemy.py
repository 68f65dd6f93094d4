"""For applications that keep their own rows with SQLAlchemy: a SQLite engine that does not meet "database is locked",
and a filter that keeps Alembic away from offpath's tables. Jobs join your transaction with `using(tx=session)`.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any, TypeVar

from ..errors import ConfigurationError, MissingExtraError

try:
    from sqlalchemy import Connection, Engine, event
    from sqlalchemy.ext.asyncio import AsyncEngine
except ImportError as e:
    raise MissingExtraError("offpath.integrations.sqlalchemy", "sqlalchemy") from e

__all__ = ["alembic_include_object", "immediate"]

E = TypeVar("E", bound=Engine | AsyncEngine)

BUSY_MS = 10_000
STEP_MS = 8  # SQLite sleeps 1, 2 and 5 ms within these, and up to 100 ms at a time when it is given longer
PREFIX = "offpath_"
_BUSY, _NOW = "offpath_busy_ms", "offpath_busy_ms_now"


def immediate(engine: E) -> E:
    """Make a SQLite engine fit to live beside other writers; returns the same engine. Call it before the first use.

    Every transaction begins with BEGIN IMMEDIATE: it waits for its turn at the start. One that begins as a reader and
    writes later cannot wait (what it has read may have changed meanwhile), so SQLite refuses it at once with "database
    is locked", whatever the timeout; beside a busy worker that is most of them. Connections get WAL, synchronous=FULL,
    foreign_keys=ON, and wait for 10 s, or as long as your own `timeout` when that is longer.

    A transaction holds the write lock from its first statement to its end, so keep slow calls out of it. Requests that
    only read need no lock: give them `engine.execution_options(isolation_level="AUTOCOMMIT")`, a second engine on the
    same pool. Engines of other databases come back as they are.

    ConfigurationError, at the first connection, when the driver begins transactions itself (`autocommit=False`).
    """
    target = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    if target.dialect.name == "sqlite" and not event.contains(target, "begin", _begin):
        event.listen(target, "connect", _connect)
        event.listen(target, "begin", _begin)
    return engine


def _connect(connection: Any, record: Any) -> None:
    if record.driver_connection.in_transaction:
        raise ConfigurationError("immediate(engine) begins each transaction itself: leave autocommit=False out")
    cursor = connection.cursor()
    try:
        cursor.execute("pragma busy_timeout")
        record.info[_BUSY] = record.info[_NOW] = max(BUSY_MS, *cursor.fetchone())
        cursor.execute(f"pragma busy_timeout={record.info[_BUSY]}")
        _wal(cursor)
        cursor.execute("pragma synchronous=full")
        cursor.execute("pragma foreign_keys=on")
    finally:
        cursor.close()


def _wal(cursor: Any) -> None:
    """Only the first connection to a new file has something to change here. SQLite refuses that at once while another
    one writes; what it does wait for is a turn to write, so wait for that and ask again."""
    for _ in range(100):
        try:
            cursor.execute("pragma journal_mode=wal")
            return
        except sqlite3.OperationalError as e:
            if "locked" not in str(e):
                raise
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("ROLLBACK")
    cursor.execute("pragma journal_mode=wal")


def _begin(connection: Connection) -> None:
    """Wait for the turn in short steps. One long wait is SQLite's to sleep through, and whoever comes back every
    100 ms finds a busy writer's database locked every time: among 80 transactions one gave up after 10 s."""
    pooled: Any = connection.connection
    info = pooled.info
    if pooled.dbapi_connection.isolation_level is None:  # how SQLAlchemy asks the driver for AUTOCOMMIT
        _wait(pooled, info[_BUSY])
        return
    _wait(pooled, STEP_MS)
    deadline = time.monotonic() + info[_BUSY] / 1000
    cursor = pooled.cursor()
    try:
        while time.monotonic() < deadline:
            try:
                cursor.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as e:
                if "locked" not in str(e):
                    break
            else:
                return
    finally:
        cursor.close()
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, for an error in SQLAlchemy's words


def _wait(pooled: Any, milliseconds: int) -> None:
    if pooled.info[_NOW] != milliseconds:
        cursor = pooled.cursor()
        cursor.execute(f"pragma busy_timeout={milliseconds}")
        cursor.close()
        pooled.info[_NOW] = milliseconds


def alembic_include_object(object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:
    """`include_object` for Alembic's `context.configure`: offpath's tables have their own migrations (`offpath
    migrate`), so autogenerate must neither drop nor change them. All their names begin with "offpath_"."""
    table = object if type_ == "table" else getattr(object, "table", None)
    return not str(getattr(table, "name", "")).startswith(PREFIX)
