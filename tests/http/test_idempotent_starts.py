"""wire.md 1.8, of requests that start operations: reservation, operation and remembered 202 are one transaction."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request

from offpath.http.idempotency import BadKey, Headers, fingerprint, kept, parse
from offpath.integrations.fastapi import Accepted, Acceptor
from offpath.ports import Reservation
from offpath.testing import run_inline
from tests.http.shop import Shop, beside, opened
from tests.http.site import checked_client

pytestmark = pytest.mark.anyio
KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
LAMP = {"name": "lamp"}
STARTS = ("/pack", "/pack/plain", "/pack/classic", "/pack/tx")


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


# ── what a key is ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["string", "string-generated", "item", "token", "number", "boolean", "binary"])
def test_idk_01_structured_field_vectors(conformance: Path, name: str) -> None:
    """Strictly, what is no String is no key; and what is, is read as the vectors say."""
    cases = json.loads((conformance / "structured-fields" / f"{name}.json").read_text())
    for case in cases:
        if case["header_type"] != "item" or len(case["raw"]) > 1:
            continue
        wanted = None if case.get("must_fail") else case["expected"][0]
        if not isinstance(wanted, str) or not 1 <= len(wanted) <= 255:
            wanted = None
        try:
            found = parse(case["raw"], strict=True)
        except BadKey:
            found = None
        assert found == wanted, case["name"]


def test_idk_01_the_same_as_another_parser() -> None:
    http_sf = pytest.importorskip("http_sf")
    more = ("", ";b", " ; b", ";b=1.25", ";B", ';b="c;d"', ";b=?1;c=:aGk=:", "; b=@12", ";b=1.", ";b=*x/y:z", ";b=")
    for text in (f'"a"{one}' for one in more):
        try:
            wanted, _ = http_sf.parse(text.encode(), tltype="item")
        except ValueError:
            wanted = None
        try:
            found = parse([text], strict=True)
        except BadKey:
            found = None
        assert found == wanted, text


@pytest.mark.parametrize(
    "text", ["8e03978e-40d5-43dd-bc93-6894a57f9324", "a", "order:42/x", "!" * 255, '"a b"', '"\\""']
)
def test_idk_01_bare_keys_are_taken_by_default(text: str) -> None:
    assert parse([text])
    if not text.startswith('"'):
        assert parse([text]) == parse([f'"{text}"']) == text
        with pytest.raises(BadKey):
            parse([text], strict=True)


@pytest.mark.parametrize(
    "lines",
    [['"a"', '"a"'], ['"a", "b"'], ["a,b"], ["a b"], [""], ['""'], ['"'], ['"a'], ["x" * 256], ["\u00e9"], ["a\x00b"]],
)
def test_idk_02_what_is_no_key(lines: list[str]) -> None:
    with pytest.raises(BadKey):
        parse(lines)


def test_idk_07_the_fingerprint() -> None:
    base: tuple[Any, ...] = ("POST", "/users/1", b"a=1", b"application/json", b"sum")
    seen = {fingerprint(*base)}
    for at, other in enumerate(("PATCH", "/users/2", b"a=2", b"text/plain", b"mus")):
        seen.add(fingerprint(*base[:at], other, *base[at + 1 :]))
    seen.add(fingerprint("POST", "/users/1a=1", b"", b"application/json", b"sum"))  # each part has its own place
    assert len(seen) == 7
    assert all(len(one) == 64 for one in seen)


def test_idk_15_what_is_never_kept() -> None:
    sent: Headers = [(b"Set-Cookie", b"a=b"), (b"Date", b"x"), (b"Connection", b"close"), (b"traceparent", b"0")]
    assert kept([*sent, (b"ETag", b'"1"')]) == [(b"etag", b'"1"')]


# ── over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", STARTS)
async def test_idk_04_the_same_202_again(shop: Shop, alice: httpx.AsyncClient, path: str) -> None:
    first = await alice.post(path, json=LAMP, headers=KEY)
    assert first.status_code == 202, first.text
    again = await alice.post(path, json=LAMP, headers=KEY)
    assert (again.status_code, again.content) == (202, first.content)
    for name in ("location", "retry-after", "cache-control", "content-type", "operation-location"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["idempotency-replayed"] == "?1"
    assert "idempotency-replayed" not in first.headers
    assert shop.counts() == (1, 1)
    assert shop.items() == (["lamp"] if path == "/pack/tx" else [])
    assert (await alice.get(first.headers["location"])).status_code == 200


async def test_acc_07_idk_09_one_transaction_carries_all(shop: Shop, alice: httpx.AsyncClient) -> None:
    """Seen from outside: the handler's rows, the operation and the answer, or none of them."""
    async with shop.maker() as session:
        await alice.post("/pack", json=LAMP, headers=KEY)
        assert shop.counts() == (1, 1)
        await session.rollback()
    bad = await alice.post("/pack/tx", json={"name": "x", "price": 13}, headers={"Idempotency-Key": "other"})
    assert (bad.status_code, shop.counts(), shop.items()) == (500, (1, 1), [])


@pytest.mark.parametrize("path", ["/pack", "/pack/tx"])
async def test_idk_09_fifty_at_once_start_one(shop: Shop, path: str) -> None:
    async with beside(shop) as other, shop.client() as here, other.client() as there:
        answers = await asyncio.gather(*(one.post(path, json=LAMP, headers=KEY) for one in [here, there] * 25))
        said = Counter(answer.status_code for answer in answers)
        assert set(said) <= {202, 409}, said
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
        assert shop.counts() == (1, 1)


async def test_idk_05_while_a_transaction_has_it(shop: Shop, alice: httpx.AsyncClient) -> None:
    """PostgreSQL tells at once; SQLite has one writer at a time, so there the second waits and is answered alike (as
    in test_idk_09)."""
    if shop.url.startswith("sqlite"):
        return
    verbs, store = shop.jobs.store.verbs, shop.jobs.store
    open_one = Reservation('["","alice"]', "in-hand", "f", "h", 0, 10**9)
    async with shop.maker.begin() as session:
        assert (await store.run_on(session, verbs.reserve(open_one))).fence == 1
        busy = await alice.post("/pack", json=LAMP, headers={"Idempotency-Key": "in-hand"})
        assert busy.status_code == 409, busy.text
        assert busy.headers["retry-after"] == "1"
        await session.rollback()
    assert (await alice.post("/pack", json=LAMP, headers={"Idempotency-Key": "in-hand"})).status_code == 202


async def test_idk_06_another_request(shop: Shop, alice: httpx.AsyncClient) -> None:
    assert (await alice.post("/pack", json=LAMP, headers=KEY)).status_code == 202
    for path in STARTS:
        answer = await alice.post(path, json={"name": "table"}, headers=KEY)
        assert answer.status_code == 422
        assert answer.json()["type"].endswith("/idempotency-key-reused")
    assert shop.counts() == (1, 1)


async def test_idk_08_two_callers(shop: Shop, alice: httpx.AsyncClient) -> None:
    mine = await alice.post("/pack", json=LAMP, headers=KEY)
    for name in ("bob", "alice@globex"):
        async with shop.client(name) as other:
            answer = await other.post("/pack", json=LAMP, headers=KEY)
            assert (answer.status_code, "idempotency-replayed" in answer.headers) == (202, False)
            assert answer.json()["id"] != mine.json()["id"]


async def test_idk_11_what_accept_refuses_leaves_the_key_free(shop: Shop, alice: httpx.AsyncClient) -> None:
    assert (await alice.post("/pack/held", json=LAMP)).status_code == 202
    async with shop.client("bob") as bob:
        assert (await bob.post("/pack/held", json=LAMP, headers=KEY)).status_code == 409
        assert shop.counts() == (1, 0)
        assert (await bob.post("/pack/held", json={"name": "x" * 300}, headers=KEY)).status_code == 422
        assert (await bob.post("/pack/held", json={"name": "table"}, headers=KEY)).status_code == 202
        assert (await bob.post("/pack", json={"name": 1}, headers={"Idempotency-Key": "b"})).status_code == 422
        assert shop.counts() == (2, 1)
    mine = await alice.post("/pack/held", json=LAMP, headers=KEY)  # its live operation, by its own key
    again = await alice.post("/pack/held", json=LAMP, headers=KEY)
    assert (mine.json()["id"], again.headers["idempotency-replayed"]) == (again.json()["id"], "?1")


async def test_idk_11_a_database_that_is_away(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path}/later/shop.db")
    async with shop.client() as alice:
        assert (await alice.post("/pack", json=LAMP, headers=KEY)).status_code == 503
        (tmp_path / "later").mkdir()
        assert (await alice.post("/pack", json=LAMP, headers=KEY)).status_code == 202
    await shop.close()


async def test_idk_13_after_its_time_the_key_is_new(shop: Shop, alice: httpx.AsyncClient) -> None:
    first = await alice.post("/pack", json=LAMP, headers=KEY)
    left = shop.rows("select expires_at from offpath_idempotency")[0][0] - shop.jobs.store.now()
    assert 86_390 < left / 1_000_000 <= 86_400
    await asyncio.to_thread(shop.age)
    second = await alice.post("/pack", json={"name": "table"}, headers=KEY)
    assert (second.status_code, "idempotency-replayed" in second.headers) == (202, False)
    assert second.json()["id"] != first.json()["id"]
    await asyncio.to_thread(shop.age)
    assert await shop.jobs.store.perform(lambda: shop.jobs.store.verbs.prune(100)) == 1
    assert shop.counts() == (2, 0)


async def test_idk_14_only_post_and_patch(shop: Shop, alice: httpx.AsyncClient) -> None:
    ids = {(await alice.put("/pack", json=LAMP, headers=KEY)).json()["id"] for _ in range(2)}
    assert len(ids) == 2
    bad = {"Idempotency-Key": "a, b"}
    assert (await alice.put("/pack", json=LAMP, headers=bad)).status_code == 202
    assert (await alice.get("/operations", headers=bad)).status_code == 200


async def test_idk_01_02_03_over_http(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/shop.db") as shop, shop.client() as alice:
        for bad in ("a, b", '""', '"a', "x" * 300):
            answer = await alice.post("/pack", json=LAMP, headers={"Idempotency-Key": bad})
            assert answer.status_code == 400, bad
            assert answer.json()["type"].endswith("/idempotency-key-invalid")
        twice = await alice.post("/pack", json=LAMP, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "a")])
        assert twice.status_code == 400
        missing = await alice.post("/pack/required", json=LAMP)
        assert missing.status_code == 400
        assert missing.headers["link"] == f'<{missing.json()["type"]}>; rel="describedby"'
        assert (await alice.post("/pack/required", json=LAMP, headers=KEY)).status_code == 202
        assert shop.counts() == (1, 1)
    async with opened(f"sqlite:///{tmp_path}/strict.db", strict_keys=True) as shop, shop.client() as alice:
        assert (await alice.post("/pack", json=LAMP, headers={"Idempotency-Key": "bare"})).status_code == 400
        assert (await alice.post("/pack", json=LAMP, headers=KEY)).status_code == 202


async def test_idk_07_a_body_that_was_read_before(shop: Shop, alice: httpx.AsyncClient) -> None:
    first = await alice.post("/pack/form", content="name=lamp", headers=KEY)
    again = await alice.post("/pack/form", content="name=lamp", headers=KEY)
    assert (first.status_code, again.headers["idempotency-replayed"]) == (202, "?1")
    assert (await alice.post("/pack/form", content="name=table", headers=KEY)).status_code == 422


async def test_a_request_that_starts_two_is_one_request(shop: Shop, alice: httpx.AsyncClient) -> None:
    first = await alice.post("/pack/twice", json=LAMP, headers=KEY)
    assert shop.counts() == (2, 1)
    again = await alice.post("/pack/twice", json=LAMP, headers=KEY)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "?1")
    assert shop.counts() == (2, 1)


async def test_without_the_handlers_of_an_application(tmp_path: Path) -> None:
    """`install_problem_handlers` was not called: keys work all the same, and refusals are problems."""
    async with opened(f"sqlite:///{tmp_path}/shop.db") as shop:
        api = FastAPI()
        api.include_router(shop.operations.router)
        accepts = Annotated[Acceptor, Depends(shop.operations.acceptor)]

        async def start(request: Request, accept: accepts) -> Accepted[str]:
            return await accept(shop.pack, (await request.body()).decode())

        async def start_tx(request: Request, accept: accepts) -> Accepted[str]:
            async with shop.maker.begin() as session:
                return await accept.using(tx=session)(shop.pack, (await request.body()).decode())

        api.add_api_route("/start", start, methods=["POST"])
        api.add_api_route("/start/tx", start_tx, methods=["POST"])
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        async with checked_client("alice", transport=transport, base_url="http://shop.test") as alice:
            for path in ("/start", "/start/tx"):
                key = {"Idempotency-Key": path}
                first = await alice.post(path, content="lamp", headers=key)
                again = await alice.post(path, content="lamp", headers=key)
                assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "?1")
                assert (await alice.post(path, content="table", headers=key)).status_code == 422
        assert shop.counts() == (2, 2)


async def test_inline_nothing_is_stored(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/shop.db") as shop, shop.client() as alice:
        with run_inline(shop.jobs):
            assert (await alice.post("/pack", json=LAMP, headers=KEY)).status_code == 202
        assert shop.counts() == (0, 0)


def test_the_description_of_a_start_has_the_fields(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path}/shop.db", idempotency_ttl=7_200)
    document = shop.api.openapi()
    start, once = document["paths"]["/pack"]["post"], document["paths"]["/items"]["post"]
    fields = [{one["name"]: one for one in route["parameters"]} for route in (start, once)]
    assert {"Idempotency-Key", "Prefer"} <= fields[0].keys()
    assert "2 hours" in fields[1]["Idempotency-Key"]["description"]
    for route in (start, once):
        assert {"400", "409", "422"} <= set(route["responses"])
    for status in ("200", "202"):
        assert "Idempotency-Replayed" in start["responses"][status]["headers"]
    shop.jobs.close()


def test_the_field_is_described_only_where_it_means_something(tmp_path: Path) -> None:
    shop = Shop(f"sqlite:///{tmp_path}/shop.db")
    once = APIRouter(route_class=shop.operations.once)

    async def keep(name: str) -> None: ...

    once.add_api_route("/kept/{name}", keep, methods=["PUT"])
    once.add_api_route("/changed/{name}", keep, methods=["PATCH"])
    shop.api.include_router(once)
    paths = shop.api.openapi()["paths"]
    start, put = paths["/pack"]["put"], paths["/kept/{name}"]["put"]
    for route in (start, put):
        assert "idempotency" not in str(route).lower()
    assert {"400", "409", "422"} <= set(start["responses"])  # `accept` has these reasons of its own
    assert "Prefer" in {one["name"] for one in start["parameters"]}
    assert not {"400", "409"} & set(put["responses"])
    assert "Idempotency-Key" in {one["name"] for one in paths["/changed/{name}"]["patch"]["parameters"]}
    shop.jobs.close()
