"""Where the jobs live, and what a borrowed connection must have before a verb may run on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from ...errors import ConfigurationError, OffpathError, StoreUnavailable
from ...ports import Announce, Hint, Statement, Verb
from .. import rows

R = TypeVar("R")


class Home(NamedTuple):
    """Where the jobs live: a borrowed connection must lead to the same database.

    database  sqlite: absolute path of the file; postgresql: the id in the table `offpath_home`
    announce  told after the commit, where the driver tells of it
    clock     µs since the epoch, for sqlite (postgresql is asked itself, in the transaction)
    explain   a driver's error as one of ours
    probe     postgresql: SQL that reads the id in `offpath_home`; without it no one looks where a connection leads
    follow    told at once, with the verb's answer, where the driver does not tell of the commit: whoever it is may
              look for the rows until others see them. None: a worker's poll finds them
    """

    dialect: str  # "sqlite" or "postgresql"
    database: str
    announce: Announce
    clock: Callable[[], int]
    explain: Callable[[BaseException], OffpathError]
    probe: str = ""
    follow: Callable[[Any, Sequence[Hint]], None] | None = None


CLOCK = Statement("select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)", {}, rows.value)
"""PostgreSQL's clock, µs since the epoch: its hosts' and its clients' clocks may differ."""


def visit(verb: Verb[R], home: Home, known: set[str]) -> Verb[R]:
    """The verb, once the connection has been seen to lead home. `known`: what has been seen of it so far."""
    if home.database not in known:
        if home.dialect == "sqlite":
            _same_file((yield Statement("pragma database_list", {}, rows.plain)), home)
            known.add(home.database)
        elif home.probe:
            yield from _same_id(home)
            known.add(home.database)
    return (yield from verb)


_known: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def known_of(connection: object) -> set[str]:
    """The databases that this connection has been seen to lead to (it never leads to another one)."""
    try:
        return _known.setdefault(connection, set())
    except TypeError:  # no weak reference to it can be had: it is looked at each time
        return set()


def same_dialect(home: Home, dialect: str, what: str) -> None:
    if home.dialect != dialect:
        raise ConfigurationError(f"tx is {what}, but the jobs live on {home.dialect}")


def refused(error: BaseException, home: Home) -> OffpathError:
    """A driver's error on the way, as one of ours."""
    driver: BaseException = getattr(error, "orig", None) or error  # SQLAlchemy wraps it
    state = _sqlstate(driver)
    if state == "25P02":
        return ConfigurationError(FAILED)
    if state == "25006":
        return ConfigurationError(READ_ONLY.format(driver))
    if state is None and home.dialect == "postgresql" and type(driver).__name__ in _LOST:
        return StoreUnavailable(LOST.format(driver))  # the server did not say this
    return home.explain(driver)


_LOST = frozenset({"OperationalError", "InterfaceError"})
"""Every driver's names (PEP 249) for errors of this kind; without an SQLSTATE it is not the server that speaks."""


def _sqlstate(error: BaseException) -> str | None:
    driver = getattr(error, "orig", None) or error
    return getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)


LOST = "the connection given as tx was lost: {}"

FAILED = (
    "tx cannot be used: one of its statements has failed, and PostgreSQL refuses all others until the transaction "
    "is rolled back, or a savepoint before it"
)

READ_ONLY = "tx is read-only, and a job is a row to be written: begin it READ WRITE, on the primary ({})"


def _same_file(databases: list[Any], home: Home) -> None:
    file = next((str(row[2]) for row in databases if row[1] == "main"), "")
    if not file or not os.path.exists(home.database) or not os.path.samefile(file, home.database):
        raise ConfigurationError(
            f"tx is on {file or 'a database in memory'}, but the jobs live in {home.database}: "
            "both must be the same database for one commit to carry both"
        )


def _same_id(home: Home) -> Verb[None]:
    """In a savepoint: where there is no such table, the question must not cost the caller the transaction."""
    yield _touch("savepoint offpath_home")
    reason: Exception | None = None
    found: list[str] = []
    try:
        found = yield Statement(home.probe, {}, rows.column)
    except Exception as e:
        if _sqlstate(e) not in _ELSEWHERE:
            raise
        reason = e
        yield _touch("rollback to savepoint offpath_home")
    yield _touch("release savepoint offpath_home")
    if found != [home.database]:
        raise ConfigurationError(
            "tx is on another database than the jobs, or cannot see their tables: both must be the same database for "
            "one commit to carry both"
        ) from reason


_ELSEWHERE = frozenset({"42P01", "3F000", "42501"})  # no such table, no such schema, not allowed


def _touch(sql: str) -> Statement:
    return Statement(sql, {}, rows.nothing)
