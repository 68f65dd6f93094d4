"""psycopg 3's connections, synchronous and asynchronous."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from ...errors import ConfigurationError, StoreUnavailable
from ...ports import Hint, Statement, Verb
from ..statements import drive, drive_async, pyformat
from .home import CLOCK, FAILED, LOST, Home, known_of, refused, same_dialect, visit


def run(tx: Any, verb: Verb[Any], home: Home) -> Any:
    _usable(tx, home)
    hints: list[Hint] = []

    def execute(statement: Statement) -> Any:
        # a cursor of our own kind: the caller's row factory and cursor factory would change what we read
        with psycopg.Cursor(tx, row_factory=tuple_row) as cursor:
            cursor.execute(pyformat(statement.sql).encode(), statement.params)
            if tx.info.pipeline_status != PipelineStatus.OFF:
                with tx.pipeline():  # the answer, or the error, is wanted now: entering it once more fetches it
                    pass
            return statement.read([(cursor.rowcount,)] if cursor.description is None else cursor.fetchall())

    try:
        if tx.info.pipeline_status != PipelineStatus.OFF:
            with tx.pipeline():  # how things stand is known once all that was sent is answered
                pass
        _joinable(tx)
        answer = drive(visit(verb, home, known_of(tx)), execute, lambda: execute(CLOCK), hints.append)
    except (psycopg.Error, UnicodeError) as e:  # the latter: client_encoding is not UTF8
        raise refused(e, home) from e
    if hints and home.follow is not None:
        home.follow(answer, hints)
    return answer


async def run_async(tx: Any, verb: Verb[Any], home: Home) -> Any:
    _usable(tx, home)
    hints: list[Hint] = []

    async def execute(statement: Statement) -> Any:
        async with psycopg.AsyncCursor(tx, row_factory=tuple_row) as cursor:
            await cursor.execute(pyformat(statement.sql).encode(), statement.params)
            if tx.info.pipeline_status != PipelineStatus.OFF:
                async with tx.pipeline():
                    pass
            return statement.read([(cursor.rowcount,)] if cursor.description is None else await cursor.fetchall())

    try:
        if tx.info.pipeline_status != PipelineStatus.OFF:
            async with tx.pipeline():
                pass
        _joinable(tx)
        known = known_of(tx)
        answer = await drive_async(visit(verb, home, known), execute, lambda: execute(CLOCK), hints.append)
    except (psycopg.Error, UnicodeError) as e:
        raise refused(e, home) from e
    if hints and home.follow is not None:
        home.follow(answer, hints)
    return answer


def _usable(tx: Any, home: Home) -> None:
    same_dialect(home, "postgresql", "a psycopg connection")
    if tx.broken:
        raise StoreUnavailable(LOST.format("the server has closed it, or cannot be reached"))
    if tx.closed:
        raise ConfigurationError("tx cannot be used: the connection is closed")
    _, prepared = getattr(tx, "_tpc", None) or (None, False)  # there is no public way to tell
    if prepared:
        raise ConfigurationError("tx cannot be used: its transaction is prepared, and takes nothing more")


def _joinable(tx: Any) -> None:
    """An idle connection will do when its next statement begins a transaction, which it does unless told otherwise."""
    status = tx.info.transaction_status
    if status == TransactionStatus.INERROR:
        raise ConfigurationError(FAILED)
    if status == TransactionStatus.IDLE and tx.autocommit:
        raise ConfigurationError("tx has no open transaction: enqueue inside `with connection.transaction():`")
