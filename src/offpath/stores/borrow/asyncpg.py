"""asyncpg's connections, those of its pools too."""

from __future__ import annotations

from typing import Any

import asyncpg

from ...errors import ConfigurationError, StoreUnavailable
from ...ports import Hint, Statement, Verb
from ..statements import drive_async, numbered, returns_rows
from .home import CLOCK, LOST, Home, known_of, refused, same_dialect, visit


async def run(tx: Any, verb: Verb[Any], home: Home) -> Any:
    same_dialect(home, "postgresql", "an asyncpg connection")
    hints: list[Hint] = []

    async def execute(statement: Statement) -> Any:
        sql, names = numbered(statement.sql)
        values = [statement.params[name] for name in names]
        if returns_rows(sql):
            found = await tx.fetch(sql, *values, record_class=asyncpg.Record)  # the caller's own may read otherwise
            return statement.read([tuple(row) for row in found])
        status: str = await tx.execute(sql, *values)
        return statement.read([(count_of(status),)])

    try:
        _joinable(tx)
        # what a pool lends is a cover that changes with each loan; the connection beneath it stays
        known = known_of(getattr(tx, "_con", tx))
        answer = await drive_async(visit(verb, home, known), execute, lambda: execute(CLOCK), hints.append)
    except asyncpg.InterfaceError as e:  # given back to its pool, or in the middle of another statement
        raise ConfigurationError(f"tx cannot be used: {e}") from e
    except (asyncpg.PostgresError, OSError) as e:
        raise refused(e, home) from e
    if hints and home.follow is not None:
        home.follow(answer, hints)
    return answer


def _joinable(tx: Any) -> None:
    if tx.is_closed():
        protocol = getattr(getattr(tx, "_con", tx), "_protocol", None)  # there is no public way to tell
        if protocol is not None and protocol.is_in_transaction():  # nobody closes it in there: the server has
            raise StoreUnavailable(LOST.format("the connection is closed"))
        raise ConfigurationError("tx cannot be used: the connection is closed")
    if not tx.is_in_transaction():
        raise ConfigurationError("tx has no open transaction: enqueue inside `async with connection.transaction():`")


def count_of(status: str) -> int:
    """How many rows a statement touched, from what the server said of it: "INSERT 0 5", "DELETE 2", "SAVEPOINT"."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
