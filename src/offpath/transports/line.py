"""One direct connection to PostgreSQL that sends hints and hears them: kept alive, tested, and made anew when lost.

A connection can be alive and deaf: half open, or behind a pooler that gives every transaction another session. So a
line that has heard nothing for a while sends an empty message, and one that does not hear its own is given up. All
lines hear it, and need not ask themselves: a quiet fleet sends one in some seconds, however large it is.

A lone hint leaves at once; what comes while a NOTIFY is on its way leaves together after it, in a storm 500 times a
second.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from ..errors import MissingExtraError
from ..observe import signal
from ..ports import Hint
from .notes import KINDS, Gathered, channel, decode, encode

try:
    import asyncpg
except ImportError as e:
    raise MissingExtraError("a postgresql:// database", "postgres") from e

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

QUIET = 8.0  # s without a sound, at most, before the line is tested; with PATIENCE, deaf for at most 12 s
PATIENCE = 4.0  # s for an answer, to a test or to a statement
CONNECT = 10.0  # s, unless the URL says otherwise
RETRY, RETRY_MOST = 0.05, 5.0  # s before connecting again: doubled each time, with jitter
GAP, SLACK = 0.002, 0.02  # s between two NOTIFYs on average, and by how much some may be early
LAST = 1.0  # s that hints may still take to leave when the transport is closed

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
DEAF = "connected but deaf: a notification to itself did not arrive"


class Line:
    """Lives on the loop that runs `serve`; `send`, `stir` and `end` may be called from any thread.

    tell    is given every hint of others, on the loop's thread
    wanted  whether anybody would hear them; until then hints are only sent
    connect seconds for one attempt to connect
    """

    def __init__(
        self,
        url: str,
        schema: str,
        tell: Callable[[Hint], None],
        wanted: Callable[[], bool],
        connect: float = CONNECT,
    ) -> None:
        self._url, self._patience = url, connect
        self._tell, self._wanted = tell, wanted
        self._me = secrets.token_hex(8)
        self._channel = channel(schema)
        self._guard = threading.Lock()
        self._gathered = Gathered()
        self._sending: list[Hint] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._stirred = asyncio.Event()
        self._ending = False
        self._free = -math.inf  # from when on, by the loop's clock, the next NOTIFY may leave
        self._heard = -math.inf  # when there was the last sound, by the same
        self._test_at = -math.inf
        self._asked: float | None = None  # when the test began that has no answer yet
        self._failures = 0
        self._down: float | None = None  # since when, once it has been said
        self._pooled = False  # it has been said

    def send(self, hints: Sequence[Hint]) -> None:
        with self._guard:
            waiting = bool(self._gathered)
            self._gathered.add(hints)
            if not waiting:
                self._call(self._stirred.set)

    def stir(self) -> None:
        """Somebody wants to hear now."""
        with self._guard:
            self._call(self._stirred.set)

    def end(self) -> None:
        """`serve` ends: at once, or when the hints that wait have left, within `LAST`."""
        with self._guard:
            self._ending = True
            self._call(self._leave)

    def abandon(self) -> None:
        """In a forked child. The connection is the parent's: to close it would end it there, and so would letting it be
        collected; left open here, it would keep the server from seeing the parent's death."""
        _abandoned.append(self)
        transport = getattr(self._connection, "_transport", None)  # asyncpg shows its socket nowhere else
        if transport is not None and (sock := transport.get_extra_info("socket")) is not None and sock.fileno() >= 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, sock.fileno(), inheritable=False)
            os.close(nothing)

    async def serve(self) -> None:
        """Be connected until `end`; CancelledError when it came to that."""
        with self._guard:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            if self._ending:
                self._leave()
        try:
            while not self._done():
                try:
                    await self._be_connected()
                except Exception as e:  # whatever it is, the next connection may do, and the poll finds the work
                    self._failed(e)
                    await asyncio.sleep(min(RETRY_MOST, RETRY * 2**self._failures) * random.uniform(0.5, 1.5))
                    self._failures = min(self._failures + 1, 10)
        finally:
            with self._guard:
                self._loop = None

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _call(self, what: Callable[[], object]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(what)

    def _leave(self) -> None:
        if self._task is None or self._loop is None:
            return
        self._stirred.set()
        if self._gathered or self._sending:
            self._loop.call_later(LAST, self._task.cancel)
        else:
            self._task.cancel()

    def _done(self) -> bool:
        return self._ending and not self._gathered

    def _failed(self, error: Exception) -> None:
        if self._down is None:  # said once, not at every attempt
            self._down = time.monotonic()
            said = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
            signal("transport.failed", transport="notify", error=said)

    async def _be_connected(self) -> None:
        """Connect; then send and hear until `end`. Raises when the connection is lost, refused or deaf."""
        async with asyncio.timeout(self._patience):
            connection = await asyncpg.connect(
                self._url,
                statement_cache_size=0,  # a pooler may stand between
                server_settings={"application_name": "offpath hints"},
            )
        self._connection = connection
        try:
            connection.add_termination_listener(lambda _: self._stirred.set())
            async with asyncio.timeout(self._patience):
                direct = await _is_direct(connection)
                if direct:
                    await connection.execute(SESSION)
            if not direct and not self._pooled:
                self._pooled = True
                signal("transport.failed", transport="notify", error=POOLED)
            await self._work(connection, direct)
        except Exception:
            connection.terminate()  # no farewell to a line that does not answer
            raise
        finally:
            with contextlib.suppress(Exception):
                await connection.close(timeout=LAST)
            self._connection = None

    async def _work(self, connection: Connection, direct: bool) -> None:
        hearing = False
        self._heard = self._test_at = -math.inf
        self._asked = None
        while not self._done():
            self._stirred.clear()
            if connection.is_closed():
                raise ConnectionError("the connection was lost")
            if direct and not hearing and self._wanted():
                await self._listen(connection)
                hearing, self._test_at = True, -math.inf
            if await self._test(connection, hearing):
                self._well(direct)
            await self._send(connection)
            if not self._done():
                await self._rest()

    async def _listen(self, connection: Connection) -> None:
        async with asyncio.timeout(PATIENCE):
            await connection.add_listener(self._channel, self._hear)
        for kind in KINDS:  # nobody has listened until now: anything may have changed
            self._tell(Hint(kind))

    def _hear(self, connection: object, pid: int, channel: str, message: object) -> None:
        self._sound()
        sender, hints = decode(str(message))
        if sender != self._me:
            for hint in hints:
                self._tell(hint)

    def _sound(self) -> None:
        self._heard = asyncio.get_running_loop().time()
        self._test_at = self._heard + QUIET * random.uniform(0.75, 1.0)  # not all lines at once
        if self._asked is not None:
            self._stirred.set()

    async def _send(self, connection: Connection) -> None:
        """Send what has gathered: one statement, hence one transaction, however many messages it takes.

        Without the bound 32 busy threads made up to 3,200 NOTIFYs a second and used a quarter of a processor for it.
        """
        now = asyncio.get_running_loop().time()
        if now < self._free:
            return
        with self._guard:
            self._sending = self._gathered.take()
        if not self._sending:
            return
        self._free = max(self._free, now - SLACK) + GAP
        messages = encode(self._me, self._sending)
        try:
            await connection.execute(";".join(_notify(self._channel, m) for m in messages), timeout=PATIENCE)
        except Exception:
            with self._guard:  # for the next connection; without the names, since they may be what went wrong
                self._gathered.add(Hint(hint.kind) for hint in self._sending)
            raise
        finally:
            self._sending = []

    async def _test(self, connection: Connection, hearing: bool) -> bool:
        """Whether the line has just been found to be alive. TimeoutError when it is not."""
        clock = asyncio.get_running_loop().time
        if self._asked is None and clock() >= self._test_at:
            self._asked = clock()
            if hearing:
                await connection.execute(_notify(self._channel, encode(self._me, [])[0]), timeout=PATIENCE)
            else:
                await connection.execute("select 1", timeout=PATIENCE)
                self._sound()
        if self._asked is None:
            return False
        if self._heard >= self._asked:
            self._asked = None
            return True
        if clock() >= self._asked + PATIENCE:
            raise TimeoutError(DEAF)
        return False

    async def _rest(self) -> None:
        """Until there is something to send, to listen for or to test."""
        until = self._test_at if self._asked is None else self._asked + PATIENCE
        if self._gathered:
            until = min(until, self._free)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._stirred.wait()

    def _well(self, direct: bool) -> None:
        self._failures = 0
        down, self._down = self._down, None
        if direct and down is not None:
            signal("transport.restored", transport="notify", seconds=time.monotonic() - down)


async def _is_direct(connection: Connection) -> bool:
    """Whether the session is ours alone. A pooler makes up the process id that it tells its clients; in one transaction
    even it cannot part the halves of a prepared statement."""
    async with connection.transaction():
        return bool(await connection.fetchval("select pg_backend_pid()") == connection.get_server_pid())


def _notify(channel: str, message: str) -> str:
    quoted = channel.replace('"', '""')
    escaped = message.replace("\\", "\\\\").replace("'", "''")
    return f"notify \"{quoted}\", E'{escaped}'"


_abandoned: list[Line] = []
