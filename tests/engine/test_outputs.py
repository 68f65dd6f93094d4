"""`ctx.events`: every line arrives, in order, under the fence, and not faster than anyone can read."""

import asyncio
import json
import threading
from typing import Any

import pytest

from offpath import Context
from offpath.core.outputs import MAX_WAITING
from offpath.errors import ArgumentError, StoreUnavailable

from .kit import App


async def lines(app: App, job: Any) -> list[Any]:
    events = await app.store.read(app.store.verbs.events(job.id, 0, 2000))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [json.loads(event.data) for event in events if event.type == "output"]


async def test_every_line_is_written_in_order_before_the_end(app: App) -> None:
    @app.task
    async def render(ctx: Context) -> bool:
        for n in range(250):
            ctx.events.emit("page", {"n": n})
        return await ctx.events.emit("done")

    async with app.worker():
        job = await app.watched(render)
        assert await job.result(10) is True
    assert await lines(app, job) == [
        *({"name": "page", "data": {"n": n}} for n in range(250)),
        {"name": "done", "data": None},
    ]


async def test_what_nobody_waited_for_is_written_before_the_job_is_settled(app: App) -> None:
    @app.task
    def render(ctx: Context) -> None:
        ctx.progress(1)
        for n in range(3):
            ctx.events.emit("page", n)

    async with app.worker():
        job = await app.watched(render)
        await job.result(10)
    assert [line["data"] for line in await lines(app, job)] == [0, 1, 2]
    assert (await app.events(job))[-1] == "succeeded"


async def test_a_failed_attempt_has_told_too(app: App) -> None:
    @app.task
    async def render(ctx: Context) -> None:
        ctx.events.emit("page", 1)
        raise ValueError("no")

    job = await app.watched(render)
    async with app.worker():
        await asyncio.wait_for(told(app, job), 10)
    assert [line["data"] for line in await lines(app, job)][:1] == [1]


async def told(app: App, job: Any) -> None:
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()
    stop = app.listen(lambda hint: loop.call_soon_threadsafe(heard.set))
    try:
        while "retrying" not in await app.events(job):
            await heard.wait()
            heard.clear()
    finally:
        stop()


async def test_of_a_job_that_nobody_watches_nothing_is_written(app: App) -> None:
    @app.task
    async def render(ctx: Context) -> bool:
        return await ctx.events.emit("page", 1)

    async with app.worker():
        assert await (await render.enqueue()).result(10) is True
    assert app.sql("select count(*) from offpath_event") == [(0,)]


async def test_whose_job_has_been_taken_is_told_and_writes_nothing(app: App) -> None:
    taken, said = threading.Event(), []

    @app.task
    def render(ctx: Context) -> None:
        if ctx.fence > 1:
            return
        app.sql("update offpath_job set fence = fence + 1")
        said.append(ctx.events.emit("page", 1).result(10))
        said.append(ctx.events.emit("page", 2).result(10))
        taken.set()

    async with app.worker():
        job = await app.watched(render)
        assert await asyncio.to_thread(taken.wait, 10)
    assert said == [False, False]
    assert await lines(app, job) == []


async def test_what_cannot_be_sent_is_refused_at_once(app: App) -> None:
    said: list[str] = []

    @app.task
    async def render(ctx: Context) -> int:
        for name, data in (("no good", 1), ("page", object()), ("page", "x" * 70_000), ("page", float("nan"))):
            with pytest.raises(ArgumentError) as error:
                ctx.events.emit(name, data)
            said.append(str(error.value))
        for n in range(MAX_WAITING):
            ctx.events.emit("page", n)
        with pytest.raises(ArgumentError, match="await what"):
            ctx.events.emit("page", -1)
        return 1

    async with app.worker():
        job = await app.watched(render)
        assert await job.result(20) == 1
    assert [message.split(":")[0] for message in said] == ["argument 'name'", *["argument 'data'"] * 3]
    assert len(await lines(app, job)) == MAX_WAITING


async def test_a_store_that_does_not_answer_is_asked_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = app.store.perform, [2]

    def shaky(verb: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise StoreUnavailable("restarting")
        return real(verb)

    @app.task
    async def render(ctx: Context) -> bool:
        monkeypatch.setattr(app.store, "perform", shaky)
        return await ctx.events.emit("page", 1)

    async with app.worker():
        job = await app.watched(render)
        assert await job.result(10) is True
    assert failures == [0]
    assert [line["data"] for line in await lines(app, job)] == [1]
