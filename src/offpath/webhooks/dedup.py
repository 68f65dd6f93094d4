"""A receiver's memory of webhook-ids: the same event may come twice, and its effect should happen once."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from datetime import timedelta

from ..core.retry import seconds
from ..errors import ConfigurationError

SPAN = timedelta(days=10)
"""Longer than our schedule with every delay stretched to its cap of 24 h."""

_TABLE = """
create table if not exists webhook_seen (id text primary key, at real not null) without rowid
"""
_INDEX = "create index if not exists webhook_seen_at on webhook_seen (at)"


class Deduplicator:
    """Remembers webhook-ids in a table `webhook_seen` of SQLite. From any thread.

        if seen.first(headers["webhook-id"]):
            handle(event)

    place   a path, or a `sqlite3.Connection` of yours: then the id is written in your transaction, and stands or falls
            with what you write there (nothing is committed here)
    span    how long an id is remembered (default 10 days, longer than offpath tries)
    """

    def __init__(self, place: str | os.PathLike[str] | sqlite3.Connection, span: float | timedelta = SPAN) -> None:
        self._span = seconds(span, "span")
        self._lock = threading.Lock()
        self._own = not isinstance(place, sqlite3.Connection)
        if isinstance(place, sqlite3.Connection):
            self._connection = place
        else:
            self._connection = sqlite3.connect(place, timeout=10, isolation_level=None, check_same_thread=False)
        self._connection.execute(_TABLE)
        self._connection.execute(_INDEX)

    def first(self, id: str, now: float | None = None) -> bool:
        """True exactly once for each id within `span`; it is remembered from then on. `now`: Unix seconds."""
        if not id:
            raise ConfigurationError("a webhook-id is not empty")
        at = time.time() if now is None else now
        with self._lock:
            self._connection.execute("delete from webhook_seen where at < ?", (at - self._span,))
            done = self._connection.execute("insert into webhook_seen values (?, ?) on conflict do nothing", (id, at))
            return done.rowcount == 1

    def forget(self, id: str) -> None:
        """Its handling failed: take it when it comes again."""
        with self._lock:
            self._connection.execute("delete from webhook_seen where id = ?", (id,))

    def close(self) -> None:
        """Close the database, unless the connection is yours."""
        if self._own:
            self._connection.close()
