"""What an application has declared: tasks by name, queues, providers, hooks. Workers look here and nowhere else;
a name in the database that is not here is never imported."""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..core import policy
from ..core.alerts import Rule
from ..core.checks import shown
from ..core.job import Principal
from ..core.limits import Limit
from ..core.options import Queue, Unset
from ..core.outcome import Outcome
from ..core.retention import Retention, Terms
from ..core.schedule import Declared, check_schedule_name, declared, sign, template
from ..errors import ConfigurationError
from ..privacy.secret import opened
from .limits import Limits
from .needs import Lifetime, Provider, declaring, name_of, provider_of

if TYPE_CHECKING:
    from ..core.call import Call
    from .eventtypes import EventType
    from .schedule import Schedule
    from .subscription import Reading, Subscription
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


parted = lru_cache(maxsize=4096)(policy.parted)
"""`core.policy.parted`, remembered: the same few texts come with every job."""


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
    """tasks by name; queues by name; limits; events by type; subscriptions; providers by the type they serve; hooks of
    the whole application by kind.

    boot    "module:function" of what a framework has to be told first in a process that imports the application anew
    carried context variables that cross into processes, by name, and where they were declared
    around  what a framework puts around a task's function when a worker runs it, in the attempt's own thread (of a
            coroutine function: a coroutine function); calling the task here and now knows nothing of it
    """

    def __init__(
        self,
        queues: Iterable[Queue] = (),
        retention: Retention = Retention(),  # noqa: B008 (immutable)
        limits: Iterable[Limit] = (),
    ) -> None:
        self.terms = Terms(retention)
        self.queues: dict[str, Queue] = {}
        for queue in queues:
            if not isinstance(queue, Queue):
                raise ConfigurationError(f"queues takes Queue(…) values, not {queue!r}")
            if queue.name in self.queues:
                raise ConfigurationError(f"queue {queue.name!r} is declared twice")
            self.queues[queue.name] = queue
            if not isinstance(queue.retention, Unset):
                self.terms.queues[queue.name] = queue.retention
        self.limits = Limits(limits, self.queues)
        self.retention = retention
        self.providers: dict[Any, Provider] = {}
        self.hooks: dict[str, list[Hook]] = no_hooks()
        self.authorizer: Authorizer | None = None
        self.alerts: list[Rule] = []
        self.subscriptions: dict[Subscription, None] = {}  # in order; the same one twice is one
        self.brought: list[Reading] = []  # what somebody else reads, and brings (`Offpath.take`)
        self.around: Callable[[Callable[..., Any]], Callable[..., Any]] = as_it_is
        self.schedules: dict[str, tuple[Schedule, Declared]] = {}
        self.events: dict[str, EventType[Any]] = {}
        self.boot: str | None = None
        self.carried: dict[str, tuple[ContextVar[Any], str]] = {}
        self._tasks: dict[str, Task[..., Any]] = {}
        self._modules: dict[str, None] = {}  # where providers and context variables are declared, in order
        self._homes: dict[str, str] = {}  # where each task is

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
        self.limits.add(task)
        self._tasks[task.name] = task
        self._homes[task.name] = declaring()[0]
        if not isinstance(task.options.retention, Unset):
            self.terms.tasks[task.name] = task.options.retention

    def schedule(self, name: str, when: Schedule, call: Call) -> None:
        """Declare a schedule. ConfigurationError when another one has this name."""
        check_schedule_name(name)
        queue = call.using.queue or call.options.queue
        made = template(call, self.queues.get(queue), self.lane(call.task, queue, call.args))
        said = declared(name, when.as_json(), call.task, made, self._marked(call, made))
        before = self.schedules.get(name, (when, said))[1]
        if before.mark != said.mark:
            raise ConfigurationError(f"two schedules are called {name!r}: give one of them another name")
        self.schedules[name] = when, said

    def _marked(self, call: Call, made: str) -> str | None:
        """A sealed secret is another text each time: its digest goes into the mark, which only the key can make."""
        task = self._tasks.get(call.task)
        vault = task.desk.vault if task is not None and task.secret else None
        if vault is None:
            return None
        bare = json.dumps(opened(call.args, vault), sort_keys=True)
        return made.replace(json.dumps(call.args)[1:-1], vault.digest(bare))

    def event(self, made: EventType[Any]) -> EventType[Any]:
        """Declare a type of event. ConfigurationError when it has been declared in another way."""
        if not made.same_as(self.events.get(made.name, made)):
            raise ConfigurationError(f"event {made.name} is declared twice, in different ways: declare it once")
        self.events[made.name] = made
        return made

    def lane(self, task: str, queue: str, args: str) -> str | None:
        """The lane of a job with these stored arguments; None when no limit holds for it."""
        known = self._tasks.get(task) if self.limits.any else None
        return None if known is None else self.limits.lane(known, queue, args)

    def signs(self) -> list[str]:
        """How a worker tells others which schedules it declares."""
        return [sign(name, said.mark) for name, (_, said) in sorted(self.schedules.items())]

    def provide(self, fn: Callable[..., Any], lifetime: Lifetime, names: Mapping[str, Any]) -> None:
        """ConfigurationError when another function already provides that type."""
        provider = provider_of(fn, lifetime, names)
        other = self.providers.get(provider.provides)
        if other is not None and not _same(other.fn, fn):
            raise ConfigurationError(f"{name_of(other.fn)} and {name_of(fn)} both provide {provider.provides!r}")
        self.providers[provider.provides] = provider
        self._modules[declaring()[0]] = None

    def carry(self, variable: ContextVar[Any]) -> None:
        """ConfigurationError when another variable of that name is carried already."""
        if not isinstance(variable, ContextVar):
            raise ConfigurationError(f"carry takes a ContextVar, not {shown(variable)}")
        module, place = declaring()
        other, there = self.carried.get(variable.name, (variable, place))
        if other is not variable and there != place:  # the same place: its module was imported again
            raise ConfigurationError(f"two context variables are called {variable.name!r}: {there} and {place}")
        self.carried[variable.name] = variable, place
        self._modules[module] = None

    def homes(self) -> list[str]:
        """The modules a process must import to find every task of executor "process", and all they are given."""
        homes = {self._homes[name]: None for name, task in self._tasks.items() if task.executor == "process"}
        return list({**homes, **self._modules}) if homes else []

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
