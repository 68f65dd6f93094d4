"""Hints by Redis or Valkey: a stream `offpath:LINE`, of the last thousand messages or so, that every process reads.

The URL and its options are those of `brokers.redis`; `maxlen`, `from`, `min_idle` and `takeover` are for events alone.

A stream and not PUBLISH: who was held up reads what came meanwhile, and who finds that it may have been cut off is
told. Nothing is read twice, no consumer group is made. The stream goes a day after its last message. One server, or
what looks like one: neither Cluster nor Sentinel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, TypeAlias

from ..brokers.address import Address
from ..brokers.redis.connection import called, connection, said
from ..errors import MissingExtraError
from ..ports import Transport
from .carrier import Carrier
from .notes import MAX_BYTES
from .reading import Reading
from .wire import MAY_HAVE_MISSED, Hear, Lost, Wire

try:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError
except ImportError as e:
    raise MissingExtraError("redis://", "redis") from e

Client: TypeAlias = Any
"""redis-py's types are neither whole nor the same in all its versions."""

KEPT = 1_000  # messages in the stream, about
KEPT_MS = 24 * 3600 * 1000  # the stream itself, after its last test or beginning
AT_ONCE = 200  # messages to one reading


def transport(address: Address, line: str) -> Transport:
    """ConfigurationError for an option or a database that Redis URLs do not have."""
    kind = _Redis(address, line)
    return Carrier(kind, connect=kind.timeout)


class _Redis:
    name, limit, pace = "redis", MAX_BYTES, 1.0

    def __init__(self, address: Address, line: str) -> None:
        self._settings = connection(address)
        self._name, self._stream = called(address), f"offpath:{line}"
        self.timeout: float = self._settings["socket_connect_timeout"]

    async def connect(self, lost: Lost) -> Wire:
        client = self.client()
        try:
            await client.execute_command("PING")
        except BaseException as e:
            await client.aclose()
            raise self.said(e) from e
        return _Wire(self, client, self._stream, lost)

    def client(self) -> Client:
        """One connection, which is not made anew behind our back."""
        return Redis(**self._settings, single_connection_client=True, client_name="offpath-hints")

    def said(self, error: BaseException) -> BaseException:
        """In a sentence, when it is Redis's."""
        return said(self._name, self.timeout, error) if isinstance(error, RedisError | OSError) else error


class _Wire:
    deaf = ""

    def __init__(self, kind: _Redis, client: Client, stream: str, lost: Lost) -> None:
        self._kind, self._client, self._stream, self._lost = kind, client, stream, lost
        self._ear: Client | None = None
        self._reading: Reading | None = None

    async def listen(self, hear: Hear) -> None:
        self._ear = ear = self._kind.client()
        last = await self._client.xrevrange(self._stream, count=1)
        await self._client.pexpire(self._stream, KEPT_MS)
        await ear.execute_command("PING")
        self._reading = Reading(self._read(ear, last[0][0] if last else b"0-0", hear), self._lost)

    async def send(self, messages: Sequence[str]) -> None:
        try:
            for message in messages:
                await self._client.execute_command("XADD", self._stream, "MAXLEN", "~", KEPT, "*", "h", message)
        except (RedisError, OSError) as e:
            raise self._kind.said(e) from e

    async def echo(self, message: str) -> None:
        await self.send([message])
        await self._client.pexpire(self._stream, KEPT_MS)

    async def ping(self) -> None:
        await self._client.execute_command("PING")

    async def close(self, well: bool) -> None:
        if self._reading is not None:
            await self._reading.stop()
        for client in (self._ear, self._client):
            if client is not None:
                with contextlib.suppress(RedisError, OSError):
                    if client.connection is not None:
                        await client.connection.disconnect(nowait=True)
                    await client.aclose()

    async def _read(self, ear: Client, last: bytes, hear: Hear) -> None:
        behind = 0
        while True:
            try:
                answer: Any = await ear.xread({self._stream: last}, count=AT_ONCE, block=0)
            except (RedisError, OSError) as e:
                raise self._kind.said(e) from e
            [(_, entries)] = answer
            for _, fields in entries:
                hear(fields.get(b"h", b"") if fields else b"")
            last = entries[-1][0]
            behind = behind + AT_ONCE if len(entries) == AT_ONCE else 0
            if behind >= KEPT // 2:  # the end of the stream may have run past us
                behind = 0
                hear(MAY_HAVE_MISSED)
