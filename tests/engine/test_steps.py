"""Steps: what is done is not done again, whatever becomes of the attempt."""

import asyncio
import contextlib
import functools
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from offpath import Backoff, Context, JobFailed, Offpath, Retry, Snooze
from offpath.errors import LeaseLost, StepError, StoreUnavailable
from offpath.testing import run_inline

from .kit import App, soon

NOW = Retry(max_attempts=5, backoff=Backoff.fixed(0))


@dataclass
class Receipt:
    order: int
    lines: tuple[str, ...]


calls: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    calls.clear()


async def charge(order: int) -> Receipt:
    calls.append("charge")
    return Receipt(order, ("a", "b"))


def reserve(order: int, *, shelf: str = "A") -> dict[str, int]:
    calls.append("reserve")
    return {shelf: order}


async def mail(to: str) -> None:
    calls.append("mail")


def once_more(ctx: Context) -> None:
    """The first two attempts end here."""
    if ctx.attempt < 3:
        raise ValueError("not yet")


def remembered(app: App) -> list[tuple[Any, ...]]:
    return app.sql("select name, position, version, task, result from offpath_step order by position, name")


async def failed(app: App, job: Any, title: str = "Steps have changed") -> str:
    ended = await app.ended(job)
    error = json.loads(ended.error)
    assert (error["title"], ended.attempt) == (title, ended.attempt)
    return str(error["detail"])


async def test_done_steps_are_not_repeated_and_come_back_typed(app: App) -> None:
    got: list[Any] = []

    @app.task(retry=NOW)
    async def order(ctx: Context, n: int) -> None:
        got.append(
            (
                await ctx.step("charge", charge, n),
                await ctx.step("reserve", reserve, n, shelf="B"),
                await ctx.step("mail", mail, to="a"),
                await ctx.step("roll", lambda: [1, (2.5, "x")]),
            )
        )
        once_more(ctx)

    async with app.worker():
        await (await order.enqueue(7)).result(10)
    assert calls == ["charge", "reserve", "mail"]
    assert got == 3 * [(Receipt(7, ("a", "b")), {"B": 7}, None, [1, [2.5, "x"]])]
    assert remembered(app) == [
        ("charge", 1, 1, 1, '{"order":7,"lines":["a","b"]}'),
        ("reserve", 2, 1, 1, '{"B":7}'),
        ("mail", 3, 1, 1, "null"),
        ("roll", 4, 1, 1, '[1,[2.5,"x"]]'),
    ]


async def test_in_a_plain_function_too(app: App) -> None:
    got: list[Any] = []
    threads: set[str] = set()

    @app.task(retry=NOW)
    def order(ctx: Context, n: int) -> None:
        def here() -> str:
            threads.add(threading.current_thread().name)
            return threading.current_thread().name

        got.append((ctx.step("charge", charge, n).result(), ctx.step("reserve", reserve, n).result()))
        assert ctx.step("here", here).result() in threads
        once_more(ctx)

    async with app.worker():
        await (await order.enqueue(7)).result(10)
    assert calls == ["charge", "reserve"]
    assert got == 3 * [(Receipt(7, ("a", "b")), {"A": 7})]
    assert len(threads) == 1


async def test_what_raises_is_not_remembered(app: App) -> None:
    @app.task(retry=NOW)
    async def order(ctx: Context) -> int:
        async def flaky() -> int:
            calls.append("flaky")
            once_more(ctx)
            return 3

        await ctx.step("reserve", reserve, 1)
        return await ctx.step("flaky", flaky)

    async with app.worker():
        assert await (await order.enqueue()).result(10) == 3
    assert calls == ["reserve", "flaky", "flaky", "flaky"]


async def test_over_a_snooze_they_stay_and_a_job_run_again_has_none(app: App) -> None:
    @app.task
    async def order(ctx: Context) -> None:
        await ctx.step("reserve", reserve, 1)
        if ctx.fence == 1:
            raise Snooze(0)

    async with app.worker():
        job = await order.enqueue()
        await job.result(10)
        assert calls == ["reserve"]
        again = await app.store.perform(app.store.verbs.retry(job.id, "01990a5d-ac96-774b-bcce-b302099a8057"))
        await app.ended(type(job)(app, again.id, job.task))
    assert calls == ["reserve", "reserve"]


async def test_steps_at_the_same_time(app: App) -> None:
    """Those that the task asks for itself keep their order; those of tasks it starts are known by name."""

    @app.task(retry=NOW)
    async def order(ctx: Context) -> list[Any]:
        async def branch(n: int) -> int:
            # Whoever is first differs from attempt to attempt.
            await asyncio.sleep(0.001 * ((n + ctx.attempt) % 3))
            for part in "ab":
                await ctx.step(f"{n}-{part}", reserve, n)
            return n

        both = await asyncio.gather(ctx.step("one", reserve, 1), ctx.step("two", reserve, 2))
        async with asyncio.TaskGroup() as group:
            alone = group.create_task(ctx.step("alone", reserve, 3))
            for n in range(3):
                group.create_task(branch(n))
        last = await ctx.step("last", reserve, 4)
        once_more(ctx)
        return [*both, alone.result(), last]

    async with app.worker():
        assert await (await order.enqueue()).result(10) == [{"A": 1}, {"A": 2}, {"A": 3}, {"A": 4}]
    assert len(calls) == 10
    assert {(name, position) for name, position, *_ in remembered(app)} == {
        ("one", 1), ("two", 2), ("alone", 3), ("last", 4), *((f"{n}-{part}", 0) for n in range(3) for part in "ab"),
    }  # fmt: skip


async def test_steps_of_threads_that_the_task_starts(app: App) -> None:
    @app.task(retry=NOW)
    def order(ctx: Context) -> None:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda n: ctx.step(f"item-{n}", reserve, n).result(), range(9)))
        ctx.step("last", charge, 1).result()
        once_more(ctx)

    async with app.worker():
        await (await order.enqueue()).result(10)
    assert sorted(calls) == ["charge", *["reserve"] * 9]
    assert [row[1] for row in remembered(app)] == [0] * 9 + [1]


# ── replay is checked ────────────────────────────────────────────────────────────────────────────────────────────────


def changing(app: App, before: list[str], after: list[str], **options: Any) -> Any:
    @app.task(retry=NOW, **options)
    async def order(ctx: Context) -> None:
        for name in before if ctx.attempt == 1 else after:
            await ctx.step(name, reserve, 1)
            calls.append(name)
        if ctx.attempt == 1:
            raise ValueError("not yet")

    return order


@pytest.mark.parametrize(
    ("after", "done", "said"),
    [
        (["charge", "post", "mail"], ["charge"], "step 2 was 'reserve' when it was remembered and is 'post' now"),
        (["reserve", "charge", "mail"], [], "step 'reserve' was number 2 when it was remembered and is number 1 now"),
        (["charge", "mail"], ["charge"], "step 'mail' was number 3"),
        (["hello", "charge", "reserve", "mail"], [], "step 1 was 'charge'"),
    ],
)
async def test_another_name_or_order_ends_the_job_before_anything_is_done(
    app: App, after: list[str], done: list[str], said: str
) -> None:
    order = changing(app, ["charge", "reserve", "mail"], after)
    async with app.worker():
        job = await order.enqueue()
        detail = await failed(app, job)
    assert said in detail
    assert "raise the task's version" in detail
    assert calls[6:] == done, "steps that are remembered are given, and nothing is called"
    assert (await app.ended(job)).attempt == 2, "and it is not tried again"


async def test_more_steps_at_the_end_are_no_change(app: App) -> None:
    more = changing(app, ["charge", "reserve"], ["charge", "reserve", "mail"], name="more")
    fewer = changing(app, ["charge", "reserve"], ["charge"], name="fewer")
    async with app.worker():
        await (await more.enqueue()).result(10)
        await (await fewer.enqueue()).result(10)


async def test_who_catches_the_error_does_not_get_round_it(app: App) -> None:
    @app.task(retry=NOW)
    async def order(ctx: Context) -> None:
        with contextlib.suppress(Exception):
            await ctx.step("charge" if ctx.attempt == 1 else "other", reserve, 1)
        if ctx.attempt == 1:
            raise ValueError("not yet")

    async with app.worker():
        job = await order.enqueue()
        assert "step 1 was 'charge'" in await failed(app, job)


async def test_a_new_version_of_a_step_is_done_again(app: App) -> None:
    @app.task(retry=NOW)
    async def order(ctx: Context) -> None:
        await ctx.step("charge", charge, 1)
        await ctx.step("reserve", reserve, 1, version=ctx.attempt)
        await ctx.step("mail", mail, "a")
        once_more(ctx)

    async with app.worker():
        await (await order.enqueue()).result(10)
    assert calls == ["charge", "reserve", "mail", "reserve", "reserve"]
    assert remembered(app)[1][:3] == ("reserve", 2, 3)


async def test_a_new_version_of_the_task_may_have_other_steps(app: App) -> None:
    """The deploy comes while the job is half done."""

    @app.task(retry=Retry(max_attempts=5, backoff=Backoff.fixed(3600)))
    async def order(ctx: Context) -> None:
        await ctx.step("charge", charge, 1)
        await ctx.step("reserve", reserve, 1)
        raise ValueError("not yet")

    job = await order.enqueue()
    await app.run_until_empty()
    assert calls == ["charge", "reserve"]
    app.registry._tasks.clear()

    @app.task(name="order", version=2, retry=NOW)
    async def newer(ctx: Context) -> list[Any]:
        return [
            await ctx.step("mail", mail, "a"),
            await ctx.step("reserve", reserve, 1),
            await ctx.step("now", charge, 2),
        ]

    newer.upcast(1)(lambda arguments: arguments)
    app.sql("update offpath_job set run_at = 0")
    await app.run_until_empty()
    assert await job.result(1) == [None, {"A": 1}, {"order": 2, "lines": ["a", "b"]}]
    assert calls == ["charge", "reserve", "mail", "charge"]


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def twice(ctx: Context) -> None:
    await ctx.step("a", reserve, 1)
    await ctx.step("a", reserve, 1)


async def nested(ctx: Context) -> None:
    async def outer() -> None:
        await ctx.step("inner", reserve, 1)

    await ctx.step("outer", outer)


async def never(ctx: Context) -> None:
    ctx.step("a", reserve, 1)


async def left(ctx: Context) -> None:
    running = asyncio.create_task(ctx.step("a", asyncio.Event().wait))
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, running.cancel)
    await asyncio.sleep(0)


async def blocking(ctx: Context) -> None:
    ctx.step("a", reserve, 1).result()


async def unnamed(ctx: Context) -> None:
    await ctx.step("", reserve, 1)


async def of_its_own(ctx: Context) -> None:
    def fn(version: int) -> int:
        return version

    await ctx.step("a", fn, version=3)


async def unversioned(ctx: Context) -> None:
    await ctx.step("a", reserve, 1, version=0)


async def no_json(ctx: Context) -> None:
    def fn() -> threading.Thread:
        calls.append("done")
        return threading.current_thread()

    await ctx.step("a", fn)


async def hidden(ctx: Context) -> None:
    def fn() -> "Unknown":  # type: ignore[name-defined]  # noqa: F821
        calls.append("done")

    await ctx.step("a", fn)


BAD: dict[Callable[[Context], Any], str] = {
    twice: "two steps are called 'a'",
    nested: "step 'inner' is inside step 'outer'",
    never: "step 'a' was never run: await it",
    left: "step 'a' still runs although the task has ended",
    blocking: "on an event loop await it",
    unnamed: "1 to 200 printable characters",
    of_its_own: "has a parameter `version` of its own",
    unversioned: "a whole number from 1 to 32767, not 0",
    no_json: "step 'a': result",
    hidden: "must be importable at run time",
}


@pytest.mark.parametrize("body", list(BAD), ids=lambda body: body.__name__)
async def test_what_cannot_be_a_step_ends_the_job_and_says_why(app: App, body: Callable[[Context], Any]) -> None:
    async def task(ctx: Context) -> None:
        await body(ctx)

    bad = app.task(task, name="bad", retry=NOW)
    async with app.worker():
        job = await bad.enqueue()
        assert BAD[body] in await failed(app, job)
    assert "done" not in calls, "it is told before anything is done"


@pytest.mark.parametrize(
    ("value", "said"), [("x" * (1 << 20), "step 'big' of task order: the result"), (object(), "cannot be stored")]
)
async def test_a_result_that_cannot_be_kept_ends_the_job(app: App, value: Any, said: str) -> None:
    @app.task(retry=NOW)
    async def order(ctx: Context) -> None:
        await ctx.step("big", lambda: value)

    async with app.worker():
        job = await order.enqueue()
        assert said in await failed(app, job, "Result cannot be stored")
    assert remembered(app) == []


async def test_a_remembered_result_that_does_not_fit_any_more_says_what_to_do(app: App) -> None:
    @app.task(retry=NOW)
    async def order(ctx: Context) -> None:
        def number() -> int:
            return 3

        await ctx.step("charge", (lambda: "three") if ctx.attempt == 1 else number)
        raise ValueError("not yet")

    async with app.worker():
        job = await order.enqueue()
        assert "give the step a new version, or another name" in await failed(app, job)


# ── whose job it is ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("plain", [True, False])
async def test_who_has_lost_the_job_is_told_and_does_no_more(app: App, plain: bool) -> None:
    said: list[BaseException] = []
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def steal() -> int:
        app.sql("update offpath_job set fence = fence + 1")
        return 1

    if plain:

        @app.task(name="order")
        def sync(ctx: Context) -> None:
            if ctx.fence > 1:
                return
            for name in ("one", "two"):
                try:
                    ctx.step(name, steal if name == "one" else functools.partial(reserve, 1)).result()
                except LeaseLost as error:
                    said.append(error)
            loop.call_soon_threadsafe(over.set)
    else:

        @app.task(name="order")
        async def coroutine(ctx: Context) -> None:
            if ctx.fence > 1:
                return
            try:
                await ctx.step("one", steal)
            except (LeaseLost, asyncio.CancelledError) as error:
                said.append(error)
                over.set()
                raise

    task = app.registry.get("order")
    assert task is not None
    async with app.worker():
        await task.enqueue()
        await soon(over.wait())
    assert len(said) == 1 + plain
    assert calls == [], "the next step is not even begun"
    assert remembered(app) == []
    if plain:
        assert "was done, but another worker has the job" in str(said[0])
        assert "was not begun" in str(said[1])


async def test_a_store_that_does_not_answer_is_asked_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step has been done: its result must not be lost to a restart of the database."""
    real, failures = app.store.perform, [3]

    def shaky(verb: Any) -> Any:
        if calls and failures[0]:
            failures[0] -= 1
            raise StoreUnavailable("restarting")
        return real(verb)

    @app.task(retry=Retry(max_attempts=1))
    async def order(ctx: Context) -> Any:
        monkeypatch.setattr(app.store, "perform", shaky)
        return await ctx.step("reserve", reserve, 1)

    async with app.worker():
        job = await order.enqueue()
        assert await job.result(10) == {"A": 1}
    assert failures == [0]
    assert calls == ["reserve"]
    assert len(remembered(app)) == 1


async def test_a_job_without_steps_asks_nothing(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one with steps at its first delivery."""
    read: list[str] = []
    real = app.store.read
    monkeypatch.setattr(app.store, "read", lambda verb: (read.append(verb.gi_code.co_name), real(verb))[1])

    @app.task(retry=NOW)
    async def order(ctx: Context, steps: bool) -> None:
        if steps:
            await ctx.step("reserve", reserve, 1)
            await ctx.step("charge", charge, 1)
            if ctx.attempt == 1:
                raise ValueError("not yet")

    async with app.worker():
        await (await order.enqueue(False)).result(10)
        assert not [name for name in read if "step" in name]
        await (await order.enqueue(True)).result(10)
    assert [name for name in read if "step" in name] == ["remembered_steps", "step_result", "step_result"]


# ── here and now ─────────────────────────────────────────────────────────────────────────────────────────────────────

jobs = Offpath("sqlite:////nowhere/production.db")


@jobs.task
async def direct(ctx: Context, n: int) -> list[Any]:
    await ctx.events.emit("begun", {"n": n})
    return [await ctx.step("charge", charge, n), *(await asyncio.gather(ctx.step("reserve", reserve, n)))]


@jobs.task
def direct_plain(ctx: Context, n: int) -> list[Any]:
    assert ctx.events.emit("begun").result()
    return [ctx.step("charge", charge, n).result(), ctx.step("reserve", reserve, n).result()]


async def test_called_here_and_now_a_step_just_runs() -> None:
    assert await direct(3) == [Receipt(3, ("a", "b")), {"A": 3}]
    assert await asyncio.to_thread(direct_plain, 3) == [Receipt(3, ("a", "b")), {"A": 3}]
    with pytest.raises(StepError, match="two steps are called"):
        await twice(Context("id"))


def test_inline_too() -> None:
    with run_inline(jobs):
        assert direct.enqueue_sync(3).result_sync() == [{"order": 3, "lines": ["a", "b"]}, {"A": 3}]
        assert direct_plain.enqueue_sync(3).result_sync() == [{"order": 3, "lines": ["a", "b"]}, {"A": 3}]


async def test_the_error_of_a_step_is_the_jobs(app: App) -> None:
    @app.task
    async def order(ctx: Context) -> None:
        await ctx.step("reserve", reserve)  # without its argument

    async with app.worker():
        job = await order.enqueue()
        with pytest.raises(JobFailed, match="missing 1 required positional argument"):
            await job.result(10)
