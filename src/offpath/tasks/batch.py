"""A task that takes batches: callers enqueue one argument at a time, a worker calls the function with many of them."""

from __future__ import annotations

import collections.abc
import os
import time
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, cast, get_args, get_origin

from ..core.batches import Batch
from ..core.ids import uuid7
from ..core.options import Queue, TaskOptions
from ..core.policy import Retention
from ..errors import ConfigurationError
from .context import Context
from .handle import Desk
from .needs import name_of
from .task import Task

T = TypeVar("T")
R = TypeVar("R")
C = TypeVar("C")


class BatchTask(Task[[T], R], Generic[T, R, C]):
    """A registered function of `list[T]`. Its jobs are jobs like any other, each of one T, with a result R; calling it
    here and now gives it a list and gives what it returns (C).

    parameter  the one that is given the list
    """

    def __init__(
        self,
        fn: Callable[..., C],
        *,
        batch: Batch,
        asynchronous: bool,
        desk: Desk,
        options: TaskOptions,
        queues: Mapping[str, Queue],
        retention: Retention,
        name: str | None = None,
        version: int = 1,
        names: Mapping[str, Any] | None = None,
    ) -> None:
        self.batch = batch
        self.asynchronous = asynchronous
        if options.executor == "process":
            raise ConfigurationError(
                f"task {name or name_of(fn)}: a batch is gathered and answered in the worker, so "
                'executor="process" cannot go with it: leave it out, or make it a task of one argument: @jobs.task'
            )
        super().__init__(
            cast(Callable[..., R], fn), desk=desk, options=options, queues=queues, retention=retention, name=name,
            version=version, names=names,
        )  # fmt: skip

    def __call__(self, items: list[T], /) -> C:
        """Run it here and now, like the function it is."""
        return cast(C, self._direct((items,), {}))

    def _context_here(self, args: tuple[Any, ...]) -> Context[Any]:
        each = tuple(super(BatchTask, self)._context_here(()) for _ in args[0])
        return Context(uuid7(time.time_ns() // 1000, os.urandom(10)), each=each)

    # -- what its jobs take and give ----------------------------------------------------------------------------------

    def _passed(self, parameters: dict[str, tuple[Any, bool]]) -> dict[str, tuple[Any, bool]]:
        """One argument of each job, instead of the list of all."""
        if any(need.transaction for need in self.needs.values()):
            raise ConfigurationError(
                f"task {self.name}: one commit settles one job, so provided(transaction=True) cannot go with a batch; "
                "take a plain session, or make it a task of one argument: @jobs.task"
            )
        if len(parameters) != 1:
            raise ConfigurationError(f"task {self.name}: {ONE}; it has {', '.join(parameters) or 'none'}")
        [(self.parameter, (annotation, _))] = parameters.items()
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        if get_origin(annotation) not in (list, collections.abc.Sequence):
            raise ConfigurationError(f"task {self.name}: {ONE}; {self.parameter!r} is {_shown(annotation)}")
        return {self.parameter: (get_args(annotation)[0], True)}

    def _result_of(self, annotation: Any) -> Any:
        """R of `list[R]` or `list[R | Exception]`."""
        if annotation is Any:
            return Any
        kinds = [kind for kind in _members(annotation) if kind not in (None, NoneType)]
        if not kinds:
            return None
        lists = [kind for kind in kinds if get_origin(kind) in (list, collections.abc.Sequence)]
        if lists != kinds or len(kinds) > 1:
            raise ConfigurationError(
                f"task {self.name} takes batches and must return None, or list[R | Exception]: an entry for each job, "
                f"in their order; it is annotated {_shown(annotation)}"
            )
        entries = [kind for kind in _members(get_args(kinds[0])[0]) if not _is_error(kind)]
        if len(_members(annotation)) > len(kinds) or not entries:
            entries.append(NoneType)  # the function may return None for all of them
        return Union[tuple(entries)]  # noqa: UP007 (made at run time)


ONE = (
    "it takes batches, so it has one parameter of its own, annotated with the list of arguments, for instance list[str]"
)


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _is_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _shown(annotation: Any) -> str:
    return (
        "not annotated"
        if annotation is Any
        else name_of(annotation)
        if isinstance(annotation, type)
        else str(annotation)
    )
