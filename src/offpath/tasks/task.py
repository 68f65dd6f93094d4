"""A task: a registered function with its options. Task + arguments → Call; calling it runs it here and now."""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Generic, Literal, ParamSpec, TypeVar, cast, get_args, get_origin

from ..codec import Arguments, Value
from ..core import call as core
from ..core.checks import shown, whole
from ..core.ids import uuid7
from ..core.options import UNSET, CallOptions, Policy, Queue, Retention, TaskOptions, Unset, check_name, resolve
from ..core.retry import Retry, Seconds
from ..core.trace import unstamped
from ..errors import ArgumentError, ConfigurationError
from .context import Context
from .handle import Desk, Job
from .needs import Need, hints_of, name_of, need_of
from .registry import Hook, HookKind, check_hook, no_hooks, parted
from .versions import History, Upcaster

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

NO_OPTIONS = CallOptions()


class Call(Generic[R_co]):
    """`task.call(…)`: a task with its arguments, checked and encoded, not yet enqueued. `core` is the plain value."""

    __slots__ = ("core",)

    def __init__(self, call: core.Call) -> None:
        self.core = call

    def __repr__(self) -> str:
        return f"<Call of {self.core.task}>"


def plain_calls(calls: object) -> list[core.Call]:
    """What `enqueue_many` was given, as plain values. ConfigurationError for anything that is no sequence of calls."""
    if isinstance(calls, str | bytes) or not isinstance(calls, Iterable):
        raise ConfigurationError(f"enqueue_many takes a list of task.call(…), not {shown(calls)}")
    return [_plain(call) for call in calls]


def _plain(call: object) -> core.Call:
    if not isinstance(call, Call):
        raise ConfigurationError(f"enqueue_many takes what task.call(…) gives, not {shown(call)}")
    return call.core


class _Enqueues(Generic[P, R]):
    """The four ways from a task to a job, with the options a `using(…)` has gathered."""

    _task: Task[P, R]
    _options: CallOptions
    _tx: object | None

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Check and encode the arguments now, enqueue later with `enqueue_many`, which is also told the `tx`."""
        if self._tx is not None:
            raise ConfigurationError("a call belongs to no transaction: give tx to the enqueue_many that takes it")
        return Call(self._core(*args, **kwargs))

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Write a job: in a transaction of its own, returning once it is durable, or in that of `using(tx=…)`.

        ArgumentError names the argument that cannot be stored; StoreUnavailable when the database cannot take it.
        """
        (job,) = await self._task.desk.submit((self._core(*args, **kwargs),), self._tx)
        return job

    def enqueue_sync(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """The same, blocking: for scripts, threads and synchronous frameworks."""
        (job,) = self._task.desk.submit_sync((self._core(*args, **kwargs),), self._tx)
        return job

    async def enqueue_many(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """All of them in one round trip and one transaction; the jobs come in the order of the calls.

        Options of `using(…)` hold for every call, as far as it does not say the same one itself. ConfigurationError for
        calls of another task, and for a `key` of `using(…)` with more than one call: a key is one job's.
        """
        cores = self._gathered(calls)
        return await self._task.desk.submit(cores, self._tx) if cores else []

    def enqueue_many_sync(self, calls: Sequence[Call[R]]) -> list[Job[R]]:
        """The same, blocking."""
        cores = self._gathered(calls)
        return self._task.desk.submit_sync(cores, self._tx) if cores else []

    def _gathered(self, calls: Sequence[Call[R]]) -> list[core.Call]:
        cores = plain_calls(calls)
        for one in cores:
            if (one.task, one.version) != (self._task.name, self._task.version):
                raise ConfigurationError(
                    f"{self._task.name}.enqueue_many takes calls of {self._task.name}, and one is of {one.task}; "
                    "for calls of several tasks there is jobs.enqueue_many"
                )
        if self._options is NO_OPTIONS:
            return cores
        if self._options.key is not None and len(cores) > 1:
            raise ConfigurationError(
                f"key {self._options.key!r} is one job's, and there are {len(cores)} calls: give each its own, "
                f"{self._task.name}.using(key=…).call(…)"
            )
        return [one._replace(using=filled(one.using, self._options)) for one in cores]

    def _core(self, /, *args: P.args, **kwargs: P.kwargs) -> core.Call:
        task = self._task
        return core.Call(task.name, task.version, task.bind(*args, **kwargs), task.options, self._options)


class Using(_Enqueues[P, R]):
    """A task with the options of one call: what `task.using(…)` gives."""

    def __init__(self, task: Task[P, R], options: CallOptions, tx: object | None) -> None:
        self._task = task
        self._options = options
        self._tx = tx


def filled(own: CallOptions, given: CallOptions) -> CallOptions:
    """`own`, and from `given` what `own` does not say. `delay` and `run_at` are one option: when."""
    if own == NO_OPTIONS:
        return given
    said = {f.name: value for f in fields(CallOptions) if (value := getattr(own, f.name)) != f.default}
    if not said.keys().isdisjoint(_WHEN):
        said = dict.fromkeys(_WHEN) | said
    return replace(given, **said)


_WHEN = ("delay", "run_at")


class Task(_Enqueues[P, R]):
    """A registered function.

    name            what its jobs are called in the database, for as long as one of them lives. Without `name=` it is
                    the function's qualified name *without* its module: jobs outlive refactorings, and a module run
                    as a script is called `__main__` there and by its own name in the worker. Two functions of one
                    name are an error at registration, which says to give one of them a name.
    executor        where it runs: "async" on the worker's loop, "thread" (plain functions) in a thread
    takes_context   its first parameter is `Context`, given and not passed; `context_deps` is D of `Context[D]`
    needs           parameters that are provided, not passed
    returns         the annotation of its result
    hooks           functions called around its attempts, by kind
    """

    executor: Literal["async", "thread"]
    __name__: str

    def __init__(
        self,
        fn: Callable[..., R],
        *,
        desk: Desk,
        options: TaskOptions,
        queues: Mapping[str, Queue],
        retention: Retention,
        name: str | None = None,
        version: int = 1,
        names: Mapping[str, Any] | None = None,
    ) -> None:
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise ConfigurationError(f"task {name_of(fn)}: a generator has no single result; return a list instead")
        self.fn = fn
        self.desk = desk
        self.options = options
        self.name = check_name(name if name is not None else _default_name(fn), "task name")
        self.version = whole(version, 1, 32767, "version")
        self.hooks: dict[str, list[Hook]] = no_hooks()
        self._history = History(self.name, self.version)
        self._task = self
        self._options = NO_OPTIONS
        self._tx = None
        self._queues = queues
        self._retention = retention
        self._policies: dict[tuple[str, str | None], Policy] = {}
        for attribute in functools.WRAPPER_ASSIGNMENTS:  # name and docstring: a task looks like its function
            if hasattr(fn, attribute):
                setattr(self, attribute, getattr(fn, attribute))
        self.__wrapped__ = fn
        self._signature(names)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def _signature(self, names: Mapping[str, Any] | None) -> None:
        """Read the function's parameters."""
        try:
            hints = hints_of(self.fn, names)
        except NameError as error:
            raise ConfigurationError(
                f"task {self.name}: {error}; the types of a task's parameters must be defined above it and importable "
                "at run time (not only under TYPE_CHECKING)"
            ) from None
        self.takes_context = False
        self.context_deps: Any = None
        self.needs: dict[str, Need] = {}
        self._places: list[str] = []  # every parameter but the context, in order
        passed: dict[str, tuple[Any, bool]] = {}
        for index, parameter in enumerate(inspect.signature(self.fn).parameters.values()):
            annotation = hints.get(parameter.name, Any)
            if annotation is Context or get_origin(annotation) is Context:
                if index > 0 or parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                    raise ConfigurationError(f"task {self.name}: the Context must be the first positional parameter")
                self.takes_context = True
                self.context_deps = next(iter(get_args(annotation)), None)
                continue
            if parameter.kind in _REFUSED:
                raise ConfigurationError(
                    f"task {self.name}: parameter {parameter.name!r} is {_REFUSED[parameter.kind]}; a stored call has "
                    "a name for each argument"
                )
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                self._places.append(parameter.name)
            need = need_of(parameter, annotation)
            if need is not None:
                self.needs[parameter.name] = need
            else:
                passed[parameter.name] = (annotation, parameter.default is inspect.Parameter.empty)
        self.returns = hints.get("return", Any)
        self._arguments = Arguments(self.name, passed)
        if self.options.keep_result:
            self._value  # noqa: B018 (built now, so that a type which cannot be stored is refused here)

    # -- task + arguments → text → arguments; value → text → value ----------------------------------------------------

    def bind(self, /, *args: Any, **kwargs: Any) -> str:
        """Validate and encode arguments: JSON text of an object. ArgumentError names the one that does not fit.

        A default that was not overridden is not stored: it is the function's, at the time it runs.
        """
        if args:
            if len(args) > len(self._places):
                raise ArgumentError("", f"{self.name} takes {len(self._places)} by position, not {len(args)}")
            for name, value in zip(self._places, args, strict=False):
                if name in kwargs:
                    raise ArgumentError(name, f"given to {self.name} twice, by position and by name")
                kwargs[name] = value
        for name in self.needs:
            if name in kwargs:
                raise ArgumentError(name, f"is provided to {self.name} by the worker and cannot be passed to a job")
        return self._arguments.encode(kwargs)

    def decode(self, args: str, version: int | None = None) -> dict[str, Any]:
        """Stored arguments as typed keyword arguments; ArgumentError when they do not fit the function any more.

        `version`: of the task when they were stored (default: today's); older ones go through its upcasters first.
        """
        return self.decoder(self.version if version is None else version)(args)

    def decoder(self, version: int) -> Callable[[str], dict[str, Any]]:
        """`decode` for the arguments of one version."""
        return self._history.decoder(version, self._arguments.decode)

    def upcast(self, version: int) -> Callable[[Upcaster], Upcaster]:
        """`@send_email.upcast(1)`: how arguments stored by version 1 become those of version 2.

        The function takes the stored object, plain JSON as a dict, and returns the next version's. A worker takes jobs
        of its own version and of those that a chain of upcasters leads from; all others it leaves to workers that
        know them. ConfigurationError unless `version` is one before the task's own.
        """
        return self._history.upcast(version)

    def versions(self) -> list[int]:
        """The versions whose jobs it can run, the newest (its own) first."""
        return self._history.known()

    def encode_result(self, value: Any) -> str:
        """A result as JSON text; ResultError when it cannot be stored."""
        return self._value.encode(value)

    def decode_result(self, text: str) -> R:
        """A stored result as the annotated type; ResultError when it does not fit (any more)."""
        return cast(R, self._value.decode(text))

    @functools.cached_property
    def _value(self) -> Value:
        return Value(f"task {self.name}", self.returns)

    # -- options ------------------------------------------------------------------------------------------------------

    def policy(self, queue: str, options: str | None) -> Policy:
        """The options in force for one of its jobs, from its row's `queue` and `options`. Cached."""
        options = unstamped(options)
        if options is not None:
            options, _ = parted(options)  # tenants may be many, and share their policies
        policy = self._policies.get((queue, options))
        if policy is None:
            policy = resolve(self.options, self._queues.get(queue), options, self._retention)
            if len(self._policies) >= 256:  # options differ per job (a timeout computed per call): do not grow for ever
                self._policies.clear()
            self._policies[queue, options] = policy
        return policy

    def using(
        self,
        *,
        tx: object | None = None,
        key: str | None = None,
        delay: Seconds | None = None,
        run_at: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
        deadline: datetime | Seconds | None = None,
        retry: Retry | None = None,
        timeout: Seconds | Unset | None = UNSET,
        keep_result: bool | None = None,
        owner: str | None = None,
    ) -> Using[P, R]:
        """This task with the options of one call; they win over the task's own. See `CallOptions` for each.

        tx    your open transaction: the job is written there and stands or falls with it. A SQLAlchemy or SQLModel
              session or Connection (async ones too), a connection of asyncpg, psycopg 3, Django or sqlite3
        """
        options = CallOptions(
            key=key,
            delay=delay,
            run_at=run_at,
            queue=queue,
            priority=priority,
            deadline=deadline,
            retry=retry,
            timeout=timeout,
            keep_result=keep_result,
            owner=owner,
        )
        return Using(self, options, tx)

    def hook(self, kind: HookKind) -> Callable[[Hook], Hook]:
        """`@send_email.hook("exhausted")`: call the function with an `AttemptInfo` around this task's attempts."""
        hooks = self.hooks[check_hook(kind)]

        def register(function: Hook) -> Hook:
            hooks.append(function)
            return function

        return register

    # -- here and now -------------------------------------------------------------------------------------------------

    def _direct(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function itself, with a Context of no job: it has an id of its own and its progress goes nowhere."""
        for name in self.needs:
            if name not in kwargs and (name not in self._places or self._places.index(name) >= len(args)):
                raise ConfigurationError(
                    f"{self.name}: parameter {name!r} is provided by a worker; pass it yourself when you call the task "
                    "here and now"
                )
        if self.takes_context:
            return self.fn(Context(uuid7(time.time_ns() // 1000, os.urandom(10))), *args, **kwargs)
        return self.fn(*args, **kwargs)


class AsyncTask(Task[P, R]):
    """A task whose function is a coroutine function."""

    executor = "async"

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now, like the function it is."""
        return cast(R, await self._direct(args, kwargs))


class SyncTask(Task[P, R]):
    """A task whose function is a plain one."""

    executor = "thread"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now, like the function it is."""
        return cast(R, self._direct(args, kwargs))


_REFUSED = {
    inspect.Parameter.VAR_POSITIONAL: "*args",
    inspect.Parameter.VAR_KEYWORD: "**kwargs",
    inspect.Parameter.POSITIONAL_ONLY: "positional-only",
}


def _default_name(fn: Callable[..., Any]) -> str:
    name = getattr(fn, "__qualname__", None)
    if not isinstance(name, str):
        raise ConfigurationError(f'{fn!r} has no name of its own: give it one, @jobs.task(name="…")')
    return name.rpartition("<locals>.")[2]
