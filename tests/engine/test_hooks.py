"""Hooks watch attempts and decide nothing."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from offpath.core.outcome import Done, Errored
from offpath.core.retry import Backoff, Retry
from offpath.tasks import AttemptInfo, Context

from .kit import App


async def test_hooks_of_the_task_and_of_the_application_hear_of_every_attempt(app: App) -> None:
    heard: list[tuple[str, str, int]] = []

    @app.task(retry=Retry(max_attempts=2, backoff=Backoff.fixed(0)))
    async def fails() -> None:
        raise ValueError("no")

    def listen(where: str, hooks: dict[str, list[Any]]) -> None:
        for kind in hooks:
            hooks[kind].append(lambda info, kind=kind: heard.append((where, kind, info.attempt)))

    listen("task", fails.hooks)
    listen("app", app.registry.hooks)
    job = await fails.enqueue()
    async with app.worker():
        await app.ended(job)
    first = [(where, kind, 1) for kind in ("before", "after", "failure") for where in ("task", "app")]
    second = [(where, kind, 2) for kind in ("before", "after", "failure", "exhausted") for where in ("task", "app")]
    # They are told what has been written, so the next attempt may begin beside them.
    assert [told for told in heard if told[2] == 1] == first
    assert [told for told in heard if told[2] == 2] == second


async def test_a_hook_is_told_everything_about_the_attempt(app: App) -> None:
    told: list[AttemptInfo] = []

    @app.task(queue="mail", retry=Retry(max_attempts=1))
    def work(fail: bool) -> str:
        if fail:
            raise ValueError("no")
        return "done"

    async def tell(info: AttemptInfo) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(info)

    work.hook("after")(tell)
    async with app.worker():
        done = await work.using(key="k", owner="alice").enqueue(fail=False)
        await app.ended(done)
        failed = await work.enqueue(fail=True)
        await app.ended(failed)
    ok, bad = told
    assert (ok.job, ok.task, ok.queue, ok.attempt, ok.max_attempts, ok.key, ok.owner) == (
        done.id,
        "work",
        "mail",
        1,
        1,
        "k",
        "alice",
    )
    assert ok.outcome == Done('"done"')
    assert ok.duration > 0
    assert isinstance(bad.outcome, Errored)
    assert isinstance(bad.error, ValueError)


async def test_a_failing_hook_is_reported_and_fails_no_job(app: App, caplog: pytest.LogCaptureFixture) -> None:
    @app.task
    async def work() -> str:
        return "done"

    def bad(info: AttemptInfo) -> None:
        raise RuntimeError("hook down")

    async def worse(info: AttemptInfo) -> None:
        raise SystemExit

    work.hook("before")(bad)
    work.hook("after")(worse)

    async with app.worker():
        assert await (await work.enqueue()).result(60) == "done"
        assert await (await work.enqueue()).result(60) == "done"
    said = [record.getMessage() for record in caplog.records if "attempt.hook_failed" in record.getMessage()]
    assert len(said) == 4
    assert "hook down" in said[0]


async def test_a_plain_hook_may_block_without_holding_the_loop(app: App) -> None:
    gate = threading.Event()

    @app.task
    async def work(ctx: Context, n: int) -> int:
        if n:
            gate.set()
        return n

    def slow(info: AttemptInfo) -> None:
        gate.wait(100)

    work.hook("after")(slow)

    async with app.worker():
        jobs = await work.enqueue_many([work.call(n=0), work.call(n=1)])
        assert [await job.result(60) for job in jobs] == [0, 1]
    assert asyncio.get_running_loop().is_running()


@pytest.mark.parametrize("hooked", [True, False])
async def test_what_the_store_refuses_is_told_to_nobody_but_as_stale(
    make: Callable[..., App], caplog: pytest.LogCaptureFixture, hooked: bool
) -> None:
    """A worker that slept: its job has been taken from it, and what its attempt says has happened to nobody."""
    app = make(concurrency=1)
    heard: list[str] = []

    @app.task(retry=Retry(max_attempts=1))
    async def fails() -> None:
        app.sql("update offpath_job set fence = fence + 1 where task = 'fails'")
        raise ValueError("no")

    @app.task
    async def next_one() -> str:
        return "done"

    if hooked:
        for kind in fails.hooks:
            fails.hooks[kind].append(lambda info, kind=kind: heard.append(kind))
    async with app.worker():
        await fails.enqueue()
        assert await (await next_one.enqueue()).result(60) == "done"
    said = [record.getMessage().split()[0] for record in caplog.records if record.name == "offpath.attempt"]
    assert said == ["attempt.stale"]
    assert heard == (["before"] if hooked else [])


async def test_work_does_not_wait_for_a_poll_when_hooks_had_every_slot(make: Callable[..., App]) -> None:
    """The claim that told how the last one ended met a busy slot. (It was 40 times as long.)"""
    app, loop, wait = make(concurrency=1, poll=3600.0), asyncio.get_running_loop(), 0.05

    @app.task
    async def inside() -> None:
        await asyncio.sleep(wait)

    @app.task
    async def behind() -> None: ...

    @behind.hook("after")
    async def after(info: AttemptInfo) -> None:
        await asyncio.sleep(wait)

    took: list[float] = []
    for task in (inside, behind):
        jobs = [await task.enqueue() for _ in range(5)]
        began = loop.time()
        async with app.worker():
            for job in jobs:
                assert (await app.ended(job)).state.name == "SUCCEEDED"
        took.append(loop.time() - began)
    assert took[1] < 8 * took[0]


async def test_a_job_that_was_canceled_meanwhile_is_told_as_canceled(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "offpath")
    heard: list[str] = []

    @app.task(retry=Retry(max_attempts=1))
    async def fails(ctx: Context) -> None:
        await app.stop(ctx.job, "changed my mind")
        raise ValueError("no")

    fails.hook("exhausted")(lambda info: heard.append("exhausted"))
    async with app.worker():
        assert (await app.ended(await fails.enqueue())).state.name == "CANCELED"
    said = [record.getMessage() for record in caplog.records if record.name == "offpath.attempt"]
    assert [line.split()[0] for line in said] == ["attempt.canceled"]
    assert "reason='changed my mind'" in said[0]
    assert heard == []


async def test_a_worker_that_waits_for_nothing_more_does_not_wait_for_a_poll_after_a_hook(
    make: Callable[..., App],
) -> None:
    """The claim that brings the verdict finds the slot busy with the hook; only another one sees that all is done."""
    app = make(poll=3600, lease=600)
    heard: list[str] = []

    @app.task
    async def work() -> None: ...

    async def slow(info: AttemptInfo) -> None:
        await asyncio.sleep(0.3)  # the slow hook itself: until all hints of this job's end are used up
        heard.append(info.job)

    work.hook("after")(slow)
    job = await work.enqueue()
    await app.run_until_empty()
    assert heard == [job.id]


async def test_who_listens_hears_an_attempt_begin(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "offpath")

    @app.task
    async def work() -> None: ...

    job = await work.enqueue()
    await app.run_until_empty()
    said = [record for record in caplog.records if record.name == "offpath.attempt"]
    assert [record.getMessage().split()[0] for record in said] == ["attempt.started", "attempt.succeeded"]
    fields = said[0].offpath  # type: ignore[attr-defined]
    trace = job.id.replace("-", "")  # it began its own
    about = {"job": job.id, "task": "work", "queue": "default", "attempt": 1, "trace": trace}
    assert fields == {"signal": "attempt.started", **about}
