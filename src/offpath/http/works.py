"""What one acceptance writes: a job, or a whole flow."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import fields
from typing import Any

from ..app.desk import Counter, counted, counted_flow
from ..core import flow as graphs
from ..core.call import Call
from ..core.job import Job
from ..core.keys import rule_of
from ..core.options import CallOptions, TaskOptions
from ..errors import ConfigurationError
from ..ports import Enqueued, NewOperation, Verb, Verbs
from ..tasks import Flow, Linked, Task
from .messages import Caller
from .reply import Reply

MAY = frozenset({"key", "deadline", "owner", "callback"})


class OneJob:
    """One job of `task`."""

    def __init__(
        self, desk: Counter, task: Task[..., Any], args: str, caller: Caller, label: str, using: CallOptions
    ) -> None:
        self.task = task
        if (rule := rule_of(using)) is not None:
            raise ConfigurationError(
                f"accept.using takes a key, but not {rule.kind}: a request must not change the arguments of an "
                f"operation that may be somebody else's; enqueue a job with {task.name}.using(key=…, {rule.kind}=…) "
                "instead"
            )
        self.call = Call(task.name, task.version, args, task.options, using, True, caller.tenant)
        self.new = desk.new_job(self.call, NewOperation(caller.tenant, caller.id, task.name, label))
        self.job: Job = self.new.job
        self.desk = desk

    def write(self, tx: object | None) -> Awaitable[list[Enqueued]]:
        return self.desk.write((self.new,), tx)

    def write_sync(self, tx: object | None) -> list[Enqueued]:
        return self.desk.write_sync((self.new,), tx)

    def verb(self, verbs: Verbs) -> Verb[list[Enqueued]]:
        return verbs.enqueue([self.new])

    def counted(self, said: Enqueued) -> None:
        """What `verb` gave has been written."""
        counted((self.new,), (said,))

    async def instead(self, tx: object | None) -> str:
        assert self.desk.instead is not None  # noqa: S101
        (done,) = await self.desk.instead.submit((self.call,), tx)
        return done.id

    def instead_sync(self, tx: object | None) -> str:
        assert self.desk.instead is not None  # noqa: S101
        (done,) = self.desk.instead.submit_sync((self.call,), tx)
        return done.id


class WholeFlow:
    """A flow; `task` is that of its first part, after which the operation is named."""

    def __init__(self, desk: Counter, given: Linked[Any], caller: Caller, label: str, using: CallOptions) -> None:
        self.flow: Flow[Any] = given._flow()
        self.task = first_task(desk, self.flow)
        refused = [f.name for f in fields(CallOptions) if f.name not in MAY and getattr(using, f.name) != f.default]
        if refused:
            raise ConfigurationError(
                f"{refused[0]} is for one job: say it of a part of the flow, task.using(…).call(…)"
            )
        self.using = using
        kind = graphs.TASK if self.task.returns is Reply else self.task.name
        self.new = desk.new_flow(self.flow, using, NewOperation(caller.tenant, caller.id, kind, label), caller.tenant)
        self.job: Job = self.new.flow.job
        self.desk = desk

    async def write(self, tx: object | None) -> list[Enqueued]:
        return [await self.desk.write_flow(self.new, tx)]

    def write_sync(self, tx: object | None) -> list[Enqueued]:
        return [self.desk.write_flow_sync(self.new, tx)]

    def verb(self, verbs: Verbs) -> Verb[list[Enqueued]]:
        return [(yield from verbs.enqueue_flow(self.new))]

    def counted(self, said: Enqueued) -> None:
        counted_flow(self.new, said)

    async def instead(self, tx: object | None) -> str:
        assert self.desk.instead is not None  # noqa: S101
        return (await self.desk.instead.submit_flow(self.flow, self.using, tx)).id

    def instead_sync(self, tx: object | None) -> str:
        assert self.desk.instead is not None  # noqa: S101
        return self.desk.instead.submit_flow_sync(self.flow, self.using, tx).id


def first_task(desk: Counter, flow: Linked[Any]) -> Task[..., Any]:
    """ConfigurationError when it is not one of this application's."""
    name = flow._flow().graph().parts[0].call.task
    task = desk.registry.get(name)
    if task is None:
        raise ConfigurationError(f"there is no task {name!r} here: the call is another application's")
    return task


def first_options(work: Task[..., Any] | Linked[Any], desk: Counter) -> TaskOptions:
    return work.options if isinstance(work, Task) else first_task(desk, work).options


def work_of(
    desk: Counter, work: Task[..., Any] | Linked[Any], args: str, caller: Caller, label: str, using: CallOptions
) -> OneJob | WholeFlow:
    if isinstance(work, Task):
        return OneJob(desk, work, args, caller, label, using)
    if isinstance(work, Linked):
        return WholeFlow(desk, work, caller, label, using)
    raise ConfigurationError(f"accept takes a task and its arguments, or a flow, not a {type(work).__name__}")


def bound_args(work: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The arguments of a task, encoded; a flow is complete and takes none."""
    if isinstance(work, Task):
        return work.bind(*args, **kwargs)
    if args or kwargs:
        raise ConfigurationError("a flow is complete: it takes no arguments here")
    return ""
