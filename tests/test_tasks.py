"""A function becomes a task: what is read from its signature, what is refused at once, and what a direct call does."""

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends

from offpath import Backoff, Context, Offpath, Queue, Retry, provided
from offpath.core.call import Call
from offpath.core.ids import is_id
from offpath.errors import ArgumentError, ConfigurationError, OffpathError
from offpath.tasks import AsyncTask, Need, Ready, SyncTask


class Pool: ...


@dataclass
class Deps:
    pool: Pool


def get_session() -> str:
    return "session"


@pytest.fixture
def jobs(tmp_path: Path) -> Offpath:
    return Offpath(f"sqlite:///{tmp_path}/a.db", queues=[Queue("mail", max_attempts=7, timeout=9)])


# -- what is read ------------------------------------------------------------------------------------------------------


def test_the_kind_of_function_decides_where_it_runs(jobs: Offpath) -> None:
    @jobs.task
    async def one() -> int:
        return 1

    @jobs.task
    def two() -> str:
        """Two."""
        return "2"

    assert isinstance(one, AsyncTask)
    assert isinstance(two, SyncTask)
    assert (one.executor, two.executor) == ("async", "thread")
    assert (one.returns, two.returns) == (int, str)
    assert (two.__name__, two.__doc__, two.__module__) == ("two", "Two.", __name__)
    assert list(inspect.signature(two).parameters) == []


def test_the_context_and_what_is_provided_are_not_passed(jobs: Offpath) -> None:
    @jobs.task
    async def work(
        ctx: Context[Deps],
        a: int,
        b: str = "b",
        *,
        pool: Pool = provided(),
        session: Annotated[str, Depends(get_session)] = provided(),
        plain: str = Depends(get_session),
        fresh: Annotated[str, Depends(get_session, use_cache=False)] = "",
    ) -> None: ...

    assert work.takes_context
    assert work.context_deps is Deps
    assert work.needs == {
        "pool": Need(Pool),
        "session": Need(str, get_session),
        "plain": Need(str, get_session),
        "fresh": Need(str, get_session, cached=False),
    }
    assert work.decode(work.bind(1)) == {"a": 1}
    for name in work.needs:
        with pytest.raises(ArgumentError, match="provided") as caught:
            work.bind(1, **{name: None})
        assert caught.value.argument == name


def test_a_plain_context_asks_for_nothing(jobs: Offpath) -> None:
    @jobs.task
    def work(ctx: Context, a: int) -> None: ...

    assert work.takes_context
    assert work.context_deps is None


def test_names_survive_a_move_to_another_module(jobs: Offpath) -> None:
    class Mail:
        @staticmethod
        def send() -> None: ...

    assert jobs.task(Mail.send).name == "Mail.send"
    assert jobs.task(name="given")(Mail.send).name == "given"
    assert jobs.registry.names() == ["Mail.send", "given"]


def test_arguments_by_position_and_by_name(jobs: Offpath) -> None:
    @jobs.task
    def work(a: int, b: str = "x", *, c: float = 1.0) -> None: ...

    assert work.bind(1) == '{"a":1}'
    assert work.decode(work.bind(1, "y", c=2)) == {"a": 1, "b": "y", "c": 2.0}
    for args, kwargs, name in [
        ((1, "y", 2.0), {}, ""),
        ((1,), {"a": 1}, "a"),
        ((), {}, "a"),
        ((1,), {"d": 1}, "d"),
        (("x",), {}, "a"),
    ]:
        with pytest.raises(ArgumentError) as caught:
            work.bind(*args, **kwargs)
        assert caught.value.argument == name


def test_any_name_of_a_parameter_will_do(jobs: Offpath) -> None:
    @jobs.task
    def work(self: int, args: int, _private: int, model_config: int, class_: int, ключ: int, task: int = 0) -> None: ...

    given = {"self": 1, "args": 2, "_private": 3, "model_config": 4, "class_": 5, "ключ": 6, "task": 7}
    assert work.decode(work.bind(**given)) == given
    assert work.decode(work.call(**given).core.args) == given


async def test_a_plain_wrapper_around_a_coroutine_function_is_one(jobs: Offpath) -> None:
    async def inner(a: int) -> int:
        return a

    @jobs.task
    @functools.wraps(inner)
    def outer(*args: int, **more: int) -> Coroutine[Any, Any, int]:
        return inner(*args, **more)

    assert isinstance(outer, AsyncTask)
    assert await outer(3) == 3


def test_a_call_carries_its_task_its_arguments_and_its_options(jobs: Offpath) -> None:
    @jobs.task(version=3, queue="mail")
    def work(a: int) -> None: ...

    at = datetime(2026, 1, 1, tzinfo=UTC)
    call = work.using(key="k", run_at=at, priority=2).call(1).core
    assert call == Call("work", 3, '{"a":1}', work.options, call.using)
    assert (call.using.key, call.using.run_at, call.using.priority) == ("k", at, 2)
    assert work.call(1).core.using.key is None


def test_the_policy_is_resolved_from_call_task_and_queue(jobs: Offpath) -> None:
    @jobs.task(queue="mail")
    def by_queue() -> None: ...

    @jobs.task(retry=Retry(max_attempts=2, backoff=Backoff.fixed(4)), timeout=None, keep_result=False)
    def by_task() -> None: ...

    policy = by_queue.policy("mail", None)
    assert (policy.max_attempts, policy.timeout) == (7, 9.0)
    assert by_queue.policy("mail", None) is policy
    assert by_queue.policy("elsewhere", None).max_attempts == 3
    assert (by_task.policy("mail", None).max_attempts, by_task.policy("mail", None).timeout) == (2, None)
    assert by_task.policy("mail", '{"timeout": 5.0}').timeout == 5.0
    for n in range(1000):  # a timeout computed for each call must not fill the memory
        by_task.policy("mail", f'{{"timeout": {n}.0}}')
    assert len(by_task._policies) <= 256


def test_a_result_travels_as_its_annotation_says(jobs: Offpath) -> None:
    @jobs.task
    def work() -> dict[int, datetime]:
        return {}

    value = {1: datetime(2026, 1, 1, tzinfo=UTC)}
    assert work.decode_result(work.encode_result(value)) == value


def test_annotations_may_name_what_is_local_to_the_function_around(jobs: Offpath) -> None:
    @dataclass
    class Local:
        a: int

    @jobs.task
    def work(a: "Local") -> "Local":
        return a

    assert work.decode(work.bind(Local(1))) == {"a": Local(1)}


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_two_functions_of_one_name_are_refused(jobs: Offpath) -> None:
    def first() -> Any:
        def send() -> None: ...

        return send

    def second() -> Any:
        def send() -> None: ...

        return send

    jobs.task(first())
    jobs.task(first())  # the same place in the source again: a module that was imported twice
    with pytest.raises(ConfigurationError, match=r'two tasks are called \'send\'.*name="…"'):
        jobs.task(second())
    assert jobs.task(name="other")(second()).name == "other"


def star(*args: int) -> None: ...
def stars(**more: int) -> None: ...
def only(a: int, /) -> None: ...
def late(a: int, ctx: Context) -> None: ...
def keyword(*, ctx: Context) -> None: ...
def odd(a: Pool) -> None: ...
def odd_result() -> Pool: ...  # type: ignore[empty-body]
def unknown(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def no_type(a=provided()) -> None: ...  # type: ignore[no-untyped-def]
def yields() -> Iterator[int]:
    yield 1


async def ayields() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (star, r"'args' is \*args"),
        (stars, r"'more' is \*\*kwargs"),
        (only, "positional-only"),
        (late, "first"),
        (keyword, "first"),
        (odd, "parameter 'a'"),
        (odd_result, "result"),
        (unknown, "Nowhere"),
        (no_type, "annotation"),
        (yields, "generator"),
        (ayields, "generator"),
        (Pool(), "no name"),
    ],
)
def test_a_function_that_cannot_be_a_task_is_refused_at_once(jobs: Offpath, function: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        jobs.task(function)
    assert jobs.registry.names() == []


def test_a_result_that_is_thrown_away_may_be_anything(jobs: Offpath) -> None:
    assert jobs.task(keep_result=False)(odd_result).name == "odd_result"


@pytest.mark.parametrize(
    "options",
    [
        {"queue": ""},
        {"queue": 3},
        {"priority": 1.5},
        {"priority": 10**6},
        {"timeout": -1},
        {"timeout": "3"},
        {"deadline": float("nan")},
        {"delivery": "exactly_once"},
        {"version": 0},
        {"version": True},
        {"name": "a\x00"},
        {"name": ""},
        {"name": "x" * 256},
        {"keep_result": "no"},
        {"retry": 3},
    ],
)
def test_options_are_checked_when_the_task_is_registered(jobs: Offpath, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        jobs.task(**options)(get_session)


@pytest.mark.parametrize(
    "options",
    [
        {"key": ""},
        {"delay": -1},
        {"delay": 1, "run_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"run_at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"deadline": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"priority": "high"},
        {"queue": "x" * 300},
        {"owner": "\ud800"},
        {"timeout": timedelta(seconds=-1)},
    ],
)
def test_options_of_a_call_are_checked_before_anything_is_written(jobs: Offpath, options: dict[str, Any]) -> None:
    task = jobs.task(get_session)
    with pytest.raises(ConfigurationError):
        task.using(**options)


def test_hooks_and_providers_are_checked(jobs: Offpath) -> None:
    with pytest.raises(ConfigurationError, match="before, after, failure, exhausted"):
        jobs.hook("sometimes")  # type: ignore[arg-type]
    task = jobs.task(get_session)
    with pytest.raises(ConfigurationError, match="before"):
        task.hook("never")  # type: ignore[arg-type]

    def untyped():  # type: ignore[no-untyped-def]
        return 1

    with pytest.raises(ConfigurationError, match="return annotation"):
        jobs.provider(untyped)
    with pytest.raises(ConfigurationError, match="lifetime"):
        jobs.provider(lifetime="day")(get_session)  # type: ignore[call-overload]
    jobs.provider(get_session)

    def other() -> str:
        return ""

    with pytest.raises(ConfigurationError, match="both provide"):
        jobs.provider(other)


def test_providers_are_known_by_what_they_return(jobs: Offpath) -> None:
    @jobs.provider
    async def pool() -> AsyncIterator[Pool]:
        yield Pool()

    @jobs.provider(lifetime="attempt")
    def deps(pool: Pool) -> Deps:
        return Deps(pool)

    provider = jobs.registry.providers[Pool]
    assert (provider.kind, provider.lifetime, dict(provider.needs)) == ("async generator", "worker", {})
    provider = jobs.registry.providers[Deps]
    assert (provider.kind, provider.lifetime, dict(provider.needs)) == ("function", "attempt", {"pool": Need(Pool)})


# -- here and now ------------------------------------------------------------------------------------------------------


async def test_a_task_is_still_the_function_it_was(jobs: Offpath) -> None:
    @jobs.task
    async def double(ctx: Context, n: int) -> int:
        assert is_id(ctx.job)
        assert (ctx.attempt, ctx.canceled) == (1, False)
        ctx.progress(1, of=2)
        assert await ctx.progress(2)
        assert ctx.progress(2).result() is True
        return n * 2

    @jobs.task
    def given(n: int, pool: Pool = provided()) -> int:
        assert isinstance(pool, Pool)
        return n

    assert await double(2) == 4
    assert given(3, pool=Pool()) == given(3, Pool()) == 3
    with pytest.raises(ConfigurationError, match="'pool' is provided"):
        given(3)


def test_deps_of_a_direct_call_say_that_there_are_none(jobs: Offpath) -> None:
    @jobs.task(keep_result=False)
    def work(ctx: Context[Deps]) -> Pool:
        return ctx.deps.pool

    with pytest.raises(ConfigurationError, match="provider"):
        work()


def test_progress_is_sent_in_order_from_any_thread() -> None:
    lines: list[str] = []

    def sink(text: str) -> Ready[bool]:
        lines.append(text)
        return Ready(True)

    ctx: Context = Context("id", sink=sink)
    threads = [threading.Thread(target=lambda: [ctx.progress(n, of=100) for n in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    import json

    percents = [json.loads(line)["percent"] for line in lines]
    assert len(percents) == 400
    assert percents == sorted(percents)
    for bad in (-1, float("nan"), float("inf"), "3", True, None):
        with pytest.raises(OffpathError):
            ctx.progress(bad)  # type: ignore[arg-type]
    assert len(lines) == 400


def test_a_ready_value_can_be_awaited_on_any_loop() -> None:
    async def look() -> int:
        return await Ready(3)

    assert asyncio.run(look()) == 3
    assert Ready(3).result(timeout=0) == 3
