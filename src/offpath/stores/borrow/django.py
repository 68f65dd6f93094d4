"""Django's connections: `django.db.connection`, or one of `django.db.connections`. Django tells of its commits itself.

Statements go through Django's own cursor, so its debug log, `assertNumQueries` and `execute_wrapper` see them.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error
from django.db.transaction import TransactionManagementError

from ...errors import ConfigurationError
from ...ports import Hint, Statement, Verb
from ..statements import drive, pyformat
from .home import CLOCK, Home, known_of, refused, same_dialect, visit


def run(tx: Any, verb: Verb[Any], home: Home) -> Any:
    wrapper = _of_thread(tx)
    same_dialect(home, wrapper.vendor, f"on Django's {wrapper.vendor}")
    _joinable(wrapper)
    hints: list[Hint] = []

    def execute(statement: Statement) -> Any:
        with wrapper.cursor() as cursor:
            try:
                # always with parameters: without them Django would leave a doubled % as it is
                cursor.execute(pyformat(statement.sql), dict(statement.params))
                return statement.read([(cursor.rowcount,)] if cursor.description is None else cursor.fetchall())
            except Error as e:
                raise e.__cause__ or e from None  # the driver's own error, by which a verb knows what has happened

    clock = home.clock if home.dialect == "sqlite" else lambda: execute(CLOCK)
    try:
        answer = drive(visit(verb, home, known_of(wrapper.connection)), execute, clock, hints.append)
    except (Error, SynchronousOnlyOperation, TransactionManagementError) as e:  # Django itself will not have it
        raise ConfigurationError(f"tx cannot be used: {e}") from e
    except wrapper.Database.Error as e:
        raise refused(e, home) from e
    if hints:
        wrapper.on_commit(lambda: home.announce(hints), robust=True)
    return answer


def _of_thread(tx: Any) -> Any:
    """The connection of this thread, where `tx` is the cover that finds it."""
    inside: dict[str, Any] = object.__getattribute__(tx, "__dict__")
    return inside["_connections"][inside["_alias"]] if "_connections" in inside else tx


def _joinable(wrapper: Any) -> None:
    if wrapper.closed_in_transaction:
        raise ConfigurationError("tx cannot be used: the connection has been closed inside its atomic block")
    if not wrapper.in_atomic_block:
        raise ConfigurationError(
            "tx has no open transaction: enqueue inside `with transaction.atomic():` (in asynchronous code that is a "
            "plain function, called with sync_to_async)"
        )
    if wrapper.needs_rollback:
        raise ConfigurationError(
            "tx cannot be used: a statement in its atomic block has failed, or set_rollback(True) was called, and all "
            "Django will do is roll back; give what may fail an inner `with transaction.atomic():` of its own"
        )
