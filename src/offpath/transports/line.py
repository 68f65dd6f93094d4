"""One connection that sends hints and hears them: kept alive, tested, and made anew when lost.

A connection can be alive and deaf: half open, behind a pooler that gives every transaction another session, on a queue
that somebody has deleted. So a line that has heard nothing for a while sends an empty message, and one that does not
hear its own is given up. Where all lines hear it they need not ask themselves: a quiet fleet sends one in some seconds,
however large it is.

A lone hint leaves at once; what comes while messages are on their way leaves together after them, in a storm 500 times
a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import secrets
import selectors
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ..observe import signal
from ..ports import Hint
from .notes import KINDS, Gathered, decode, encode
from .wire import Kind, Wire

QUIET = 8.0  # s without a sound, at most, before the line is tested; with PATIENCE, deaf for at most 12 s
PATIENCE = 4.0  # s for an answer, to a test or to a message
CONNECT = 10.0  # s, unless the URL says otherwise
RETRY, RETRY_MOST = 0.05, 5.0  # s before connecting again: doubled each time, with jitter
GAP, SLACK = 0.002, 0.02  # s between two messages on average, and by how much some may be early
LAST = 1.0  # s that hints may still take to leave when the transport is closed

DEAF = "connected but deaf: a message to itself did not arrive"


class Line:
    """Lives on the loop that runs `serve`; `send`, `stir` and `end` may be called from any thread.

    tell    is given every hint of others, on the loop's thread
    wanted  whether anybody would hear them; until then hints are only sent
    connect seconds for one attempt to connect, and to begin to listen
    """

    def __init__(
        self, kind: Kind, tell: Callable[[Hint], None], wanted: Callable[[], bool], connect: float = CONNECT
    ) -> None:
        self._kind, self._patience = kind, connect
        self._tell, self._wanted = tell, wanted
        self._me = secrets.token_hex(8)
        self._guard = threading.Lock()
        self._gathered = Gathered()
        self._sending: list[Hint] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._selector: selectors.BaseSelector | None = None
        self._wire: Wire | None = None
        self._stirred = asyncio.Event()
        self._ending = False
        self._idle = False  # it rests, and whoever has a hint wakes it
        self._free = -math.inf  # from when on, by the loop's clock, the next message may leave
        self._heard = -math.inf  # when there was the last sound, by the same
        self._test_at = -math.inf
        self._asked: float | None = None  # when the test began that has no answer yet
        self._failures = 0
        self._down: float | None = None  # since when, once it has been said
        self._deaf = ""  # it has been said

    def send(self, hints: Sequence[Hint]) -> None:
        with self._guard:
            self._gathered.add(hints)
            if self._idle:
                self._idle = False
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

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """The loop to run `serve` on. Its sockets are known to `abandon`."""
        self._selector = selectors.DefaultSelector()
        return asyncio.SelectorEventLoop(self._selector)

    def abandon(self) -> None:
        """In a forked child. The connection is the parent's: to close it would end it there, and so would letting it be
        collected; left open here, it would keep the server from seeing the parent's death."""
        _abandoned.append(self)
        open_ones = self._selector.get_map() if self._selector is not None else None
        for key in list((open_ones or {}).values()):
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, key.fd, inheritable=False)
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
            signal("transport.failed", transport=self._kind.name, error=said)

    async def _be_connected(self) -> None:
        """Connect; then send and hear until `end`. Raises when the connection is lost, refused or deaf."""
        lost: list[Exception] = []  # of this connection alone: an earlier one may still speak

        def is_lost(error: Exception) -> None:
            lost.append(error)
            self._stirred.set()

        async with asyncio.timeout(self._patience):
            wire = await self._kind.connect(is_lost)
        self._wire, well = wire, True
        try:
            if wire.deaf and not self._deaf:
                self._deaf = wire.deaf
                signal("transport.failed", transport=self._kind.name, error=wire.deaf)
            await self._work(wire, lost)
        except Exception:
            well = False  # no farewell to a line that does not answer
            raise
        finally:
            await _to_its_end(_part(wire, well))  # who is told to end twice leaves no connection behind either
            self._wire = None

    async def _work(self, wire: Wire, lost: Sequence[Exception]) -> None:
        hearing = False
        self._heard = self._test_at = -math.inf
        self._asked = None
        while not self._done():
            self._stirred.clear()
            if lost:
                raise lost[0]
            if not wire.deaf and not hearing and self._wanted():
                await self._listen(wire)
                hearing, self._test_at = True, -math.inf
            if await self._test(wire, hearing):
                self._well(wire)
            await self._send(wire)
            if not self._done():
                await self._rest()

    async def _listen(self, wire: Wire) -> None:
        async with asyncio.timeout(self._patience):
            await wire.listen(self._hear)
        self._tell_all()  # nobody has listened until now: anything may have changed

    def _tell_all(self) -> None:
        for kind in KINDS:
            self._tell(Hint(kind))

    def _hear(self, message: str | bytes | None) -> None:
        self._sound()
        if message is None:
            self._tell_all()
        elif len(message) <= self._kind.limit:  # it is none of ours otherwise
            sender, hints = decode(message)
            if sender != self._me:
                for hint in hints:
                    self._tell(hint)

    def _sound(self) -> None:
        self._heard = asyncio.get_running_loop().time()
        self._test_at = self._heard + QUIET * self._kind.pace * random.uniform(0.75, 1.0)  # not all lines at once
        if self._asked is not None:
            self._stirred.set()

    async def _send(self, wire: Wire) -> None:
        """Send what has gathered, at once however many messages it takes.

        Without the bound 32 busy threads made up to 3,200 NOTIFYs a second and used a quarter of a processor for it.
        """
        now = asyncio.get_running_loop().time()
        if now < self._free:
            return
        with self._guard:
            self._sending = self._gathered.take()
        if not self._sending:
            return
        self._free = max(self._free, now - SLACK) + GAP * self._kind.pace
        try:
            async with asyncio.timeout(PATIENCE):
                await wire.send(encode(self._me, self._sending, self._kind.limit))
        except Exception:
            with self._guard:  # for the next connection; without the names, since they may be what went wrong
                self._gathered.add(Hint(hint.kind) for hint in self._sending)
            raise
        finally:
            self._sending = []

    async def _test(self, wire: Wire, hearing: bool) -> bool:
        """Whether the line has just been found to be alive. TimeoutError when it is not."""
        clock = asyncio.get_running_loop().time
        if self._asked is None and clock() >= self._test_at:
            self._asked = clock()
            async with asyncio.timeout(PATIENCE):
                if hearing:
                    await wire.echo(encode(self._me, [], self._kind.limit)[0])
                else:
                    await wire.ping()
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
        """Until there is something to send, to listen for or to test.

        In a storm that is when the next message may leave, and who has a hint by then wakes nobody for it: each time
        would take the interpreter's lock from a busy application once more.
        """
        until = self._test_at if self._asked is None else self._asked + PATIENCE
        with self._guard:
            self._idle = not self._gathered and asyncio.get_running_loop().time() >= self._free
            if not self._idle:
                until = min(until, self._free)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._stirred.wait()

    def _well(self, wire: Wire) -> None:
        self._failures = 0
        down, self._down = self._down, None
        if down is not None and not wire.deaf:
            signal("transport.restored", transport=self._kind.name, seconds=time.monotonic() - down)


async def _part(wire: Wire, well: bool) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(LAST):
            await wire.close(well)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Done whole, however often we are cancelled meanwhile; cancelled after that."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


_abandoned: list[Line] = []
