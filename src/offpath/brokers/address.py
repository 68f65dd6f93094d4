"""Broker URLs, as people write them. Pure; nothing is imported, nothing is opened.

    redis://[[user]:password@]host[:port][/database]     rediss:// with TLS; valkey:// and valkeys:// are the same
    amqp://[user:password@]host[:port][/vhost]           amqps:// with TLS
    kafka://[user:password@]host:port[,host:port…]       kafkas:// with TLS
    sqs://region                                         AWS, with whatever credentials boto3 finds
    sqs://[key:secret@]host:port/region                  a server that speaks SQS; sqss:// with TLS
    http://[token@]host[:port]/path                      https:// with TLS

What follows `?` are options of the broker, each named in its module's docstring.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from ..core.checks import shown
from ..errors import ConfigurationError

KINDS = {
    "redis": "redis",
    "rediss": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "kafka": "kafka",
    "kafkas": "kafka",
    "sqs": "sqs",
    "sqss": "sqs",
    "http": "http",
    "https": "http",
}
"""The broker that each scheme means."""

TLS = frozenset({"rediss", "valkeys", "amqps", "kafkas", "sqss", "https"})


class Address(NamedTuple):
    """A broker's URL in parts. `netloc` is without user and password; `options` is what follows the question mark."""

    kind: str
    tls: bool
    netloc: str
    host: str
    port: int | None
    user: str | None
    password: str | None
    path: str
    options: dict[str, str]

    def __repr__(self) -> str:
        """Without the password: this ends up in error messages."""
        return f"<{self.kind} {self.netloc}{self.path}>"


def parse(url: str) -> Address:
    """ConfigurationError, without the password, for what is no such URL."""
    scheme = url.partition(":")[0].lower()
    kind = KINDS.get(scheme)
    try:
        parts = urlsplit(url)
        user, password = parts.username, parts.password
        netloc = parts.netloc.rpartition("@")[2]
        several = "," in netloc
        port = None if several else parts.port
    except ValueError:
        raise ConfigurationError(f"{WANTED}, not {shown(bare(url))}") from None
    if kind is None or not netloc or parts.fragment:
        raise ConfigurationError(f"{WANTED}, not {shown(bare(url))}")
    options = parse_qsl(parts.query, keep_blank_values=True)
    if twice := [name for name, count in Counter(name for name, _ in options).items() if count > 1]:
        raise ConfigurationError(f"the broker's URL says {shown(twice[0])} twice: leave one of them out")
    return Address(
        kind,
        scheme in TLS,
        netloc,
        netloc.partition(",")[0].partition(":")[0] if several else parts.hostname or "",
        port,
        None if user is None else unquote(user),
        None if password is None else unquote(password),
        parts.path,
        dict(options),
    )


def known(address: Address, *names: str) -> dict[str, str]:
    """Its options. ConfigurationError for one that is not among `names`."""
    for name in address.options:
        if name not in names:
            there = ", ".join(names) or "no options"
            raise ConfigurationError(f"{address.kind} URLs know {there}, not {shown(name)}")
    return address.options


def bare(url: str) -> str:
    """The URL without what may be secret, however it is misspelt: fit to be shown. Rather too little than a piece of a
    password."""
    scheme, colon, rest = url.partition(":")
    if not colon:
        return scheme.rpartition("@")[2]
    before, at, after = rest.rpartition("@")
    slashes = "//" if (before if at else after).startswith("//") else ""
    shown = re.split("[?#]", after)[0]
    return f"{scheme}:{slashes}{shown if at else shown.removeprefix('//')}"


WANTED = (
    "the broker's URL must look like redis://host, amqp://host, kafka://host:9092, sqs://region or https://host/path"
)
