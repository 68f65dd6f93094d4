"""A worker's sign of life on PostgreSQL: a connection and a thread of its own, whatever the others are busy with."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from ...core.options import SECOND
from ...errors import StoreUnavailable
from ...ports import Statement
from .. import rows
from . import faults
from .address import Address
from .pool import Pool
from .session import explained
from .thread import LoopThread

PATIENCE = 4.0  # s for one call: a renewal is tried again long before the lease has run out


class PostgresLease:
    """See `ports.Lease`. `leased(worker, seconds or None)` tells the store whose lease its exchanges may extend."""

    def __init__(self, address: Address, sql: Mapping[str, str], leased: Callable[[str, float | None], None]) -> None:
        self._address, self._sql, self._leased = address, sql, leased
        self._pid = os.getpid()
        self._thread: LoopThread | None = None
        self._pool = Pool(address, 1)

    def register(self, worker: str, seconds: float, tasks: str, label: str) -> None:
        params = {"worker": worker, "length": round(seconds * SECOND), "tasks": tasks, "label": label}
        self._ask("register", params, rows.nothing)
        self._leased(worker, seconds)

    def renew(self, worker: str, seconds: float) -> bool:
        params = {"worker": worker, "length": round(seconds * SECOND)}
        return bool(self._ask("renew", params, rows.value) == 1)

    def judge(self) -> list[str]:
        self._ask("judge", {}, rows.nothing)
        lapsed: list[str] = self._ask("lapsed", {}, rows.column)
        return lapsed

    def resign(self, worker: str) -> None:
        self._leased(worker, None)
        self._ask("resign", {"worker": worker}, rows.nothing)
        self._ask("gone", {"worker": worker}, rows.nothing)

    def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            with contextlib.suppress(TimeoutError):
                thread.call(self._pool.close(), PATIENCE)
            thread.stop()

    def _ask(self, name: str, params: Mapping[str, Any], read: Callable[[list[Any]], Any]) -> Any:
        if self._thread is None:
            self._thread = LoopThread("offpath-postgres-lease")
        try:
            return self._thread.call(self._run(Statement(self._sql[f"lease.{name}"], params, read)), PATIENCE)
        except TimeoutError as e:
            raise StoreUnavailable(f"{self._address.shown} has not answered for {PATIENCE:g} s") from e
        except Exception as e:
            raise explained(e, self._address) from e

    async def _run(self, statement: Statement) -> Any:
        for more in reversed(range(faults.AGAIN)):
            try:
                async with self._pool.lend() as session, session.alone():
                    return await session.execute(statement)
            except asyncpg.PostgresError as e:
                if not more or faults.sqlstate(e) not in faults.REPEATED:
                    raise
        raise AssertionError("unreachable")
