"""`run_inline`: enqueue runs the task here and now."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import json
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from ..app import Offpath
from ..app.desk import at_once, fresh_id, whose
from ..app.places import check_tx
from ..core import call as core
from ..core import lifecycle
from ..core.batches import answers
from ..core.change import Change
from ..core.job import TERMINAL, Finished, State, principal
from ..core.job import Job as Row
from ..core.options import CallOptions
from ..core.outcome import Done, Outcome
from ..core.policy import Policy
from ..engine import failures
from ..engine.inject import Recipes, Scope, Shared, Wanted
from ..engine.transaction import without_a_job
from ..errors import ArgumentError, ConfigurationError, Signal
from ..ports import Found, Hint, Pending
from ..ports.outbox import NewEvent
from ..privacy import Vault
from ..privacy.known import forget, learn
from ..tasks import Context, Flow, Job, Ready, Task
from ..tracing import started, within

R = TypeVar("R")
T = TypeVar("T")

NO_FLOWS = "run_inline runs no flows: their links wait for each other in a database; enqueue and drain(jobs) there"


@contextlib.contextmanager
def run_inline(jobs: Offpath, *, raises: bool = True) -> Iterator[Inline]:
    """For as long as the block lasts, enqueue runs the task before it returns; nothing is written to a database.

    Arguments and results are checked, encoded and decoded as ever, providers are followed, a Context is given. What is
    for later (`delay`, `run_at`) is written down as scheduled and never run. A `key` is held by a live job as ever:
    one that is scheduled, or that is running in a frame above. `tx` must be what a real enqueue would take (a
    transaction in the jobs' own database), but the task runs before it is committed and is not undone by a rollback.

    What is published goes to no broker: it stands in `published`.

    There is no retry, no timeout and no hook. An exception of the task comes out of enqueue, unless `raises` is False:
    then the job has failed, as its handle will say.
    """
    if jobs.desk.instead is not None:
        raise ConfigurationError("run_inline is on already")
    inline = Inline(jobs, raises)
    jobs.desk.instead = inline
    try:
        yield inline
    finally:
        jobs.desk.instead = None


class Inline:
    """Takes the store's place (`app.desk.Instead`) and answers the handles of what it ran (`tasks.Desk`)."""

    def __init__(self, jobs: Offpath, raises: bool) -> None:
        self._registry = jobs.registry
        self._jobs = jobs
        self._settings = jobs.settings
        self._recipes = Recipes(jobs.registry)
        self._raises = raises
        self._found: dict[str, Found] = {}
        self.published: list[Any] = []
        """What was published, as an object of CloudEvents' JSON format, and sent: in order."""

    def all_found(self) -> list[Found]:
        """What was enqueued, in order."""
        return list(self._found.values())

    # -- enqueue ------------------------------------------------------------------------------------------------------

    async def submit(self, calls: Sequence[core.Call], tx: object | None = None) -> list[Job[Any]]:
        if tx is not None:
            checked = check_tx(self._settings.url, tx)
            if inspect.isawaitable(checked):
                await checked
        return [await self._run(call) for call in calls]

    def submit_sync(self, calls: Sequence[core.Call], tx: object | None = None) -> list[Job[Any]]:
        if tx is not None:
            at_once(check_tx(self._settings.url, tx), tx)
        return [self._run_here(call) for call in calls]

    async def submit_flow(self, flow: Flow[R], options: CallOptions, tx: object | None = None) -> Job[R]:
        raise ConfigurationError(NO_FLOWS)

    def submit_flow_sync(self, flow: Flow[R], options: CallOptions, tx: object | None = None) -> Job[R]:
        raise ConfigurationError(NO_FLOWS)

    async def publish(self, events: Sequence[NewEvent], tx: object | None = None) -> list[Job[None]]:
        if tx is not None:
            checked = check_tx(self._settings.url, tx)
            if inspect.isawaitable(checked):
                await checked
        return [self._told(event) for event in events]

    def publish_sync(self, events: Sequence[NewEvent], tx: object | None = None) -> list[Job[None]]:
        if tx is not None:
            at_once(check_tx(self._settings.url, tx), tx)
        return [self._told(event) for event in events]

    def _told(self, event: NewEvent) -> Job[None]:
        """No broker is asked: the event stands in `published`, and its job has succeeded."""
        self.published.append(json.loads(event.message))
        now = time.time_ns() // 1000
        row = event.new.job._replace(state=State.RUNNING, fence=1)
        change = lifecycle.settle(row, Done(None), Policy(), now, 0.5)
        self._found[row.id] = _changed(row, change, now)
        return Job(self, row.id, row.task)

    def _run_here(self, call: core.Call) -> Job[Any]:
        """A plain function that is given nothing runs as if it were called, without a loop around it: Django's ORM
        would refuse to work there, and have another connection, outside of the test's transaction."""
        task = self._registry.get(call.task)
        work = self._run(call)
        if task is None or task.executor == "async" or self._recipes.of(task).any or _on_a_loop():
            return _wait_for(work)
        try:
            work.send(None)
        except StopIteration as done:
            job: Job[Any] = done.value
            return job
        raise AssertionError("it had nothing to wait for")

    async def _run(self, call: core.Call) -> Job[Any]:
        task = self._registry.get(call.task)
        if task is None:
            raise ConfigurationError(f"there is no task {call.task!r}")
        now = time.time_ns() // 1000
        row, _ = lifecycle.new(
            call, self._registry.queues.get(call.using.queue or call.options.queue), now, fresh_id(now), whose()
        )
        holder = self._holder(row)
        if holder is not None:
            return Job(self, holder.id, row.task, existing=True)
        if row.run_at > now:
            self._found[row.id] = Found(row, None)
            return Job(self, row.id, row.task)
        row = started(row)._replace(state=State.RUNNING, fence=1)
        self._found[row.id] = Found(row, None)
        policy = task.policy(row.queue, row.options)
        outcome: Outcome
        failure: Exception | None = None
        try:
            with within(row):
                result = await self._attempt(task, row)
            outcome = Done(task.encode_result(result) if policy.keep_result else None)
        except ArgumentError as error:
            outcome, failure = failures.undecodable(error), error
        except Exception as error:
            outcome = failures.outcome(error, policy.retry)
            failure = None if isinstance(error, Signal) else error
        now = time.time_ns() // 1000
        change = lifecycle.settle(row, outcome, policy._replace(max_attempts=1), now, 0.5)
        self._found[row.id] = _changed(row, change, now)
        forget((row.id, row.fence))
        if failure is not None and self._raises:
            raise failure
        return Job(self, row.id, row.task)

    def _holder(self, row: Row) -> Row | None:
        """The live job that has this one's key."""
        live = (one.job for one in self._found.values() if one.job is not None)
        return next((job for job in live if row.key is not None and (job.task, job.key) == (row.task, row.key)), None)

    async def _attempt(self, task: Task[..., Any], row: Row) -> Any:
        given = task.decode(row.args)
        if task.secret:
            learn((row.id, row.fence), given)
        wanted: Wanted = self._recipes.of(task)
        shared = Shared()
        try:
            async with Scope(shared) as scope:
                if task.batch is not None:
                    given[task.parameter] = [given[task.parameter]]
                for name, recipe in wanted.parameters.items():
                    given[name] = await scope.get(recipe)
                context: tuple[Context[Any], ...] = ()
                if task.takes_context:
                    deps = ... if wanted.deps is None else await scope.get(wanted.deps)
                    context = (Context(row.id, row.attempt, row.fence, deps=deps, principal=principal(row)),)
                    if task.batch is not None:
                        context = (Context(row.id, row.attempt, row.fence, deps=deps, each=context),)
                own = without_a_job(given[wanted.transaction]) if wanted.transaction else contextlib.nullcontext()
                async with own:
                    value = task.fn(*context, **given)
                    value = await value if task.executor == "async" else value
                    return value if task.batch is None else _alone(task.name, value)
        finally:
            await shared.close()

    # -- the handles --------------------------------------------------------------------------------------------------

    def find(self, id: str) -> Pending[Found | None]:
        return Ready(self._found.get(id))

    def stop(self, id: str, reason: str) -> Pending[Found | None]:
        """What is scheduled is canceled. What was run has ended, or is running in a frame above: nothing to stop."""
        there = self._found.get(id)
        if there is not None and there.job is not None and there.job.state is not State.RUNNING:
            now = time.time_ns() // 1000
            change = lifecycle.cancel(there.job, reason, self._registry.terms.of(there.job.queue, there.job.task), now)
            if change is not None:
                self._found[id] = _changed(there.job, change, now)
        return self.find(id)

    def listen(self, on_hint: Callable[[Hint], None]) -> Callable[[], None]:
        return lambda: None

    @property
    def vault(self) -> Vault | None:
        return self._jobs.desk.vault

    def decoder(self, task: str) -> Callable[[str], Any]:
        known = self._registry.get(task)
        if known is None:
            raise ConfigurationError(f"there is no task {task!r}")
        return known.decode_result

    def encoder(self, task: str) -> Callable[[Any], str]:
        known = self._registry.get(task)
        if known is None:
            raise ConfigurationError(f"there is no task {task!r}")
        return known.encode_result


def _alone(task: str, returned: Any) -> Any:
    """What a batch of one said of its job."""
    [entry] = answers(task, returned, 1)
    if isinstance(entry, BaseException):
        raise entry
    return entry


def _changed(row: Row, change: Change, now: int) -> Found:
    """The row after the change, live or finished, as a store would have it."""
    if change.state not in TERMINAL:
        return Found(row._replace(state=change.state, run_at=change.run_at, attempt=change.attempt), None)
    fields = {name: getattr(row, name) for name in Finished._fields if name in Row._fields}
    fields |= {"state": change.state, "attempt": change.attempt, "crashes": change.crashes}
    ended = Finished(**fields, result=change.result, error=change.error, finished_at=now, expires_at=change.expires_at)
    return Found(None, ended)


def _wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from synchronous code; beside a running loop, in a thread with a loop of its own."""
    if not _on_a_loop():
        return asyncio.run(work)
    answer: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(asyncio.run(work))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="offpath-inline")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return answer[0]


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
