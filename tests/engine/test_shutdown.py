"""How a worker ends: in order, then at once; nothing is lost and no attempt is spent."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

import pytest

from offpath.core.policy import Policy
from offpath.engine.clock import clock
from offpath.engine.leases import Keeper, Listener
from offpath.engine.pump import Pump
from offpath.engine.worker import Worker
from offpath.ports import Want
from offpath.tasks import AttemptInfo, Context

from .kit import App, ahead, first, soon, until


def start(app: App) -> tuple[Worker, "asyncio.Future[None]"]:
    worker = Worker(app.store, app.transport, app.registry, app.settings)
    return worker, asyncio.ensure_future(worker.run())


def rows(app: App) -> list[tuple[int, int, int]]:
    """(state, attempt, crashes) of the live jobs."""
    return app.sql("select state, attempt, crashes from offpath_job order by rowid")


async def test_what_runs_may_finish_what_waits_is_given_back_at_once(
    make: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offpath.engine.intake.QUICK", 60.0)  # the quick ones are quick on any machine
    monkeypatch.setattr("offpath.engine.intake.Intake.stagnant", lambda self: [])  # nothing goes back by itself
    app = make(concurrency=2)
    started, gate = asyncio.Semaphore(0), asyncio.Event()

    @app.task
    async def work(n: int) -> None:
        nonlocal done
        if not held and ahead(worker) > 10:
            held.append(n)
        if held:
            started.release()
            await gate.wait()
        done += 1

    done, held = 0, list[int]()
    # Quick ones first, so that the worker claims more at a time than it has slots.
    await work.enqueue_many([work.call(n=n) for n in range(500)])
    worker, running = start(app)
    for _ in range(2):
        await first(started.acquire(), running)

    def claimed() -> int:
        return int(app.sql("select count(*) from offpath_job where state = 3")[0][0])

    assert claimed() > 2
    worker.stop()
    await until(lambda: claimed() == 2)
    assert not running.done()
    gate.set()
    await soon(running)
    assert rows(app) == [(2, 1, 0)] * (500 - done)
    assert app.sql("select count(*) from offpath_history") == [(done,)]
    assert app.sql("select count(*) from offpath_worker") == [(0,)]


async def test_what_does_not_finish_in_time_is_interrupted_and_loses_no_attempt(make: Callable[..., App]) -> None:
    app = make(drain=0.05, cancel_grace=0.5)
    started = asyncio.Semaphore(0)
    tidied: list[str] = []
    free = threading.Event()

    @app.task
    async def soft() -> None:
        started.release()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied.append("soft")

    @app.task
    def polite(ctx: Context) -> str:
        loop.call_soon_threadsafe(started.release)
        while not ctx.canceled:
            free.wait(0.005)
        return "half done"

    @app.task
    def deaf() -> None:
        loop.call_soon_threadsafe(started.release)
        free.wait(100)

    loop = asyncio.get_running_loop()
    for task in (soft, polite, deaf):
        await task.enqueue()
    worker, running = start(app)
    for _ in range(3):
        await soon(started.acquire())
    worker.stop()
    await soon(running)
    free.set()
    assert tidied == ["soft"]
    assert rows(app) == [(2, 1, 0)] * 3


async def test_told_twice_it_ends_at_once(make: Callable[..., App]) -> None:
    app = make(drain=600, cancel_grace=600)
    started = asyncio.Event()

    @app.task
    async def stubborn() -> None:
        started.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if over.is_set():
                    return

    over = asyncio.Event()
    await stubborn.enqueue()
    worker, running = start(app)
    await first(started.wait(), running)
    worker.stop()
    worker.stop()
    await soon(running)
    assert rows(app) == [(2, 1, 0)]
    over.set()
    for task in asyncio.all_tasks():
        if task.get_name().startswith("offpath-async"):
            task.cancel()


async def test_an_at_most_once_job_that_had_begun_is_not_given_back(make: Callable[..., App]) -> None:
    app = make(drain=0)
    started = asyncio.Event()

    @app.task(delivery="at_most_once")
    async def pay() -> None:
        started.set()
        await asyncio.Event().wait()

    job = await pay.enqueue()
    worker, running = start(app)
    await first(started.wait(), running)
    worker.stop()
    await soon(running)
    assert (await job.info()).state == "failed"
    assert '"lost"' in (await app.ended(job)).error


async def test_an_at_most_once_job_whose_function_was_not_called_yet_is_given_back(make: Callable[..., App]) -> None:
    """Stopped while a hook that goes before it was still running."""
    app = make(drain=0)
    before, ran = asyncio.Event(), []

    @app.task(delivery="at_most_once")
    async def pay() -> None:
        ran.append(1)

    async def wait(info: AttemptInfo) -> None:
        before.set()
        await asyncio.Event().wait()

    pay.hook("before")(wait)
    job = await pay.enqueue()
    worker, running = start(app)
    await first(before.wait(), running)
    worker.stop()
    await soon(running)
    assert (await job.info()).state == "ready"
    assert ran == []


async def test_an_at_most_once_job_whose_function_may_still_be_called_is_not_given_back(
    make: Callable[..., App],
) -> None:
    """The hook before it does not stop: the attempt is given up, and nobody knows what it will do."""
    app = make(drain=0, cancel_grace=0.05)
    before, go = asyncio.Event(), asyncio.Event()

    @app.task(delivery="at_most_once")
    async def pay() -> None: ...

    async def stubborn(info: AttemptInfo) -> None:
        before.set()
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()

    pay.hook("before")(stubborn)
    job = await pay.enqueue()
    worker, running = start(app)
    await first(before.wait(), running)
    worker.stop()
    await soon(running)
    go.set()
    assert (await job.info()).state == "failed"


async def test_an_at_most_once_job_that_had_not_begun_is_given_back(app: App) -> None:
    @app.task(delivery="at_most_once")
    async def pay() -> None: ...

    job = await pay.enqueue()
    lease = app.store.lease()
    lease.register("w", 15, "[]", "")
    want = Want((("default", 1),), '["pay@1"]', 10, 10, True)
    (claimed,) = (await app.store.exchange("w", [], want)).claimed
    time = clock(app.store)
    tell = Listener(lambda: None, lambda: None, lambda dead: None)
    keeper = Keeper(app.store, "w", "[]", "", (15, 5), time, tell, lambda: False)
    pump = Pump(
        app.store,
        keeper,
        time,
        [],
        tuple,
        policy=lambda job: Policy(),
        running={},
        held={claimed.id: claimed},
        concurrency=1,
    )
    assert pump.give_back_held() == 1
    pump.ending = True
    await soon(pump.run())
    assert (await job.info()).state == "ready"
    lease.close()


async def test_a_cancelled_worker_gives_back_what_it_holds(app: App) -> None:
    started = asyncio.Event()

    @app.task
    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    await work.enqueue()
    _, running = start(app)
    await first(started.wait(), running)
    running.cancel()
    await soon(asyncio.wait({running}))
    assert running.cancelled()
    assert rows(app) == [(2, 1, 0)]
    assert app.sql("select count(*) from offpath_worker") == [(0,)]


async def test_stopped_before_it_began_it_does_not_begin(app: App) -> None:
    worker = Worker(app.store, app.transport, app.registry, app.settings)
    worker.stop()
    await soon(worker.run())


async def test_a_worker_leaves_no_thread_and_no_file_behind(app: App) -> None:
    import os

    @app.task
    def work() -> None: ...

    @app.task
    async def soft() -> None: ...

    await app.run_until_empty()  # whatever is opened once is open now
    await app.store.read(app.store.verbs.next_due())
    before = (threading.active_count(), len(os.listdir("/proc/self/fd")))
    for _ in range(3):
        await work.enqueue_many([work.call() for _ in range(20)])
        await soft.enqueue()
        await app.run_until_empty()
    await until(lambda: threading.active_count() <= before[0])
    assert len(os.listdir("/proc/self/fd")) <= before[1]
