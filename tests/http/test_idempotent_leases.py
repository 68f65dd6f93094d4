"""wire.md 1.8 where no transaction of ours carries the work: a reservation with a holder, a fence and a lease."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from tests.http.shop import Shop, beside, opened

pytestmark = pytest.mark.anyio
KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
SECONDS = 2.0  # a lease; renewed three times as often
LEASE = "select leased_until from offpath_idempotency"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers("postgres"))])
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    url = f"sqlite:///{tmp_path}/shop.db"
    if request.param == "postgres":
        url = request.getfixturevalue("tables_url")
    async with opened(url, "leased", idempotency_lease=SECONDS) as made:
        yield made


@pytest.fixture
async def alice(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with shop.client() as client:
        yield client


@pytest.mark.parametrize("path", ["/items", "/items/plain"])
async def test_idk_04_the_answer_again(shop: Shop, alice: httpx.AsyncClient, path: str) -> None:
    first = await alice.post(path, json={"name": "lamp"}, headers=KEY)
    again = await alice.post(path, json={"name": "lamp"}, headers=KEY)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert again.headers["idempotency-replayed"] == "?1"
    assert shop.handled == ["lamp"]
    assert (await alice.post(path, json={"name": "table"}, headers=KEY)).status_code == 422


async def test_idk_05_10_a_handler_alive_keeps_its_key(shop: Shop, alice: httpx.AsyncClient) -> None:
    """The handler blocks the loop, so nothing on it can renew; another process asks after the lease would have run out,
    and the key is still taken."""
    asked: list[int] = []

    async def elsewhere() -> None:
        async with beside(shop, idempotency_lease=SECONDS) as other, other.client() as there:
            answer = await there.post("/items", json={"name": "lamp", "price": 3}, headers=KEY)
            asked.append(answer.status_code)
            assert other.handled == []

    def watch() -> None:
        """In a thread: until the lease has been extended past where it would have ended, again and again."""
        while not shop.entered.is_set() or not (seen := shop.rows(LEASE)):
            continue
        first = seen[0][0]
        while shop.rows(LEASE)[0][0] < first + SECONDS * 1e6 or time.time() * 1e6 < first:
            time.sleep(0.01)  # a row tells nobody
        asyncio.run(elsewhere())
        shop.blocked.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    answer = await alice.post("/items", json={"name": "lamp", "price": 3}, headers=KEY)
    await asyncio.to_thread(watcher.join)
    assert (answer.status_code, asked, shop.handled) == (201, [409], ["lamp"])


async def test_idk_10_here_too(shop: Shop, alice: httpx.AsyncClient) -> None:
    """In the handler's own process even a lease that was lost lets nobody in."""
    body = {"name": "lamp", "price": 1}
    first = asyncio.create_task(alice.post("/items", json=body, headers=KEY))
    await shop.entered.wait()
    with shop.plain.begin() as connection:
        connection.execute(text("update offpath_idempotency set leased_until = 1, fence = 7"))
    assert (await alice.post("/items", json=body, headers=KEY)).status_code == 409
    shop.gate.set()
    assert (await first).status_code == 201


async def test_idk_10_the_key_of_a_process_that_died_is_free_again(shop: Shop, alice: httpx.AsyncClient) -> None:
    """A second one that took it is the holder from then on: what the first would still say is refused."""
    body = {"name": "lamp", "price": 1}
    async with beside(shop, idempotency_lease=3_600) as dead, dead.client() as there:  # nothing is renewed here
        first = asyncio.create_task(there.post("/items", json=body, headers=KEY))
        await dead.entered.wait()
        assert (await alice.post("/items", json=body, headers=KEY)).status_code == 409
        with shop.plain.begin() as connection:
            connection.execute(text("update offpath_idempotency set leased_until = 1"))
        shop.gate.set()
        taken = await alice.post("/items", json=body, headers=KEY)
        assert (taken.status_code, "idempotency-replayed" in taken.headers) == (201, False)
        assert shop.rows("select fence from offpath_idempotency") == [(2,)]
        logger = logging.getLogger("offpath")
        heard: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
        logger.addHandler(handler)
        dead.gate.set()
        late = await first
        logger.removeHandler(handler)
        assert late.status_code == 201, "its work was done, and this client hears of it"
        assert any(line.startswith("http.reservation_lost") for line in heard)
    again = await alice.post("/items", json=body, headers=KEY)
    assert again.headers["idempotency-replayed"] == "?1"


@pytest.mark.parametrize("price", [500, 422])
async def test_idk_11_12_15_nothing_half_is_left(shop: Shop, alice: httpx.AsyncClient, price: int) -> None:
    body = {"name": "lamp", "price": price} if price == 500 else {"name": "lamp", "price": "much"}
    assert (await alice.post("/items", json=body, headers=KEY)).status_code == price
    assert shop.counts() == (0, 0)
    waiting = {"name": "lamp", "price": 1}
    first = asyncio.create_task(alice.post("/items", json=waiting, headers=KEY))
    await shop.entered.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert shop.counts() == (0, 0)
    shop.gate.set()
    assert (await alice.post("/items", json=waiting, headers=KEY)).status_code == 201
    assert shop.counts() == (0, 1)


async def test_idk_12_a_4xx_is_remembered(shop: Shop, alice: httpx.AsyncClient) -> None:
    for again in (False, True):
        answer = await alice.post("/items", json={"name": "lamp", "price": 404}, headers=KEY)
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (404, again)
    assert shop.handled == ["lamp"]
