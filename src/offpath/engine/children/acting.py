"""One attempt in a child, on its main thread: arguments, providers, the function, and what it comes to.

SIGTERM means: stop. A plain function gets a CancelledError where it is, a coroutine function is cancelled; either may
tidy up until SIGKILL comes, a grace period later.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn, TypeVar

from ...core.job import Job, State, principal
from ...core.memory import in_words
from ...core.outcome import Canceled, Done, Errored, Outcome, Snoozed, error
from ...core.retry import Retry
from ...core.schedule import tick_of
from ...core.trace import parse
from ...errors import ConfigurationError, StepError
from ...privacy.known import forget, learn
from ...tasks import Context, Registry
from ...tracing import carried_on
from .. import failures
from ..inject import Recipes, Scope, Shared
from ..plans import Plan, Plans
from .lines import Lines
from .wire import Message

T = TypeVar("T")
SLACK = 256 << 20  # bytes beyond the memory limit that may be asked for before the worker has looked


class Acting:
    """told     SIGTERM has come
    noticed  the function has had to do with it: a CancelledError, or `ctx.canceled`
    spent    this process should not be used again
    """

    def __init__(self, registry: Registry, lines: Lines, began: Callable[[], None]) -> None:
        self._registry, self._lines, self._began = registry, lines, began
        self._plans = Plans(registry, Recipes(registry), inside=True)
        self._shared = Shared()
        self._runner = asyncio.Runner()
        self._task: asyncio.Task[Any] | None = None
        self._calling = False
        self.held = False  # nothing may be raised at this moment: the main thread is in the middle of a frame
        self._owed = False
        self.told = self.noticed = self.spent = False

    # -- being stopped -----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Called by the signal's handler, on the main thread."""
        self.told = self.spent = True
        if self._task is not None:
            self.noticed = True
            self._task.cancel()
            self._runner.get_loop().call_soon_threadsafe(lambda: None)  # it may be asleep
        elif self._calling and self.held:
            self._owed = True
        elif self._calling:
            self._raise()

    def released(self) -> None:
        """The main thread is out of the frame: what could not be raised is raised now."""
        if self._owed and self._calling:
            self._raise()

    def _raise(self) -> None:
        self._owed, self.noticed = False, True
        raise asyncio.CancelledError("told to stop")

    # -- an attempt --------------------------------------------------------------------------------------------------

    def attempt(self, message: Message) -> dict[str, Any]:
        """Make it; gives the outcome as the "end" frame carries it."""
        fields = message["job"]
        job = Job._make(fields)._replace(state=State.RUNNING)
        self.noticed = False
        retry = Retry()
        limit: int | None = message["memory"]
        try:
            self._began()
            plan = self._plans.of(job)
            if plan is None:
                return _packed(_unknown(job), None)
            retry = plan.policy.retry
            with _limited(limit):
                return contextvars.copy_context().run(self._attempt, plan, job, message)
        except MemoryError as exc:
            self.spent = True
            if limit is None:
                return _packed(failures.outcome(exc, retry), exc)
            said = f"it asked for more than memory= allows, {in_words(limit)}, and was refused"
            return _packed(failures.outgrown(exc, said, retry), exc)
        except BaseException as exc:
            return _packed(failures.outcome(exc, retry), exc)
        finally:
            forget((job.id, job.fence))

    def _attempt(self, plan: Plan, job: Job, message: Message) -> dict[str, Any]:
        carried_on(_trace(message["trace"]), job)
        for name, value in message["carried"].items():
            self._registry.carried[name][0].set(json.loads(value))
        try:
            given = plan.decode(job.args)
        except Exception as exc:
            return _packed(failures.undecodable(exc), exc)
        reports = message["reports"]
        attempt = job.id, job.fence
        if plan.secret:
            learn(attempt, given)
        if reports:
            self._lines.begin(attempt)
        try:
            if plan.task.asynchronous:
                result = self._on_loop(self._whole(plan, job, given, reports))
            else:
                result = self._plainly(plan, job, given, reports)
        finally:
            if reports:
                self._lines.end()
        return _packed(Done(result), None)

    async def _whole(self, plan: Plan, job: Job, given: dict[str, Any], reports: bool) -> str | None:
        failure: BaseException | None = None
        text: str | None = None
        async with Scope(self._shared) as scope:
            try:
                for name, recipe in plan.wanted.parameters.items():
                    given[name] = await scope.get(recipe)
                deps = ... if plan.wanted.deps is None else await scope.get(plan.wanted.deps)
                value = await plan.fn(*self._context(plan, job, deps, reports), **given)
                text = plan.encode(value) if plan.encode is not None else None
            except BaseException as exc:
                failure = exc
                raise
        if failure is not None:  # a provider has swallowed it; the attempt has failed all the same
            raise failure
        return text

    def _plainly(self, plan: Plan, job: Job, given: dict[str, Any], reports: bool) -> str | None:
        """Nothing of ours runs on the loop meanwhile: the function may have one of its own."""
        wanted = plan.wanted
        if not wanted.any:
            with self._called():
                value = plan.fn(*self._context(plan, job, ..., reports), **given)
                return plan.encode(value) if plan.encode is not None else None
        scope = Scope(self._shared)
        failure: BaseException | None = None
        text: str | None = None
        try:
            self._on_loop(_prepared(scope, plan))
            with self._called(), contextlib.ExitStack() as stack:
                for name, recipe in wanted.parameters.items():
                    given[name] = scope.here(recipe, stack)
                deps = ... if wanted.deps is None else scope.here(wanted.deps, stack)
                value = plan.fn(*self._context(plan, job, deps, reports), **given)
                text = plan.encode(value) if plan.encode is not None else None
        except BaseException as exc:
            failure = exc
        self._on_loop(_closed(scope, failure), even_so=True)
        if failure is not None:
            raise failure
        return text

    @contextlib.contextmanager
    def _called(self) -> Iterator[None]:
        self._calling = True
        try:
            if self.told:
                self._raise()
            yield
        finally:
            self._calling = self._owed = False

    def _on_loop(self, coro: Coroutine[Any, Any, T], *, even_so: bool = False) -> T:
        async def main() -> T:
            if self.told and not even_so:
                coro.close()
                self.noticed = True
                raise asyncio.CancelledError("told to stop")
            self._task = asyncio.current_task()
            try:
                return await coro
            finally:
                self._task = None

        return self._runner.run(main(), context=contextvars.copy_context())

    def _context(self, plan: Plan, job: Job, deps: Any, reports: bool) -> tuple[Context[Any], ...]:
        if not plan.task.takes_context:
            return ()

        def canceled() -> bool:
            self.noticed = self.noticed or self.told
            return self.told

        more: dict[str, Any] = {"sink": self._lines} if reports else {}
        context = Context[Any](
            job.id,
            job.attempt,
            job.fence,
            canceled=canceled,
            deps=deps,
            principal=principal(job),
            flow=job.flow,
            ticked=tick_of(job.options),
            task=(plan.task.name, plan.task.version),
            notebook=_no_steps,
            outputs=_no_events,
            **more,
        )
        return (context,)

    def close(self) -> None:
        """Close what lives as long as the process."""
        self._runner.run(self._shared.close())
        self._runner.close()


def _no_steps() -> NoReturn:
    raise StepError(
        "a task in a process of its own has no steps to remember: let its parts be tasks of a flow, or leave "
        'executor="process" out'
    )


def _no_events(line: str) -> NoReturn:
    raise ConfigurationError(
        'a task in a process of its own tells of progress, not of events: leave executor="process" out for them'
    )


async def _prepared(scope: Scope, plan: Plan) -> None:
    await scope.__aenter__()
    wanted = plan.wanted
    for recipe in (*wanted.parameters.values(), *((wanted.deps,) if wanted.deps else ())):
        await scope.prepare(recipe)


async def _closed(scope: Scope, failure: BaseException | None) -> None:
    kind = None if failure is None else type(failure)
    try:
        await scope.__aexit__(kind, failure, None if failure is None else failure.__traceback__)
    except BaseException as exc:
        if exc is not failure:
            raise


def _trace(said: list[str] | None) -> Any:
    return None if said is None else parse((said[0],), (said[1],) if said[1] else ())


def _unknown(job: Job) -> Errored:
    """The process has imported what the worker has, and yet its application has no such task."""
    detail = f"the process has no task {job.task!r}: declare it where its module is imported, not in a function"
    return Errored(error("died", "No such task in the process", detail=detail))


def _packed(outcome: Outcome, exc: BaseException | None) -> dict[str, Any]:
    match outcome:
        case Done(result):
            return {"kind": "done", "result": result}
        case Snoozed(delay):
            return {"kind": "snoozed", "delay": delay}
        case Canceled(reason):
            return {"kind": "canceled", "reason": reason}
        case Errored(said, retryable):
            return {
                "kind": "errored",
                "error": said,
                "retryable": retryable,
                "exception": "offpath.errors.ProcessDied" if exc is None else failures.name(exc),
                "text": said if exc is None else failures.text(exc),
            }
        case _:
            raise AssertionError(outcome)


@contextlib.contextmanager
def _limited(limit: int | None) -> Iterator[None]:
    """The worker looks ten times a second at what is held; this is for what grows faster than that. RLIMIT_DATA counts
    what is private and writable; RLIMIT_AS would also count what is only reserved (docs/decisions/0027)."""
    if limit is None:
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    soft = limit + SLACK if before[1] == resource.RLIM_INFINITY else min(limit + SLACK, before[1])
    with contextlib.suppress(ValueError, OSError):  # a system that does not let us; the worker still looks
        resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, before)
