"""`FastAPI(lifespan=jobs.lifespan)`: the application's jobs live as long as the web application does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, overload

from .interpreter import SERVING, tuned
from .serving import Queues

if TYPE_CHECKING:
    from .facade import Offpath

Wrapped = Callable[[Any], AbstractAsyncContextManager[Any]]


class Lifespan:
    """Three ways to use it:

        FastAPI(lifespan=jobs.lifespan)                               # opens at start, closes at the end
        FastAPI(lifespan=jobs.lifespan(worker=True, wrap=my_own))     # with a worker inside, and around my own lifespan
        async with jobs.lifespan(app): …                              # inside my own lifespan

    worker  run jobs in this process too, on the application's loop: for development and small sites. It is drained at
            shutdown, before `wrap`'s own end.
    queues  which ones that worker serves; see `Offpath.run_worker`
    wrap    your lifespan; what it yields (state) is handed on
    tune    give the interpreter settings for this kind of work, where the application has left Python's own: shorter
            turns between threads, higher thresholds of the collector, and what has been loaded frozen. A quarter more
            accepted requests, a third of their p99 (docs/decisions/0015); False: leave everything as it is.
    """

    def __init__(
        self,
        jobs: Offpath,
        worker: bool = False,
        queues: Queues | None = None,
        wrap: Wrapped | None = None,
        tune: bool = True,
    ) -> None:
        self._jobs = jobs
        self._worker = worker
        self._queues = queues
        self._wrap = wrap
        self._tune = tune

    @overload
    def __call__(self, app: Any, /) -> AbstractAsyncContextManager[Any]: ...
    @overload
    def __call__(
        self, /, *, worker: bool = False, queues: Queues | None = None, wrap: Wrapped | None = None, tune: bool = True
    ) -> Lifespan: ...
    def __call__(
        self,
        app: Any = None,
        /,
        *,
        worker: bool = False,
        queues: Queues | None = None,
        wrap: Wrapped | None = None,
        tune: bool = True,
    ) -> AbstractAsyncContextManager[Any] | Lifespan:
        if app is None:
            return Lifespan(self._jobs, worker, queues, wrap, tune)
        return self._live(app)

    @asynccontextmanager
    async def _live(self, app: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._jobs)
            state = await stack.enter_async_context(self._wrap(app)) if self._wrap else None
            if self._worker:
                await stack.enter_async_context(self._jobs.worker(queues=self._queues))
            if self._tune:
                stack.enter_context(tuned(SERVING))
            yield state
