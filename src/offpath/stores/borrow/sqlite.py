"""A `sqlite3.Connection`. It has no commit hook: another look at the file, or the poll, finds the job."""

from __future__ import annotations

import sqlite3
from typing import Any

from ...errors import ConfigurationError
from ...ports import Statement, Verb
from ..statements import drive
from .home import Home, known_of, same_dialect, visit


def run(tx: Any, verb: Verb[Any], home: Home) -> Any:
    same_dialect(home, "sqlite", "a sqlite3 connection")
    try:
        cursor = tx.cursor()
        joinable(tx)
    except sqlite3.ProgrammingError as e:  # closed, or of another thread
        raise ConfigurationError(f"tx cannot be used: {e}") from e
    cursor.row_factory = None  # the caller's own would change what we read

    def execute(statement: Statement) -> Any:
        cursor.execute(statement.sql, statement.params)
        return statement.read([(cursor.rowcount,)] if cursor.description is None else cursor.fetchall())

    try:
        return drive(visit(verb, home, known_of(tx)), execute, home.clock, lambda hint: None)
    except sqlite3.Error as e:
        raise home.explain(e) from e


def joinable(driver: Any) -> None:
    """ConfigurationError when each statement on this SQLite connection would be a commit of its own."""
    alone = driver.isolation_level is None or getattr(driver, "autocommit", None) is True
    if alone and not driver.in_transaction:
        raise ConfigurationError("tx has no open transaction: execute BEGIN IMMEDIATE on it before you enqueue")
