"""`crash_everywhere`: your scenario, once for every point at which its worker may die."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

from ..app import Offpath
from ..engine.worker import Worker
from .drain import drain, drained, isolated
from .mortal import Death, MortalStore, mortal

MOST = 1_000  # runs: by then it is clear that there is a new point each time


class Crash:
    """One run of the scenario. `point`: where its worker has died, "" while (or if) it has not."""

    def __init__(self, jobs: Offpath, past: set[str]) -> None:
        self._jobs = jobs
        self._death = Death(past)
        self._drained = False

    @property
    def point(self) -> str:
        return self._death.point

    def __str__(self) -> str:
        return f"the worker died here: {self.point}" if self.point else "no worker died"

    async def drain(self, *, timeout: float = 30.0) -> dict[str, int]:
        """Run everything that is ready: with a worker that dies at the next point where none has died yet, and from
        then on with another, as after a kill -9. Gives how many jobs are in each state. AssertionError after `timeout`
        seconds, each of them."""
        self._drained = True
        try:
            if not self._death.point:
                await self._until_death(timeout)
            return await drain(self._jobs, timeout=timeout)
        except BaseException as error:
            error.add_note(str(self))
            raise

    def drain_sync(self, *, timeout: float = 30.0) -> dict[str, int]:
        """The same, blocking, on a loop of its own."""
        return asyncio.run(self.drain(timeout=timeout))

    async def _until_death(self, timeout: float) -> None:
        jobs, death = self._jobs, self._death
        registry = copy.copy(jobs.registry)
        around, tasks = registry.around, {task.fn: name for name in registry.names() if (task := registry.get(name))}
        registry.around = lambda fn: mortal(around(fn), tasks.get(fn, "a task"), death)
        store: Any = MortalStore(jobs.store, death)
        # One job at a time: the points come in an order that means something.
        worker = Worker(store, jobs.transport, registry, replace(jobs.settings, concurrency=1), until_empty=True)
        death.then = worker.stop
        with death.listening():
            await drained(jobs, worker, timeout)
        if death.point:
            await self._verdict(death.worker)

    async def _verdict(self, worker: str) -> None:
        """What others do about a worker that is dead: it is written on its row, and its jobs are taken from it."""
        store = self._jobs.store
        lease = store.lease()
        try:
            await asyncio.to_thread(lease.resign, worker)
        finally:
            lease.close()
        while await store.perform(functools.partial(store.verbs.expire, worker, 500)):
            pass


class crash_everywhere:
    """Run the body of a loop again and again; each time the worker dies at the next point, and another goes on:

        async for crash in crash_everywhere(jobs):
            shop = Shop()                           # your world, anew
            await place_order.enqueue(order=1)
            await crash.drain()                     # instead of drain(jobs)
            assert shop.charged == [1]              # whenever the worker died

    (`for`, with `crash.drain_sync()`, in a plain test.) Each run has a new, empty database, see `isolated`. The last is
    one in which no worker died, since no point was left.

    The points: before anything is claimed; each job claimed and not begun; before each `ctx.step`, when it is done, and
    when it is remembered; each `ctx.progress` and `ctx.events.emit`; before and after each commit of a SQLAlchemy
    session in a task, and of the job's own transaction of any kind; a task has ended and is not settled; it is settled
    and its worker does not know. A death leaves no word: what the attempt says is refused, the lease is lost, and the
    job delivered again.

    What is not like a kill -9: the process lives, so that your variables keep what the dead attempt put there; the
    exception that unwinds it (a BaseException) runs `finally` blocks and leaves `with` blocks in order, where a kill
    would run nothing and let the database roll back; and one worker dies per run, with one job at a time. For the whole
    truth kill a worker process.
    """

    def __init__(self, jobs: Offpath) -> None:
        self._jobs = jobs
        self._past: set[str] = set()
        self._stack = contextlib.ExitStack()
        self._runs = 0
        self.crash: Crash | None = None

    def _next(self) -> Crash | None:
        before = self.crash
        self.close()
        if before is not None:
            if not before._drained:
                raise AssertionError("nothing was run: call `await crash.drain()` inside the loop")
            if not before.point:
                return None
        self._runs += 1
        if self._runs > MOST:
            raise AssertionError(f"{MOST} runs, and still the worker dies at a new point: {before}")
        self._stack.enter_context(isolated(self._jobs))
        _running.append(self)
        self.crash = Crash(self._jobs, self._past)
        return self.crash

    def close(self) -> None:
        """Put the jobs back where they were. The loop does it at its end, and the pytest plugin after a failure."""
        self.crash = None
        self._stack.close()
        with contextlib.suppress(ValueError):
            _running.remove(self)

    def __iter__(self) -> Iterator[Crash]:
        while (crash := self._next()) is not None:
            yield crash

    async def __aiter__(self) -> AsyncIterator[Crash]:
        while (crash := self._next()) is not None:
            yield crash


_running: list[crash_everywhere] = []


def interrupted() -> list[str]:
    """For the pytest plugin, after a failure: which runs were under way. They are over now."""
    told = [str(run.crash) for run in _running]
    for run in tuple(_running):
        run.close()
    return told


def crash_at_every_step(jobs: Offpath) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The same as a decorator: the test is called with `crash=` for every point, its fixtures are made once. What it
    raises names the point.

        @crash_at_every_step(jobs)
        async def test_an_order_is_charged_once(crash):
            …
    """

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        @contextlib.contextmanager
        def naming(runs: crash_everywhere, crash: Crash) -> Iterator[None]:
            try:
                yield
            except BaseException as error:
                if str(crash) not in getattr(error, "__notes__", ()):
                    error.add_note(str(crash))
                runs.close()
                raise

        run: Any
        if inspect.iscoroutinefunction(test):

            async def awaited(*args: Any, **kwargs: Any) -> None:
                runs = crash_everywhere(jobs)
                async for crash in runs:
                    with naming(runs, crash):
                        await test(*args, crash=crash, **kwargs)

            run = awaited
        else:

            def plain(*args: Any, **kwargs: Any) -> None:
                runs = crash_everywhere(jobs)
                for crash in runs:
                    with naming(runs, crash):
                        test(*args, crash=crash, **kwargs)

            run = plain
        functools.update_wrapper(run, test)
        signature = inspect.signature(test)
        if "crash" not in signature.parameters:
            raise TypeError(f"{test.__qualname__} needs a parameter `crash`")
        rest = [parameter for name, parameter in signature.parameters.items() if name != "crash"]
        run.__signature__ = signature.replace(parameters=rest)  # where pytest looks for fixtures
        return run  # type: ignore[no-any-return]

    return decorate
