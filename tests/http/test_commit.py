"""A 202 leaves only for work that a commit has made durable: transactions that were forgotten, undone, or left open."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from offpath.integrations import starlette as on_starlette
from offpath.integrations.fastapi import Accepted, Acceptor, install_problem_handlers
from tests.http.site import Site, checked_client

pytestmark = pytest.mark.anyio
Handlers = dict[str, Callable[..., Any]]


@pytest.fixture
async def engine(site: Site) -> AsyncIterator[AsyncEngine]:
    await site.jobs.migrate()
    made = create_async_engine(f"sqlite+aiosqlite:///{site.path}")
    yield made
    await made.dispose()


@pytest.fixture
def plain_engine(site: Site) -> Iterator[Any]:
    site.jobs.store.migrate()
    made = create_engine(f"sqlite:///{site.path}")
    yield made
    made.dispose()


def client_of(site: Site, handlers: Handlers) -> httpx.AsyncClient:
    api = FastAPI()
    api.include_router(site.operations.router)
    install_problem_handlers(api)
    for name, handler in handlers.items():
        api.add_api_route(f"/{name}", handler, methods=["POST"], status_code=202)
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    return checked_client("alice", transport=transport, base_url="http://site.test")


async def refused(
    client: httpx.AsyncClient, path: str, why: str, caplog: pytest.LogCaptureFixture, left: int = 0
) -> None:
    """500 with nothing of the promise, one line in the log that says why, and `left` operations in all."""
    caplog.clear()
    with caplog.at_level(logging.ERROR, "offpath"):
        answer = await client.post(path)
    assert answer.status_code == 500, path
    assert answer.json()["type"].endswith("/uncommitted"), path
    assert "location" not in answer.headers
    assert [record.getMessage().split()[0] for record in caplog.records if record.name == "offpath.http"] == [
        "http.uncommitted"
    ], path
    assert why in caplog.text, path
    assert len((await client.get("/operations")).json()["items"]) == left, path


async def test_forgotten_and_undone_commits(site: Site, engine: AsyncEngine, caplog: pytest.LogCaptureFixture) -> None:
    accepts = Annotated[Acceptor, Depends(site.operations.acceptor)]

    async def forgotten(accept: accepts) -> Accepted[Any]:
        async with AsyncSession(engine) as session:
            return await accept.using(tx=session)(site.echo, 1)

    async def undone(accept: accepts) -> Accepted[Any]:
        async with AsyncSession(engine) as session:
            accepted = await accept.using(tx=session)(site.echo, 1)
            await session.rollback()
            return accepted

    async def savepoint(accept: accepts) -> Accepted[Any]:
        async with AsyncSession(engine) as session, session.begin():
            inner = await session.begin_nested()
            accepted = await accept.using(tx=session)(site.echo, 1)
            await inner.rollback()
        return accepted

    async def connection(accept: accepts) -> Accepted[Any]:
        async with engine.connect() as connection:
            return await accept.using(tx=connection)(site.echo, 1)

    async def kept(accept: accepts) -> Accepted[Any]:
        async with AsyncSession(engine) as session, session.begin(), session.begin_nested():
            return await accept.using(tx=session)(site.echo, 1)

    async def second_try(accept: accepts) -> Accepted[Any]:
        async with AsyncSession(engine) as session, session.begin():
            inner = await session.begin_nested()
            await accept.using(tx=session)(site.echo, 1)
            await inner.rollback()
            return await accept.using(tx=session)(site.echo, 2)

    handlers: Handlers = {one.__name__: one for one in (forgotten, undone, savepoint, connection, kept, second_try)}
    async with client_of(site, handlers) as alice:
        for path in ("/forgotten", "/undone", "/savepoint", "/connection"):
            await refused(alice, path, "was never committed", caplog)
        for path in ("/kept", "/second_try"):
            answer = await alice.post(path)
            assert answer.status_code == 202, path
            assert (await alice.get(answer.headers["location"])).status_code == 200


async def test_the_same_in_plain_functions(site: Site, plain_engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    accepts = Annotated[Acceptor, Depends(site.operations.acceptor)]

    def forgotten(accept: accepts) -> Accepted[Any]:
        with Session(plain_engine) as session:
            return accept.using(tx=session).sync(site.echo, 1)

    def undone(accept: accepts) -> Accepted[Any]:
        with Session(plain_engine) as session:
            accepted = accept.using(tx=session).sync(site.echo, 1)
            session.rollback()
            return accepted

    def savepoint(accept: accepts) -> Accepted[Any]:
        with Session(plain_engine) as session, session.begin():
            inner = session.begin_nested()
            accepted = accept.using(tx=session).sync(site.echo, 1)
            inner.rollback()
        return accepted

    def connection(accept: accepts) -> Accepted[Any]:
        with plain_engine.connect() as connection:
            return accept.using(tx=connection).sync(site.echo, 1)

    def raw(accept: accepts) -> Accepted[Any]:
        db = sqlite3.connect(site.path)
        accepted = accept.using(tx=db).sync(site.echo, 1)
        db.close()
        return accepted

    handlers: Handlers = {one.__name__: one for one in (forgotten, undone, savepoint, connection, raw)}
    async with client_of(site, handlers) as alice:
        for path in handlers:
            await refused(alice, f"/{path}", "was never committed", caplog)


async def test_an_answer_of_ones_own_waits_as_well(
    site: Site, engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    accepts = Annotated[Acceptor, Depends(site.operations.acceptor)]

    async def late_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session, session.begin():
            yield session  # committed by FastAPI after the response

    async def early_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session, session.begin():
            yield session

    late = Annotated[AsyncSession, Depends(late_session)]
    early = Annotated[AsyncSession, Depends(early_session, scope="function")]

    async def own(accept: accepts, session: late) -> dict[str, str]:
        return {"id": (await accept.using(tx=session)(site.echo, 1)).id}

    async def own_forgotten(accept: accepts) -> dict[str, str]:
        async with AsyncSession(engine) as session:
            return {"id": (await accept.using(tx=session)(site.echo, 1)).id}

    async def own_refusal(accept: accepts) -> Response:
        async with AsyncSession(engine) as session:
            await accept.using(tx=session)(site.echo, 1)
            return JSONResponse({"title": "changed our mind"}, 200)

    async def in_time(accept: accepts, session: early) -> dict[str, str]:
        return {"id": (await accept.using(tx=session)(site.echo, 1)).id}

    handlers: Handlers = {"own": own, "forgotten": own_forgotten, "refusal": own_refusal, "in_time": in_time}
    async with client_of(site, handlers) as alice:
        await refused(alice, "/own", "is still open", caplog)
        await refused(alice, "/forgotten", "was never committed", caplog)
        assert (await alice.post("/refusal")).status_code == 200, "what was rolled back has been promised to nobody"
        answer = await alice.post("/in_time")
        assert answer.status_code == 202
        assert (await alice.get(f"/operations/{answer.json()['id']}")).status_code == 200


async def test_a_key_held_by_the_same_transaction(site: Site, engine: AsyncEngine, plain_engine: Any) -> None:
    """The second acceptance gives the first one's operation, though nobody else can see it yet."""
    accepts = Annotated[Acceptor, Depends(site.operations.acceptor)]

    async def twice(accept: accepts) -> Accepted[Any]:
        async with AsyncSession(engine) as session, session.begin():
            first = await accept.using(tx=session, key="async")(site.echo, 1)
            again = await accept.using(tx=session, key="async")(site.echo, 1)
            assert again.id == first.id
            assert again.body == first.body
            return again

    def twice_plain(accept: accepts) -> Accepted[Any]:
        with Session(plain_engine) as session, session.begin():
            first = accept.using(tx=session, key="plain").sync(site.echo, 1)
            again = accept.using(tx=session, key="plain").sync(site.echo, 1)
            assert again.id == first.id
            return again

    async with client_of(site, {"twice": twice, "plain": twice_plain}) as alice:
        for path in ("/twice", "/plain"):
            answer = await alice.post(path)
            assert answer.status_code == 202, answer.text
            assert (await alice.get(answer.headers["location"])).content == answer.content


async def test_on_starlette(site: Site, engine: AsyncEngine, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    operations = on_starlette.Operations(site.jobs, caller=lambda request: "alice")
    left_open: list[AsyncSession] = []

    async def forgotten(request: Request) -> Response:
        accept = await operations.acceptor(request)
        async with AsyncSession(engine) as session:
            return await accept.using(tx=session)(site.echo, 1)

    async def own(request: Request) -> Response:
        accept = await operations.acceptor(request)
        left_open.append(AsyncSession(engine))
        accepted = await accept.using(tx=left_open[0])(site.echo, 1)
        return JSONResponse({"id": accepted.id}, 202)

    routes = [Route("/forgotten", forgotten, methods=["POST"]), Route("/own", own, methods=["POST"])]
    app = Starlette(routes=[*operations.routes, *routes])
    on_starlette.install_problem_handlers(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with checked_client("alice", transport=transport, base_url="http://site.test") as alice:
        await refused(alice, "/forgotten", "was never committed", caplog)
        await refused(alice, "/own", "is still open", caplog)
    await left_open[0].close()
