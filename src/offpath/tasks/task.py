"""A task: a registered function with its options. Task + arguments → Call; calling it runs it here and now."""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, Unpack, cast, get_args, get_origin

from ..codec import Arguments, Value, Wraps
from ..core.batches import Batch
from ..core.checks import check_name, whole
from ..core.ids import uuid7
from ..core.options import CallOptions, Executor, OwnGiven, Queue, TaskOptions, check_names
from ..core.policy import Policy, Retention, resolve
from ..core.trace import unstamped
from ..errors import ArgumentError, ConfigurationError
from ..privacy import Vault
from .calling import NO_OPTIONS, Enqueues, Using
from .context import Context
from .handle import Desk
from .needs import Need, hints_of, name_of, need_of
from .registry import Hook, HookKind, check_hook, no_hooks, parted
from .versions import History, Upcaster

P = ParamSpec("P")
R = TypeVar("R")


class Task(Enqueues[P, R]):
    """A registered function.

    name            what its jobs are called in the database, for as long as one of them lives. Without `name=` it is
                    the function's qualified name *without* its module: jobs outlive refactorings, and a module run
                    as a script is called `__main__` there and by its own name in the worker. Two functions of one
                    name are an error at registration, which says to give one of them a name.
    executor        where it runs: "async" on the worker's loop, "thread" (plain functions) in a thread, "process" in
                    a process of its own
    asynchronous    its function is a coroutine function
    takes_context   its first parameter is `Context`, given and not passed; `context_deps` is D of `Context[D]`
    passed          the others: annotation, and whether it must be given
    needs           parameters that are provided, not passed
    returns         the annotation of its result
    hooks           functions called around its attempts, by kind
    secret          there may be secrets in its arguments
    batch           how many of its jobs one call of the function runs; None: one. Then `parameter` is given their list
    """

    executor: Executor
    asynchronous: bool
    batch: Batch | None = None
    parameter: str = ""
    secret: bool
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
        self.executor = where(self.name, options.executor, asynchronous=self.asynchronous)
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
        self.passed = passed = dict[str, tuple[Any, bool]]()
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
                if need.transaction and self.executor == "process":
                    raise ConfigurationError(
                        f"task {self.name}: parameter {parameter.name!r} is provided(transaction=True), and a worker "
                        'cannot settle a job in a transaction of another process: leave executor="process" out, or '
                        "the mark"
                    )
                self.needs[parameter.name] = need
            else:
                passed[parameter.name] = (annotation, parameter.default is inspect.Parameter.empty)
        self.returns = self._result_of(hints.get("return", Any))
        self._taken_here = passed
        taken = self._passed(passed)
        self._parameters, self._first = taken, next(iter(taken), None)
        self._arguments = Arguments(self.name, taken, self._vault)
        self.secret = self._arguments.secret
        if self.options.keep_result:
            self._value  # noqa: B018 (built now, so that a type which cannot be stored is refused here)

    def _passed(self, parameters: dict[str, tuple[Any, bool]]) -> dict[str, tuple[Any, bool]]:
        """(annotation, required) by name of what one job is given, from that of what the function takes."""
        return parameters

    def _result_of(self, annotation: Any) -> Any:
        """The annotation of what one job gives, from that of what the function returns."""
        return annotation

    @property
    def takes(self) -> Mapping[str, tuple[Any, bool]]:
        """(annotation, required) by name of what one job is given: of a batch, one of its list."""
        return self._parameters

    # -- task + arguments → text → arguments; value → text → value ----------------------------------------------------

    def bind(self, /, *args: Any, **kwargs: Any) -> str:
        """Validate and encode arguments: JSON text of an object. ArgumentError names the one that does not fit.

        A default that was not overridden is not stored: it is the function's, at the time it runs.
        """
        return self._arguments.encode(self._named(self._places, args, kwargs))

    def bind_rest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str]:
        """The name of its first parameter, which an earlier link of a flow gives, and the others encoded."""
        if self._first is None:
            raise ConfigurationError(
                f"task {self.name} has no parameter, so that nothing can be handed to it: give {self.name}.call()"
            )
        rest = self._named([name for name in self._places if name != self._first], args, kwargs)
        if self._first in rest:
            raise ArgumentError(self._first, f"of {self.name} is given by the earlier link of the flow")
        return self._first, self._rest.encode(rest)

    def _named(self, places: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if args:
            if len(args) > len(places):
                raise ArgumentError("", f"{self.name} takes {len(places)} by position, not {len(args)}")
            for name, value in zip(places, args, strict=False):
                if name in kwargs:
                    raise ArgumentError(name, f"given to {self.name} twice, by position and by name")
                kwargs[name] = value
        for name in self.needs:
            if name in kwargs:
                raise ArgumentError(name, f"is provided to {self.name} by the worker and cannot be passed to a job")
        return kwargs

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
    def _rest(self) -> Arguments:
        rest = {name: said for name, said in self._parameters.items() if name != self._first}
        return Arguments(self.name, rest, self._vault)

    @functools.cached_property
    def _wraps(self) -> Wraps:
        return Wraps(self.name, self._taken_here)

    @functools.cached_property
    def _value(self) -> Value:
        return Value(f"task {self.name}", self.returns, self._vault)

    def _vault(self) -> Vault | None:
        return self.desk.vault

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

    def using(self, *, tx: object | None = None, **options: Unpack[OwnGiven]) -> Using[P, R]:
        """This task with the options of one call; they win over the task's own. See `CallOptions` for each.

        tx    your open transaction: the job is written there and stands or falls with it. A SQLAlchemy or SQLModel
              session or Connection (async ones too), a connection of asyncpg, psycopg 3, Django or sqlite3
        """
        try:
            own = CallOptions(**options)
        except TypeError:
            check_names(options, OwnGiven, "tx")
            raise
        return Using(self, own, tx)

    def hook(self, kind: HookKind) -> Callable[[Hook], Hook]:
        """`@send_email.hook("exhausted")`: call the function with an `AttemptInfo` around this task's attempts."""
        hooks = self.hooks[check_hook(kind)]

        def register(function: Hook) -> Hook:
            hooks.append(function)
            return function

        return register

    # -- here and now -------------------------------------------------------------------------------------------------

    def _direct(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function itself, with a Context of no job: it has an id of its own and its progress goes nowhere.
        What is to be a Secret is made one, as for a job; nothing else is looked at."""
        for name in self.needs:
            if name not in kwargs and (name not in self._places or self._places.index(name) >= len(args)):
                raise ConfigurationError(
                    f"{self.name}: parameter {name!r} is provided by a worker; pass it yourself when you call the task "
                    "here and now"
                )
        if self.secret:
            args = (
                tuple(self._wraps(*each) for each in zip(self._places, args, strict=False)) + args[len(self._places) :]
            )
            kwargs = {name: self._wraps(name, value) for name, value in kwargs.items()}
        if self.takes_context:
            return self.fn(self._context_here(args), *args, **kwargs)
        return self.fn(*args, **kwargs)

    def _context_here(self, args: tuple[Any, ...]) -> Context[Any]:
        return Context(uuid7(time.time_ns() // 1000, os.urandom(10)))


class AsyncTask(Task[P, R]):
    """A task whose function is a coroutine function."""

    asynchronous = True

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now, like the function it is."""
        return cast(R, await self._direct(args, kwargs))


class SyncTask(Task[P, R]):
    """A task whose function is a plain one."""

    asynchronous = False

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now, like the function it is."""
        return cast(R, self._direct(args, kwargs))


_REFUSED = {
    inspect.Parameter.VAR_POSITIONAL: "*args",
    inspect.Parameter.VAR_KEYWORD: "**kwargs",
    inspect.Parameter.POSITIONAL_ONLY: "positional-only",
}


def where(task: str, said: Executor | None, *, asynchronous: bool) -> Executor:
    """Where a task runs. ConfigurationError when its function cannot run there."""
    if said is None or said == "process":
        return said or ("async" if asynchronous else "thread")
    if said == "async" and not asynchronous:
        raise ConfigurationError(
            f'task {task}: a plain function would block the worker\'s loop, so executor="async" cannot go with it: '
            'make it `async def`, or leave it to a thread (the default) or executor="process"'
        )
    if said == "thread" and asynchronous:
        raise ConfigurationError(
            f'task {task}: a coroutine function runs on the worker\'s loop, so executor="thread" cannot go with it: '
            'leave it out, or say executor="process"'
        )
    return said


def _default_name(fn: Callable[..., Any]) -> str:
    name = getattr(fn, "__qualname__", None)
    if not isinstance(name, str):
        raise ConfigurationError(f'{fn!r} has no name of its own: give it one, @jobs.task(name="…")')
    return name.rpartition("<locals>.")[2]
