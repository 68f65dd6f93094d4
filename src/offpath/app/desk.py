"""The desk behind the counter: calls become jobs here. It makes the parts on first use and lives through a fork."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from ..core import call as core
from ..core import flow as graphs
from ..core import lifecycle
from ..core.ids import at_moment, is_id, random_part
from ..core.job import Principal, principal
from ..core.keys import rule_of
from ..core.limits import Limit
from ..core.options import CallOptions, Queue, TaskOptions
from ..errors import ConfigurationError
from ..observe import meters
from ..ports import WHATEVER, Enqueued, Found, Hint, NewJob, NewOperation, Pending, Store, Transport
from ..ports.flows import NewFlow
from ..ports.outbox import NewEvent
from ..privacy import Vault
from ..privacy.known import use
from ..settings import Settings, micros
from ..tasks import AsyncTask, Flow, Job, Ready, Registry, SyncTask, Task
from ..tracing import job_here, started
from . import acts, places
from .acting import actor

R = TypeVar("R")


class Instead(Protocol):
    """What may take calls in the store's place (`offpath.testing.run_inline`)."""

    async def submit(self, calls: Sequence[core.Call], tx: object | None = None) -> list[Job[Any]]: ...
    def submit_sync(self, calls: Sequence[core.Call], tx: object | None = None) -> list[Job[Any]]: ...
    async def submit_flow(self, flow: Flow[R], options: CallOptions, tx: object | None) -> Job[R]: ...
    def submit_flow_sync(self, flow: Flow[R], options: CallOptions, tx: object | None) -> Job[R]: ...
    async def publish(self, events: Sequence[NewEvent], tx: object | None = None) -> list[Job[None]]: ...
    def publish_sync(self, events: Sequence[NewEvent], tx: object | None = None) -> list[Job[None]]: ...
    def all_found(self) -> list[Found]:
        """What it has taken so far, in order."""
        ...


class Counter:
    """See `tasks.Desk`. `instead`, when set, is given every call, those with a transaction too."""

    def __init__(self, settings: Settings, queues: Iterable[Queue], limits: Iterable[Limit] = ()) -> None:
        self.settings = settings
        use(settings.redact)
        self._vault: Vault | None = None
        self.registry = Registry(queues, settings.kept(), limits)
        self.registry.terms.audit = micros(settings.retention_audit)
        self.instead: Instead | None = importing
        self._parts: places.Parts | None = None
        self._guard, self._door = threading.Lock(), threading.Lock()
        self._guests = 0  # how often somebody has entered, on whatever loop
        _all.add(self)

    # -- the parts ----------------------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        return (self._parts or self._make())[0]

    @property
    def transport(self) -> Transport:
        return (self._parts or self._make())[1]

    def _make(self) -> places.Parts:
        with self._guard:
            if self._parts is None:
                self._parts = places.make(self.settings, self.registry.terms)
            return self._parts

    def use(self, url: str) -> None:
        """Keep jobs there instead. ConfigurationError once something has been opened."""
        if url:
            places.check(url)
        with self._guard:
            if self._parts is not None:
                raise ConfigurationError("the database is in use already; say where it is before the first call")
            self.settings = replace(self.settings, url=url)

    async def enter(self) -> None:
        """Open now, for the time that this event loop stays."""
        store = await asyncio.to_thread(self._come_in)
        try:
            await store.move_in()
        except BaseException:
            await asyncio.to_thread(self._go_out)
            raise

    async def leave(self) -> None:
        """This event loop does not stay any longer; once for each `enter`. The last of all closes."""
        if (parts := self._parts) is not None:
            await parts[0].move_out()
        await asyncio.to_thread(self._go_out)

    def _come_in(self) -> Store:
        with self._door:  # nobody who is leaving on another loop closes under us
            store = self.store
            store.open()
            self._guests += 1
        return store

    def _go_out(self) -> None:
        with self._door:
            self._guests -= 1
            if self._guests <= 0:
                self._guests = 0
                self.close()

    def close(self) -> None:
        """Finish what was submitted and close; the next use opens anew."""
        with self._guard:
            parts, self._parts = self._parts, None
        if parts is not None:
            store, transport = parts
            store.close()
            transport.close()

    def forked(self) -> None:
        """In the child: the lock may be held by a thread that is not there any more. The parts guard themselves."""
        self._guard, self._door = threading.Lock(), threading.Lock()
        self._guests = 0

    @property
    def vault(self) -> Vault | None:
        """What seals the secrets that are stored; made when the first one is."""
        if self._vault is None and self.settings.secret_keys:
            self._vault = Vault(self.settings.secret_keys)
        return self._vault

    # -- functions → tasks --------------------------------------------------------------------------------------------

    def register(
        self,
        function: Callable[..., Any],
        options: TaskOptions,
        name: str | None,
        version: int,
        names: Mapping[str, Any],
    ) -> Task[..., Any]:
        kind: type[Task[..., Any]] = AsyncTask if is_async(function) else SyncTask
        task = kind(
            function,
            desk=self,
            options=options,
            queues=self.registry.queues,
            retention=self.registry.retention,
            name=name,
            version=version,
            names=names,
        )
        self.registry.add(task)
        if task.secret:
            self.vault  # noqa: B018 (a key that is none, or an extra that is missing, is told now)
        return task

    # -- calls → jobs -------------------------------------------------------------------------------------------------

    def new_job(self, call: core.Call, operation: NewOperation | None = None, *, now: int | None = None) -> NewJob:
        """The row that `call` asks for, in the trace we are in and, unless it says so, of the same owner; `operation`
        exactly when the call is watched."""
        return self._new_job(call, operation, now, whose())

    def _new_job(
        self, call: core.Call, operation: NewOperation | None, now: int | None, by: Principal | None
    ) -> NewJob:
        if now is None:
            now = self.store.now()
        if call.using.reply_to is not None:
            places.broker_url(self.settings)
        if call.using.callback is not None and operation is None:
            raise ConfigurationError(
                "callback= is for operations, `accept.using(callback=…)`: the end of a job that is none is told to "
                "nobody by a webhook; publish an event, or let another task send what is to be told"
            )
        queue = self.registry.queues.get(call.using.queue or call.options.queue)
        job, event = lifecycle.new(call, queue, now, fresh_id(now), by)
        if self.registry.limits.any:
            job = job._replace(lane=self.registry.lane(job.task, job.queue, job.args))
        return NewJob(started(job), event, operation, None if job.key is None else rule_of(call.using))

    def _new_jobs(self, calls: Sequence[core.Call]) -> list[NewJob]:
        """One microsecond apart, so that jobs of one batch keep their order in their queue."""
        now = self.store.now()
        return [self.new_job(call, now=now + i) for i, call in enumerate(calls)]

    async def submit(self, calls: Sequence[core.Call], tx: object | None) -> list[Job[Any]]:
        if self.instead is not None:
            return await self.instead.submit(calls, tx)
        return self._jobs(calls, await self.write(self._new_jobs(calls), tx))

    def submit_sync(self, calls: Sequence[core.Call], tx: object | None) -> list[Job[Any]]:
        if self.instead is not None:
            return self.instead.submit_sync(calls, tx)
        return self._jobs(calls, self.write_sync(self._new_jobs(calls), tx))

    def write(self, new: Sequence[NewJob], tx: object | None) -> Awaitable[list[Enqueued]]:
        """Insert rows: in a transaction of our own, or in the caller's."""
        return self.store.enqueue_here(new) if tx is None else self._join(new, tx)

    async def _join(self, new: Sequence[NewJob], tx: object) -> list[Enqueued]:
        answer: Any = self.store.enqueue_on(tx, new)
        done: list[Enqueued] = await answer if inspect.isawaitable(answer) else answer
        counted(new, done)
        return done

    def write_sync(self, new: Sequence[NewJob], tx: object | None) -> list[Enqueued]:
        """The same, blocking."""
        if tx is None:
            return self.store.enqueue(new).result()
        done: list[Enqueued] = at_once(self.store.enqueue_on(tx, new), tx)
        counted(new, done)
        return done

    def _jobs(self, calls: Sequence[core.Call], done: Sequence[Enqueued]) -> list[Job[Any]]:
        return [Job(self, one.id, call.task, one.existing) for call, one in zip(calls, done, strict=True)]

    # -- flows → jobs -------------------------------------------------------------------------------------------------

    def new_flow(
        self, flow: Flow[Any], using: CallOptions, operation: NewOperation | None = None, tenant: str = ""
    ) -> NewFlow:
        """Its rows; `operation` for one that is watched. ConfigurationError for what can be no flow."""
        graph = flow.graph()
        now = self.store.now()
        first = graph.parts[0].call
        own = TaskOptions(queue=first.using.queue or first.options.queue)  # for those who list: it is never run
        call = core.Call(graphs.TASK, 1, "{}", own, using, operation is not None, tenant)
        whole = self.new_job(call, operation, now=now)
        calls = [part.call._replace(tenant=tenant) for part in graph.parts]
        if self.registry.limits.any:
            for part in graph.parts:
                self._limitable(part)
        by = principal(whole.job)
        parts = [self._new_job(call, None, now + n, by) for n, call in enumerate(calls, 1)]
        row, jobs, edges = graphs.rows(graph, whole.job, [new.job for new in parts])
        return NewFlow(
            whole._replace(job=row),
            [new._replace(job=job) for new, job in zip(parts, jobs, strict=True)],
            edges,
        )

    def _limitable(self, part: graphs.Part) -> None:
        """ConfigurationError when it is limited by what an earlier link will only hand it: its line is chosen now."""
        task = self.registry.get(part.call.task)
        if task is None or part.takes is None:
            return
        queue = part.call.using.queue or part.call.options.queue
        if part.takes in self.registry.limits.keyed(task, queue):
            raise ConfigurationError(
                f"{task.name} is limited per {part.takes!r}, which an earlier link of the flow hands it: limit it per "
                "a parameter that is known when the flow is enqueued"
            )

    async def submit_flow(self, flow: Flow[R], options: CallOptions, tx: object | None) -> Job[R]:
        if self.instead is not None:
            return await self.instead.submit_flow(flow, options, tx)
        said = await self.write_flow(self.new_flow(flow, options), tx)
        return Job(self, said.id, graphs.TASK, said.existing, flow.read)

    def submit_flow_sync(self, flow: Flow[R], options: CallOptions, tx: object | None) -> Job[R]:
        if self.instead is not None:
            return self.instead.submit_flow_sync(flow, options, tx)
        said = self.write_flow_sync(self.new_flow(flow, options), tx)
        return Job(self, said.id, graphs.TASK, said.existing, flow.read)

    async def write_flow(self, new: NewFlow, tx: object | None) -> Enqueued:
        """Insert a flow's rows: in a transaction of our own, or in the caller's."""
        if tx is None:
            done = await self.store.perform(lambda: self.store.verbs.enqueue_flow(new))
        else:
            answer: Any = self.store.run_on(tx, self.store.verbs.enqueue_flow(new))
            done = await answer if inspect.isawaitable(answer) else answer
        counted_flow(new, done)
        return done

    def write_flow_sync(self, new: NewFlow, tx: object | None) -> Enqueued:
        """The same, blocking."""
        if tx is None:
            done = self.store.perform(lambda: self.store.verbs.enqueue_flow(new)).result()
        else:
            done = at_once(self.store.run_on(tx, self.store.verbs.enqueue_flow(new)), tx)
        counted_flow(new, done)
        return done

    # -- jobs that are there ------------------------------------------------------------------------------------------

    def find(self, id: str) -> Pending[Found | None]:
        return self.store.read(self.store.verbs.find(id)) if is_id(id) else Ready(None)

    def look(self, id: str) -> Pending[Found | None]:
        """`find`, for whoever is to see the values of a job; remembered, if it is somebody."""
        if actor() is None or not is_id(id):
            return self.find(id)
        return self.store.perform(acts.looking(self.store, id))

    def stop(self, id: str, reason: str) -> Pending[Found | None]:
        return self.store.perform(acts.stopping(self.store, id, reason)) if is_id(id) else Ready(None)

    def retry(self, id: str, max_attempts: int | None = None, seen: str | None = WHATEVER) -> Pending[Enqueued]:
        """`seen`: see `Verbs.retry`."""
        new = fresh_id(self.store.now())
        return self.store.perform(acts.again(self.store, id, new, max_attempts, seen))

    def delete(self, id: str) -> Pending[bool]:
        return self.store.perform(acts.erasing(self.store, id)) if is_id(id) else Ready(False)

    def listen(self, on_hint: Callable[[Hint], None]) -> Callable[[], None]:
        return self.transport.subscribe(on_hint)

    def decoder(self, task: str) -> Callable[[str], Any]:
        known = self.registry.get(task)
        return known.decode_result if known else json.loads

    def encoder(self, task: str) -> Callable[[Any], str]:
        known = self.registry.get(task)
        return known.encode_result if known else json.dumps


def whose() -> Principal | None:
    """Whose attempt we are in."""
    job = job_here()
    return None if job is None else principal(job)


def counted(new: Sequence[NewJob], done: Sequence[Enqueued]) -> None:
    """These jobs have been written. (What the store commits by itself it counts itself.)"""
    if meters.on is not None:
        said = zip(new, done, strict=True)
        meters.on.enqueued((one.job.queue, one.job.task) for one, there in said if not there.existing)


def counted_flow(new: NewFlow, done: Enqueued) -> None:
    """All of this flow has been written, or none of it."""
    if meters.on is not None and not done.existing:
        meters.on.enqueued((one.job.queue, one.job.task) for one in (new.flow, *new.parts))


def at_once(answer: Any, tx: object) -> Any:
    """What a transaction said without being awaited. ConfigurationError when it is an asynchronous one."""
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise ConfigurationError(f"{type(tx).__name__} is asynchronous: use `await task.using(tx=…).enqueue(…)`")
    return answer


def is_async(function: Callable[..., Any]) -> bool:
    """A plain wrapper (`functools.wraps`) around a coroutine function gives its coroutine, so it counts as one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inspect.unwrap(function))


def fresh_id(now: int) -> str:
    """A new id for the moment `now` (µs): sorts to the millisecond, 74 bits from the system's CSPRNG (SEC-02)."""
    while True:
        try:
            return at_moment(now, _parts.pop())
        except IndexError:  # made by the hundred: one at a time they were 3 % of an accepted request
            raw = os.urandom(10 * 400)
            _parts.extend([random_part(raw[i : i + 10]) for i in range(0, len(raw), 10)])


_parts: list[str] = []  # `pop` and `extend` are atomic: no two callers get the same


importing: Instead | None = None
"""What takes the calls of an application that a child is importing: nothing should be enqueued by that."""

_all: weakref.WeakSet[Counter] = weakref.WeakSet()


def counters() -> list[Counter]:
    """Those of every application in this process."""
    return list(_all)


def _after_fork() -> None:
    _parts.clear()  # or parent and child would give the same ids
    for counter in list(_all):
        counter.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
