"""Progress: the latest wins, ten lines a second are enough, the last one is never lost."""

import asyncio
import json
import threading
import time
from typing import Any

from offpath.engine.children.lines import Lines
from offpath.engine.clock import Clock
from offpath.engine.progress import Reporter
from offpath.tasks import Context
from tests.core.values import a_job

from .kit import App


async def lines(app: App, job: Any) -> list[dict[str, Any]]:
    events = await app.store.read(app.store.verbs.events(job.id, 0, 1000))
    return [json.loads(event.data) for event in events if event.type == "progress"]


async def test_a_thousand_lines_become_few_and_the_last_is_among_them(app: App) -> None:
    @app.task
    async def count(ctx: Context) -> float:
        began = time.monotonic()
        for n in range(1000):
            assert await ctx.progress(n + 1, of=1000, unit="rows")
        return time.monotonic() - began

    async with app.worker():
        job = await app.watched(count)
        took = await job.result(60)
    said = await lines(app, job)
    assert 1 <= len(said) <= 2 + 10 * took
    assert said[-1] == {"current": 1000, "total": 1000, "unit": "rows", "percent": 99}
    assert (await app.events(job))[-2:] == ["progress", "succeeded"]


async def test_from_a_thread_too(app: App) -> None:
    @app.task
    def count(ctx: Context) -> None:
        assert ctx.progress(1, of=3).result(60)
        assert ctx.progress(2).result(60)
        assert ctx.progress(3, message="done").result(60)

    async with app.worker():
        job = await app.watched(count)
        await job.result(60)
    said = await lines(app, job)
    assert said[0]["current"] == 1
    assert said[-1] == {"current": 3, "total": 3, "message": "done", "percent": 99}


async def test_of_a_job_that_nobody_watches_nothing_is_written(app: App) -> None:
    @app.task
    async def count(ctx: Context) -> bool:
        return await ctx.progress(1)

    async with app.worker():
        job = await count.enqueue()
        assert await job.result(60) is True
    assert app.sql("select count(*) from offpath_event") == [(0,)]


async def test_whose_job_has_been_taken_is_told_and_writes_nothing(app: App) -> None:
    taken, said = threading.Event(), []

    @app.task
    def work(ctx: Context) -> None:
        if ctx.fence > 1:
            return
        app.sql("update offpath_job set fence = fence + 1")
        said.append(ctx.progress(1).result(60))
        taken.set()

    async with app.worker():
        job = await app.watched(work)
        assert await asyncio.to_thread(taken.wait, 60)
    assert said == [False]
    assert await lines(app, job) == []


async def test_a_line_on_its_way_is_waited_for_before_the_job_is_settled(app: App) -> None:
    """Two connections keep no order between them: settled first, the job's end would refuse its last line."""
    begun, go = asyncio.Event(), asyncio.Event()
    order: list[str] = []

    class Slow:
        verbs = app.store.verbs

        async def perform(self, verb: Any) -> bool:
            begun.set()
            await go.wait()
            order.append("written")
            return True

    store: Any = Slow()
    clock = Clock(app.store.now, time.monotonic, time.monotonic, lambda: 0.5)
    reporter = Reporter(store, "w", a_job(watched=True), asyncio.get_running_loop(), clock, lambda: None)
    reporter('{"current":1}')
    await asyncio.wait_for(begun.wait(), 60)

    async def close() -> None:
        await reporter.close()
        order.append("settled")

    closing = asyncio.create_task(close())
    for _ in range(10):
        await asyncio.sleep(0)
    go.set()
    await asyncio.wait_for(closing, 60)
    assert order == ["written", "settled"]


def test_a_line_that_a_process_has_just_taken_up_is_sent_before_the_attempt_ends() -> None:
    sent: list[Any] = []
    taken, go, ended = threading.Event(), threading.Event(), threading.Event()
    here = threading.current_thread()

    def send(message: Any) -> None:
        if threading.current_thread() is not here:  # the timer's, for the line that has waited
            taken.set()
            assert go.wait(60)
        sent.append(message["line"])

    lines = Lines(send)
    lines.begin("attempt")
    lines("1")
    lines("2")
    assert taken.wait(60)

    def end() -> None:
        lines.end()
        sent.append("end")
        ended.set()

    ending = threading.Thread(target=end)
    ending.start()
    assert not ended.wait(0.1)
    go.set()
    ending.join(60)
    assert sent == ["1", "2", "end"]
