"""A few connections, opened when they are needed, lent to one task at a time, and replaced when they break."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...errors import ConfigurationError, StoreUnavailable
from . import faults, session
from .address import Address
from .session import Session

FRESH = 1.0  # s of idleness without a doubt


class Pool:
    """At most `size` sessions. Lives on one event loop."""

    def __init__(self, address: Address, size: int, *, lock_ms: int = session.LOCK_MS, probe: bool = False) -> None:
        """`lock_ms`: how long a statement may wait for somebody else's lock. `probe`: look whether a session that has
        been idle still has a server, for those who cannot send again what was lost."""
        self.address = address
        self._lock_ms = lock_ms
        self._probe = probe
        self._idle: list[tuple[float, Session]] = []
        self._places = asyncio.Semaphore(size)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Session]:
        """A session for the time of the block; whatever leaves it in doubt ends it."""
        async with self._places:
            lent = await self._take()
            try:
                yield lent
            except BaseException as e:
                if faults.lost(e) or isinstance(e, asyncio.CancelledError) or lent.connection.is_in_transaction():
                    lent.abandon()
                raise
            finally:
                if not lent.closed:
                    self._idle.append((time.monotonic(), lent))

    async def _take(self) -> Session:
        while self._idle:
            since, lent = self._idle.pop()
            if not lent.closed and (not self._probe or time.monotonic() - since < FRESH or await lent.answers()):
                return lent
        return await reach(self.address, self._lock_ms)

    def abandon(self) -> None:
        """Its loop does not run any more: end the connections without a word."""
        idle, self._idle = self._idle, []
        for _, one in idle:
            with contextlib.suppress(RuntimeError):  # the loop has been closed, which the transport minds
                one.abandon()

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for _, one in idle:
            await one.close()


async def reach(address: Address, lock_ms: int) -> Session:
    """A session while we are at work: what worked once and does not now may work again, so it is no error of the
    configuration."""
    try:
        return await session.connect(address, lock_ms)
    except ConfigurationError as e:
        raise StoreUnavailable(str(e)) from e
