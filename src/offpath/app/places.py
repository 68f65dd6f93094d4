"""From a URL to a store and a transport: the one place that knows which there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ..core.checks import shown
from ..core.retention import Retention, Terms
from ..errors import ConfigurationError, MissingExtraError, StoreUnavailable
from ..ports import Store, Transport, Verb

Parts = tuple[Store, Transport]

PUBLIC = "public"  # PostgreSQL's schema, unless another is asked for


def _sqlite(url: str, retention: Retention | Terms, schema: str) -> Parts:
    from ..stores.sqlite.store import SqliteStore
    from ..transports.local import LocalTransport

    if schema != PUBLIC:
        raise ConfigurationError("schema= is for PostgreSQL; SQLite has one file")
    path = _sqlite_path(url)
    transport = LocalTransport(path)
    return SqliteStore(path, announce=transport.announce, retention=retention), transport


def _sqlite_path(url: str) -> str:
    rest = url.partition(":")[2]
    path = rest.removeprefix("///")
    if not rest.startswith("///") or not path or "?" in path or "#" in path:
        raise ConfigurationError(f"{_WANTED}, not {shown(url)}")
    if path == ":memory:":
        raise ConfigurationError("a database in memory is lost with its process; give a file, as in sqlite:///app.db")
    if path.endswith("/") or "\x00" in path:
        raise ConfigurationError(f"{shown(url)} names no file")
    return path


def _postgresql(url: str, retention: Retention | Terms, schema: str) -> Parts:
    from ..stores.postgres.address import parse

    address = parse(url)
    _need_asyncpg()
    from ..stores.postgres.store import PostgresStore
    from ..transports.notify import NotifyTransport

    transport = NotifyTransport(address.dsn, schema=schema, connect=address.timeout)
    return PostgresStore(url, announce=transport.announce, retention=retention, schema=schema), transport


def _need_asyncpg() -> None:
    try:
        found = find_spec("asyncpg")
    except Exception as e:  # a finder of somebody's refuses it
        raise MissingExtraError("PostgreSQL", "postgres") from e
    if found is None:
        raise MissingExtraError("PostgreSQL", "postgres")


_WANTED = (
    "the database URL must look like sqlite:///relative.db, sqlite:////absolute/path.db or "
    "postgresql://user@host:port/name"
)

NO_URL = 'no database: give a URL, as in Offpath("sqlite:///app.db"), or set OFFPATH_DATABASE'

PLACES: dict[str, Callable[[str, Retention | Terms, str], Parts]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "postgres": _postgresql,
}
"""By URL scheme: what makes the parts (nothing is opened yet)."""


def check(url: str) -> None:
    """ConfigurationError when this URL names no place we know; opens nothing, imports no store."""
    scheme = _scheme(url)
    if scheme == "sqlite":
        _sqlite_path(url)
    else:
        from ..stores.postgres.address import parse

        parse(url)
        _need_asyncpg()


def exists(url: str) -> bool:
    """Whether there is a database at all; True where only its server could tell. ConfigurationError without a URL."""
    if not url:
        raise ConfigurationError(NO_URL)
    return os.path.exists(_sqlite_path(url)) if _scheme(url) == "sqlite" else True


def make(url: str, retention: Retention | Terms, schema: str = PUBLIC) -> Parts:
    """A store and the transport that goes with it. `schema`: of the tables, on PostgreSQL."""
    if not url:
        raise ConfigurationError(NO_URL)
    return PLACES[_scheme(url)](url, retention, schema)


def check_tx(url: str, tx: object) -> Any:
    """What `Store.enqueue_on` asks of `tx`, with nothing written: ConfigurationError unless it is a connection we know,
    with a transaction to join, to this very database. To be awaited when `tx` is asynchronous.
    """
    from ..stores.borrow import Home, run

    def nothing() -> Verb[None]:
        yield from ()

    if _scheme(url) == "sqlite":
        dialect, database = "sqlite", os.path.abspath(_sqlite_path(url))
    else:
        dialect, database = "postgresql", ""  # where it leads is not asked: there may be no tables yet
    home = Home(dialect, database, lambda hints: None, lambda: 0, lambda error: StoreUnavailable(str(error)))
    return run(tx, nothing(), home)


def _scheme(url: str) -> str:
    from ..stores.postgres.address import bare

    scheme = url.partition(":")[0].lower()
    base, plus, driver = scheme.partition("+")
    if plus and base in PLACES:
        raise ConfigurationError(f"{shown(bare(url))}: offpath chooses its own driver; leave out {'+' + driver!r}")
    if scheme not in PLACES:
        raise ConfigurationError(f"{_WANTED}, not {shown(bare(url))}")
    return scheme
