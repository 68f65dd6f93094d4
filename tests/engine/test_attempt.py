"""What an attempt may do, and what becomes of its job."""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from offpath.core import lifecycle
from offpath.core.retry import Backoff, Retry
from offpath.engine.inject import Recipes
from offpath.engine.plans import Plans
from offpath.errors import Cancel, JobFailed, Problem, Snooze
from offpath.tasks import AttemptInfo, Context

from .kit import App, soon, until

AT_ONCE = Retry(max_attempts=3, backoff=Backoff.fixed(0))
ONCE = Retry(max_attempts=1)


async def error_of(app: App, job: Any) -> dict[str, Any]:
    ended = await app.ended(job)
    error: dict[str, Any] = json.loads(ended.error)
    return error


async def test_a_failing_job_is_tried_as_often_as_it_may_and_then_failed(app: App) -> None:
    attempts = []

    @app.task(retry=AT_ONCE)
    async def fails(ctx: Context) -> None:
        attempts.append((ctx.attempt, ctx.fence))
        raise ValueError("always")

    job = await fails.enqueue()
    async with app.worker():
        error = await error_of(app, job)
    assert [attempt for attempt, _ in attempts] == [1, 2, 3]
    assert attempts[0][1] < attempts[1][1] < attempts[2][1]
    assert (error["class"], error["detail"]) == ("ValueError", "always")


async def test_backoff_is_waited_for_and_then_nothing_else_is(make: Callable[..., App]) -> None:
    app = make(poll=3600)
    at: list[int] = []

    @app.task(retry=Retry(max_attempts=2, backoff=Backoff.fixed(0.3)))
    async def fails() -> None:
        at.append(app.store.now())
        raise ValueError

    job = await fails.enqueue()
    async with app.worker():
        await app.ended(job)
    assert at[1] - at[0] >= 300_000  # and long before the poll


async def test_give_up_on_ends_a_job_at_once(app: App) -> None:
    @app.task(retry=Retry(give_up_on=(Problem,)))
    async def refused() -> None:
        raise Problem(title="Card refused", status=402)

    job = await refused.enqueue()
    async with app.worker():
        ended = await app.ended(job)
    assert ended.attempt == 1
    assert json.loads(ended.error)["public"] is True


async def test_snooze_comes_again_without_spending_an_attempt(app: App) -> None:
    attempts = []

    @app.task
    async def later(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) < 4:
            raise Snooze(timedelta(0))
        return "done"

    job = await later.enqueue()
    async with app.worker():
        assert await job.result(60) == "done"
    assert attempts == [1, 1, 1, 1]


async def test_cancel_raised_by_the_task_ends_it_with_that_reason(app: App) -> None:
    @app.task
    def stop() -> None:
        raise Cancel("customer left")

    job = await stop.enqueue()
    async with app.worker():
        ended = await app.ended(job)
    assert ended.state.name == "CANCELED"
    assert json.loads(ended.error)["reason"] == "customer left"


async def test_a_result_that_cannot_be_stored_fails_the_job_with_that_reason(app: App) -> None:
    @app.task
    async def odd() -> Any:
        return threading.Lock()

    @app.task
    def nul() -> Any:
        return float("nan")

    jobs = [await odd.enqueue(), await nul.enqueue()]
    async with app.worker():
        for job in jobs:
            assert (await error_of(app, job))["kind"] == "result"
            assert (await app.ended(job)).attempt == 1


async def test_a_result_nobody_wants_is_not_kept_nor_encoded(app: App) -> None:
    @app.task(keep_result=False)
    async def odd() -> object:
        return threading.Lock()

    job = await odd.enqueue()
    async with app.worker():
        assert (await app.ended(job)).result is None


async def test_whatever_is_raised_no_slot_dies_of_it(make: Callable[..., App]) -> None:
    app = make(concurrency=1, threads=1)

    class Bomb(BaseException):
        def __str__(self) -> str:
            raise MemoryError

    kinds: dict[str, type[BaseException]] = {
        "exit": SystemExit,
        "interrupt": KeyboardInterrupt,
        "generator": GeneratorExit,
        "stop": StopIteration,
        "stop async": StopAsyncIteration,
        "canceled": asyncio.CancelledError,
        "bomb": Bomb,
    }

    @app.task(retry=ONCE)
    async def soft(kind: str) -> None:
        raise kinds[kind]

    @app.task(retry=ONCE)
    def hard(kind: str) -> None:
        raise kinds[kind]

    @app.task
    async def well() -> str:
        return "well"

    @app.task
    def well_too() -> str:
        return "well"

    jobs = [await task.enqueue(kind=kind) for task in (soft, hard) for kind in kinds]
    async with app.worker():
        for job in jobs:
            assert (await app.ended(job)).state.name == "FAILED"
        assert await (await well.enqueue()).result(60) == "well"
        assert await (await well_too.enqueue()).result(60) == "well"


async def test_a_handler_that_cancels_its_own_task_harms_no_later_job(make: Callable[..., App]) -> None:
    app = make(concurrency=1)

    @app.task
    async def selfish() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "returned all the same"

    @app.task(retry=ONCE)
    async def after() -> str:
        await asyncio.sleep(0)
        return "well"

    # Many quick ones first, so that the next jobs are already waiting in the worker when it returns.
    await after.enqueue_many([after.call() for _ in range(300)])
    jobs = [await selfish.enqueue(), await after.enqueue(), await after.enqueue()]
    async with app.worker() as worker:
        assert worker.abandoned == 0
        assert [await job.result(60) for job in jobs] == ["returned all the same", "well", "well"]


@pytest.mark.parametrize("who", ["the handler", "a timer", "a hook"])
async def test_who_cancels_the_task_before_its_hooks_end_costs_no_slot(make: Callable[..., App], who: str) -> None:
    app, told, loop = make(concurrency=1, poll=3600.0), list[str](), asyncio.get_running_loop()

    @app.task
    async def selfish() -> None:
        task = asyncio.current_task()
        assert task is not None
        if who == "the handler":
            task.cancel()
        elif who == "a timer":
            loop.call_soon(loop.call_soon, task.cancel)

    @selfish.hook("after")
    async def after(info: AttemptInfo) -> None:
        if who == "a hook":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        told.append(info.job)

    jobs = [await selfish.enqueue() for _ in range(3)]
    async with app.worker():
        for job in jobs:
            assert (await app.ended(job)).state.name == "SUCCEEDED"
        if who == "the handler":
            await until(lambda: told == [job.id for job in jobs])


async def test_timeouts_and_task_groups_inside_a_handler_work_as_anywhere(app: App) -> None:
    @app.task
    async def inner() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            pass
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.Event().wait())
                raise ValueError("mine")
        except* ValueError:
            pass
        return "well"

    async with app.worker():
        assert await (await inner.enqueue()).result(60) == "well"


async def test_anyio_works_inside_a_handler(app: App) -> None:
    @app.task
    async def structured() -> list[str]:
        seen: list[str] = []

        async def child(name: str) -> None:
            await anyio.lowlevel.checkpoint()
            seen.append(name)

        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        async with anyio.create_task_group() as group:
            group.start_soon(child, "a")
            group.start_soon(child, "b")
        seen.append(await anyio.to_thread.run_sync(lambda: "thread"))
        return seen

    async with app.worker():
        jobs = await structured.enqueue_many([structured.call() for _ in range(20)])
        for job in jobs:
            assert await job.result(60) == ["a", "b", "thread"]


# -- time -------------------------------------------------------------------------------------------------------------


async def test_an_attempt_that_runs_too_long_is_cancelled_and_fails(app: App) -> None:
    cleaned = []

    @app.task(timeout=0.05, retry=ONCE)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(1)

    job = await slow.enqueue()
    async with app.worker():
        error = await error_of(app, job)
    assert error["kind"] == "timeout"
    assert error["abandoned"] is False
    assert cleaned == [1]


async def test_no_timeout_must_be_asked_for_and_is_then_none(app: App) -> None:
    @app.task(timeout=None)
    async def any_time() -> str:
        return "well"

    @app.task
    async def usual() -> None: ...

    plans = Plans(app.registry, Recipes(app.registry))
    for task, limit in ((any_time, float("inf")), (usual, 300.0)):
        (new,) = app.new([task.call().core])
        plan = plans.of(new.job)
        assert plan is not None
        assert plan.timeout == limit
    async with app.worker():
        assert await (await any_time.enqueue()).result(60) == "well"


async def test_a_coroutine_that_swallows_its_cancellation_is_abandoned_and_its_slot_replaced(
    make: Callable[..., App],
) -> None:
    app = make(concurrency=1, cancel_grace=0.1)
    free = asyncio.Event()
    over = asyncio.Event()

    @app.task(timeout=0.05, retry=ONCE)
    async def stubborn() -> str:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        over.set()
        return "too late"

    @app.task
    async def next_one() -> str:
        return "well"

    job = await stubborn.enqueue()
    async with app.worker():
        error = await error_of(app, job)
        assert error["kind"] == "timeout"
        assert error["abandoned"] is True
        assert await (await next_one.enqueue()).result(60) == "well"
        free.set()
        await soon(over.wait())
        assert await (await next_one.enqueue()).result(60) == "well"
    assert (await app.ended(job)).result is None


async def test_a_coroutine_that_misses_one_cancellation_is_cancelled_again(app: App) -> None:
    """`asyncio.wait_for` of Python 3.11 can lose one, in a race."""

    @app.task(timeout=0.05, retry=ONCE)
    async def misses() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    job = await misses.enqueue()
    async with app.worker():
        error = await error_of(app, job)
    assert error["kind"] == "timeout"
    assert error["abandoned"] is False


async def test_a_coroutine_that_swallows_it_and_returns_has_not_succeeded(app: App) -> None:
    @app.task(timeout=0.05, retry=ONCE)
    async def gives_in() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "half done"
        return "never"

    job = await gives_in.enqueue()
    async with app.worker():
        assert (await error_of(app, job))["kind"] == "timeout"


async def test_a_function_that_looks_at_canceled_ends_when_its_time_is_up(make: Callable[..., App]) -> None:
    app = make(threads=1)

    @app.task(timeout=0.05, retry=ONCE)
    def patient(ctx: Context) -> str:
        while not ctx.canceled:
            threading.Event().wait(0.005)
        return "half done"

    job = await patient.enqueue()
    async with app.worker():
        error = await error_of(app, job)
    assert error["kind"] == "timeout"
    assert error["abandoned"] is False


async def test_a_function_that_is_a_little_late_and_knows_nothing_of_it_has_succeeded(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(timeout=0.05)
    def late() -> str:
        threading.Event().wait(0.3)
        return "done"

    async with app.worker():
        assert await (await late.enqueue()).result(60) == "done"
    [said] = [record.getMessage() for record in caplog.records if "attempt." in record.getMessage()]
    assert said.startswith("attempt.overran")


async def test_a_loop_that_ends_says_of_no_thread_that_it_has_ended(
    make: Callable[..., App], caplog: pytest.LogCaptureFixture
) -> None:
    app = make(threads=1, cancel_grace=0.1)
    free, over = threading.Event(), threading.Event()

    @app.task(timeout=0.05, retry=ONCE)
    def stuck() -> None:
        free.wait(100)
        over.set()

    job = await stuck.enqueue()
    try:
        async with app.worker() as worker:
            assert (await error_of(app, job))["abandoned"] is True
            assert worker._crew is not None
            [slot] = next(lane for lane in worker._crew.lanes if lane.kind == "thread").abandoned
            assert slot.handle is not None
            slot.handle.cancel()  # as `asyncio.run` does at its end
            await asyncio.wait([slot.handle], timeout=60)
            assert slot.handle.done()
        assert not over.is_set()
        assert "attempt.ended_late" not in caplog.text
    finally:
        free.set()


@pytest.mark.parametrize("swallows", [False, True])
async def test_hooks_and_the_log_are_told_of_a_timeout_and_not_of_the_cancellation(
    app: App, swallows: bool, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[BaseException | None] = []

    @app.task(timeout=0.05, retry=ONCE)
    async def slow() -> None:
        with contextlib.suppress(asyncio.CancelledError if swallows else ()):
            await asyncio.Event().wait()

    slow.hook("exhausted")(lambda info: heard.append(info.error))
    job = await slow.enqueue()
    async with app.worker():
        assert (await error_of(app, job))["kind"] == "timeout"
    [error] = heard
    assert isinstance(error, TimeoutError)
    assert str(error) == "the attempt ran longer than 0.05 s"
    [said] = [record.getMessage() for record in caplog.records if "attempt.exhausted" in record.getMessage()]
    assert "TimeoutError: the attempt ran longer than 0.05 s" in said


async def test_a_thread_that_never_returns_is_abandoned_fenced_and_replaced(make: Callable[..., App]) -> None:
    app = make(threads=1, cancel_grace=0.1)
    free = threading.Event()

    @app.task(timeout=0.05, retry=Retry(max_attempts=100, backoff=Backoff.fixed(0)))
    def stuck(ctx: Context) -> str:
        if ctx.attempt == 1:
            free.wait(100)
            ctx.progress(1)
            return "too late"
        return f"attempt {ctx.attempt}"

    job = await stuck.enqueue()
    try:
        async with app.worker():
            # On a machine that is held up the second may run out of time before it has begun.
            assert re.fullmatch(r"attempt \d+", await job.result(60))
    finally:
        free.set()


async def test_the_deadline_bounds_the_time_of_an_attempt_too(app: App) -> None:
    @app.task
    async def slow() -> None:
        await asyncio.Event().wait()

    job = await slow.using(deadline=0.3).enqueue()
    async with app.worker():
        error = await error_of(app, job)
    assert error["kind"] == "deadline"


# -- cancel -----------------------------------------------------------------------------------------------------------


async def test_a_running_coroutine_is_cancelled_within_moments(make: Callable[..., App]) -> None:
    app = make(poll=3600, lease=3600)
    started = asyncio.Event()

    @app.task
    async def long() -> None:
        started.set()
        await asyncio.Event().wait()

    async with app.worker():
        job = await app.watched(long)
        await soon(started.wait())
        await job.cancel("changed my mind")
        assert (await app.ended(job)).state.name == "CANCELED"  # within a minute, and no poll or renewal helped
    assert await app.events(job) == ["queued", "started", "canceling", "canceled"]


async def test_a_running_function_is_told_through_its_context(make: Callable[..., App]) -> None:
    app = make()
    started = threading.Event()

    @app.task
    def long(ctx: Context) -> str:
        started.set()
        while not ctx.canceled:
            threading.Event().wait(0.005)
        return "stopped"

    async with app.worker():
        job = await long.enqueue()
        await asyncio.to_thread(started.wait, 60)
        await job.cancel()
        assert (await app.ended(job)).state.name == "CANCELED"


async def test_a_job_that_waits_in_the_worker_is_cancelled_without_starting(make: Callable[..., App]) -> None:
    app = make(concurrency=1)
    gate, ran = asyncio.Event(), []

    @app.task
    async def work(n: int) -> None:
        ran.append(n)
        await gate.wait()

    async with app.worker() as worker:
        crew_full = await work.enqueue_many([work.call(n=n) for n in range(1)])
        await until(lambda: ran)
        second = await work.enqueue(n=1)
        await second.cancel()
        gate.set()
        assert (await app.ended(second)).state.name == "CANCELED"
        assert (await app.ended(crew_full[0])).state.name == "SUCCEEDED"
        assert worker.ready.is_set()
    assert ran == [0]


async def test_cancel_wins_over_a_result_that_is_already_on_its_way(app: App) -> None:
    """The store answers "changed", and the outcome is decided again."""

    @app.task
    async def quick(ctx: Context) -> str:
        # Asked in the same moment: the handler itself asks, waits until that is written, and returns at once.
        await app.stop(ctx.job, "changed my mind")
        return "done"

    async with app.worker():
        ended = await app.ended(await quick.enqueue())
    assert ended.state.name == "CANCELED"
    assert json.loads(ended.error)["reason"] == "changed my mind"


async def test_failures_show_their_error_to_whoever_waits(app: App) -> None:
    @app.task(retry=ONCE)
    async def fails() -> None:
        raise ValueError("no")

    async with app.worker():
        with pytest.raises(JobFailed) as failure:
            await (await fails.enqueue()).result(60)
    assert failure.value.error["class"] == "ValueError"


# -- what nobody has foreseen -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["of", "settle"])
async def test_a_bug_in_the_worker_costs_an_attempt_and_no_slot(
    make: Callable[..., App], where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = make(concurrency=1)

    @app.task(retry=ONCE)
    async def hello(n: int) -> int:
        return n

    whose: Any = Plans if where == "of" else lifecycle
    real = getattr(whose, where)
    met: list[str] = []

    def broken(*given: Any) -> Any:
        job = given[1] if where == "of" else given[0]
        if json.loads(job.args) == {"n": 1} and not met:
            met.append(job.id)
            raise ZeroDivisionError("a bug")
        return real(*given)

    monkeypatch.setattr(whose, where, broken)
    jobs = await hello.enqueue_many([hello.call(n=n) for n in (1, 2)])
    await app.run_until_empty()
    assert met == [jobs[0].id]
    assert (await app.ended(jobs[0])).state.name == "FAILED"
    assert await jobs[1].result(60) == 2
    [said] = [record.getMessage() for record in caplog.records if "attempt.broken" in record.getMessage()]
    assert jobs[0].id in said
    assert "a bug" in said
