"""What tasks are given instead of passed."""

# ruff: noqa: B008 (provided() is a mark, and the same one every time)

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, Header, Request

from offpath.errors import ConfigurationError, JobFailed
from offpath.tasks import Context, provided

from .kit import App, until


class Pool:
    def __init__(self) -> None:
        self.open = True


class Session:
    def __init__(self, pool: Pool | None = None) -> None:
        self.pool, self.state, self.thread = pool, "open", threading.current_thread().name


def provide(app: App, fn: Callable[..., Any], lifetime: Any = "attempt") -> None:
    app.registry.provide(fn, lifetime, {})


async def test_a_worker_provider_is_opened_once_when_first_needed_and_closed_at_the_end(app: App) -> None:
    pools: list[Pool] = []

    async def pool() -> AsyncIterator[Pool]:
        made = Pool()
        pools.append(made)
        await asyncio.sleep(0)
        yield made
        made.open = False

    provide(app, pool, "worker")

    @app.task
    async def use(given: Pool = provided()) -> bool:
        await asyncio.sleep(0)
        return given.open

    @app.task
    def use_too(given: Pool = provided()) -> bool:
        return given.open

    async with app.worker():
        assert pools == []
        jobs = await use.enqueue_many([use.call() for _ in range(10)])
        jobs += await use_too.enqueue_many([use_too.call() for _ in range(10)])
        assert [await job.result(60) for job in jobs] == [True] * 20
        assert len(pools) == 1
        assert pools[0].open
    assert not pools[0].open


async def test_an_attempt_provider_is_made_and_closed_for_each_attempt_and_hears_of_its_failure(app: App) -> None:
    sessions: list[Session] = []

    def pool() -> Pool:
        return Pool()

    async def session(pool: Pool) -> AsyncIterator[Session]:
        made = Session(pool)
        sessions.append(made)
        try:
            yield made
            made.state = "committed"
        except ValueError:
            made.state = "rolled back"
            raise

    provide(app, pool, "worker")
    provide(app, session)

    @app.task
    async def work(fail: bool, db: Session = provided()) -> None:
        assert db.state == "open"
        if fail:
            raise ValueError

    async with app.worker():
        await (await work.enqueue(fail=False)).result(60)
        job = await work.using(retry=None).enqueue(fail=True)
        await until(lambda: len(sessions) == 2 and sessions[1].state != "open")
        await job.cancel()
    assert [one.state for one in sessions] == ["committed", "rolled back"]
    assert sessions[0].pool is sessions[1].pool


async def test_a_provider_that_swallows_the_failure_does_not_make_it_a_success(app: App) -> None:
    def session() -> Iterator[Session]:
        with contextlib.suppress(ValueError):
            yield Session()

    provide(app, session)
    task: Any

    async def soft(db: Session = provided()) -> None:
        raise ValueError

    def hard(db: Session = provided()) -> None:
        raise ValueError

    from offpath.core.retry import Retry

    tasks = [app.task(fn, retry=Retry(max_attempts=1)) for fn in (soft, hard)]
    async with app.worker():
        for task in tasks:
            with pytest.raises(JobFailed):
                await (await task.enqueue()).result(60)


async def test_a_provider_whose_closing_fails_fails_the_attempt(app: App) -> None:
    """A commit after the `yield` that does not go through: the work is not done."""

    async def session() -> AsyncIterator[Session]:
        yield Session()
        raise ConnectionError("could not commit")

    provide(app, session)
    from offpath.core.retry import Retry

    @app.task(retry=Retry(max_attempts=1))
    async def work(db: Session = provided()) -> str:
        return "done"

    async with app.worker():
        with pytest.raises(JobFailed, match="could not commit"):
            await (await work.enqueue()).result(60)


async def test_plain_providers_of_a_plain_function_run_in_its_thread(app: App) -> None:
    closed_in = []

    async def pool() -> Pool:
        assert threading.current_thread() is threading.main_thread()
        return Pool()

    def session(pool: Pool) -> Iterator[Session]:
        yield Session(pool)
        closed_in.append(threading.current_thread().name)

    provide(app, pool)
    provide(app, session)

    @app.task
    def work(db: Session = provided()) -> tuple[str, str]:
        return db.thread, threading.current_thread().name

    async with app.worker():
        made_in, ran_in = await (await work.enqueue()).result(60)
    assert made_in == ran_in == closed_in[0] != threading.current_thread().name


async def test_context_deps(app: App) -> None:
    class Deps:
        def __init__(self, pool: Pool) -> None:
            self.pool = pool

    def pool() -> Pool:
        return Pool()

    def deps(pool: Pool) -> Deps:
        return Deps(pool)

    provide(app, pool, "worker")
    app.registry.provide(deps, "attempt", {"Deps": Deps})

    async def soft(ctx: Context[Deps]) -> bool:
        return ctx.deps.pool.open

    def hard(ctx: Context[Deps]) -> bool:
        return ctx.deps.pool.open

    tasks = [app.task(fn) for fn in (soft, hard)]
    async with app.worker():
        assert [await (await task.enqueue()).result(60) for task in tasks] == [True, True]


# -- FastAPI's Depends ------------------------------------------------------------------------------------------------

made: list[str] = []


def get_pool() -> Pool:
    made.append("pool")
    return Pool()


async def get_session(pool: Annotated[Pool, Depends(get_pool)]) -> AsyncIterator[Session]:
    made.append("session")
    yield Session(pool)
    made.append("closed")


def get_other(pool: Pool = Depends(get_pool), fresh: Pool = Depends(get_pool, use_cache=False)) -> tuple[Pool, Pool]:
    return pool, fresh


async def test_depends_functions_serve_tasks_with_their_dependencies_once_per_attempt(app: App) -> None:
    made.clear()

    @app.task
    async def work(
        n: int,
        db: Annotated[Session, Depends(get_session)] = provided(),
        both: Annotated[tuple[Pool, Pool], Depends(get_other)] = provided(),
    ) -> bool:
        made.append(f"work {n}")
        return db.pool is both[0] and db.pool is not both[1]

    async with app.worker():
        assert await (await work.enqueue(n=1)).result(60)
    assert made == ["pool", "session", "pool", "work 1", "closed"]


def reads_request(request: Request) -> str:
    return str(request.url)


def reads_header(token: str = Header()) -> str:
    return token


def nested(url: str = Depends(reads_request)) -> str:
    return url


@pytest.mark.parametrize(
    ("dependency", "message"),
    [
        (reads_request, r"parameter 'request' of reads_request.*task work: parameter 'value'.*needs an HTTP Request"),
        (nested, r"parameter 'request' of reads_request.*needs an HTTP Request"),
        (reads_header, r"reads_header reads 'token' from an HTTP request"),
    ],
)
async def test_a_dependency_that_reads_a_request_is_refused_at_the_start(
    app: App, dependency: Callable[..., str], message: str
) -> None:
    async def work(value: Any = provided()) -> None: ...

    work.__annotations__["value"] = Annotated[str, Depends(dependency)]
    app.task(work)
    with pytest.raises(ConfigurationError, match=message):
        await app.run_until_empty()


async def test_a_provider_that_outlives_what_it_needs_is_refused(app: App) -> None:
    def session() -> Session:
        return Session()

    def pool(session: Session) -> Pool:
        return Pool()

    provide(app, session)
    provide(app, pool, "worker")

    @app.task
    async def work(pool: Pool = provided()) -> None: ...

    with pytest.raises(ConfigurationError, match="lives as long as the worker"):
        await app.run_until_empty()


async def test_a_provider_that_needs_itself_is_refused(app: App) -> None:
    def session(pool: Pool) -> Session:
        return Session(pool)

    def pool(session: Session) -> Pool:
        return Pool()

    provide(app, session)
    provide(app, pool)

    @app.task
    async def work(pool: Pool = provided()) -> None: ...

    with pytest.raises(ConfigurationError, match="needs itself"):
        await app.run_until_empty()
