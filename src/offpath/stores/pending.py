"""A result that one thread makes and any loop or thread waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterable
from typing import Any, Generic, TypeVar

R = TypeVar("R")

_MISSING: Any = object()


class Result(Generic[R]):
    """See `ports.Pending`. Made on one side with `set`/`fail`; awaited (on any loop) or waited for on the other.

    Handing results to a loop one by one would wake it once each; `deliver` does it once per loop for a whole group.
    """

    __slots__ = ("_error", "_event", "_futures", "_lock", "_value")

    def __init__(self) -> None:
        self._value: R = _MISSING
        self._error: BaseException | None = None
        self._futures: tuple[asyncio.Future[R], ...] = ()  # one per `await` that came before the answer
        self._event: threading.Event | None = None
        self._lock = threading.Lock()

    def set(self, value: R) -> None:
        with self._lock:
            self._value = value
        if self._event is not None:
            self._event.set()

    def fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = error
        if self._event is not None:
            self._event.set()

    @property
    def done(self) -> bool:
        return self._value is not _MISSING or self._error is not None

    def __await__(self) -> Generator[Any, None, R]:
        with self._lock:
            if self.done:
                return self._get()
            future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            self._futures += (future,)
        return (yield from future)

    def result(self, timeout: float | None = None) -> R:
        with self._lock:
            if not self.done and self._event is None:
                self._event = threading.Event()
        if self._event is not None and not self._event.wait(timeout):
            raise TimeoutError(f"no answer within {timeout:g} s")
        return self._get()

    def _get(self) -> R:
        if self._error is not None:
            raise self._error
        return self._value

    def _settle(self, future: asyncio.Future[R]) -> None:
        if future.done():
            return  # whoever awaited it was cancelled
        if self._error is not None:
            future.set_exception(self._error)
        else:
            future.set_result(self._value)

    @staticmethod
    def deliver(results: Iterable[Result[Any]]) -> None:
        """Wake whoever awaits these finished results; called by the thread that made them."""
        loops: dict[asyncio.AbstractEventLoop, list[tuple[Result[Any], asyncio.Future[Any]]]] = {}
        for result in results:
            with result._lock:
                futures = result._futures
            for future in futures:
                loops.setdefault(future.get_loop(), []).append((result, future))
        for loop, waiting in loops.items():
            try:
                loop.call_soon_threadsafe(_settle_all, waiting)
            except RuntimeError:
                continue  # the loop has been closed: nobody waits there any more


def _settle_all(waiting: list[tuple[Result[Any], asyncio.Future[Any]]]) -> None:
    for result, future in waiting:
        result._settle(future)


def failed(error: BaseException) -> Result[Any]:
    """A result that is an error from the start."""
    result: Result[Any] = Result()
    result.fail(error)
    return result
