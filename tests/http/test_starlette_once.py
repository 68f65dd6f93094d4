"""wire.md 1.7 and 1.8 on Starlette alone: the same rules, asked for in the endpoint."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from offpath import Offpath
from offpath.errors import ConfigurationError
from offpath.integrations.starlette import Caller, Operations, install_problem_handlers
from tests.http.site import checked_client

pytestmark = pytest.mark.anyio
KEY = {"Idempotency-Key": '"1"'}


class House:
    def __init__(self, folder: Path, *, sessions: bool) -> None:
        self.jobs = jobs = Offpath(f"sqlite:///{folder}/house.db", poll=0.05)
        engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/house.db", poolclass=NullPool)
        maker = async_sessionmaker(engine)
        self.handled = 0

        @jobs.task
        async def double(n: int) -> int:
            return 2 * n

        async def caller(request: Request) -> Caller:
            name = request.headers.get("authorization")
            if name is None:
                raise HTTPException(401)
            return Caller(name)

        self.operations = operations = Operations(jobs, caller=caller, session=maker if sessions else None)

        async def start(request: Request) -> Response:
            accept = await operations.acceptor(request)
            if request.method == "PUT" and not accept.prefers_async:
                return JSONResponse(2 * (await request.json())["n"])
            return await accept(double, n=(await request.json())["n"])

        async def required(request: Request) -> Response:
            operations.require_key(request)
            return await start(request)

        async def write(request: Request) -> Response:
            self.handled += 1
            n = (await request.json())["n"]
            if sessions:
                session = await operations.session(request)
                await session.execute(text("insert into item (n) values (:n)"), {"n": n})
            if n == 404:
                raise HTTPException(404, "as you say")
            return JSONResponse({"n": n}, 201)

        async def packed(request: Request) -> Response:
            session = await operations.session(request)
            accept = await operations.acceptor(request)
            return await accept.using(tx=session)(double, n=1)

        async def stream(request: Request) -> Response:
            return StreamingResponse(iter([b"x" * (1 << 20), b"x"]))

        self.app = Starlette(
            routes=[
                *operations.routes,
                Route("/start", start, methods=["POST", "PUT"]),
                Route("/required", required, methods=["POST"]),
                Route("/write", operations.once(write), methods=["POST"], name="write"),
                Route("/packed", operations.once(packed), methods=["POST"]),
                Route("/stream", operations.once(stream), methods=["POST"]),
                Route("/loose", operations.session, methods=["POST"]),
            ]
        )
        install_problem_handlers(self.app)
        jobs.store.migrate()
        self.engine = engine

    async def rows(self, sql: str) -> list[int]:
        async with self.engine.connect() as connection:
            return [int(n) for (n,) in await connection.execute(text(sql))]


@pytest.fixture(params=[True, False], ids=["unit", "leased"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path, sessions=request.param)
    async with made.engine.begin() as connection:
        await connection.execute(text("create table item (n integer not null)"))
    yield made
    made.jobs.close()


@pytest.fixture
async def alice(house: House) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(house.app, raise_app_exceptions=False)
    async with checked_client("alice", transport=transport, base_url="http://house.test") as client:
        yield client


async def test_idk_04_06_12_an_endpoint_runs_once(house: House, alice: httpx.AsyncClient) -> None:
    first = await alice.post("/write", json={"n": 1}, headers=KEY)
    again = await alice.post("/write", json={"n": 1}, headers=KEY)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert (again.headers["idempotency-replayed"], house.handled) == ("?1", 1)
    assert (await alice.post("/write", json={"n": 2}, headers=KEY)).status_code == 422
    for replayed in (False, True):
        answer = await alice.post("/write", json={"n": 404}, headers={"Idempotency-Key": "2"})
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (404, replayed)
    assert (await alice.post("/write", json={"n": 3})).status_code == 201
    if house.operations._face.service.keys.session is not None:
        assert await house.rows("select n from item order by n") == [1, 3]
        packed = [await alice.post("/packed", headers={"Idempotency-Key": "3"}) for _ in range(2)]
        assert packed[0].status_code == 202
        assert packed[0].content == packed[1].content


async def test_idk_09_fifty_at_once(house: House, alice: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(alice.post("/write", json={"n": 1}, headers=KEY) for _ in range(50)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert house.handled == 1


async def test_idk_11_refused_before_it_begins(house: House, alice: httpx.AsyncClient) -> None:
    del alice.headers["authorization"]
    assert (await alice.post("/write", json={"n": 1}, headers=KEY)).status_code == 401
    alice.headers["authorization"] = "alice"
    assert (await alice.post("/write", json={"n": 1}, headers={"Idempotency-Key": "a, b"})).status_code == 400
    assert await house.rows("select count(*) from offpath_idempotency") == [0]
    assert house.handled == 0


async def test_idk_03_04_starts(house: House, alice: httpx.AsyncClient) -> None:
    assert (await alice.post("/required", json={"n": 1})).status_code == 400
    first = await alice.post("/required", json={"n": 1}, headers=KEY)
    again = await alice.post("/required", json={"n": 1}, headers=KEY)
    assert (first.status_code, again.content, again.headers["idempotency-replayed"]) == (202, first.content, "?1")


async def test_prf_03_05_07_preferences(house: House, alice: httpx.AsyncClient) -> None:
    assert (await alice.put("/start", json={"n": 4})).json() == 8
    minimal = await alice.post("/start", json={"n": 4}, headers={"Prefer": "return=minimal, handling=strict"})
    assert (minimal.content, minimal.headers["preference-applied"]) == (b"", "return=minimal")
    assert minimal.headers["vary"] == "Prefer"
    async with house.jobs.worker():
        waited = await alice.put("/start", json={"n": 4}, headers={"Prefer": "respond-async, wait=20"})
    assert (waited.json(), waited.headers["preference-applied"]) == (8, "respond-async, wait")


async def test_what_cannot_be_kept(house: House, alice: httpx.AsyncClient) -> None:
    assert (await alice.post("/stream", headers=KEY)).status_code == 500
    assert await house.rows("select count(*) from offpath_idempotency") == [0]
    assert (await alice.post("/loose")).status_code == 500
    with pytest.raises(ConfigurationError, match="async function"):
        house.operations.once(lambda request: Response())  # type: ignore[arg-type,return-value]
