"""A `Pending` of what a function makes of another's result."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from ..ports import Pending

A = TypeVar("A")
B = TypeVar("B")


class Then(Generic[A, B]):
    """A `Pending` of what a function makes of another's result."""

    __slots__ = ("_make", "_pending")

    def __init__(self, pending: Pending[A], make: Callable[[A], B]) -> None:
        self._pending, self._make = pending, make

    def __await__(self) -> Generator[Any, None, B]:
        return self._make((yield from self._pending.__await__()))

    def result(self, timeout: float | None = None) -> B:
        return self._make(self._pending.result(timeout))
