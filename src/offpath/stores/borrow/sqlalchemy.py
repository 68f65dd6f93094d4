"""SQLAlchemy's sessions and connections on any driver of ours, SQLModel's among them.

A Session tells after its commit, so the hint leaves then; a bare Connection tells only *before* it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import TextClause, event, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError, UnboundExecutionError

from ...errors import ConfigurationError
from ...ports import Hint, Statement, Verb
from ..statements import drive
from .home import CLOCK, Home, refused, same_dialect, visit
from .sqlite import joinable


def run(tx: Any, verb: Verb[Any], home: Home) -> Any:
    tx = _of_scope(tx)
    session = hasattr(tx, "get_bind")
    try:
        connection = _bound(tx) if session else tx
        if not connection.in_transaction():
            connection.begin()  # what its first statement would do
        pooled = connection.connection
        driver = pooled.driver_connection
    except InvalidRequestError as e:  # closed, rolled back but not ended, or bound to no database
        raise ConfigurationError(f"tx cannot be used: {e}") from e
    if driver is None:
        raise ConfigurationError("tx cannot be used: its connection has been invalidated")
    same_dialect(home, connection.dialect.name, f"on {connection.dialect.name}")
    if home.dialect == "sqlite":
        joinable(driver)
    elif getattr(pooled.dbapi_connection, "autocommit", False):
        raise ConfigurationError('tx has no open transaction: its isolation level is "AUTOCOMMIT"')
    hints: list[Hint] = []

    def execute(statement: Statement) -> Any:
        # on the session's own Connection: inside its transaction, and none of its ORM hooks sees our statements
        result = connection.execute(_text(statement.sql), dict(statement.params))
        return statement.read([tuple(row) for row in result] if result.returns_rows else [(result.rowcount,)])

    clock = home.clock if home.dialect == "sqlite" else lambda: execute(CLOCK)
    known = connection.info.setdefault("offpath.homes", set())  # lives as long as the driver's connection
    try:
        answer = drive(visit(verb, home, known), execute, clock, hints.append)
    except (DBAPIError, UnicodeError) as e:
        raise refused(e, home) from getattr(e, "orig", None) or e  # the driver's own, as without SQLAlchemy
    # A session that has joined its connection's transaction tells of the ends of its savepoints, which commit nothing.
    joined = connection.in_nested_transaction() and not (session and tx.in_nested_transaction())
    if hints and session and not joined:
        _after_commit(tx, lambda: home.announce(hints))
    elif hints and home.follow is not None:
        home.follow(answer, hints)
    return answer


async def run_async(tx: Any, verb: Verb[Any], home: Home) -> Any:
    # run_sync gives the synchronous twin of the session, on which every line above holds
    inner: Awaitable[Any] = _of_scope(tx).run_sync(lambda sync: run(sync, verb, home))
    return await inner


def _bound(session: Any) -> Any:
    """The connection of a statement that names no mapper. Where only mappers and tables are bound, and all to one, that
    one's."""
    try:
        return session.connection()
    except UnboundExecutionError:
        binds = getattr(session, "binds", None) or getattr(session, "_Session__binds", {})  # 2.1, 2.0
        if not binds:
            raise
        first, *others = binds.values()
        if any(other is not first for other in others):
            raise ConfigurationError(
                "tx cannot be used: its mappers are bound to several databases; say which one with "
                'tx=session.connection(bind_arguments={"mapper": …}), awaited of an AsyncSession'
            ) from None
        return session.connection(bind_arguments={"bind": first})


def _of_scope(tx: Any) -> Any:
    """The session of this thread or task, where `tx` gives each its own (scoped_session)."""
    return tx() if hasattr(tx, "registry") and callable(tx) else tx


_text: Callable[[str], TextClause] = cache(text)

_waiting: WeakKeyDictionary[Any, list[Callable[[], None]]] = WeakKeyDictionary()
"""Sessions that have listeners of ours, with what is to be called after their next commit. The listeners stay as long
as the session: removing one while SQLAlchemy calls it breaks the loop in which it calls them."""


def _after_commit(session: Any, call: Callable[[], None]) -> None:
    """Once, after the transaction has really committed; not at all when it is rolled back."""
    if session in _waiting:
        _waiting[session].append(call)
        return
    calls = _waiting[session] = [call]

    def committed(session: Any) -> None:
        if session.in_nested_transaction():  # the end of a savepoint is told too, and commits nothing
            return
        due, calls[:] = list(calls), []
        for one in due:
            one()

    def ended(session: Any, transaction: Any) -> None:
        if transaction.parent is None:
            calls.clear()

    event.listen(session, "after_commit", committed)
    event.listen(session, "after_transaction_end", ended)
