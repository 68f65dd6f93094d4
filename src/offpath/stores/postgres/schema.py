"""Tables made and brought forward: forward only, one process at a time, while older workers go on working."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

import asyncpg

from ...core.options import DAY
from ...errors import StoreUnavailable
from .. import migrate, rows
from ..statements import migrations
from . import faults
from .address import qualify
from .session import Session
from .verbs import AHEAD, PostgresVerbs

PATIENCE = 60.0  # seconds for which a migration tries to come between those who work

_NOTES: Final = 'create table if not exists offpath_migration (name text collate "C" primary key, at bigint not null);'
_NOTE: Final = (
    "insert into offpath_migration (name, at) "
    "values ('{name}', cast(extract(epoch from clock_timestamp()) * 1000000 as bigint));"
)


_SCHEMA: Final = """do $$ begin
    if not exists (select from pg_namespace where nspname = '{schema}') then
        create schema "{schema}";
    end if;
end $$;
"""  # `create schema if not exists` wants the right to make one even where there is one


def known(package: str, schema: str) -> list[tuple[str, str]]:
    """Every migration there is, written for this schema; the first one makes it."""
    steps = [(name, qualify(text, schema)) for name, text in migrate.script(migrations(package), _NOTES, _NOTE)]
    if schema != "public":
        name, text = steps[0]
        steps[0] = name, f"{_SCHEMA.format(schema=schema)}\n{text}"
    return steps


async def applied(session: Session, schema: str) -> list[str]:
    """The names of the migrations that this database has."""
    # Not to_regclass: within a transaction it may remember from before that there was no such table.
    table = await session.connection.fetchval(
        "select 1 from pg_class join pg_namespace n on n.oid = relnamespace "
        "where relname = 'offpath_migration' and nspname = $1",
        schema,
    )
    if table is None:
        return []
    return [row[0] for row in await session.connection.fetch(f'select name from "{schema}".offpath_migration')]


async def bring_forward(session: Session, steps: list[tuple[str, str]], schema: str, verbs: PostgresVerbs) -> list[str]:
    """Apply what is missing, in one transaction; the names of what was applied.

    A table that is in use is waited for in short turns: whoever waits for a lock holds up all who come after.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            done = await _once(session, steps, schema, verbs)
            break
        except asyncpg.PostgresError as e:
            state = faults.sqlstate(e)
            if state != faults.LOCKED and state not in faults.REPEATED:
                raise
            if asyncio.get_running_loop().time() > deadline:
                raise StoreUnavailable(
                    f"the tables were in use for {PATIENCE:g} s: run `offpath migrate` again, or end the transaction "
                    f"that holds them ({faults.HOLDERS})"
                ) from e
        await asyncio.sleep(0.2 + random.random())
    await _drop_days(session, verbs)
    return done


async def _once(session: Session, steps: list[tuple[str, str]], schema: str, verbs: PostgresVerbs) -> list[str]:
    execute: Any = session.connection.execute
    async with session.transaction():
        await execute("set local lock_timeout = 0")
        await execute(qualify("select pg_advisory_xact_lock(hashtextextended('offpath_migrations', 0))", schema))
        await execute("set local lock_timeout = '1s'; set local statement_timeout = 0")
        todo = migrate.missing(steps, await applied(session, schema))
        if todo:
            await _make(session, todo, schema, fresh=len(todo) == len(steps))
        await session.drive(verbs.find_days(), lambda hint: None)
        await session.drive(verbs.make_days(verbs.ahead(await session.clock(), AHEAD)), lambda hint: None)
    return [name for name, _ in todo]


async def _make(session: Session, todo: list[tuple[str, str]], schema: str, *, fresh: bool) -> None:
    execute: Any = session.connection.execute
    [(there, database, role)] = await session.connection.fetch(
        "select exists (select from pg_namespace where nspname = $1), current_database(), current_user", schema
    )
    try:
        if not there:
            await execute(f'create schema "{schema}"')
        for _, text in todo:
            await execute(text)
    except asyncpg.InsufficientPrivilegeError as e:
        e.add_note(faults.making(schema, role, fresh=fresh, database="" if there else database))
        raise


async def _drop_days(session: Session, verbs: PostgresVerbs) -> None:
    """Where workers may only write rows, nobody else does it."""
    today = await session.clock() // DAY
    dropped = 1
    while dropped:
        async with session.transaction():
            dropped = await session.drive(verbs.drop_day(today), lambda hint: None)


async def home(session: Session, sql: str) -> str:
    """The id of this home of jobs."""
    found: str = rows.value(await session.connection.fetch(sql))
    return found
