"""Hints by PostgreSQL's LISTEN and NOTIFY, on one direct connection of our own: never in anybody's transaction.

Whoever comes through a connection pooler sends hints and hears none: pickup then takes the poll interval and not 1 ms.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from ..errors import MissingExtraError
from .carrier import Carrier
from .line import CONNECT, LAST
from .notes import MAX_BYTES, channel
from .wire import Hear, Lost, Wire

try:
    import asyncpg
except ImportError as e:
    raise MissingExtraError("a postgresql:// database", "postgres") from e

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

SESSION = """
set synchronous_commit = off;
set tcp_keepalives_idle = 30;
set tcp_keepalives_interval = 10;
set tcp_keepalives_count = 3;
set tcp_user_timeout = 60000
"""
"""A NOTIFY has nothing that need reach the disk. The rest lets the server see that we are gone: a listener that takes
nothing any more holds up its queue of notifications. Our own side sees it by the test."""

POOLED = "a connection pooler answers in PostgreSQL's place: hints are sent, none are heard; connect directly to hear"


class NotifyTransport(Carrier):
    """See `ports.Transport`. `schema` is where the jobs are: transports of one database and schema hear each other.
    `url` is as asyncpg takes it, which knows less than libpq does; `connect` is seconds for one attempt to connect.

    MissingExtraError (a ConfigurationError), at import, when asyncpg is not installed.
    """

    def __init__(self, url: str, *, schema: str = "public", connect: float = CONNECT) -> None:
        super().__init__(_Notify(url, schema), connect=connect)


class _Notify:
    name, limit, pace = "notify", MAX_BYTES, 1.0

    def __init__(self, url: str, schema: str) -> None:
        self._url, self._channel = url, channel(schema)

    async def connect(self, lost: Lost) -> Wire:
        connection = await asyncpg.connect(
            self._url,
            statement_cache_size=0,  # a pooler may stand between
            server_settings={"application_name": "offpath hints"},
        )
        try:
            connection.add_termination_listener(lambda _: lost(ConnectionError("the connection was lost")))
            direct = await _is_direct(connection)
            if direct:
                await connection.execute(SESSION)
        except BaseException:
            connection.terminate()
            raise
        return _Wire(connection, self._channel, "" if direct else POOLED)


class _Wire:
    def __init__(self, connection: Connection, channel: str, deaf: str) -> None:
        self._connection, self._channel, self.deaf = connection, channel, deaf

    async def listen(self, hear: Hear) -> None:
        await self._connection.add_listener(self._channel, lambda _, pid, channel, message: hear(str(message)))

    async def send(self, messages: Sequence[str]) -> None:
        """One statement, hence one transaction."""
        await self._connection.execute(";".join(_notify(self._channel, m) for m in messages))

    async def echo(self, message: str) -> None:
        await self._connection.execute(_notify(self._channel, message))

    async def ping(self) -> None:
        await self._connection.execute("select 1")

    async def close(self, well: bool) -> None:
        if not well:
            self._connection.terminate()
        with contextlib.suppress(Exception):
            await self._connection.close(timeout=LAST)


async def _is_direct(connection: Connection) -> bool:
    """Whether the session is ours alone. A pooler makes up the process id that it tells its clients; in one transaction
    even it cannot part the halves of a prepared statement."""
    async with connection.transaction():
        return bool(await connection.fetchval("select pg_backend_pid()") == connection.get_server_pid())


def _notify(channel: str, message: str) -> str:
    quoted = channel.replace('"', '""')
    escaped = message.replace("\\", "\\\\").replace("'", "''")
    return f"notify \"{quoted}\", E'{escaped}'"
