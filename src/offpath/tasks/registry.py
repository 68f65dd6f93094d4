"""What an application has declared: tasks by name, queues, providers, hooks. Workers look here and nowhere else;
a name in the database that is not here is never imported."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..core import options
from ..core.job import Principal
from ..core.options import Queue, Retention
from ..core.outcome import Outcome
from ..errors import ConfigurationError
from .needs import Lifetime, Provider, name_of, provider_of

if TYPE_CHECKING:
    from .task import Task

HookKind = Literal["before", "after", "failure", "exhausted"]
HOOK_KINDS: tuple[HookKind, ...] = get_args(HookKind)


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """What a hook is told.

    trace     the id of the trace that the job belongs to
    outcome   what the attempt said; None before it
    error     the exception behind an `Errored`, when there is one
    duration  of the attempt, seconds; 0 before it
    """

    job: str
    task: str
    queue: str
    attempt: int
    max_attempts: int
    key: str | None
    owner: str | None
    trace: str = ""
    outcome: Outcome | None = None
    error: BaseException | None = None
    duration: float = 0.0


Hook = Callable[[AttemptInfo], Awaitable[None] | None]
"""before an attempt · after it, whatever it said · failure: it failed · exhausted: it failed and was the last one."""


Authorizer = Callable[[Principal], Awaitable[bool] | bool]
"""May whoever started a job still have it done? Asked before each of its attempts."""


parted = lru_cache(maxsize=4096)(options.parted)
"""`core.options.parted`, remembered: the same few texts come with every job."""


def no_hooks() -> dict[str, list[Hook]]:
    return {kind: [] for kind in HOOK_KINDS}


def check_hook(kind: str) -> HookKind:
    for known in HOOK_KINDS:
        if kind == known:
            return known
    raise ConfigurationError(f"a hook is one of {', '.join(HOOK_KINDS)}, not {kind!r}")


def as_it_is(fn: Callable[..., Any]) -> Callable[..., Any]:
    return fn


class Registry:
    """tasks by name; queues by name; providers by the type they serve; hooks of the whole application by kind.

    around  what a framework puts around a task's function when a worker runs it, in the attempt's own thread (of a
            coroutine function: a coroutine function); calling the task here and now knows nothing of it
    """

    def __init__(self, queues: Iterable[Queue] = (), retention: Retention = Retention()) -> None:  # noqa: B008 (immutable)
        self.queues: dict[str, Queue] = {}
        for queue in queues:
            if not isinstance(queue, Queue):
                raise ConfigurationError(f"queues takes Queue(…) values, not {queue!r}")
            if queue.name in self.queues:
                raise ConfigurationError(f"queue {queue.name!r} is declared twice")
            self.queues[queue.name] = queue
        self.retention = retention
        self.providers: dict[Any, Provider] = {}
        self.hooks: dict[str, list[Hook]] = no_hooks()
        self.authorizer: Authorizer | None = None
        self.around: Callable[[Callable[..., Any]], Callable[..., Any]] = as_it_is
        self._tasks: dict[str, Task[..., Any]] = {}

    def get(self, name: str) -> Task[..., Any] | None:
        return self._tasks.get(name)

    def names(self) -> list[str]:
        """The tasks there are, sorted."""
        return sorted(self._tasks)

    def claims(self, executor: str | None = None) -> list[str]:
        """What a worker may claim, as "name@version"; with `executor`, only what runs there."""
        return [
            f"{name}@{version}"
            for name, task in sorted(self._tasks.items())
            if executor in (None, task.executor)
            for version in task.versions()
        ]

    def knows(self, name: str, version: int) -> bool:
        """Whether a worker can run a job of that task and version."""
        task = self._tasks.get(name)
        return task is not None and version in task.versions()

    def add(self, task: Task[..., Any]) -> None:
        """ConfigurationError when the name belongs to another function."""
        other = self._tasks.get(task.name)
        if other is not None and not _same(other.fn, task.fn):
            raise ConfigurationError(
                f"two tasks are called {task.name!r}: {_where(other.fn)} and {_where(task.fn)}; "
                f'give one of them a name of its own: @jobs.task(name="…")'
            )
        self._tasks[task.name] = task

    def provide(self, fn: Callable[..., Any], lifetime: Lifetime, names: Mapping[str, Any]) -> None:
        """ConfigurationError when another function already provides that type."""
        provider = provider_of(fn, lifetime, names)
        other = self.providers.get(provider.provides)
        if other is not None and not _same(other.fn, fn):
            raise ConfigurationError(f"{name_of(other.fn)} and {name_of(fn)} both provide {provider.provides!r}")
        self.providers[provider.provides] = provider

    def weighted(self, weights: Mapping[str, int]) -> Registry:
        """The same declarations, as a worker sees them that was told other weights for its queues."""
        other = copy.copy(self)
        other.queues = {name: replace(self.queues.get(name) or Queue(name), weight=w) for name, w in weights.items()}
        return other


def _same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """The same place in the source: a module imported again (as __main__ and by name, or reloaded) is no clash."""
    return one is other or (_where(one) == _where(other) and name_of(one) == name_of(other))


def _where(fn: Callable[..., Any]) -> str:
    code = getattr(fn, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else name_of(fn)
