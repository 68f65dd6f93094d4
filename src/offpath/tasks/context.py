"""What a running task knows about itself: the first parameter `ctx: Context`, which is given and never passed."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from ..core.job import Principal
from ..core.progress import Progress, advance, as_json
from ..errors import ConfigurationError
from ..ports import Pending
from ..tracing import Trace, current
from .outputs import Events, Sink, nowhere
from .steps import Notebook, Step, Steps, line

P = ParamSpec("P")
T = TypeVar("T")

# A plain `ctx: Context` must need no type argument under mypy --strict, hence the default. It is not Any: an Any in a
# task's signature makes mypy call the whole task Any, since every overload of `@jobs.task` would fit.
if TYPE_CHECKING:  # the default needs typing_extensions before Python 3.13, but only to be checked
    from typing_extensions import TypeVar as WithDefault

    D = WithDefault("D", covariant=True, default=object)
else:
    D = TypeVar("D", covariant=True)


def _never() -> bool:
    return False


class Context(Generic[D]):
    """One attempt, as the task sees it. Safe to use from any thread.

    job      the job's id: derive the ids of your side effects from it, so that receivers can tell a repeat
    attempt  1 + failures so far
    fence    raised by every delivery of the job; a larger one is always the later one
    flow     the id of the flow that the job is part of, the same for all its parts; None: of none
    principal  whose work it is, `id` and `tenant`, as recorded when it was started; None: nobody's in particular
    each     of a task that takes batches: a Context for each job, in the order of the arguments. What is said to the
             batch's own (`progress`) is said to all of them; its `job` is the first
    schedule, tick  of a job that a schedule enqueued: its name, and the moment it stands for (UTC), however late it is
    deps     of `ctx: Context[Deps]`: what the provider of `Deps` gave (`@jobs.provider`)
    """

    __slots__ = (
        "_canceled",
        "_deps",
        "_last",
        "_line",
        "_lock",
        "_notebook",
        "_outputs",
        "_sink",
        "_steps",
        "_task",
        "_where",
        "attempt",
        "each",
        "fence",
        "flow",
        "job",
        "principal",
        "schedule",
        "tick",
    )

    def __init__(
        self,
        job: str,
        attempt: int = 1,
        fence: int = 0,
        *,
        sink: Sink = nowhere,
        canceled: Callable[[], bool] = _never,
        deps: Any = ...,
        principal: Principal | None = None,
        each: tuple[Context[D], ...] = (),
        task: tuple[str, int] = ("", 1),
        notebook: Callable[[], Notebook] | None = None,
        outputs: Sink = nowhere,
        home: tuple[int, object] | None = None,
        ticked: tuple[str, int] | None = None,
        flow: str | None = None,
    ) -> None:
        """`task`: its name and version; `notebook`: makes what remembers its steps (None: nothing does); `outputs`:
        takes events of its own; `home`: see `steps.line`, whoever knows it saves a microsecond."""
        self.job = job
        self.flow = flow
        self.attempt = attempt
        self.fence = fence
        self.principal = principal
        self.each = each
        self.schedule: str | None = None
        self.tick: datetime | None = None
        if ticked is not None:
            self.schedule, self.tick = ticked[0], datetime.fromtimestamp(ticked[1] / 1e6, UTC)
        self._where = contextvars.copy_context()
        self._sink = sink
        self._canceled = canceled
        self._deps = deps
        self._lock = threading.Lock()
        self._last: Progress | None = None
        self._outputs = outputs
        self._task, self._notebook = task, notebook
        self._line = line() if home is None else home
        self._steps: Steps | None = None

    @property
    def deps(self) -> D:
        """The dependencies of `Context[Deps]`; ConfigurationError when the attempt was given none."""
        if self._deps is ...:
            raise ConfigurationError(
                "ctx.deps is filled in by a worker, for a parameter annotated `ctx: Context[Deps]` whose Deps has a "
                "provider; this attempt has none"
            )
        deps: D = self._deps
        return deps

    @property
    def trace(self) -> Trace | None:
        """Which part of which trace the attempt is: `ctx.trace.trace_id` for your own log lines. None only where the
        task is called here and now, outside of any trace.

        The headers of calls to others come from `offpath.trace_headers()`.
        """
        return self._where.copy().run(current)  # whichever thread asks

    @property
    def canceled(self) -> bool:
        """Has someone asked this job to stop? A plain function looks here between two pieces of work."""
        return self._canceled()

    @property
    def events(self) -> Events:
        """Tells those who watch in the task's own words: `await ctx.events.emit("page-rendered", {"page": 3})`."""
        return Events(self._outputs, self._lock)

    def progress(
        self, current: float, of: float | None = None, unit: str | None = None, message: str | None = None
    ) -> Pending[bool]:
        """Say how far the attempt has come: `await ctx.progress(3, of=10, unit="pages", message="rendering")`.

        It is sent at once; awaiting what comes back (or `.result()` in a plain function) waits until it is written
        and tells whether it was: False means that another worker has the job by now. Ignoring it costs nothing.
        Parts not given stay as last given. ArgumentError for a negative or infinite number.
        """
        with self._lock:  # also around the sink: two threads' lines must leave in the order they were counted
            self._last = advance(self._last, current, of, unit, message)
            return self._sink(as_json(self._last))

    # Without `version` the arguments are checked by type; no signature can say both.
    @overload
    def step(self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Step[T]: ...
    @overload
    def step(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Step[T]: ...
    @overload
    def step(  # type: ignore[overload-cannot-match]
        self, name: str, fn: Callable[..., Awaitable[T]], /, *args: Any, version: int, **kwargs: Any
    ) -> Step[T]: ...
    @overload
    def step(  # type: ignore[overload-cannot-match]
        self, name: str, fn: Callable[..., T], /, *args: Any, version: int, **kwargs: Any
    ) -> Step[T]: ...
    def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """A part of the job that is not done again: `receipt = await ctx.step("charge", charge, order)`, in a plain
        function `ctx.step("charge", charge, order).result()`.

        `fn(*args, **kwargs)` is called, and what it returns remembered (as JSON, read back by its return annotation),
        before the step gives it. Whenever the job runs again, after a crash, an error or a snooze, the step gives the
        same without calling anything. An exception is not remembered. A coroutine function is awaited on the worker's
        loop; a plain function runs in the task's thread, or for a coroutine in one of the worker's.

        name     one step's, within its job
        version  of the step (1): what was remembered under another version is not used, and the function called again

        StepError ends the job: names and order are not those of the attempt before (see `core/steps.py`), a name is
        used twice, a step is inside another. ResultError ends it too: the result has no JSON form or is above 1 MiB.
        LeaseLost: another worker has the job; let it through. Inside the job's own transaction (`provided(
        transaction=True)`) steps are remembered with its commit. Where the task is called here and now it just runs.
        """
        steps = self._steps
        if steps is None:
            with self._lock:
                if self._steps is None:
                    book = None if self._notebook is None else self._notebook()
                    self._steps = Steps(*self._task, self._line, book)
                steps = self._steps
        return steps.make(name, fn, args, kwargs)

    def finish(self) -> None:
        """For whoever runs the task, when its function has returned: StepError for a step that was never run."""
        if self._steps is not None:
            self._steps.finish()
