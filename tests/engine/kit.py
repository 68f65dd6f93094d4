"""An application without a facade: the real SQLite store, the real transport, and tasks. Nothing here is a double."""

import asyncio
import contextlib
import inspect
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, overload

from offpath.codec import Value  # noqa: F401  (what tasks are encoded with: imported here, so that no test pays for it)
from offpath.core import lifecycle
from offpath.core.call import Call as CoreCall
from offpath.core.ids import uuid7
from offpath.core.keys import rule_of
from offpath.core.options import Queue, TaskOptions
from offpath.engine.clock import Clock
from offpath.engine.worker import Worker
from offpath.ports import Found, Hint, NewJob, NewOperation, Pending
from offpath.settings import settle
from offpath.stores.sqlite import SqliteStore
from offpath.tasks import AsyncTask, Job, Registry, SyncTask
from offpath.transports.local import LocalTransport
from tests import files

SOON = 60.0  # s: no test waits longer for a signal; on a machine at rest nothing here takes a hundredth of it


class App:
    """Tasks on a database file, and workers for them."""

    def __init__(self, path: Path, queues: Sequence[Queue] = (), **settings: Any) -> None:
        self.path = path
        files.with_tables(path)
        self.settings = settle(f"sqlite:///{path}", settings)
        self.registry = Registry(queues, self.settings.kept())
        self.transport = LocalTransport(str(path))
        self.store = SqliteStore(str(path), announce=self.transport.announce, retention=self.settings.kept())

    vault = None  # of Secrets: nothing is sealed

    def close(self) -> None:
        self.transport.close()
        self.store.close()

    @overload
    def task(self, fn: Callable[..., Any], *, name: str | None = None, version: int = 1, **options: Any) -> Any: ...
    @overload
    def task(
        self, *, name: str | None = None, version: int = 1, **options: Any
    ) -> Callable[[Callable[..., Any]], Any]: ...
    def task(
        self, fn: Callable[..., Any] | None = None, *, name: str | None = None, version: int = 1, **options: Any
    ) -> Any:
        """Register a function; also as a decorator, with or without options."""
        if fn is None:
            return lambda fn: self.task(fn, name=name, version=version, **options)
        kind = AsyncTask if inspect.iscoroutinefunction(fn) else SyncTask
        task: Any = kind(
            fn,
            desk=self,
            options=TaskOptions(**options),
            queues=self.registry.queues,
            retention=self.registry.retention,
            name=name or fn.__name__,
            version=version,
        )
        self.registry.add(task)
        return task

    # -- the desk (`tasks.handle.Desk`) ------------------------------------------------------------------------------

    def new(self, calls: Sequence[CoreCall]) -> list[NewJob]:
        now = self.store.now()
        made = []
        for call in calls:
            name = call.using.queue or call.options.queue
            job, event = lifecycle.new(call, self.registry.queues.get(name), now, uuid7(now, os.urandom(10)))
            operation = NewOperation("", "", call.task, "") if call.watched else None
            made.append(NewJob(job, event, operation, rule_of(call.using)))
        return made

    async def submit(self, calls: Sequence[CoreCall], tx: object | None) -> list[Job[Any]]:
        made = await self.store.enqueue(self.new(calls))
        return [Job(self, one.id, call.task, one.existing) for one, call in zip(made, calls, strict=True)]

    def submit_sync(self, calls: Sequence[CoreCall], tx: object | None) -> list[Job[Any]]:
        made = self.store.enqueue(self.new(calls)).result(SOON)
        return [Job(self, one.id, call.task, one.existing) for one, call in zip(made, calls, strict=True)]

    async def watched(self, task: Any, **arguments: Any) -> Job[Any]:
        """Enqueue as an operation, which has an event log."""
        (job,) = await self.submit([task.call(**arguments).core._replace(watched=True)], None)
        return job

    def find(self, id: str) -> Pending[Found | None]:
        return self.store.read(self.store.verbs.find(id))

    def stop(self, id: str, reason: str) -> Pending[Found | None]:
        return self.store.perform(self.store.verbs.cancel(id, reason))

    def listen(self, on_hint: Callable[[Hint], None]) -> Callable[[], None]:
        return self.transport.subscribe(on_hint)

    def decoder(self, task: str) -> Callable[[str], Any]:
        known = self.registry.get(task)
        assert known is not None
        return known.decode_result

    # -- looking and working -----------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def worker(self, *, time: Clock | None = None, **options: Any) -> AsyncIterator[Worker]:
        """A worker on this loop, claiming; stopped in order at the end."""
        worker = Worker(self.store, self.transport, self.registry, self.settings, time=time, **options)
        running = asyncio.ensure_future(worker.run())
        try:
            await first(worker.ready.wait(), running)
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(running, SOON)

    async def run_until_empty(self, **options: Any) -> None:
        worker = Worker(self.store, self.transport, self.registry, self.settings, until_empty=True, **options)
        await asyncio.wait_for(worker.run(), SOON)

    async def ended(self, job: Job[Any]) -> Any:
        """The job's row of history, once it is there."""
        with contextlib.suppress(Exception):
            await job.result(SOON)
        found = await self.find(job.id)
        assert found is not None
        assert found.finished is not None, f"still {found.job}"
        return found.finished

    async def events(self, job: Job[Any]) -> list[str]:
        return [event.type for event in await self.store.read(self.store.verbs.events(job.id, 0, 100))]

    def sql(self, statement: str, *params: Any) -> list[Any]:
        """Look, or meddle, behind the store's back."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=SOON, isolation_level=None)) as connection:
            return connection.execute(statement, params).fetchall()


def ahead(worker: Worker) -> int:
    """How many claimed jobs wait in it for a slot."""
    return 0 if worker._crew is None else sum(len(lane.queue) for lane in worker._crew.lanes)


async def first(wanted: Awaitable[Any], other: "asyncio.Future[Any]") -> None:
    """Wait for `wanted`; when `other` ends first, that is the news (with its error)."""
    waiting = asyncio.ensure_future(wanted)
    try:
        await asyncio.wait({waiting, other}, timeout=SOON, return_when=asyncio.FIRST_COMPLETED)
        if other.done():
            other.result()
        assert waiting.done(), "nothing happened"
    finally:
        waiting.cancel()


async def until(true: Callable[[], Any]) -> None:
    """Wait for something that only a look can tell: the rows of a database, the file of another process."""
    async with asyncio.timeout(2 * SOON):
        while not true():  # noqa: ASYNC110 (nobody is there to set an event)
            await asyncio.sleep(0.002)


async def soon(what: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(what, SOON)
