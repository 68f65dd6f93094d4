"""From a redis:// URL to a client that cannot hang, and from its errors to ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from ...core.checks import shown
from ...errors import BrokerError, BrokerRefused, BrokerUnavailable, ConfigurationError, MissingExtraError
from ..address import Address, known
from ..options import TLS, seconds, tls

try:
    from redis import exceptions as exceptions
    from redis.asyncio import Redis as Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError as e:
    raise MissingExtraError("a redis:// URL", "redis") from e

T = TypeVar("T")

OPTIONS = ("timeout", "maxlen", "from", "min_idle", "takeover", *TLS)
"""What a redis URL may say behind the question mark, to the broker and to the transport."""

QUOTED = "of pipeline caused error: "
"""What redis-py writes before an error in a pipeline, behind the whole command: messages are not for logs."""


def called(address: Address) -> str:
    """For people."""
    return f"Redis at {address.host}:{address.port or 6379}"


def said(name: str, timeout: float, error: BaseException) -> BrokerError:
    """What the server or the client said, in a sentence."""
    text = str(error).rpartition(QUOTED)[2]
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return BrokerUnavailable(f"{name} does not answer in {timeout:g} s")
    if isinstance(error, exceptions.AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return BrokerUnavailable(
            f"{name} turned the credentials down ({text}): check the user and the password of the URL"
        )
    if isinstance(error, exceptions.NoPermissionError) or text.startswith("NOPERM"):
        return BrokerRefused(f"{name} does not let this user do that: {text}")
    if text.startswith("WRONGTYPE"):
        return BrokerRefused(f"{name} has something else than a stream under that name: take another")
    if text.startswith(("MOVED", "ASK", "CROSSSLOT")):
        return BrokerUnavailable(f"{name} is a part of a cluster: give the URL of a server that is none")
    if isinstance(error, exceptions.ResponseError):
        return BrokerUnavailable(f"{name} said: {text}")
    return BrokerUnavailable(f"{name} cannot be reached: {text or type(error).__name__}")


def connection(address: Address) -> dict[str, Any]:
    """What redis-py is to be told. ConfigurationError for an option that no redis URL has, and for wrong files."""
    given = known(address, *OPTIONS)
    database = address.path.strip("/") or "0"
    if not (database.isascii() and database.isdigit() and len(database) < 6):
        raise ConfigurationError(f"a redis URL ends with the number of a database, not {shown(address.path)}")
    tls(address)  # says what is wrong with the files
    settings: dict[str, Any] = {
        "host": address.host,
        "port": address.port or 6379,
        "db": int(database),
        "username": address.user or None,
        "password": address.password,
        "protocol": 2,
        "socket_timeout": None,  # `ask` has the clock: a read that blocks has no fixed time
        "socket_connect_timeout": seconds(address, "timeout", 10.0),
        "retry": Retry(NoBackoff(), 0),  # whoever asked decides whether to ask again
        "ssl": address.tls,
    }
    if address.tls:
        names = dict(zip(TLS, ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"), strict=True))
        settings |= {names[file]: given[file] for file in TLS if given.get(file)}
    return settings


class Line:
    """The way to one server: its client, once it is open, and answers within the timeout. `name` is for people."""

    def __init__(self, address: Address) -> None:
        self._settings = connection(address)
        self.timeout: float = self._settings["socket_connect_timeout"]
        self.name = called(address)
        self._client: Redis | None = None

    async def open(self) -> None:
        if self._client is not None:
            return
        client = Redis(**self._settings)
        try:
            await self.ask(client.ping())
        except BaseException as e:
            await client.aclose()
            if isinstance(e, BrokerRefused):  # nothing was asked for that could be refused: it is the place
                raise BrokerUnavailable(str(e)) from e.__cause__
            raise
        self._client = client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def reader(self) -> Redis:
        """Another, of one connection, for one consumer."""
        return Redis(**self._settings, single_connection_client=True)

    def client(self) -> Redis:
        if self._client is None:
            raise BrokerUnavailable(f"the connection to {self.name} is not open")
        return self._client

    async def ask(self, what: Awaitable[T], more: float = 0.0) -> T:
        """The answer, within the timeout and `more` seconds. BrokerUnavailable, or BrokerRefused for what the server
        will not do, whenever it is asked."""
        client = self._client
        try:
            async with asyncio.timeout(self.timeout + more):
                return await what
        except (exceptions.RedisError, OSError) as e:  # TimeoutError is an OSError
            raise self.said(e) from e
        finally:
            if client is not None and client is not self._client:
                # Closed meanwhile. What was asked may have opened a connection after that, which nobody would close.
                await client.connection_pool.disconnect()

    def said(self, error: Exception) -> BrokerError:
        return said(self.name, self.timeout, error)
