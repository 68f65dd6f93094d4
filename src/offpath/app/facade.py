"""`Offpath`: what a user's module creates, `jobs = Offpath("sqlite:///app.db")`, and everything hangs from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, overload

from .. import settings as config
from ..core import redact
from ..core.limits import Limit
from ..core.options import Queue, TaskGiven, TaskOptions, check_names
from ..errors import ConfigurationError
from ..observe import signal
from ..ports import NewJob, NewOperation, Store, Transport
from ..settings import Given, Settings
from ..tasks import (
    AsyncTask,
    Authorizer,
    Call,
    Context,
    Hook,
    HookKind,
    Job,
    JobInfo,
    Lifetime,
    Registry,
    SyncTask,
    Task,
    TaskDecorator,
    check_hook,
    found,
    info_of,
    local_names,
    plain_calls,
)
from . import bulkjob, places
from .batches import Batches
from .consuming import Consuming
from .declaring import Scheduling
from .desk import Counter
from .events import Events
from .flows import Flows
from .lifespan import Lifespan
from .loop import in_a_loop, on_main_thread, run_and_leave
from .managing import Managing
from .owners import Owners
from .publishing import Publishing
from .serving import Queues, weights

if TYPE_CHECKING:
    from ..core.call import Call as CoreCall
    from ..engine.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
Authorize = TypeVar("Authorize", bound=Authorizer)


class Applied(list[str]):
    """The names of migrations applied. They have been by now; `await` is allowed and changes nothing."""

    def __await__(self) -> Generator[Any, None, Applied]:
        yield from ()
        return self


class Offpath(Managing, Owners, Batches, Scheduling, Flows, Events, Publishing, Consuming):
    """An application's jobs.

    url       sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host:port/name; without one,
              OFFPATH_DATABASE
    queues    Queue(…) declarations; a queue that is only named needs none
    limits    Limit(…) values that hold over all jobs together, or per a parameter for every task that has it
    transport redis://…, amqp://…, kafka://… or sqs://…: what carries hints between processes (a setting)
    settings  any field of `Settings` by name (lease, poll, concurrency, threads, drain, retention, …); what is not
              given here comes from `OFFPATH_<NAME>`, then from the defaults

    Nothing is opened or imported before the first use. ConfigurationError for anything that is wrong.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        queues: Iterable[Queue] = (),
        limits: Iterable[Limit] = (),
        **settings: Unpack[Given],
    ) -> None:
        checked = config.settle(url, dict(settings))
        if checked.url:
            places.check(checked.url)
        places.check_broker(checked)
        self._desk = Counter(checked, queues, limits)
        self._begin_to_publish()

    def __repr__(self) -> str:
        return f"<Offpath {redact.url(self.settings.url)}>"

    # -- parts, for integrations --------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        return self._desk.settings

    @property
    def registry(self) -> Registry:
        return self._desk.registry

    @property
    def store(self) -> Store:
        return self._desk.store

    @property
    def transport(self) -> Transport:
        return self._desk.transport

    @property
    def desk(self) -> Counter:
        """Where calls become jobs: for integrations and the testing kit."""
        return self._desk

    def new_job(self, call: CoreCall, operation: NewOperation | None = None) -> NewJob:
        """The row that a call asks for, not yet written; `operation` exactly when `call.watched`."""
        return self._desk.new_job(call, operation)

    # -- declaring ----------------------------------------------------------------------------------------------------

    @overload
    def task(self, fn: Callable[Concatenate[Context[Any], P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fn: Callable[Concatenate[Context[Any], P], R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        **options: Unpack[TaskGiven],
    ) -> TaskDecorator: ...
    def task(
        self,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        **options: Unpack[TaskGiven],
    ) -> Any:
        """Register a function: `@jobs.task` or `@jobs.task(queue="mail", retry=Retry(max_attempts=5), timeout=30)`.

        A coroutine function runs on the worker's loop, a plain one in a thread, either in a process of its own with
        `executor="process"`. ConfigurationError when something about
        it is wrong, at once. See `TaskOptions` for the other options.

        name      what its jobs are called in the database (default: the function's qualified name, without its module)
        version   of its parameters, 1 to 32767: raised when they change while old jobs may wait (see `Task.upcast`)
        """
        try:
            checked = TaskOptions(**options)
        except TypeError:
            check_names(options, TaskGiven, "name", "version")
            raise
        names = local_names()

        def register(function: Callable[..., Any]) -> Task[..., Any]:
            return self._desk.register(function, checked, name, version, names)

        return register if fn is None else register(fn)

    def hook(self, kind: HookKind) -> Callable[[Hook], Hook]:
        """`@jobs.hook("exhausted")`: call a function with an `AttemptInfo` around every task's attempts."""
        hooks = self.registry.hooks[check_hook(kind)]

        def register(function: Hook) -> Hook:
            hooks.append(function)
            return function

        return register

    def authorizer(self, function: Authorize) -> Authorize:
        """`@jobs.authorizer`: a function of a `Principal`, sync or async, that says whether whoever started a job may
        still have it done. Workers ask before each attempt of a job that has an owner; False ends it as failed, type
        "revoked", before it has done anything. ConfigurationError for a second one."""
        if self.registry.authorizer not in (None, function):
            raise ConfigurationError("there is an authorizer already")
        self.registry.authorizer = function
        return function

    def carry(self, variable: ContextVar[Any]) -> None:
        """`jobs.carry(request_id)`: what this context variable holds where an attempt begins, it holds in the attempt's
        process too (executor="process"); on the loop and in threads it does so anyway. Its value must be plain JSON
        data. ConfigurationError when another variable of that name is carried."""
        self.registry.carry(variable)

    @overload
    def provider(self, fn: F, /) -> F: ...
    @overload
    def provider(self, /, *, lifetime: Lifetime = "worker") -> Callable[[F], F]: ...
    def provider(self, fn: F | None = None, /, *, lifetime: Lifetime = "worker") -> F | Callable[[F], F]:
        """Register what makes a value tasks ask for by type: `@jobs.provider` or `@jobs.provider(lifetime="attempt")`.

        A function, coroutine function, generator or async generator with a return annotation. lifetime "worker": made
        once by each worker and closed when it stops; "attempt": for each attempt.
        """
        names = local_names()

        def register(function: F) -> F:
            self.registry.provide(function, lifetime, names)
            return function

        return register if fn is None else register(fn)

    # -- jobs ---------------------------------------------------------------------------------------------------------

    async def enqueue_many(self, calls: Sequence[Call[Any]], *, tx: object | None = None) -> list[Job[Any]]:
        """Calls of any tasks, `task.call(…)`, in one round trip and one transaction; jobs in the order of the calls."""
        return await self._desk.submit(cores, tx) if (cores := self._known(calls)) else []

    def enqueue_many_sync(self, calls: Sequence[Call[Any]], *, tx: object | None = None) -> list[Job[Any]]:
        """The same, blocking."""
        return self._desk.submit_sync(cores, tx) if (cores := self._known(calls)) else []

    def _known(self, calls: Sequence[Call[Any]]) -> list[CoreCall]:
        cores = plain_calls(calls)
        for one in cores:
            if self.registry.get(one.task) is None:
                raise ConfigurationError(f"there is no task {one.task!r} here: the call is another application's")
        return cores

    async def get(self, id: str) -> Job[Any]:
        """The job with this id, live or finished. NotFound."""
        return self._job(id, info_of(found(id, await self._desk.find(id))))

    def get_sync(self, id: str) -> Job[Any]:
        """The same, blocking."""
        return self._job(id, info_of(found(id, self._desk.find(id).result())))

    async def cancel(self, id: str, reason: str = "cancel requested") -> JobInfo:
        """Ask a job to stop; gives it as it stands after that. NotFound."""
        return await Job[Any](self._desk, id, "").cancel(reason)

    def cancel_sync(self, id: str, reason: str = "cancel requested") -> JobInfo:
        """The same, blocking."""
        return Job[Any](self._desk, id, "").cancel_sync(reason)

    async def retry(self, id: str, *, max_attempts: int | None = None) -> Job[Any]:
        """Run a finished job again, as a new job with a fresh budget of attempts: `max_attempts`, or as many as it had.
        NotFound; Conflict while it lives."""
        old = await self.get(id)
        new = await self._desk.retry(id, max_attempts)
        return Job(self._desk, new.id, old.task, new.existing)

    def retry_sync(self, id: str, *, max_attempts: int | None = None) -> Job[Any]:
        """The same, blocking."""
        old = self.get_sync(id)
        new = self._desk.retry(id, max_attempts).result()
        return Job(self._desk, new.id, old.task, new.existing)

    def _job(self, id: str, info: JobInfo) -> Job[Any]:
        return Job(self._desk, id, info.task)

    # -- running ------------------------------------------------------------------------------------------------------

    def use_database(self, url: str) -> None:
        """Keep jobs there instead of where the constructor said; only before the first use."""
        self._desk.use(url)

    def migrate(self) -> Applied:
        """Create the tables or bring them forward, under a lock; gives the names of the migrations applied.

        Blocks until it is done; `await jobs.migrate()` is the same.
        """
        done = Applied(self.store.migrate())
        if done:
            signal("store.migrated", url=redact.url(self.settings.url), migrations=",".join(done))
        return done

    def close(self) -> None:
        """Finish what was submitted and close the database; the next use opens it again."""
        self._desk.close()

    async def __aenter__(self) -> Self:
        """Open and check the database now: StoreUnavailable, SchemaError. (Without this, the first use does.)"""
        await self._desk.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._desk.leave()

    @property
    def lifespan(self) -> Lifespan:
        """For a web application: `FastAPI(lifespan=jobs.lifespan)`; see `Lifespan` for `worker=True` and `wrap=`."""
        return Lifespan(self)

    @contextlib.asynccontextmanager
    async def worker(self, *, queues: Queues | None = None, concurrency: int | None = None) -> AsyncIterator[Worker]:
        """A worker on the running loop for as long as the block lasts; drained at its end."""
        worker = self.make_worker(queues, concurrency)
        running = asyncio.create_task(worker.run(), name="offpath-worker")
        running.add_done_callback(_report)
        try:
            yield worker
        finally:
            worker.stop()
            await asyncio.wait([running])

    def run_worker(
        self, queues: Queues | None = None, concurrency: int | None = None, until_empty: bool = False
    ) -> None:
        """Run jobs until SIGTERM or SIGINT (drains; a second one stops at once), in a loop of its own.

        queues       names to serve, with weights: "critical:6,low", ["critical"] or {"critical": 6}; None = all
        concurrency  jobs at once (default: the setting)
        until_empty  end when nothing that this worker could run is ready, and nothing runs anywhere; jobs scheduled
                     for later do not hold it
        """
        if in_a_loop():
            raise ConfigurationError("run_worker has a loop of its own; inside one, use `async with jobs.worker():`")
        run_and_leave(self._run(queues, concurrency, until_empty), self.settings.cancel_grace)

    async def _run(self, queues: Queues | None, concurrency: int | None, until_empty: bool) -> None:
        worker = self.make_worker(queues, concurrency, until_empty)  # wrong arguments are told before anything opens
        async with self:
            await worker.run(signals=on_main_thread())

    def make_worker(
        self, queues: Queues | None = None, concurrency: int | None = None, until_empty: bool = False
    ) -> Worker:
        """A worker, not yet running, to be run on the loop that is running now: `await worker.run()`."""
        from ..engine.worker import Worker

        settings = self.settings
        if settings.broker or settings.transport:
            places.make_broker(settings)  # an extra that is missing, or an option that nobody knows, is told now
        if concurrency is not None:
            settings = replace(settings, concurrency=config.checked("concurrency", concurrency))
        bulkjob.known(self._desk)
        registry, names = self.registry, None
        if queues is not None:
            served = weights(queues, registry)
            registry, names = registry.weighted(served), list(served)
            unknown = sorted(name for name in served if not self.queues.knows(name))
            if unknown:
                signal("worker.unknown_queues", queues=",".join(unknown))
        return Worker(
            self.store,
            self.transport,
            registry,
            settings,
            queues=names,
            until_empty=until_empty,
            consumers=None if until_empty else self._consumers(),
        )


def _report(running: asyncio.Task[None]) -> None:
    error = None if running.cancelled() else running.exception()
    if error is not None:
        signal("app.worker_failed", error=str(error), exc_info=error)
