"""Database URLs, as the services here are given them. Nothing here is slow to import: programs look at their settings
before they load what needs a database.
"""

import re
from urllib.parse import unquote

WANTED = "write sqlite:///file.db, sqlite:////absolute/file.db or postgresql://user@host:port/name"


class SettingsError(Exception):
    """A setting is wrong; the message is one sentence for the person who started the program."""


def on_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")


def name_in(url: str) -> str:
    """The database that a PostgreSQL URL names; "" when it leaves that open."""
    return unquote(url.partition("://")[2].partition("/")[2].partition("?")[0])


def hidden(url: str) -> str:
    """A URL as it may be shown: without its password."""
    return re.sub(r"(?<=://)([^/@:]*):.*(?=@)", r"\1:…", url)


def check(url: str) -> str:
    """The URL, when a service can keep its rows there. SettingsError."""
    kind, slashes, rest = url.partition("://")
    if kind == "sqlite" and rest.startswith("/"):
        if not rest[1:] or rest[1:] == ":memory:":
            raise SettingsError(f"the services here keep their data in files: {WANTED}")
    elif kind not in ("postgresql", "postgres") or not slashes:
        raise SettingsError(f"{hidden(url)} is no database we know: {WANTED}")
    elif not name_in(url):
        raise SettingsError(f"{hidden(url)} names no database: {WANTED}")
    return url
