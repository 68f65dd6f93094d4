"""The Tasks API on offpath: TASKS = {"default": {"BACKEND": "offpath.integrations.django.OffpathBackend"}}.

A function under Django's `@task` is an offpath task too, named by its path, and what it enqueues is an ordinary job: in
the transaction when there is one, run by `manage.py offpath_worker`, repeated when it fails, seen by `offpath jobs`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.utils import timezone

from ... import tasks as ours
from ...core.call import Call
from ...core.ids import is_id
from ...core.options import CallOptions
from ...core.policy import overrides
from ...errors import ConfigurationError, OffpathError, ResultError
from ...ports import NewOperation
from ...tasks import AttemptInfo, Context
from . import project
from .api import (
    BaseTaskBackend,
    InvalidTaskBackendError,
    Task,
    TaskContext,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    normalize_json,
    task_enqueued,
    task_finished,
    task_started,
)
from .results import OWNER, TENANT, Seen, look, moment, priority, result_of

R = TypeVar("R")

APP = "offpath.integrations.django"
OPTIONS = ("deadline", "retry", "timeout")

_declared: dict[str, Task[Any, Any]] = {}
"""By path: what `@task` made of a function. A name in the database that is not here is never imported."""


class OffpathBackend(BaseTaskBackend):
    """`OPTIONS` may have `retry` (an `offpath.Retry`; by default 3 attempts), `timeout` and `deadline` (s), as in
    `task.using(…)`."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        for name in self.options:
            if name not in OPTIONS:
                raise InvalidTaskBackendError(
                    f"TASKS[{alias!r}]: there is no option {name!r}; there are {', '.join(OPTIONS)}"
                )
        try:
            self._given = CallOptions(**self.options)
            overrides(self._given)
        except ConfigurationError as e:
            raise InvalidTaskBackendError(f"TASKS[{alias!r}]: {e}") from e

    def validate_task(self, task: Task[Any, Any]) -> None:
        """Called for every `@task` when its module is imported: that is when a worker learns of it."""
        super().validate_task(task)
        _declare(task)

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, task: Task[..., R], args: Any, kwargs: Any) -> TaskResult[R]:
        """In the transaction of the innermost `atomic` block on the jobs' database; else durable on return.

        TypeError and ValueError for arguments that are not JSON. `task_enqueued` is sent after the commit.
        """
        self.validate_task(task)
        given: dict[str, Any] = {"args": normalize_json(list(args)), "kwargs": normalize_json(dict(kwargs))}
        jobs = project.jobs()
        known = _registered(task)
        run_at = task.run_after
        if run_at is not None and timezone.is_naive(run_at):
            run_at = timezone.make_aware(run_at)
        using = CallOptions(
            queue=task.queue_name,
            priority=priority(task.priority),
            run_at=run_at,
            retry=self._given.retry,
            timeout=self._given.timeout,
            deadline=self._given.deadline,
        )
        if jobs.desk.instead is not None:
            raise ConfigurationError(
                "run_inline does not run Django's tasks: let TASKS name Django's ImmediateBackend in tests"
            )
        call = Call(known.name, known.version, known.bind(**given), known.options, using, True, TENANT)
        new = jobs.new_job(call, NewOperation(TENANT, OWNER, known.name, self.alias))
        tx = project.transaction()
        jobs.desk.write_sync([new], tx)
        result: TaskResult[R] = TaskResult(
            task=task,
            id=new.job.id,
            status=TaskResultStatus.READY,
            enqueued_at=moment(jobs.store.now()),
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=given["args"],
            kwargs=given["kwargs"],
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        if tx is None:
            task_enqueued.send_robust(type(self), task_result=result)
        else:
            tx.on_commit(lambda: task_enqueued.send_robust(type(self), task_result=result), robust=True)
        return result

    # ── results ──────────────────────────────────────────────────────────────────────────────────────────────────

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """As it stands; in an `atomic` block, also of what that has enqueued. TaskResultDoesNotExist."""
        if not is_id(str(result_id)):
            raise TaskResultDoesNotExist(result_id)
        store, tx = project.jobs().store, project.transaction()
        verb = look(store.verbs, str(result_id))
        return self._result(result_id, store.read(verb).result() if tx is None else store.run_on(tx, verb))

    def _result(self, id: str, seen: Seen | None) -> TaskResult[Any]:
        declared = _declared.get(seen.row.task) if seen is not None and seen.operation.label == self.alias else None
        if seen is None or declared is None:
            raise TaskResultDoesNotExist(id)
        return result_of(seen, declared)

    # ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        if apps.is_installed(APP):
            return []
        said = f"TASKS[{self.alias!r}] is offpath's, and {APP!r} is not in INSTALLED_APPS"
        return [Error(said, hint="Add it: `manage.py offpath_worker` comes with it.", id="offpath.E003")]


# ── Django's tasks as ours ───────────────────────────────────────────────────────────────────────────────────────────


def _declare(task: Task[Any, Any]) -> None:
    """Once for each function; what `task.using(…)` makes of it is the same function."""
    path = task.module_path
    known = _declared.get(path)
    if known is not None and known.func is task.func:
        return
    _declared[path] = task
    run = _on_loop(task) if inspect.iscoroutinefunction(task.func) else _in_thread(task)
    project.jobs().task(name=path, queue=task.queue_name)(run).hook("after")(_finished)


def _registered(task: Task[Any, Any]) -> ours.Task[..., Any]:
    known = project.jobs().registry.get(task.module_path)
    assert known is not None  # noqa: S101 (it has been validated)
    return known


def _in_thread(task: Task[Any, Any]) -> Callable[..., Any]:
    def run(ctx: Context, args: list[object], kwargs: dict[str, object]) -> object:
        store = project.jobs().store
        seen = store.read(look(store.verbs, ctx.job)).result()
        started = _started(seen, task)
        task_started.send_robust(_backend(started), task_result=started)
        return _json(task.func(*_first(task, started), *args, **kwargs))

    return run


def _on_loop(task: Task[Any, Any]) -> Callable[..., Any]:
    async def run(ctx: Context, args: list[object], kwargs: dict[str, object]) -> object:
        store = project.jobs().store
        started = _started(await store.read(look(store.verbs, ctx.job)), task)
        await task_started.asend_robust(_backend(started), task_result=started)
        return _json(await task.func(*_first(task, started), *args, **kwargs))

    return run


def _started(seen: Seen | None, task: Task[Any, Any]) -> TaskResult[Any]:
    if seen is None:
        raise OffpathError("the job has vanished since it was claimed")
    return result_of(seen, task)


def _first(task: Task[Any, Any], started: TaskResult[Any]) -> tuple[TaskContext, ...]:
    return (TaskContext(task_result=started),) if task.takes_context else ()


def _json(value: object) -> object:
    try:
        return normalize_json(value)
    except (TypeError, ValueError) as e:  # it would be the same the next time
        raise ResultError(f"a task's return value must be JSON: {e}") from e


def _finished(info: AttemptInfo) -> None:
    """After each attempt, once what becomes of the job is in the store."""
    store = project.jobs().store
    seen = store.read(look(store.verbs, info.job)).result()
    if seen is not None and seen.found.finished is not None:
        result = result_of(seen, _declared[info.task])
        project.refresh()
        try:
            task_finished.send_robust(_backend(result), task_result=result)
        finally:
            project.refresh()


def _backend(result: TaskResult[Any]) -> type[BaseTaskBackend]:
    return type(result.task.get_backend())
