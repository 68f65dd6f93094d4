"""What only the server can tell: who holds what for how long, and whether it can keep up. See `sql/doctor.sql`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import asyncpg

from ...core.health import Check
from ...core.options import DAY
from ...ports import Statement
from .. import rows
from . import faults, session
from . import schema as tables
from .address import Address
from .session import Session
from .verbs import PostgresVerbs

OLDEST: Final = 140_000  # the server's version number from which on our SQL is tried
HEARS: Final = 4.0  # s in which a notification to oneself must arrive
DEAD: Final = 50_000  # dead rows of a table; autovacuum comes to the jobs after 10,000
WORKER: Final = 9  # connections that a worker opens at most (docs/how-to/postgresql.md; one more when it enqueues)
POOLED: Final = "a connection pooler answers in PostgreSQL's place: no hint is heard, jobs are picked up by the poll"

Look = Callable[[], Awaitable[list[Check]]]


async def examine(address: Address, schema: str, verbs: PostgresVerbs, long: float) -> list[Check]:
    """See `ports.Store.doctor`."""
    one = await session.connect(address)
    try:
        return await _Doctor(one, address, schema, verbs, long).look()
    finally:
        await one.close()


class _Doctor:
    def __init__(self, one: Session, address: Address, schema: str, verbs: PostgresVerbs, long: float) -> None:
        self._session, self._address, self._schema, self._verbs, self._long = one, address, schema, verbs, long
        self._role = ""
        self._standby = False

    async def look(self) -> list[Check]:
        looks: Mapping[str, Look] = {
            "database": self._server,
            "long transactions": self._transactions,
            "listening": self._listening,
            "history": self._history,
            "vacuum": self._vacuum,
            "connections": self._connections,
        }
        return [check for name, look in looks.items() for check in await self._try(name, look)]

    async def _try(self, name: str, look: Look) -> list[Check]:
        """What cannot be looked at says so itself; the rest goes on."""
        try:
            return await look()
        except (asyncpg.PostgresError, TimeoutError) as e:
            if self._session.closed or faults.sqlstate(e)[:2] in ("08", "57"):
                raise
            why = str(faults.explain(e, self._address))
            return [Check(name, "warning", f"could not be looked at: {why}", _grant(self._role, "pg_monitor"))]

    async def _ask(self, name: str, **params: Any) -> list[Any]:
        async with self._session.alone():
            found: list[Any] = await self._session.execute(Statement(self._verbs.sql[name], params, rows.plain))
        return found

    async def _server(self) -> list[Check]:
        [(version, number, standby, self._role)] = await self._ask("doctor.server")
        self._standby = bool(standby)
        said = f"PostgreSQL {version} answers at {self._address.shown}"
        if standby:
            detail = f"{said}, but it is a standby: nothing can be written"
            return [Check("database", "problem", detail, "let the URL lead to the primary")]
        if number < OLDEST:
            return [Check("database", "problem", f"{said}; offpath needs 14 or later", "upgrade the server")]
        return [Check("database", "ok", said)]

    async def _transactions(self) -> list[Check]:
        name = "long transactions"
        held = await self._ask("doctor.transactions", schema=self._schema, long=self._long)
        found = [_transaction(name, *row) for row in held]
        if hidden := [row[0] for row in await self._ask("doctor.hidden", schema=self._schema)]:
            pids = ", ".join(map(str, hidden[:10])) + (", …" if len(hidden) > 10 else "")
            detail = f"{self._role} may not see since when other roles hold a lock or a snapshot: process {pids}"
            found.append(Check(name, "warning", detail, _grant(self._role, "pg_read_all_stats")))
        return found or [Check(name, "ok", f"none has been open for {self._long:g} s in this database")]

    async def _listening(self) -> list[Check]:
        if self._session.pooled:
            remedy = "let the URL of the workers and of the API lead to the server itself"
            return [Check("listening", "warning", POOLED, remedy)]
        if self._standby:
            return [Check("listening", "warning", "a standby cannot be listened to", "let the URL lead to the primary")]
        heard = asyncio.Event()
        connection, channel = self._session.connection, "offpath_doctor"

        def hear(*_: object) -> None:
            heard.set()

        await connection.add_listener(channel, hear)
        try:
            await connection.execute(f"notify {channel}")
            async with asyncio.timeout(HEARS):
                await heard.wait()
        except TimeoutError:
            detail = f"a notification to ourselves did not arrive within {HEARS:g} s"
            return [Check("listening", "problem", detail, "end what stands between us and the server")]
        finally:
            await connection.remove_listener(channel, hear)
        return [Check("listening", "ok", "a notification to ourselves was heard")]

    async def _history(self) -> list[Check]:
        async with self._session.alone():
            if not await tables.applied(self._session, self._schema):
                return []  # that there are no tables is said elsewhere
            days = await self._session.drive(self._verbs.find_days(), lambda hint: None)
            today = await self._session.clock() // DAY
        past = len([day for day in days if day < today])
        ahead = max(days, default=today) - today
        if past > 1:  # yesterday's may just be about to go
            detail = f"{past} partitions whose time is up have not been dropped"
            return [Check("history", "warning", detail, f"let a worker run: its upkeep drops them; {_READERS}")]
        if ahead < 1 and self._verbs.ahead(0):
            detail = "there is no partition for tomorrow or later: it has to be made while jobs end"
            return [Check("history", "warning", detail, "let a worker run, or run `offpath migrate`: both make it")]
        return [Check("history", "ok", f"{len(days)} partitions by day, the last of them {ahead} days ahead")]

    async def _vacuum(self) -> list[Check]:
        found = [
            Check("vacuum", "problem", f"{name} is off on this server: dead rows stay", f"alter system reset {name}")
            for (name,) in await self._ask("doctor.autovacuum")
        ]
        counted = await self._ask("doctor.tables", schema=self._schema)
        for table, live, dead, vacuumed in counted:
            full = f'"{self._schema}".{table}'
            if not vacuumed:
                remedy = f"alter table {full} reset (autovacuum_enabled)"
                found.append(Check("vacuum", "problem", f"autovacuum is off for {table}: its dead rows stay", remedy))
            if dead > DEAD and dead > live:
                detail = f"{table} has {dead:,} dead rows and {live:,} live ones"
                found.append(Check("vacuum", "warning", detail, f"vacuum (analyze) {full}; {_READERS}"))
        most = max((dead for _, _, dead, _ in counted), default=0)
        return found or [Check("vacuum", "ok", f"autovacuum is on; no table of ours has more than {most:,} dead rows")]

    async def _connections(self) -> list[Check]:
        [counts] = await self._ask("doctor.connections")
        whose = ("the server", "this database", "this role")
        bounds = [
            (most - used, most, who)
            for who, most, used in zip(whose, counts[::2], counts[1::2], strict=True)
            if most >= 0
        ]
        left, most, who = min(bounds)
        said = f"{max(left, 0)} of the {most} connections of {who} are free"
        if left >= WORKER:
            return [Check("connections", "ok", said)]
        detail = f"{said}; a worker process opens up to {WORKER}"
        return [Check("connections", "warning", detail, "raise the limit, or close what is not needed")]


_READERS: Final = "a long transaction may be in the way"


def _grant(role: str, right: str) -> str:
    return f"grant {right} to {role or 'the role in the URL'}"


def _transaction(
    name: str,
    pid: int,
    user: str,
    application: str,
    state: str,
    since: str,
    seconds: float,
    query: str,
    modes: str,
    writes: int,
    snapshot: int,
) -> Check:
    """Whoever only reads, and is at it, will end by himself; whoever has written or forgotten to end will not."""
    held = [*([modes] if modes else []), *(["a snapshot that holds up vacuum"] if snapshot else [])] or ["changes"]
    who = f'process {pid} (user {user}, application "{application}", {state or "state unknown"})'
    detail = f"{who} has had a transaction open since {since}, {seconds:.0f} s, and holds {' and '.join(held)}: {query}"
    harmless = state == "active" and not writes
    remedy = f"end it where it was begun, or: select pg_terminate_backend({pid})"
    return Check(name, "warning" if harmless else "problem", detail, remedy)
