"""From a task to its jobs: a call, and the four ways to enqueue one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

from ..core import call as core
from ..core.checks import shown
from ..core.options import CallOptions
from ..errors import ConfigurationError
from .flow import Flow, Linked
from .flownodes import Node, To
from .handle import Desk, Job

if TYPE_CHECKING:
    from .task import Task

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

NO_OPTIONS = CallOptions()


class Call(Linked[R_co]):
    """`task.call(…)`: a task with its arguments, checked and encoded, not yet enqueued. `core` is the plain value.

    It is the first link of a flow: `resize.call("a.png").then(store)`.
    """

    __slots__ = ("_node", "core", "desk")

    def __init__(self, call: core.Call, desk: Desk) -> None:
        self.core = call
        self.desk = desk
        self._node: Node | None = None

    def __repr__(self) -> str:
        return f"<Call of {self.core.task}>"

    def _flow(self) -> Flow[R_co]:
        if self._node is None:
            self._node = Node(self, (), None)
        return Flow((To(self._node),))


def plain_calls(calls: object) -> list[core.Call]:
    """What `enqueue_many` was given, as plain values. ConfigurationError for anything that is no sequence of calls."""
    if isinstance(calls, str | bytes) or not isinstance(calls, Iterable):
        raise ConfigurationError(f"enqueue_many takes a list of task.call(…), not {shown(calls)}")
    return [_plain(call) for call in calls]


def _plain(call: object) -> core.Call:
    if not isinstance(call, Call):
        raise ConfigurationError(f"enqueue_many takes what task.call(…) gives, not {shown(call)}")
    return call.core


class Enqueues(Generic[P, R]):
    """The four ways from a task to a job, with the options a `using(…)` has gathered."""

    _task: Task[P, R]
    _options: CallOptions
    _tx: object | None

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Check and encode the arguments now, enqueue later with `enqueue_many`, which is also told the `tx`."""
        if self._tx is not None:
            raise ConfigurationError("a call belongs to no transaction: give tx to the enqueue_many that takes it")
        return Call(self._core(*args, **kwargs), self._task.desk)

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


class Using(Enqueues[P, R]):
    """A task with the options of one call: what `task.using(…)` gives."""

    def __init__(self, task: Task[P, R], options: CallOptions, tx: object | None) -> None:
        self._task = task
        self._options = options
        self._tx = tx


def filled(own: CallOptions, given: CallOptions) -> CallOptions:
    """`own`, and from `given` what `own` does not say. `delay` and `run_at` are one option, when; `owner` and `tenant`
    are one, whose."""
    if own == NO_OPTIONS:
        return given
    said = {f.name: value for f in fields(CallOptions) if (value := getattr(own, f.name)) != f.default}
    if not said.keys().isdisjoint(_WHEN):
        said = dict.fromkeys(_WHEN) | said
    if "owner" in said:
        said = {"tenant": None} | said
    return replace(given, **said)


_WHEN = ("delay", "run_at")
