"""The task in which a wire reads what comes: its end is the wire's."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from .wire import Lost


class Reading:
    """Runs `reading` until `stop`; should it end by itself, the wire is lost, by its error."""

    def __init__(self, reading: Coroutine[object, object, None], lost: Lost) -> None:
        self._lost = lost
        self._task = asyncio.create_task(reading)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            error = task.exception()
            self._lost(error if isinstance(error, Exception) else ConnectionError("the connection was lost"))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
