"""librdkafka waits for answers by blocking: it does so in one thread of its own per client, in the order asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ...errors import BrokerUnavailable

R = TypeVar("R")


class Thread:
    """One call at a time. `closing`: those that wait for something should give up."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.closing = False

    def call(self, work: Callable[[], R]) -> asyncio.Future[R]:
        """Its result, on the running loop. A cancelled caller does not stop it."""
        if self.closing:
            raise BrokerUnavailable("the connection to Kafka has been closed")
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def close(self, last: Callable[[], None]) -> None:
        """Do this as the last thing, and end."""
        if self.closing:
            return
        self.closing = True
        ended = asyncio.get_running_loop().run_in_executor(self._pool, last)
        try:
            await asyncio.shield(ended)
        finally:
            self._pool.shutdown(wait=False)
