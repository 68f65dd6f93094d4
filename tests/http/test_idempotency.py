"""wire.md 1.8, of handlers: `operations.once` with a session of ours to give, and without."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import FileResponse, StreamingResponse
from sqlalchemy.ext.asyncio import async_sessionmaker

from offpath.errors import ConfigurationError
from tests.http.shop import Item, Shop, beside, opened
from tests.http.site import checked_client

pytestmark = pytest.mark.anyio
KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
LAMP = {"name": "lamp"}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    found: str = request.getfixturevalue("tables_url")
    return found


@pytest.fixture
async def shop(url: str) -> AsyncIterator[Shop]:
    async with opened(url) as made:
        yield made


@pytest.fixture
async def alice(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with shop.client() as client:
        yield client


async def test_idk_04_15_the_answer_again_and_nothing_twice(shop: Shop, alice: httpx.AsyncClient) -> None:
    first = await alice.post("/items", json=LAMP, headers=KEY)
    assert (first.status_code, first.json()) == (201, {"name": "lamp", "price": 0})
    assert "idempotency-replayed" not in first.headers
    assert "set-cookie" in first.headers
    again = await alice.post("/items", json=LAMP, headers=KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "?1"
    assert again.headers["x-item"] == "lamp"
    assert "set-cookie" not in again.headers
    assert (shop.handled, shop.items(), shop.after) == (["lamp"], ["lamp"], ["lamp"])
    assert shop.rows("select count(*) from offpath_job") == [(1,)]


async def test_idk_15_what_is_about_one_transmission_is_not_replayed(shop: Shop, alice: httpx.AsyncClient) -> None:
    first = await alice.post("/items/text", json=LAMP, headers=KEY)
    again = await alice.post("/items/text", json=LAMP, headers=KEY)
    assert (first.content, first.headers["content-type"]) == (b"\x00\xff", "image/x-none")
    assert (again.content, again.headers["content-type"]) == (b"\x00\xff", "image/x-none")
    assert "date" in first.headers
    assert not {"date", "traceparent", "connection"} & set(again.headers)
    assert again.headers["content-length"] == "2"


async def test_idk_05_while_the_first_is_unfinished(shop: Shop, alice: httpx.AsyncClient) -> None:
    body = {"name": "lamp", "price": 1}
    first = asyncio.create_task(alice.post("/items", json=body, headers=KEY))
    await shop.entered.wait()
    busy = await alice.post("/items", json=body, headers=KEY)
    assert busy.status_code == 409
    assert busy.json()["type"].endswith("/idempotency-key-in-use")
    assert int(busy.headers["retry-after"]) >= 1
    if shop.url.startswith("postgresql"):  # another process hears of it from the database, and does not wait either
        async with beside(shop) as other, other.client() as there:
            assert (await there.post("/items", json=body, headers=KEY)).status_code == 409
    shop.gate.set()
    assert (await first).status_code == 201
    async with beside(shop) as other, other.client() as there:
        again = await there.post("/items", json=body, headers=KEY)
        assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "?1")
        assert other.handled == []
    assert shop.items() == ["lamp"]


async def test_idk_06_07_another_request_with_the_same_key(shop: Shop, alice: httpx.AsyncClient) -> None:
    assert (await alice.post("/items", json=LAMP, headers=KEY)).status_code == 201
    others: list[tuple[str, dict[str, Any]]] = [
        ("/items", {"json": {"name": "table"}}),
        ("/items?page=2", {"json": LAMP}),
        ("/items/own", {"json": LAMP}),
        ("/items", {"content": json.dumps(LAMP), "headers": {"Content-Type": "application/json; charset=utf-8"}}),
    ]
    for path, sent in others:
        answer = await alice.post(path, **{**sent, "headers": {**sent.get("headers", {}), **KEY}})
        assert answer.status_code == 422, path
        assert answer.json()["type"].endswith("/idempotency-key-reused")
    more = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Date": "today", **KEY}
    same = await alice.post("/items", json=LAMP, headers=more)
    assert same.headers["idempotency-replayed"] == "?1"
    assert shop.items() == ["lamp"]


async def test_idk_08_another_callers_key_is_another_key(shop: Shop, alice: httpx.AsyncClient) -> None:
    await alice.post("/items", json=LAMP, headers=KEY)
    for name in ("bob", "alice@globex"):
        async with shop.client(name) as other:
            answer = await other.post("/items", json=LAMP, headers=KEY)
            assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)
    assert shop.items() == ["lamp"] * 3


@pytest.mark.parametrize("mode", ["unit", "plain", "leased"])
async def test_idk_09_fifty_at_once_run_the_handler_once(url: str, mode: str) -> None:
    async with opened(url, mode) as shop, beside(shop) as other, shop.client() as here, other.client() as there:
        clients = [here, there] * 25
        answers = await asyncio.gather(*(one.post("/items", json=LAMP, headers=KEY) for one in clients))
        said = Counter(answer.status_code for answer in answers)
        assert set(said) <= {201, 409}, said
        assert said[201] >= 1
        assert len(shop.handled) + len(other.handled) == 1
        assert shop.items() == ([] if mode == "leased" else ["lamp"])
        assert (await here.post("/items", json=LAMP, headers=KEY)).headers["idempotency-replayed"] == "?1"


async def test_idk_11_what_is_refused_before_the_handler_leaves_the_key_free(shop: Shop) -> None:
    async with shop.client() as alice, shop.client(None) as nobody:
        assert (await alice.post("/items", json={"name": "lamp", "price": "much"}, headers=KEY)).status_code == 422
        assert (await alice.post("/items", content="{", headers={**KEY, "Content-Type": "application/json"})).is_error
        assert (await nobody.post("/items", json=LAMP, headers=KEY)).status_code == 401
        huge = {"name": "x" * (1 << 20)}
        assert (await alice.post("/items", json=huge, headers=KEY)).status_code == 413
        assert shop.counts() == (0, 0)
        for status in (412, 428, 429):  # "send this again, with the right version, or later"
            busy = await alice.post("/items", json={"name": "lamp", "price": status}, headers=KEY)
            assert (busy.status_code, shop.counts(), shop.items()) == (status, (0, 0), [])
        right = await alice.post("/items", json=LAMP, headers=KEY)
        assert (right.status_code, "idempotency-replayed" in right.headers) == (201, False)


async def test_idk_12_a_4xx_of_the_handler_is_remembered_and_undone(shop: Shop, alice: httpx.AsyncClient) -> None:
    for path in ("/items", "/items/own"):
        key = {"Idempotency-Key": f'"{path}"'}
        shop.handled.clear()
        for again in (False, True):
            answer = await alice.post(path, json={"name": "lamp", "price": 404}, headers=key)
            assert answer.status_code == 404
            assert ("idempotency-replayed" in answer.headers) is again
        assert shop.handled == ["lamp"]
    assert shop.items() == []
    assert shop.rows("select count(*) from offpath_job") == [(0,)]


@pytest.mark.parametrize("price", [500, 7])
async def test_idk_12_after_a_5xx_the_key_is_free(shop: Shop, alice: httpx.AsyncClient, price: int) -> None:
    for _ in range(2):
        answer = await alice.post("/items", json={"name": "lamp", "price": price}, headers=KEY)
        assert answer.status_code == 500
        assert "idempotency-replayed" not in answer.headers
    assert (shop.handled, shop.items(), shop.counts()) == (["lamp"] * 2, [], (0, 0))


async def test_idk_12_unless_the_application_wants_it_remembered(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/shop.db", store_5xx=True) as shop, shop.client() as alice:
        for _ in range(2):
            assert (await alice.post("/items", json={"name": "x", "price": 500}, headers=KEY)).status_code == 500
        assert (shop.handled, shop.items()) == (["x"], [])


async def test_what_the_table_refuses_leaves_nothing(shop: Shop, alice: httpx.AsyncClient) -> None:
    answer = await alice.post("/items", json={"name": "lamp", "price": 13}, headers=KEY)
    assert (answer.status_code, shop.items(), shop.counts()) == (500, [], (0, 0))


async def test_the_same_route_without_a_key(shop: Shop, alice: httpx.AsyncClient) -> None:
    for path in ("/items", "/items/own"):
        assert (await alice.post(path, json=LAMP)).status_code == 201
        assert (await alice.post(path, json={"name": "lamp", "price": 404})).status_code == 404
    assert shop.items() == ["lamp", "lamp"]
    assert shop.counts() == (0, 0)


async def test_idk_04_an_operation_started_in_a_once_route(shop: Shop, alice: httpx.AsyncClient) -> None:
    first = await alice.post("/items/packed", json=LAMP, headers=KEY)
    again = await alice.post("/items/packed", json=LAMP, headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "?1"
    assert (await alice.get(first.headers["location"])).status_code == 200
    assert (shop.items(), shop.counts()) == (["lamp"], (1, 1))


async def test_acc_06_in_a_once_route_nothing_is_promised_that_was_rolled_back(
    shop: Shop, alice: httpx.AsyncClient
) -> None:
    answer = await alice.post("/items/packed", json={"name": "lamp", "price": 2}, headers=KEY)
    assert answer.status_code == 500
    assert answer.json()["type"].endswith("/uncommitted")
    assert (shop.items(), shop.counts()) == ([], (0, 0))
    loose = await alice.post("/items/loose", json=LAMP, headers=KEY)
    assert (loose.status_code, shop.counts()) == (500, (0, 0))


async def test_idk_11_an_operation_refused_in_a_once_route_leaves_the_key_free(shop: Shop) -> None:
    async with shop.client() as alice, shop.client("bob") as bob:
        assert (await alice.post("/items/refused", json=LAMP, headers=KEY)).status_code == 202
        assert (await bob.post("/items/refused", json=LAMP, headers=KEY)).status_code == 409
        assert shop.counts() == (1, 1)
        assert shop.items() == ["lamp"]


async def test_idk_15_a_request_cancelled_in_flight_leaves_no_half_record(shop: Shop, alice: httpx.AsyncClient) -> None:
    body = {"name": "lamp", "price": 1}
    first = asyncio.create_task(alice.post("/items", json=body, headers=KEY))
    await shop.entered.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (shop.items(), shop.counts()) == ([], (0, 0))
    shop.gate.set()
    assert (await alice.post("/items", json=body, headers=KEY)).status_code == 201


async def test_prf_03_a_once_route_may_be_waited_for(shop: Shop, alice: httpx.AsyncClient) -> None:
    """After its commit; what is remembered is the 202."""
    async with shop.jobs.worker():
        waited = await alice.post("/items/packed", json=LAMP, headers={**KEY, "Prefer": "wait=20"})
    assert (waited.status_code, waited.json()) == (200, "packed lamp")
    again = await alice.post("/items/packed", json=LAMP, headers=KEY)
    assert (again.status_code, again.json()["status"], again.headers["idempotency-replayed"]) == (202, "queued", "?1")


async def test_without_the_handlers_of_an_application(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/shop.db") as shop:
        api = FastAPI()
        api.include_router(shop._unit())
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        async with checked_client("alice", transport=transport, base_url="http://shop.test") as alice:
            assert (await alice.post("/items", json=LAMP, headers=KEY)).status_code == 201
            assert (await alice.post("/items", json=LAMP, headers=KEY)).headers["idempotency-replayed"] == "?1"
            assert (await alice.post("/items", json={"name": "table"}, headers=KEY)).status_code == 422
            assert (await alice.post("/items", json=LAMP, headers={"Idempotency-Key": "a,b"})).status_code == 400
        assert shop.items() == ["lamp"]


def test_streams_and_files_are_refused_when_the_route_is_made(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path}/shop.db")
    router = APIRouter(route_class=shop.operations.once)

    async def endpoint() -> None: ...

    async def pieces() -> AsyncIterator[bytes]:
        yield b""

    for kind in (StreamingResponse, FileResponse):
        with pytest.raises(ConfigurationError, match="stream or a file"):
            router.add_api_route("/x", endpoint, response_class=kind)
    with pytest.raises(ConfigurationError, match="stream or a file"):
        router.add_api_route("/x", pieces)
    shop.jobs.close()


async def test_a_session_where_there_is_none_to_be_had(tmp_path: Path) -> None:
    """The programmer's mistakes: a plain route, no session=, a session of no engine."""
    url = f"sqlite:///{tmp_path}/shop.db"
    for options, mode in (({}, "unit"), ({}, "leased"), ({"session": async_sessionmaker()}, "leased")):
        shop = Shop(url, mode)
        if options:
            shop.operations._face.service.keys.session = options["session"]
        at = shop.operations

        async def endpoint(session: Annotated[Any, Depends(at.session)]) -> None: ...

        router = APIRouter(route_class=at.route if mode == "unit" else at.once)
        router.add_api_route("/session", endpoint, methods=["POST"])
        shop.api.include_router(router)
        async with shop.client() as alice:
            answer = await alice.post("/session")
            assert answer.status_code == 500, answer.text
        await shop.close()


async def test_a_database_that_is_away_leaves_the_key_free(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path}/later/shop.db")
    async with shop.client() as alice:
        assert (await alice.post("/items", json=LAMP, headers=KEY)).status_code == 503
        (tmp_path / "later").mkdir()
        await asyncio.to_thread(shop.create)
        assert (await alice.post("/items", json=LAMP, headers=KEY)).status_code == 201
    await shop.close()


async def test_what_an_endpoint_says_is_read_from_its_own_module(tmp_path: Path) -> None:
    """Annotations that are text, plain functions, and a function called by hand."""
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", "leased")

    def endpoint(n: "int") -> "Item":
        return Item(name="x", price=n)

    router = APIRouter(route_class=shop.operations.once)
    router.add_api_route("/plain/{n}", endpoint, methods=["POST"])
    shop.api.include_router(router)
    assert shop.api.openapi()["paths"]["/plain/{n}"]["post"]["parameters"][0]["schema"]["type"] == "integer"
    by_hand: Any = router.routes[-1]
    assert by_hand.endpoint(4) == Item(name="x", price=4)
    async with shop.client() as alice:
        assert (await alice.post("/plain/3", headers=KEY)).json() == {"name": "x", "price": 3}
    await shop.close()
