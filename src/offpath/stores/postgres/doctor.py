"""What only the server can tell: who holds what for how long, and whether it can keep up. See `sql/doctor.sql`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import asyncpg

from ...core.health import Check
from ...core.options import DAY, SECOND
from ...ports import Statement
from .. import migrate, rows
from ..statements import migrations
from . import faults, session
from . import schema as tables
from .address import Address, qualify
from .session import Session
from .verbs import PostgresVerbs

OLDEST: Final = 140_000  # the server's version number from which on our SQL is tried
HEARS: Final = 4.0  # s in which a notification to oneself must arrive
SKEW, FAR = 1.0, 60.0  # s between two clocks that are worth saying; that make receivers refuse what we sign
DEAD: Final = 50_000  # dead rows of a table; autovacuum comes to the jobs after 10,000
WORKER: Final = 9  # connections that a worker opens at most (docs/how-to/postgresql.md; one more when it enqueues)
TURNS: Final = 20  # in which two connections are given the same one of the server, where they are lent for transactions
POOLED: Final = (
    "a connection pooler answers in PostgreSQL's place ({mode} mode): no hint is heard, jobs are picked up by the poll"
)

Look = Callable[[], Awaitable[list[Check]]]


async def examine(address: Address, schema: str, verbs: PostgresVerbs, long: float) -> list[Check]:
    """See `ports.Store.doctor`."""
    one = await session.connect(address)
    try:
        return await _Doctor(one, address, schema, verbs, long).look()
    finally:
        await one.close()


def _beside(statement: str) -> str:
    """That makes an index without keeping writers out; what is partitioned cannot have it so."""
    if ".offpath_history " in statement:
        return statement
    return statement.replace(" index ", " index concurrently ", 1)


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
            "clock": self._clock,
            "history": self._history,
            "indexes": self._indexes,
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
        left = await self._ask("doctor.prepared", schema=self._schema, long=self._long)
        found = [_transaction(name, *row) for row in held] + [_prepared(name, *row) for row in left]
        if hidden := [row[0] for row in await self._ask("doctor.hidden", schema=self._schema)]:
            pids = ", ".join(map(str, hidden[:10])) + (", …" if len(hidden) > 10 else "")
            detail = f"{self._role} may not see since when other roles hold a lock or a snapshot: process {pids}"
            found.append(Check(name, "warning", detail, _grant(self._role, "pg_read_all_stats")))
        return found or [Check(name, "ok", f"none has been open for {self._long:g} s in this database")]

    async def _listening(self) -> list[Check]:
        if self._session.pooled:
            remedy = "let the URL of the workers and of the API lead to the server itself"
            return [Check("listening", "warning", POOLED.format(mode=await self._mode()), remedy)]
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

    async def _mode(self) -> Literal["transaction", "session"]:
        """A pooler that lends the server's connections for a transaction gives the one that has just come back to the
        next who asks; one that lends them for a session gives nobody ours."""
        other = await session.connect(self._address)
        try:
            pid = Statement(self._verbs.sql["doctor.pid"], {}, rows.value)
            for _ in range(TURNS):
                seen = set[int]()
                for one in (self._session, other):
                    async with one.alone():
                        seen.add(await one.execute(pid))
                if len(seen) == 1:
                    return "transaction"
            return "session"
        finally:
            await other.close()

    async def _clock(self) -> list[Check]:
        """Leases, schedules and deadlines are by the database's clock alone; what is signed and logged is by ours."""
        async with self._session.alone():
            before = time.time()
            there = await self._session.clock() / SECOND
            after = time.time()
        apart = max(before - there, there - after, 0.0)
        said = f"the clocks of this host and of the database differ by {apart:.1f} s"
        if apart < SKEW:
            return [Check("clock", "ok", said)]
        detail = f"{said}: times in logs and in webhooks' signatures are wrong by as much"
        state: Literal["warning", "problem"] = "problem" if apart >= FAR else "warning"
        return [Check("clock", state, detail, "let both follow a time server (chrony, systemd-timesyncd)")]

    async def _indexes(self) -> list[Check]:
        async with self._session.alone():
            have = await tables.applied(self._session, self._schema)
        if not have:
            return []
        found = await self._ask("doctor.indexes", schema=self._schema)
        wanted = migrate.indexes(step for step in migrations(__package__) if step[0] in have)
        broken = [name for name, valid in found if not valid and name in wanted]
        made = {name: _beside(qualify(text, self._schema)) for name, text in wanted.items()}
        again = [f'reindex index "{self._schema}".{name}' for name in broken]
        return [migrate.complete(made, [name for name, _ in found], broken, again)]

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
            Check("vacuum", "problem", f"{name} is off on this server: dead rows stay", switched_on(name, source))
            for name, source in await self._ask("doctor.autovacuum")
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


def masked(query: str) -> str:
    """A statement of somebody else's, in one line, without the values in it: whoever reads this may see none."""
    if "\\'" in query:  # whether that ends a literal is a setting of theirs
        return f"{query.split(maxsplit=1)[0]} …"
    said = _VALUES.sub(lambda found: found[1] or (" " if found[0][:2] in ("--", "/*") else "…"), query)
    said = " ".join(said.split())
    return said if len(said) <= SHOWN else said[: SHOWN - 1] + "…"


_VALUES: Final = re.compile(
    r"""("(?:[^"]|"")*"|\$\d+\b)|'(?:[^']|'')*(?:'|$)|\$(\w*)\$.*?(?:\$\2\$|$)|--[^\n]*|/\*.*?(?:\*/|$)|\b\d[\w.]*""",
    re.DOTALL,
)
SHOWN: Final = 80  # characters

_READERS: Final = "a long transaction may be in the way"


def _grant(role: str, right: str) -> str:
    return f"grant {right} to {role or 'the role in the URL'}"


def switched_on(name: str, source: str) -> str:
    """What switches a setting on, by where it was switched off (`pg_settings.source`)."""
    match source:
        case "command line":
            return f"start the server without {name}=off on its command line"
        case "database":
            return f"alter database … reset {name}"
        case "user" | "database user":
            return f"alter role … reset {name}"
        case _:  # in whichever of its files: what ALTER SYSTEM writes is read last
            return f"alter system set {name} = on; select pg_reload_conf()"


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
    query = masked(query)
    held = [*([modes] if modes else []), *(["a snapshot that holds up vacuum"] if snapshot else [])] or ["changes"]
    who = f'process {pid} (user {user}, application "{application}", {state or "state unknown"})'
    detail = f"{who} has had a transaction open since {since}, {seconds:.0f} s, and holds {' and '.join(held)}: {query}"
    harmless = state == "active" and not writes
    remedy = f"end it where it was begun, or: select pg_terminate_backend({pid})"
    return Check(name, "warning" if harmless else "problem", detail, remedy)


def _prepared(name: str, gid: str, owner: str, since: str, seconds: float, modes: str) -> Check:
    """Nobody is connected who could end it by going away."""
    quoted = "'" + gid.replace("'", "''") + "'"
    held = f"{modes} and a number that holds up vacuum" if modes else "a number that holds up vacuum"
    detail = f"the prepared transaction {quoted} (user {owner}) waits since {since}, {seconds:.0f} s, and holds {held}"
    remedy = f"let whoever prepared it end it, or as {owner}: rollback prepared {quoted} (or: commit prepared {quoted})"
    return Check(name, "problem", detail, remedy)
