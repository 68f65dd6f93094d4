"""What users write, under mypy --strict and pyright. `test_typing.py` wants no complaint about this file."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI

from offpath import AttemptInfo, Backoff, Call, Context, Job, JobInfo, Offpath, Queue, Retry, provided
from offpath.client import AsyncClient, AsyncRemoteOperation, Client, Event, Progress, RemoteOperation
from offpath.testing import assert_enqueued, drain, enqueued, isolated, run_inline

jobs = Offpath("sqlite:///app.db", queues=[Queue("mail", priority=1, weight=6)], lease=10, retention=timedelta(days=1))


class Pool: ...


class Session: ...


@dataclass
class Deps:
    pool: Pool


@dataclass
class Report:
    url: str


@jobs.provider
def pool() -> Iterator[Pool]:
    yield Pool()


@jobs.provider(lifetime="attempt")
async def deps(pool: Pool) -> AsyncIterator[Deps]:
    yield Deps(pool)


def get_session() -> Session:
    return Session()


@jobs.task
async def send_email(to: str, template: str) -> None: ...


@jobs.task
def resize(image: str, width: int = 100) -> str:
    return image


@jobs.task(
    queue="mail", retry=Retry(max_attempts=5, backoff=Backoff.exponential(first=1)), timeout=timedelta(minutes=1)
)
async def render(ctx: Context, period: str) -> Report:
    written: bool = await ctx.progress(1, of=3, unit="pages", message="rendering")
    ctx.progress(2)  # need not be awaited
    return Report(ctx.job + str(written))


@jobs.task(timeout=None, delivery="at_most_once")
def charge(ctx: Context[Deps], cents: int) -> int:
    assert_type(ctx.deps.pool, Pool)
    return cents


@jobs.task(keep_result=False)
async def refresh(
    user: int, pool: Pool = provided(), session: Annotated[Session, Depends(get_session)] = provided()
) -> None:
    assert_type(pool, Pool)
    assert_type(session, Session)


@jobs.hook("exhausted")
async def alert(attempt: AttemptInfo) -> None: ...


@send_email.hook("before")
def log(attempt: AttemptInfo) -> None: ...


async def enqueueing(session: object) -> None:
    assert_type(await send_email.enqueue("a@example.org", template="welcome"), Job[None])
    assert_type(await resize.enqueue("a.png", width=3), Job[str])
    assert_type(await render.enqueue(period="2026"), Job[Report])
    assert_type(charge.enqueue_sync(100), Job[int])
    assert_type(await (await render.enqueue("2026")).result(timeout=3), Report)
    assert_type((await refresh.enqueue(3)).id, str)
    later = send_email.using(tx=session, delay=timedelta(hours=24), key="welcome:42", queue="low", priority=2)
    assert_type(await later.enqueue(to="a", template="b"), Job[None])
    await send_email.using(run_at=datetime.now(UTC), deadline=60, timeout=None, retry=Retry()).enqueue("a", "b")
    assert_type(render.call(period="x"), Call[Report])
    assert_type(await render.enqueue_many([render.call("a"), render.call(period="b")]), list[Job[Report]])
    assert_type(await jobs.enqueue_many([render.call("a"), send_email.call("a", "b")]), list[Job[Any]])


async def here_and_now() -> None:
    assert_type(await send_email("a", "b"), None)
    assert_type(resize("a.png"), str)
    assert_type(await render(period="x"), Report)
    assert_type(charge(100), int)


async def handling() -> None:
    job = await jobs.get("01890a5d-ac96-774b-bcce-b302099a8057")
    assert_type(await job.info(), JobInfo)
    assert_type(await jobs.cancel(job.id), JobInfo)
    assert_type(jobs.retry_sync(job.id), Job[Any])
    async with jobs:
        names: list[str] = await jobs.migrate()
        print(names)


@asynccontextmanager
async def own(app: FastAPI) -> AsyncIterator[None]:
    async with jobs.lifespan(app):
        yield


api = FastAPI(lifespan=jobs.lifespan)
api = FastAPI(lifespan=jobs.lifespan(worker=True, wrap=own))


async def testing() -> None:
    with isolated(jobs), run_inline(jobs) as inline:
        inline.all_found()
    assert_type(assert_enqueued(jobs, send_email, to="a").args, dict[str, Any])
    assert_type(await drain(jobs), dict[str, int])
    enqueued(jobs, render)


def following(client: Client) -> None:
    assert_type(client.start("POST", "/reports", json={"period": "x"}, result=Report), RemoteOperation[Report])
    assert_type(client.start("POST", "/reports", prefer_wait=2, key=False), RemoteOperation[Any])
    assert_type(client.start("POST", "/reports", result=Report).result(timeout=3), Report)
    operation = client.operation("42", result=list[Report])
    assert_type(operation.refresh().cancel(reason="late").result(), list[Report])
    assert_type(operation.progress, Progress | None)
    for event in operation.events(after="7"):
        assert_type(event, Event)
    for one in client.operations(status="running", limit=100):
        assert_type(one, RemoteOperation[Any])
        one.delete()


async def following_too() -> None:
    async with AsyncClient("https://api.example.org", headers={"Authorization": "x"}) as client:
        assert_type(await client.start("POST", "/reports", result=Report), AsyncRemoteOperation[Report])
        assert_type(await client.operation("42", result=Report).result(), Report)
        async for event in client.operation("42").events():
            assert_type(event, Event)
        async for one in client.operations():
            assert_type(await one.cancel(), AsyncRemoteOperation[Any])
