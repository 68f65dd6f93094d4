"""One connection of our own: how it is opened, and how statements and verbs run on it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from ...errors import OffpathError
from ...ports import Hint, Statement, Verb
from .. import rows
from ..statements import drive_async, numbered
from . import faults
from .address import Address
from .thread import shared

R = TypeVar("R")

ANSWER_SECONDS = 60.0  # without an answer for so long a connection is given up
LOCK_MS = 5_000

LIVENESS = {
    "tcp_user_timeout": 15_000,  # milliseconds
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 3,
    "tcp_keepalives_count": 3,
}
"""How either end of a connection notices that the other is gone (tcp(7)), under the names of the server's settings."""

_OPTIONS = ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")

SETTINGS = {
    "application_name": "offpath",
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "statement_timeout": str(int(ANSWER_SECONDS * 1000) - 10_000),
    "idle_in_transaction_session_timeout": "15000",
    # Should our host be cut off, the server lets go of what we have locked in some 20 s, and not after two hours.
    **{name: str(value) for name, value in LIVENESS.items()},
    # Plans must depend neither on statistics (the live table is empty, then full, within a second) nor on values.
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


def _begin(settings: Mapping[str, str]) -> str:
    """BEGIN, and the settings for this transaction alone: behind a pooler there are no others, and the line to the
    server is its own."""
    kept = {name: value for name, value in settings.items() if not name.startswith(("default_", "tcp_"))}
    return "; ".join(
        ("begin isolation level read committed read write", *(f"set local {n} = '{v}'" for n, v in kept.items()))
    )


class Session:
    """A connection in use by one task at a time. `pooled`: a pooler like PgBouncer stands between us and the server, so
    nothing outlives a transaction: no prepared statement, no setting, no LISTEN.
    """

    def __init__(self, connection: asyncpg.Connection[Any], settings: Mapping[str, str], *, pooled: bool) -> None:
        self.connection = connection
        shared.add(self)
        self.pooled = pooled
        self._begin = _begin(settings) if pooled else "begin"
        self._prepared: dict[str, tuple[PreparedStatement[Any], tuple[str, ...], bool]] = {}

    @property
    def closed(self) -> bool:
        return self.connection.is_closed()

    async def execute(self, statement: Statement) -> Any:
        prepared, names, gives = self._prepared.get(statement.sql) or await self._prepare(statement.sql)
        values = [statement.params[name] for name in names]
        found: list[Any] = await prepared.fetch(*values)
        if not gives:
            found = [(_count(prepared.get_statusmsg()),)]
        return statement.read(found)

    async def _prepare(self, text: str) -> tuple[PreparedStatement[Any], tuple[str, ...], bool]:
        sql, names = numbered(text)
        # Without a name asyncpg would have it parsed and planned again each time: 1 ms of the server's for a claim.
        name = "" if self.pooled else f"offpath_{len(self._prepared)}"
        prepared = await self.connection.prepare(sql, name=name)
        made = prepared, names, bool(prepared.get_attributes())
        if not self.pooled:
            self._prepared[text] = made
        return made

    async def clock(self) -> int:
        now: int = await self.execute(CLOCK)
        return now

    async def drive(self, verb: Verb[R], hint: Callable[[Hint], None]) -> R:
        """Run a verb in whatever transaction is open; without one, each of its statements is a transaction."""
        return await drive_async(verb, self.execute, self.clock, hint)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await self.connection.execute(self._begin)
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):
                if self.connection.is_in_transaction():
                    await self.connection.execute("rollback")
            raise
        await self.connection.execute("commit")

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """For one statement that is a transaction by itself: behind a pooler even that needs a BEGIN, or its parts are
        sent to different servers."""
        if self.pooled:
            async with self.transaction():
                yield
        else:
            yield

    async def answers(self) -> bool:
        """Whether there is still a server at the other end; if not, the connection is ended."""
        try:
            await self.connection.execute("select 1")
        except Exception:
            self.abandon()
            return False
        return True

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self.connection.close(timeout=2)
        if not self.closed:
            self.connection.terminate()

    def abandon(self) -> None:
        """Something went wrong on it: no goodbye."""
        self.connection.terminate()


_REFUSED: tuple[type[Exception], ...] = (*faults.DRIVER, ValueError)

CLOCK = Statement("select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)", {}, rows.value)


def _count(status: str | None) -> int:
    """How many rows, from "INSERT 0 5" or "DELETE 2"."""
    last = (status or "").rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


async def connect(address: Address, lock_ms: int = LOCK_MS) -> Session:
    """ConfigurationError or StoreUnavailable, each one sentence that says what to do."""
    settings = {**SETTINGS, "lock_timeout": str(lock_ms)}
    try:
        pooled = False
        try:
            connection = await _open(address, settings)
        except asyncpg.PostgresError as e:
            if faults.sqlstate(e) != "08P01":
                raise
            pooled = True  # PgBouncer: "unsupported startup parameter"
            connection = await _open(address, {})
        try:
            if not pooled:
                # The pid that greeted us is the server's, unless somebody answers in its place.
                pid = await connection.fetchval("select pg_backend_pid()")
                pooled = pid != connection.get_server_pid()
        except BaseException:
            connection.terminate()
            raise
    except _REFUSED as e:
        raise faults.unreachable(e, address) from e
    return Session(connection, settings, pooled=pooled)


async def _open(address: Address, settings: dict[str, str]) -> asyncpg.Connection[Any]:
    made: asyncpg.Connection[Any] = await asyncpg.connect(
        **address.settings,
        statement_cache_size=0,  # we keep our own
        command_timeout=ANSWER_SECONDS,
        server_settings=settings,
    )
    _keep_alive(made._transport.get_extra_info("socket"))  # type: ignore[attr-defined]  # there is no public way
    return made


def _keep_alive(line: socket.socket) -> None:
    """A server that let go of us while the cable was out has said so to nobody: without asking, whoever waits for its
    answer waits for ANSWER_SECONDS, long after the cable is back. asyncpg takes no keepalives from the URL."""
    if line.family not in (socket.AF_INET, socket.AF_INET6):
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in zip(_OPTIONS, LIVENESS.values(), strict=True):
        if hasattr(socket, option):  # macOS lacks some
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def explained(error: BaseException, address: Address) -> BaseException:
    """One of ours for a driver's error; a bug stays what it is."""
    if isinstance(error, OffpathError) or not isinstance(error, faults.DRIVER):
        return error
    said = faults.explain(error, address)
    said.__cause__ = error
    return said
