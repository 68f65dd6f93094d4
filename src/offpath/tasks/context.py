"""What a running task knows about itself: the first parameter `ctx: Context`, which is given and never passed."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic

from ..core.job import Principal
from ..core.progress import Progress, advance, as_json
from ..errors import ConfigurationError
from ..ports import Pending, R
from ..tracing import Trace, current

# A plain `ctx: Context` must need no type argument under mypy --strict, hence the default. It is not Any: an Any in a
# task's signature makes mypy call the whole task Any, since every overload of `@jobs.task` would fit.
if TYPE_CHECKING:  # the default needs typing_extensions before Python 3.13, but only to be checked
    from typing_extensions import TypeVar

    D = TypeVar("D", covariant=True, default=object)
else:
    from typing import TypeVar

    D = TypeVar("D", covariant=True)


class Ready(Generic[R]):
    """A `Pending` whose result is already there."""

    __slots__ = ("_value",)

    def __init__(self, value: R) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, None, R]:
        yield from ()  # nothing to wait for
        return self._value

    def result(self, timeout: float | None = None) -> R:
        return self._value


Sink = Callable[[str], Pending[bool]]
"""Takes a line of progress (JSON text) without blocking, from any thread; True in the end = written, False = stale."""


def _nowhere(progress: str) -> Pending[bool]:
    return Ready(True)


def _never() -> bool:
    return False


class Context(Generic[D]):
    """One attempt, as the task sees it. Safe to use from any thread.

    job      the job's id: derive the ids of your side effects from it, so that receivers can tell a repeat
    attempt  1 + failures so far
    fence    raised by every delivery of the job; a larger one is always the later one
    principal  whose work it is, `id` and `tenant`, as recorded when it was started; None: nobody's in particular
    deps     of `ctx: Context[Deps]`: what the provider of `Deps` gave (`@jobs.provider`)
    """

    __slots__ = ("_canceled", "_deps", "_last", "_lock", "_sink", "_where", "attempt", "fence", "job", "principal")

    def __init__(
        self,
        job: str,
        attempt: int = 1,
        fence: int = 0,
        *,
        sink: Sink = _nowhere,
        canceled: Callable[[], bool] = _never,
        deps: Any = ...,
        principal: Principal | None = None,
    ) -> None:
        self.job = job
        self.attempt = attempt
        self.fence = fence
        self.principal = principal
        self._where = contextvars.copy_context()
        self._sink = sink
        self._canceled = canceled
        self._deps = deps
        self._lock = threading.Lock()
        self._last: Progress | None = None

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
