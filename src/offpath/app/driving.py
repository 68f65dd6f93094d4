"""Work in steps that is written once: driven on an event loop, or blocking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from ..errors import OffpathError
from ..ports import Pending

T = TypeVar("T")


class Rest:
    """A `Pending` that is there after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.sleep(self._seconds).__await__()

    def result(self, timeout: float | None = None) -> None:
        time.sleep(self._seconds)


class Told(NamedTuple, Generic[T]):
    """How far it has come: for whoever drives."""

    so_far: T


Steps = Generator[Pending[Any] | Told[T], Any, None]
"""Yields what to wait for, to be sent what came of it or have its OffpathError thrown in; and what there is to tell."""


async def drive(steps: Steps[T]) -> AsyncIterator[T]:
    """What it tells."""
    answer: Any = None
    while (step := _next(steps, answer)) is not None:
        answer = None
        if isinstance(step, Told):
            yield step.so_far
            continue
        try:
            answer = await step
        except OffpathError as error:
            answer = error


def drive_sync(steps: Steps[T]) -> Iterator[T]:
    """The same, blocking."""
    answer: Any = None
    while (step := _next(steps, answer)) is not None:
        answer = None
        if isinstance(step, Told):
            yield step.so_far
            continue
        try:
            answer = step.result()
        except OffpathError as error:
            answer = error


def _next(steps: Steps[T], answer: Any) -> Pending[Any] | Told[T] | None:
    try:
        return steps.throw(answer) if isinstance(answer, OffpathError) else steps.send(answer)
    except StopIteration:
        return None
