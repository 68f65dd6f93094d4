"""Where the server is: libpq's URL, taken apart once, so that what is wrong with it is said before we connect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from ...core.checks import shown
from ...errors import ConfigurationError

CONNECT_SECONDS = 10.0

_IGNORED = frozenset(
    {
        "channel_binding", "client_encoding", "gssencmode", "keepalives", "keepalives_count", "keepalives_idle",
        "keepalives_interval", "tcp_user_timeout",
    }
)  # fmt: skip
"""What libpq knows and asyncpg would hand to the server, which refuses it."""

_SCHEMA = re.compile(r"[^\W\d][\w$-]*")
_HOST = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::(\d{0,5}))?")
_OPTION = re.compile(r"[\w.]+")

ENCODE = "the port must be a number; in a password, write # ? / @ : as %23 %3F %2F %40 %3A"


class Address(NamedTuple):
    """`dsn` as asyncpg wants it; `shown` is the URL without its password; `timeout` is seconds for one connect; `role`
    is who we are, "" when the URL does not say; `schema` is where the tables are."""

    dsn: str
    shown: str
    timeout: float
    role: str = ""
    schema: str = "public"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"dsn": self.dsn, "timeout": self.timeout}


def parse(url: str) -> Address:
    """ConfigurationError when this is no URL of a PostgreSQL database; connects to nothing."""
    refused = ConfigurationError(f"{shown(bare(url))} is no URL of a PostgreSQL database: {ENCODE}")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise refused from None  # what urllib says of it may be a piece of the password
    if parts.scheme not in ("postgresql", "postgres") or not url.partition(":")[2].startswith("//"):
        raise ConfigurationError(
            f"the database URL must look like postgresql://user@host:port/name, not {shown(bare(url))}"
        )
    login, _, hosts = parts.netloc.rpartition("@")
    if not all(map(_is_host, hosts.split(","))) or parts.fragment or ("@" in parts.path and not login):
        raise refused
    timeout, role = CONNECT_SECONDS, unquote(login.partition(":")[0])
    query: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "connect_timeout":
            if not value.isdigit():
                raise ConfigurationError(f"connect_timeout must be whole seconds, not {shown(value)}")
            timeout = float(value) or CONNECT_SECONDS
        elif not _OPTION.fullmatch(name):
            raise refused
        elif name not in _IGNORED:
            query.append((name, value))
            role = value if name == "user" and not role else role
    dsn = urlunsplit(parts._replace(scheme="postgresql", query=urlencode(query)))
    return Address(dsn, bare(url), timeout, role)


def check_schema(schema: str) -> str:
    """ConfigurationError unless this can be a schema's name."""
    if not _SCHEMA.fullmatch(schema) or len(schema.encode()) > 63:
        raise ConfigurationError(f"schema must be a name of letters, digits, _, $ and -, not {shown(schema)}")
    if schema.startswith("pg_"):
        raise ConfigurationError(f"schema must not begin with pg_, which PostgreSQL keeps for itself: {shown(schema)}")
    return schema


def bare(url: str) -> str:
    """Without the password, wherever it stands; of a URL that is none, rather too little than a piece of it."""
    url = re.sub(r"^([^:/]*://[^:]*|[^:/]*(?!://)):.*(?=@)", r"\1", url, flags=re.DOTALL)
    return re.sub(r"([?&](?:password|sslpassword)=)[^&]*", r"\1…", url)


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and int(found[1] or 0) <= 65_535


# ── our names in the user's schema ───────────────────────────────────────────────────────────────────────────────────

_NAME = re.compile(r"(?<!create index )(?<!create unique index )\boffpath_\w+")


def qualify(sql: str, schema: str) -> str:
    """The same text with every table of ours named in full: it runs alike on every connection, whatever its search_path
    (an index is made where its table is, and takes no schema)."""
    return _NAME.sub(lambda found: f'"{schema}".{found[0]}', sql)
