"""What `@jobs.task(…)` is to type checkers: a function in, a task with the same parameters out."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from .context import Context
from .task import AsyncTask, SyncTask

P = ParamSpec("P")
R = TypeVar("R")


class TaskDecorator(Protocol):
    """What `@jobs.task(…)` is. The order matters to type checkers: a Context parameter must vanish before the rest is
    looked at, and a coroutine function must not be taken for a plain one that returns a coroutine.

    What they cannot see: a task with a Context *and* an Any somewhere in its signature (`dict[str, Any]`) is checked by
    pyright, but is Any to mypy, since more than one overload would fit; and a first parameter annotated Any is taken
    for the Context by both. Annotate with `object`, `dict[str, object]` or a TypedDict instead.
    """

    @overload
    def __call__(self, fn: Callable[Concatenate[Context[Any], P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[Concatenate[Context[Any], P], R], /) -> SyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
