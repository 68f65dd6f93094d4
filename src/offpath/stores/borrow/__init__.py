"""Running a verb on the caller's own connection, inside the caller's own transaction: one file per family of drivers.

Always *through* a SQLAlchemy session, never on its raw driver connection: SQLAlchemy begins lazily, and an insert on
the raw connection can survive the session's ROLLBACK. A connection is known by the class it is an instance of, so a
driver is imported only once it has made a connection, and one that is not installed costs nothing.
"""

from __future__ import annotations

from typing import Any

from ...errors import ConfigurationError
from ...ports import Verb
from .home import Home

__all__ = ["Home", "awaits", "run"]


def awaits(tx: object) -> bool:
    """Whether `run` gives an awaitable for it."""
    return bool(_names(tx) & (_SQLALCHEMY_ASYNC | _ASYNCPG | {"psycopg.AsyncConnection"}))


def _names(tx: object) -> set[str]:
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(tx).__mro__}


def run(tx: object, verb: Verb[Any], home: Home) -> Any:
    """The verb's answer on a synchronous connection, an awaitable of it on an asynchronous one.

    ConfigurationError for anything that is not a connection we know, has no transaction to join, or leads elsewhere.
    """
    names = _names(tx)
    if names & _SQLALCHEMY:
        from . import sqlalchemy

        return sqlalchemy.run(tx, verb, home)
    if names & _SQLALCHEMY_ASYNC:
        from . import sqlalchemy

        return sqlalchemy.run_async(tx, verb, home)
    if names & _ASYNCPG:
        from . import asyncpg

        return asyncpg.run(tx, verb, home)
    if "psycopg.Connection" in names:
        from . import psycopg

        return psycopg.run(tx, verb, home)
    if "psycopg.AsyncConnection" in names:
        from . import psycopg

        return psycopg.run_async(tx, verb, home)
    if "sqlite3.Connection" in names:
        from . import sqlite

        return sqlite.run(tx, verb, home)
    if names & _DJANGO:
        from . import django

        return django.run(tx, verb, home)
    raise ConfigurationError(
        "tx must be a connection of sqlite3, asyncpg, psycopg 3 or Django, or a SQLAlchemy Session, AsyncSession, "
        f"Connection or AsyncConnection, not {type(tx).__module__}.{type(tx).__qualname__}"
    )


_SQLALCHEMY = frozenset(
    {
        "sqlalchemy.orm.session.Session",
        "sqlalchemy.orm.scoping.scoped_session",
        "sqlalchemy.engine.base.Connection",
    }
)
_SQLALCHEMY_ASYNC = frozenset(
    {
        "sqlalchemy.ext.asyncio.session.AsyncSession",
        "sqlalchemy.ext.asyncio.scoping.async_scoped_session",
        "sqlalchemy.ext.asyncio.engine.AsyncConnection",
    }
)
_ASYNCPG = frozenset({"asyncpg.connection.Connection", "asyncpg.pool.PoolConnectionProxy"})
_DJANGO = frozenset({"django.db.backends.base.base.BaseDatabaseWrapper", "django.utils.connection.ConnectionProxy"})
