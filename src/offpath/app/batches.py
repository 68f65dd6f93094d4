"""`jobs.batch`: a function of many arguments becomes a task of one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Unpack, overload

from ..core.batches import batch as checked
from ..core.options import TaskGiven, TaskOptions, check_names
from ..core.retry import Seconds
from ..tasks import BatchTask, Context, local_names
from .desk import is_async

if TYPE_CHECKING:
    from .desk import Counter

T = TypeVar("T")
R = TypeVar("R")


class BatchDecorator(Protocol):
    """What `@jobs.batch(…)` is. As with `TaskDecorator`, the order matters to type checkers."""

    @overload
    def __call__(
        self, fn: Callable[[Context[Any], list[T]], Coroutine[Any, Any, None]], /
    ) -> BatchTask[T, None, Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(
        self, fn: Callable[[Context[Any], list[T]], Coroutine[Any, Any, Sequence[R | Exception | BaseException]]], /
    ) -> BatchTask[T, R, Coroutine[Any, Any, Sequence[R | Exception | BaseException]]]: ...
    @overload
    def __call__(self, fn: Callable[[Context[Any], list[T]], None], /) -> BatchTask[T, None, None]: ...
    @overload
    def __call__(
        self, fn: Callable[[Context[Any], list[T]], Sequence[R | Exception | BaseException]], /
    ) -> BatchTask[T, R, Sequence[R | Exception | BaseException]]: ...
    @overload
    def __call__(
        self, fn: Callable[[list[T]], Coroutine[Any, Any, None]], /
    ) -> BatchTask[T, None, Coroutine[Any, Any, None]]: ...
    @overload
    def __call__(
        self, fn: Callable[[list[T]], Coroutine[Any, Any, Sequence[R | Exception | BaseException]]], /
    ) -> BatchTask[T, R, Coroutine[Any, Any, Sequence[R | Exception | BaseException]]]: ...
    @overload
    def __call__(self, fn: Callable[[list[T]], None], /) -> BatchTask[T, None, None]: ...
    @overload
    def __call__(
        self, fn: Callable[[list[T]], Sequence[R | Exception | BaseException]], /
    ) -> BatchTask[T, R, Sequence[R | Exception | BaseException]]: ...


class Batches:
    """A part of `Offpath`."""

    _desk: Counter

    def batch(
        self,
        *,
        size: int = 100,
        wait: Seconds = 0.5,
        name: str | None = None,
        version: int = 1,
        **options: Unpack[TaskGiven],
    ) -> BatchDecorator:
        """`@jobs.batch(size=100, wait=0.5)` on `def index(docs: list[Doc]) -> None`: callers write
        `await index.enqueue(doc)`, and a worker calls the function with the arguments of up to `size` jobs, or with
        fewer when `wait` seconds have passed since the first of them came to it.

        Each stays a job of its own, with attempts, backoff, deadline, key, cancel and result. The function returns None
        (all have succeeded), or a list with an entry for each job: its result, or an exception, which is that job's
        alone (`Snooze` and `Cancel` too); `asyncio.gather(…, return_exceptions=True)` gives such a list. An exception
        that it raises is that of all of them. The timeout holds for the call. `Context` may come first: `ctx.each` has
        one for each job.

        size   jobs at most, 1 to 10,000
        wait   seconds at most, 0 to 3,600; 0: as many as are there
        name, version and the other options are those of `task`. ConfigurationError when something is wrong, at once.
        """
        try:
            batch, task_options, names = checked(size, wait), TaskOptions(**options), local_names()
        except TypeError:
            check_names(options, TaskGiven, "name", "version", "size", "wait")
            raise

        def register(function: Callable[..., Any]) -> BatchTask[Any, Any, Any]:
            registry = self._desk.registry
            task: BatchTask[Any, Any, Any] = BatchTask(
                function,
                batch=batch,
                asynchronous=is_async(function),
                desk=self._desk,
                options=task_options,
                queues=registry.queues,
                retention=registry.retention,
                name=name,
                version=version,
                names=names,
            )
            registry.add(task)
            return task

        return register
