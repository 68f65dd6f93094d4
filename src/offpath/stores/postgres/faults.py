"""What went wrong, in the words of whoever has to do something about it."""

from __future__ import annotations

import asyncio
import socket
import ssl

import asyncpg

from ...errors import ConfigurationError, OffpathError, SchemaError, StoreError, StoreUnavailable
from .address import Address

REPEATED = ("40001", "40P01")  # serialization failure, deadlock: the same again will do
AGAIN = 5  # times such a one is sent
LOCKED = "55P03"
DENIED = "42501"
READ_ONLY = "25006"

JOIN = "if that is an open transaction of your own, enqueue in it: using(tx=…)"
"""The note on an error by which it is known that it was an enqueue that waited."""

MAKING = "to make tables it takes "
"""With this begins the note on an error that denies a migration its rights."""

HOLDERS = "see pg_stat_activity and pg_prepared_xacts, or `offpath doctor --long 1`"

DRIVER: tuple[type[Exception], ...] = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncio.IncompleteReadError, OSError,
    TimeoutError, UnicodeError,
)  # fmt: skip
"""What the driver raises; anything else is a bug of ours."""

_DATA = ("22", "23", "54", "P0")  # classes of SQLSTATE that blame the values (P0: a trigger does), not the server

_KEY = "offpath_job_key"  # the index of keys (migrations/0011); not every driver tells a constraint apart from the text
_ASKED = ("42704", "22023", "55P02", "42601")  # settings that there are not, or that cannot be this, or not from here
_NO_TLS = "rejected SSL upgrade"


def sqlstate(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


def lost(error: BaseException) -> bool:
    """Whether the connection is of no more use; what was sent on it may have been done or not."""
    if isinstance(error, OSError | TimeoutError | asyncio.IncompleteReadError):
        return True
    if isinstance(error, asyncpg.InternalClientError):
        return True  # the server's goodbye came while a statement was on its way: the driver is at odds with itself
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)  # that one is about a value, found before anything was sent
    state = sqlstate(error)
    return state == READ_ONLY or (state[:2] in ("08", "57") and state != "57014")  # the former: it is a standby by now


def no_partition(error: BaseException) -> bool:
    """A row of history for a day that has no partition: a check violation, but of no constraint."""
    return sqlstate(error) == "23514" and getattr(error, "constraint_name", None) is None


def explain(error: BaseException, address: Address) -> OffpathError:
    """An error of the driver's while working, as one of ours."""
    if isinstance(error, OffpathError):
        return error
    state, text = sqlstate(error), _plain(error)
    if state in ("42P01", "42703", "3F000", "42883"):
        return SchemaError(
            f"the tables in {address.shown} do not fit this version of offpath ({text}): run `offpath migrate`"
        )
    if state == READ_ONLY:
        advice = "let the URL lead to the primary, or name all hosts and add target_session_attrs=read-write"
        return StoreUnavailable(f"{address.shown} is read-only ({text}): if it is a standby, {advice}")
    if lost(error):
        return StoreUnavailable(f"the connection to {address.shown} was lost: {text}")
    if state == LOCKED:
        advice = f"; {JOIN}" if JOIN in getattr(error, "__notes__", ()) else ""
        return StoreUnavailable(
            f"what is to be written to {address.shown} stayed locked by another transaction: try again, or end that "
            f"one ({HOLDERS}){advice} ({text})"
        )
    if state == DENIED:
        said = [note for note in getattr(error, "__notes__", ()) if note.startswith(MAKING)]
        return StoreUnavailable(f"{address.shown} denies a right ({text}): {said[0] if said else _rights(address)}")
    if no_partition(error):
        return StoreUnavailable(f"{address.shown}: history has no place yet for this day; try again")
    if state == "23505" and _KEY in text:  # seen by the index, not by a transaction whose first look was before
        return StoreUnavailable(f"{address.shown}: another call has the key by now; try again ({text})")
    if state[:2] in _DATA or isinstance(error, ValueError):
        return StoreError(f"{address.shown} refused: {text}")
    if state:  # the server says so, whichever driver the caller has
        return StoreUnavailable(f"{address.shown} cannot do this now: {text}")
    return StoreError(f"{address.shown}: {type(error).__name__}: {text}")


def unreachable(error: BaseException, address: Address) -> OffpathError:
    """Why there is no connection."""
    text, state = _plain(error), sqlstate(error)
    if state[:2] == "28":  # a wrong password, an unknown role, no line for us in pg_hba.conf
        return ConfigurationError(f"{address.shown} does not let us in ({text}): correct user and password in the URL")
    if state == DENIED:
        grant = f"grant connect on database … to {_role(address)}"
        return ConfigurationError(f"{address.shown} does not let us in ({text}): let its owner `{grant}`")
    if state == "3D000":
        return ConfigurationError(f"{text}: create it (`createdb`), or correct the URL {address.shown}")
    if isinstance(error, ValueError):
        return ConfigurationError(f"{address.shown} is no URL of a PostgreSQL database: {text}")
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{address.shown} does not answer within {address.timeout:g} s: is it the right host?")
    if isinstance(error, socket.gaierror):
        return StoreUnavailable(f"{address.shown}: no such host ({text}): correct the URL, or look at the name service")
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return StoreUnavailable(f"{address.shown} has no connection left for us ({text}): raise max_connections")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return StoreUnavailable(f"{address.shown} is not what its target_session_attrs asks for ({text})")
    if isinstance(error, ssl.SSLError) or (isinstance(error, ConnectionError) and _NO_TLS in text):
        advice = "let the server speak TLS as the URL wants it, or correct its sslmode and certificates"
        return ConfigurationError(f"{address.shown} is no server for this URL ({text}): {advice}")
    if state in _ASKED:
        return ConfigurationError(f"{address.shown} refuses a setting in the URL ({text}): correct what follows its ?")
    if isinstance(error, asyncpg.PostgresError):
        return StoreUnavailable(f"{address.shown} answers, and we cannot work ({text}): try again, or correct the URL")
    return StoreUnavailable(f"{address.shown} cannot be reached ({text}): start the server, or correct the URL")


def making(schema: str, role: str, *, fresh: bool, database: str = "") -> str:
    """What a migration lacks: in a `database` without the schema, in a schema without tables (`fresh`), or in one."""
    own = f"`create schema {{}} authorization {_name(role)}` by whoever may"
    if database:
        return f"{MAKING}{own.format(_name(schema))}, or `grant create on database {_name(database)} to {_name(role)}`"
    create = f"`grant usage, create on schema {_name(schema)} to {_name(role)}`"
    if fresh:
        return f"{MAKING}{create}, or a schema of its own ({own.format('offpath')}, then OFFPATH_SCHEMA=offpath)"
    return f"{MAKING}the role that owns the others, or `grant OWNER to {_name(role)}`; and {create}"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _rights(address: Address) -> str:
    role, schema = _role(address), f'schema "{address.schema}"'
    return (
        f"to work, it takes `grant usage on {schema} to {role}` and `grant select, insert, update, delete on all "
        f"tables in {schema} to {role}`; to make tables (`offpath migrate`, and new days of history ahead of their "
        f"time) it takes the role that owns them, or `grant OWNER to {role}`"
    )


def _role(address: Address) -> str:
    return f'"{address.role}"' if address.role else "…"


def _plain(error: BaseException) -> str:
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
