"""From a URL to a store, a transport and a broker: the one place that knows which there are."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 (it cannot be imported after the main thread's end, by a store that is used then)  # pyright: ignore
import hashlib
import os
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from ..brokers import address as broker_address
from ..core.checks import shown
from ..core.retention import Retention, Terms
from ..errors import ConfigurationError, MissingExtraError, StoreUnavailable
from ..ports import Broker, Store, Transport, Verb
from ..settings import Settings

Parts = tuple[Store, Transport]
Hints = Callable[[], Transport] | None
"""Makes what carries hints, when it is not the store's own way."""

PUBLIC = "public"  # PostgreSQL's schema, unless another is asked for


def _sqlite(url: str, retention: Retention | Terms, schema: str, hints: Hints) -> Parts:
    from ..stores.sqlite.store import SqliteStore

    if schema != PUBLIC:
        raise ConfigurationError("schema= is for PostgreSQL; SQLite has one file")
    path = _sqlite_path(url)
    transport: Transport
    if hints is not None:
        transport = hints()
    else:
        from ..transports.local import LocalTransport

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


def _postgresql(url: str, retention: Retention | Terms, schema: str, hints: Hints) -> Parts:
    from ..stores.postgres.address import parse

    address = parse(url)
    _need_asyncpg()
    from ..stores.postgres.store import PostgresStore

    transport: Transport
    if hints is not None:
        transport = hints()
    else:
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

PLACES: dict[str, Callable[[str, Retention | Terms, str, Hints], Parts]] = {
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


def make(settings: Settings, retention: Retention | Terms) -> Parts:
    """A store, and the transport that goes with it or the one that was asked for."""
    if not settings.url:
        raise ConfigurationError(NO_URL)
    hints = None if not settings.transport else lambda: _hints(settings)
    return PLACES[_scheme(settings.url)](settings.url, retention, settings.schema, hints)


# -- brokers -----------------------------------------------------------------------------------------------------------


def check_broker(settings: Settings) -> None:
    """ConfigurationError when `transport` or `broker` is no URL we know; opens and imports nothing."""
    if settings.transport and broker_address.parse(settings.transport).kind == "http":
        raise ConfigurationError("http carries events (broker=), not hints: leave transport= out")
    if settings.broker:
        broker_address.parse(settings.broker)


def broker_url(settings: Settings) -> str:
    """Where events go: `broker`, or else the transport's. ConfigurationError when there is neither."""
    url = settings.broker or settings.transport
    if not url:
        raise ConfigurationError(NO_BROKER)
    return url


def make_broker(settings: Settings) -> Broker:
    """What carries events, not yet open: for one event loop."""
    address = broker_address.parse(broker_url(settings))
    module = import_module(f"..brokers.{address.kind}", __package__)
    made: Broker = module.broker(address)
    return made


def _hints(settings: Settings) -> Transport:
    address = broker_address.parse(settings.transport)
    module = import_module(f"..transports.{address.kind}", __package__)
    made: Transport = module.transport(address, line(settings.url, settings.schema))
    return made


def line(url: str, schema: str = PUBLIC) -> str:
    """A name for the jobs of one database, the same in all processes: whoever shares it hears each other's hints.
    1 to 100 of [a-z0-9_-]; hosts are not in it, for one database may be reached by several names."""
    if _scheme(url) == "sqlite":
        place = os.path.abspath(_sqlite_path(url))
        name = os.path.basename(place).partition(".")[0]
    else:
        name = urlsplit(url).path.strip("/")
        place = f"{name}/{schema}"
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "jobs"
    return f"{readable}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


NO_BROKER = 'no broker: give its URL, as in Offpath(…, broker="amqp://localhost"), or set OFFPATH_BROKER'


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
