"""`settings.OFFPATH`, checked, and an entry of `settings.DATABASES` as a URL of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ...app import places
from ...core.checks import shown
from ...core.options import Queue
from ...errors import ConfigurationError
from ...settings import NAMES, Given, settle

NAME = "OFFPATH"
FIELDS = frozenset(name.upper() for name in NAMES - {"url"})
KEYS = FIELDS | {"DATABASE", "QUEUES"}


class Conf(NamedTuple):
    """What `settings.OFFPATH` says; all of it may be left out.

    database  DATABASE: an alias in `settings.DATABASES` (default: "default"), or a URL
    queues    QUEUES: a list of `offpath.Queue(…)`
    given     any field of `Settings` in capitals: SCHEMA, LEASE, POLL, CONCURRENCY, THREADS, RETENTION, …
    """

    database: str
    queues: tuple[Queue, ...]
    given: Given

    @property
    def alias(self) -> str | None:
        """Of the database whose transactions can carry jobs; None when DATABASE is a URL."""
        return None if _is_url(self.database) else self.database

    def url(self) -> str:
        """Where the jobs live, by what the settings say now: a test runner changes the names of databases.

        ConfigurationError for a database that offpath cannot use.
        """
        return self.database if self.alias is None else url_of(connection_of(self.alias))


def read() -> Conf:
    """ConfigurationError for an unknown name or a wrong value; opens nothing."""
    said = getattr(settings, NAME, {})
    if not isinstance(said, Mapping):
        raise ConfigurationError(f"settings.{NAME} must be a dict, not {shown(said)}")
    for name in said:
        if name not in KEYS:
            raise ConfigurationError(f"settings.{NAME}: there is no {name!r}; there are {', '.join(sorted(KEYS))}")
    given = cast(Given, {name.lower(): value for name, value in said.items() if name in FIELDS})
    database = said.get("DATABASE", DEFAULT_DB_ALIAS)
    if not isinstance(database, str) or not database:
        raise ConfigurationError(f"settings.{NAME}: DATABASE is an alias or a URL, not {shown(database)}")
    queues = said.get("QUEUES", ())
    if not isinstance(queues, list | tuple) or not all(isinstance(queue, Queue) for queue in queues):
        raise ConfigurationError(f"settings.{NAME}: QUEUES is a list of offpath.Queue(…), not {shown(queues)}")
    if _is_url(database):
        places.check(database)
    settle("", dict(given))
    return Conf(database, tuple(queues), given)


def _is_url(database: str) -> bool:
    return ":" in database


def connection_of(alias: str) -> BaseDatabaseWrapper:
    """Of this thread. ConfigurationError when there is no such database, or its driver is not installed."""
    if alias not in connections.settings:
        raise ConfigurationError(f"settings.{NAME}: DATABASE is {alias!r}, which is not in settings.DATABASES")
    try:
        return connections[alias]
    except ImproperlyConfigured as e:
        raise ConfigurationError(f"settings.DATABASES[{alias!r}]: {e}") from e


# ── settings.DATABASES → URL ─────────────────────────────────────────────────────────────────────────────────────────

DJANGOS = frozenset(
    {"client_encoding", "context", "cursor_factory", "isolation_level", "pool", "prepare_threshold"}
    | {"server_side_binding"}
)
"""OPTIONS that say how Django uses its own connections."""

LIBPQS = frozenset(
    {"application_name", "channel_binding", "connect_timeout", "gssencmode", "keepalives", "keepalives_count"}
    | {"keepalives_idle", "keepalives_interval", "options", "passfile", "sslcert", "sslcrl", "sslkey", "sslmode"}
    | {"sslpassword", "sslrootcert", "target_session_attrs", "tcp_user_timeout"}
)
"""OPTIONS that say how to reach the server, and hold for our connections too."""


def url_of(connection: BaseDatabaseWrapper) -> str:
    """The URL of the same database. ConfigurationError where there is none."""
    alias, said = connection.alias, connection.settings_dict
    where = f"settings.DATABASES[{alias!r}]"
    name = os.fspath(said["NAME"] or "")
    if not name:
        raise ConfigurationError(f"{where}: offpath wants a NAME; or give it a URL, settings.{NAME}['DATABASE']")
    if connection.vendor == "sqlite":
        if in_memory(connection):
            raise ConfigurationError(
                f"{where} is {name!r}, and offpath wants a file: a database in memory is lost with its process and "
                "seen by no worker (in tests: 'TEST': {'NAME': 'test.sqlite3'}, or offpath.testing.run_inline)"
            )
        url = f"sqlite:///{os.path.abspath(name)}"
    elif connection.vendor == "postgresql":
        url = _postgresql(name, said, where)
    else:
        raise ConfigurationError(
            f"{where} is a {connection.vendor} database: offpath keeps jobs in PostgreSQL or SQLite; name another one "
            f"in settings.{NAME}['DATABASE'], an alias or a URL"
        )
    places.check(url)
    return url


def in_memory(connection: BaseDatabaseWrapper) -> bool:
    """A SQLite database that no other process sees, as Django's test runner makes them (or whose name is a URI)."""
    name = os.fspath(connection.settings_dict["NAME"] or "")
    return connection.vendor == "sqlite" and (name.startswith("file:") or name == ":memory:")


def _postgresql(name: str, said: Mapping[str, Any], where: str) -> str:
    host, port = str(said["HOST"] or ""), str(said["PORT"] or "")
    query: dict[str, str] = {}
    if "/" in host or "," in host:  # a socket's folder, or several servers
        query = {"host": host} | ({"port": port} if port else {})
        place = ""
    else:
        place = f"[{host}]" if ":" in host else host
        if port:
            place = f"{place or 'localhost'}:{port}"
    for option, value in said["OPTIONS"].items():
        if option in LIBPQS:
            query[option] = str(value)
        elif option == "assume_role":
            query["role"] = str(value)
        elif option not in DJANGOS:
            raise ConfigurationError(
                f"{where}: offpath does not know what {option!r} in OPTIONS means for its own connections; give it a "
                f"URL, settings.{NAME}['DATABASE'] = 'postgresql://…'"
            )
    account = ":".join(quote(str(part), safe="") for part in (said["USER"], said["PASSWORD"]) if part)
    if said["PASSWORD"] and not said["USER"]:
        account, query["password"] = "", str(said["PASSWORD"])
    return (
        f"postgresql://{account}{'@' if account else ''}{place}/{quote(name, safe='')}"
        f"{'?' if query else ''}{urlencode(query)}"
    )
