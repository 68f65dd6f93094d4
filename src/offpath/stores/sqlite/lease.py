"""A worker's sign of life on SQLite: its own connection, used only by the thread that renews."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from ...core.options import SECOND
from ...ports import Statement
from .. import rows
from . import connection as db
from .handle import Handle


class SqliteLease:
    """See `ports.Lease`. `leased(worker, seconds or None)` tells the store whose lease its write groups may extend."""

    def __init__(
        self,
        path: str,
        sql: Mapping[str, str],
        leased: Callable[[str, float | None], None],
        open: Callable[[], sqlite3.Connection],
        clock: Callable[[], int],
    ) -> None:
        self._path = path
        self._sql = sql
        self._leased = leased
        self._clock = clock
        self._handle = Handle(open)

    def register(self, worker: str, seconds: float, tasks: str, label: str) -> None:
        self._write("register", {"worker": worker, "tasks": tasks, "label": label}, extend=seconds)
        self._leased(worker, seconds)

    def renew(self, worker: str, seconds: float) -> bool:
        return bool(self._write("renew", {"worker": worker}, extend=seconds) == 1)

    def judge(self) -> list[str]:
        self._write("judge", {})
        return [str(worker) for worker in self._read("lapsed")]

    def resign(self, worker: str) -> None:
        self._leased(worker, None)
        self._write("resign", {"worker": worker})
        self._write("gone", {"worker": worker})

    def close(self) -> None:
        self._handle.close()

    def _write(self, name: str, params: dict[str, str | int | None], extend: float | None = None) -> Any:
        with self._handle as c:
            try:
                db.begin(c)
                # The clock is read once the lock is ours: a wait for it must not make a lease look old.
                now = self._clock()
                if extend is not None:
                    params = {**params, "until": now + round(extend * SECOND)}
                touched = db.execute(c, Statement(self._sql[f"lease.{name}"], {"now": now, **params}, rows.value))
                c.execute("commit")
                return touched
            except sqlite3.Error as e:
                raise db.explain(e, self._path) from e
            finally:
                if c.in_transaction:
                    c.execute("rollback")

    def _read(self, name: str) -> list[Any]:
        with self._handle as c:
            try:
                found: list[Any] = db.execute(c, Statement(self._sql[f"lease.{name}"], {}, rows.column))
            except sqlite3.Error as e:
                raise db.explain(e, self._path) from e
        return found
