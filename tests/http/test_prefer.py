"""wire.md 1.7: `Prefer` on requests that start work. (How it is read: test_framing.py; polls: test_polling.py.)"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import anyio.to_thread
import httpx
import pytest
from fastapi import APIRouter, Depends, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from offpath.http.messages import Caller
from offpath.http.prefer import wish
from offpath.integrations.fastapi import Accepted, Acceptor
from offpath.integrations.fastapi.strict import SUPPORTED
from tests.http.site import Hand, Site, eventually, served

pytestmark = pytest.mark.anyio


class Inner(BaseModel):
    period: str


class Wanted(BaseModel):
    """Ignores what it does not know, like most models."""

    value: int = 0
    inner: Inner | None = None


class Lender:
    """Sessions that have a connection until their dependency ends; `lent` counts them."""

    def __init__(self, path: Path) -> None:
        self.engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)
        self.lent = 0

    async def session(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self.engine) as session:
            await session.execute(text("select 1"))
            self.lent += 1
            yield session
        self.lent -= 1


@pytest.fixture
def lender(site: Site) -> Lender:
    return Lender(site.path)


@pytest.fixture(autouse=True)
def routes(site: Site, lender: Lender) -> None:
    router = APIRouter(route_class=site.operations.route)
    accepts = Annotated[Acceptor, Depends(site.operations.acceptor)]

    @router.put("/both/{task}", status_code=200)
    async def both(task: str, accept: accepts, body: Wanted) -> Any:
        """Here and now, unless the client prefers otherwise."""
        if task == "missing":
            raise HTTPException(404)
        if not accept.prefers_async:
            return {"value": body.value}
        args = {"value": {"value": body.value}} if task == "echo" else {}
        return await accept(site.task(task), **args)

    @router.post("/start/{task}/with", status_code=202)
    async def start(
        task: str, accept: accepts, session: Annotated[AsyncSession, Depends(lender.session)]
    ) -> Accepted[Any]:
        return await accept(site.task(task))

    @router.post("/members", status_code=202)
    async def members(body: Wanted, accept: accepts, other: Annotated[str, Header()] = "") -> Accepted[Any]:
        accepted = await accept(site.echo, value=body.value)
        return accepted.adding(jobId=accepted.id)

    site.api.include_router(router)


def prefer(*lines: str) -> dict[str, str]:
    return {"Prefer": ", ".join(lines)}


@pytest.mark.parametrize("field", ["", "x=1", "wait", "wait=-1", "wait=x", "return=tiny", ";;,,", '"'])
async def test_prf_01_what_we_do_not_know_changes_nothing(alice: httpx.AsyncClient, field: str) -> None:
    plain = await alice.put("/both/echo", json={"value": 1}, headers={"Prefer": field})
    assert (plain.status_code, plain.json()) == (200, {"value": 1})
    answer = await alice.post("/members", json={}, headers={"Prefer": field})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    assert wish([field], 30) is None


async def test_prf_03_05_respond_async_is_202_at_once(alice: httpx.AsyncClient, site: Site) -> None:
    answer = await alice.put("/both/gated", json={}, headers=prefer("respond-async"))
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"].endswith(answer.json()["id"])


async def test_prf_03_05_ready_in_time(alice: httpx.AsyncClient, site: Site) -> None:
    async with site.jobs.worker():
        answer = await alice.put("/both/echo", json={"value": 7}, headers=prefer("respond-async", "wait=20"))
        assert (answer.status_code, answer.json()) == (200, {"value": 7})
        assert answer.headers["preference-applied"] == "respond-async, wait"
        assert "etag" not in answer.headers, "that of the operation would be taken for the result's"
        assert (await alice.get("/operations")).json()["items"][0]["status"] == "succeeded"


@pytest.mark.parametrize(
    ("sent", "applied"), [(("respond-async", "wait=0"), "respond-async, wait"), (("wait=0",), "wait")]
)
async def test_prf_03_04_not_ready_is_202_for_the_same_execution(
    alice: httpx.AsyncClient, site: Site, sent: tuple[str, ...], applied: str
) -> None:
    answer = await alice.put("/both/gated", json={}, headers=prefer(*sent))
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, applied)
    site.gate.set()
    async with site.jobs.worker():
        result = await alice.get(answer.headers["location"], headers=prefer("wait=20"))
    assert result.json()["result"] == "through"
    assert len((await alice.get("/operations")).json()["items"]) == 1


async def test_prf_04_the_wait_is_at_most_the_servers(tmp_path: Path) -> None:
    """The cap passes while the work is gated; the 202 then shows the operation as it has become."""
    site = Site(tmp_path)
    async with site.client() as alice, site.jobs.worker():
        for cap in (0.2, 2, 20):  # a worker that is held up may have begun only after a longer one
            site.service.wait = cap
            answer = await alice.post("/start/gated", headers=prefer("wait=999999999999"))
            assert answer.status_code == 202
            if answer.json()["status"] == "running":
                break
        assert answer.json()["status"] == "running"
        poll = await alice.get(answer.headers["location"])
        assert (answer.content, answer.headers["etag"]) == (poll.content, poll.headers["etag"])
        site.gate.set()
    site.jobs.close()


async def test_prf_04_a_race_of_wait_and_worker_is_one_execution(alice: httpx.AsyncClient, site: Site) -> None:
    async with site.jobs.worker():
        for wait in range(6):
            await alice.put("/both/echo", json={"value": wait}, headers=prefer(f"wait={wait % 2}"))
    assert len((await alice.get("/operations")).json()["items"]) == 6


@pytest.mark.parametrize(
    ("task", "status", "kind"), [("refuses", 422, "no-period"), ("breaks", 500, "job-failed"), ("silent", 204, "")]
)
async def test_prf_03_the_plain_result_of_every_end(
    alice: httpx.AsyncClient, site: Site, task: str, status: int, kind: str
) -> None:
    args = {"secret": "x"} if task == "breaks" else {}
    async with site.jobs.worker():
        answer = await alice.post(f"/start/{task}", json=args, headers=prefer("wait=20"))
    assert answer.status_code == status
    assert answer.headers["vary"] == "Prefer"
    if kind:
        assert answer.json()["type"].endswith(kind)


async def test_prf_03_a_reply_is_given_as_it_is(alice: httpx.AsyncClient, site: Site) -> None:
    async with site.jobs.worker():
        answer = await alice.post("/start/export", json={}, headers=prefer("wait=20"))
    assert (answer.status_code, answer.content) == (201, b"\x00\xffa;b\r\n")
    assert answer.headers["content-type"] == "text/csv"


async def test_prf_06_vary_on_every_answer_of_such_a_route(alice: httpx.AsyncClient, site: Site) -> None:
    asked = [
        await alice.put("/both/echo", json={"value": 1}),
        await alice.put("/both/echo", json={"value": 1}, headers=prefer("respond-async")),
        await alice.put("/both/missing", json={}),
        await alice.put("/both/echo", json={"value": "x"}),
        await alice.put("/both/echo", content="{"),
        await alice.get("/both/echo"),
    ]
    async with site.client(None) as nobody:
        asked.append(await nobody.put("/both/echo", json={"value": 1}))
    assert [answer.status_code for answer in asked] == [200, 202, 404, 422, 422, 405, 401], "errors too"
    assert [answer.headers.get("vary") for answer in asked] == ["Prefer"] * len(asked)
    assert "vary" not in (await alice.get("/boom")).headers


async def test_prf_07_return_minimal(alice: httpx.AsyncClient, site: Site) -> None:
    full = await alice.post("/members", json={})
    answer = await alice.post("/members", json={}, headers=prefer("return=minimal"))
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (202, b"", "0")
    assert answer.headers["preference-applied"] == "return=minimal"
    assert answer.headers.keys() == {*full.headers.keys(), "preference-applied"}
    both = await alice.post("/members", json={}, headers=prefer("return=minimal", "return=representation"))
    assert (both.json()["status"], "preference-applied" in both.headers) == ("queued", False)
    whole = await alice.post("/members", json={}, headers=prefer("return=representation"))
    assert (whole.json()["status"], whole.headers["preference-applied"]) == ("queued", "return=representation")


@pytest.mark.skipif(not SUPPORTED, reason="this pydantic cannot be told to be strict")
async def test_prf_08_handling_strict(alice: httpx.AsyncClient) -> None:
    body = {"value": 1, "valeu": 2, "inner": {"period": "q3", "perod": "q4"}}
    for field in ("handling=lenient", "x"):
        assert (await alice.put("/both/echo", json=body, headers=prefer(field))).status_code == 200
    answer = await alice.put("/both/echo", json=body, headers=prefer("handling=strict"))
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {"#/valeu", "#/inner/perod"}
    assert (await alice.get("/operations")).json()["items"] == []
    right = await alice.put("/both/echo", json={"value": 1}, headers=prefer("handling=strict", "respond-async"))
    assert (right.status_code, right.headers["preference-applied"]) == (202, "respond-async, handling=strict")
    wrong = await alice.put("/both/echo", json={"value": "x"}, headers=prefer("handling=strict"))
    assert [error["pointer"] for error in wrong.json()["errors"]] == ["#/value"]
    for broken in ("{", "[" * 100_000):
        answer = await alice.put("/both/echo", content=broken, headers=prefer("handling=strict"))
        assert answer.status_code in (400, 422)
    nothing = await alice.post("/start/gated/with", headers=prefer("handling=strict"))
    assert "preference-applied" not in nothing.headers, "there is no body to be strict about"


async def test_members_of_a_202_that_was_waited_for(tmp_path: Path, site: Site, alice: httpx.AsyncClient) -> None:
    answer = await alice.post("/members", json={}, headers=prefer("wait=0"))
    assert answer.json()["jobId"] == answer.json()["id"]
    assert "etag" not in answer.headers


async def test_prf_04_waiting_holds_neither_connection_nor_thread(
    alice: httpx.AsyncClient, site: Site, lender: Lender, worker: Hand
) -> None:
    def ask() -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(alice.post("/start/gated/with", headers=prefer("wait=20")))

    asks = [ask() for _ in range(10)]
    await eventually(lambda: site.service.watcher.open == 10)
    assert lender.lent == 0
    assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    for _ in asks:
        await worker.done(await worker.claim(), "through")
    assert {(await ask).json() for ask in asks} == {"through"}
    assert site.service.watcher.open == 0


async def test_prf_04_a_client_that_leaves_ends_its_wait(site: Site) -> None:
    async with served(site.api) as url, httpx.AsyncClient(base_url=url, headers={"Authorization": "alice"}) as alice:
        waiting = asyncio.create_task(alice.post("/start/gated", headers=prefer("wait=20")))
        await eventually(lambda: site.service.watcher.open == 1)
        waiting.cancel()
        async with asyncio.timeout(15):  # less than the wait; where it ends at once it is some milliseconds
            await eventually(lambda: site.service.watcher.open == 0)


async def test_sec_07_no_room_to_wait_is_202_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path, max_streams=1)
    site.jobs.store.migrate()
    async with site.client() as alice:
        assert site.service.free_seat(Caller("another")) is not None
        answer = await alice.post("/start/gated", headers=prefer("wait=20", "respond-async"))
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    site.jobs.close()


async def test_idk_04_a_repeated_request_may_wait_for_the_result(site: Site, alice: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": '"1"'}
    first = await alice.post("/members", json={"value": 3}, headers=key)
    async with site.jobs.worker():
        again = await alice.post("/members", json={"value": 3}, headers=key | prefer("wait=20"))
    assert (first.status_code, again.status_code, again.json()) == (202, 200, 3)
    assert again.headers["idempotency-replayed"] == "?1"
    stored = await alice.post("/members", json={"value": 3}, headers=key)
    assert (stored.status_code, stored.content) == (202, first.content)


async def test_prf_05_what_was_honoured() -> None:
    asked = wish(["respond-async, wait=100", "return=minimal, handling=strict"], 30)
    assert asked is not None
    assert asked.wait == 30
    assert asked.applied() == "respond-async, wait, return=minimal, handling=strict"
    assert asked.applied(result=True, waited=False) == "respond-async, handling=strict"
