"""SEC-05: one operation's stream, opened once, for clients that cannot send a header."""

import asyncio
import json
import sqlite3
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.requests import Request

from offpath.core.ids import is_id
from offpath.http.tickets import BYTES, LONGEST, hashed, offered, ticket
from offpath.integrations.fastapi import Caller, install_problem_handlers
from offpath.integrations.starlette import Operations as StarletteOperations
from tests.http.decoder import decode
from tests.http.either import STORES, site_on
from tests.http.site import Hand, Site, caller_of, checked_client, hand

pytestmark = pytest.mark.anyio


async def issue(client: httpx.AsyncClient, url: str) -> dict[str, str]:
    answer = await client.post(url + "/events/ticket")
    assert answer.status_code == 200, answer.text
    assert "no-store" in answer.headers["cache-control"]
    said: dict[str, str] = answer.json()
    return said


@pytest.mark.parametrize("store", STORES)
async def test_sec_05_a_ticket_opens_one_stream_once(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with site_on(store, request, tmp_path) as site, hand(site) as worker:
        async with site.client("alice") as alice, site.client(None) as nobody:
            url = await site.start(alice, "echo", value=1)
            await worker.done(await worker.claim(), "end")
            other = await site.start(alice, "echo", value=2)
            said = await issue(alice, url)
            assert said["url"] == f"{url}/events?ticket={said['ticket']}"
            for wrong in (said["ticket"][:-1], said["ticket"] + "A", "", "x" * 43, "é" * 43, "' or 1=1 --"):
                answer = await nobody.get(url + "/events", params={"ticket": wrong})
                assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (401, "ticket-refused")
            assert (await nobody.get(f"{other}/events?ticket={said['ticket']}")).status_code == 401
            assert (await nobody.get(f"{url[:-36]}no-id/events?ticket={said['ticket']}")).status_code == 401
            opened = await nobody.get(said["url"])
            assert opened.status_code == 200
            assert json.loads(decode(opened.content)[-1].data)["result"] == "end"
            assert (await nobody.get(said["url"])).status_code == 401, "it is used up"
            again = await issue(alice, url)
            resumed = await nobody.get(again["url"] + "&last_event_id=2")
            assert [event.id for event in decode(resumed.content)] == ["3"]


@pytest.mark.parametrize("store", STORES)
async def test_sec_05_of_many_who_use_it_at_once_one_gets_in(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with site_on(store, request, tmp_path) as site, hand(site) as worker:
        async with site.client("alice") as alice, site.client(None) as nobody:
            url = await site.start(alice, "echo", value=1)
            await worker.done(await worker.claim())
            said = await issue(alice, url)
            answers = await asyncio.gather(*(nobody.get(said["url"]) for _ in range(10)))
            assert sorted(answer.status_code for answer in answers) == [200] + [401] * 9


async def test_sec_05_it_lives_at_most_a_minute(site: Site, worker: Hand, alice: httpx.AsyncClient) -> None:
    assert LONGEST == 60
    url = await site.start(alice, "echo", value=1)
    said = await issue(alice, url)
    left = datetime.fromisoformat(said["expires_at"]).timestamp() - site.jobs.store.now() / 1e6
    assert 0 < left <= 60
    with sqlite3.connect(site.path) as db:
        db.execute("update offpath_ticket set expires_at = expires_at - 60000000")
    async with site.client(None) as nobody:
        assert (await nobody.get(said["url"])).status_code == 401


async def test_sec_05_only_its_hash_is_stored(site: Site, alice: httpx.AsyncClient) -> None:
    said = await issue(alice, await site.start(alice, "echo", value=1))
    with sqlite3.connect(site.path) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        ((kept,),) = db.execute("select hash from offpath_ticket")
    assert kept == hashed(said["ticket"])
    assert said["ticket"].encode() not in site.path.read_bytes()


async def test_sec_05_it_opens_nothing_else(site: Site, alice: httpx.AsyncClient) -> None:
    url = await site.start(alice, "echo", value=1)
    said = await issue(alice, url)
    async with site.client(None) as nobody:
        for method, path in (("GET", ""), ("GET", "/result"), ("POST", "/cancel"), ("POST", "/events/ticket")):
            answer = await nobody.request(method, f"{url}{path}?ticket={said['ticket']}")
            assert answer.status_code == 401
        assert (await nobody.get(f"{url}/events?ticket=")).status_code == 401
        assert (await nobody.get(f"{url}/events?xticket={said['ticket']}")).status_code == 401
        for _ in range(2):  # neither of these used it up
            both = await nobody.get(f"{url}/events?ticket={said['ticket']}&ticket={said['ticket']}")
            assert both.status_code == 401
        assert (await nobody.get(said["url"], headers={"Accept": "application/json"})).json()["items"]


async def test_sec_05_what_is_deleted_or_expired_is_not_opened(
    site: Site, worker: Hand, alice: httpx.AsyncClient
) -> None:
    url = await site.start(alice, "echo", value=1)
    await worker.done(await worker.claim())
    said = await issue(alice, url)
    assert (await alice.delete(url)).status_code == 204
    async with site.client(None) as nobody:
        assert (await nobody.get(said["url"])).status_code == 404


async def test_sec_05_no_caller_is_asked_but_the_router_s_other_rules_hold(site: Site, worker: Hand) -> None:
    """The dependency that says who is asking does not run; those that the application put around the router do."""
    asked: list[str] = []
    closed = False

    def caller(request: Request) -> Caller | None:
        asked.append(request.url.path)
        return caller_of(request.headers.get("authorization"))

    def rule() -> None:
        if closed:
            raise HTTPException(403, "closed")

    outer = Site(site.path.parent, caller=caller)
    api = FastAPI()
    api.include_router(outer.operations.router, prefix="/v1", dependencies=[Depends(rule)])
    install_problem_handlers(api)
    async with site.client("alice") as alice:
        id = (await site.start(alice, "echo", value=1)).rpartition("/")[2]
    await worker.done(await worker.claim())
    async with checked_client(None, transport=httpx.ASGITransport(api), base_url="http://site.test") as client:
        answers = [
            await client.post(f"/v1/operations/{id}/events/ticket", headers={"Authorization": "alice"}) for _ in "12"
        ]
        first, second = (answer.json()["url"] for answer in answers)
        assert "/v1/operations/" in first
        asked.clear()
        assert (await client.get(first)).status_code == 200
        assert asked == []
        closed = True
        assert (await client.get(second)).status_code == 403
    outer.jobs.close()


async def test_sec_05_on_starlette(site: Site, worker: Hand) -> None:
    async with site.client("alice") as alice:
        id = (await site.start(alice, "echo", value=1)).rpartition("/")[2]
    await worker.done(await worker.claim())

    async def caller(request: Request) -> Caller | None:
        return caller_of(request.headers.get("authorization"))

    operations = StarletteOperations(site.jobs, caller=caller)
    transport = httpx.ASGITransport(Starlette(routes=operations.routes))
    async with checked_client(None, transport=transport, base_url="http://site.test") as client:
        path = f"/operations/{id}/events"
        assert (await client.post(path + "/ticket")).status_code == 401
        said = (await client.post(path + "/ticket", headers={"Authorization": "alice"})).json()
        assert [(await client.get(said["url"])).status_code for _ in "12"] == [200, 401]
        assert (await client.get(path + "?access_token=x")).status_code == 400
        evil = {"Cookie": "s=1", "Origin": "https://evil.example"}
        assert (await client.post(path + "/ticket", headers=evil)).status_code == 403


async def test_sec_05_permissions_are_those_of_the_issuing(tmp_path: Path) -> None:
    """The ticket was given to somebody who might read; whoever holds it needs nothing more."""

    def caller(request: Request) -> Caller | None:
        return Caller("alice", "", frozenset({"see"})) if "authorization" in request.headers else None

    site = Site(tmp_path, caller=caller, permissions={"read": "see"})
    with hand(site) as worker:
        async with site.client("alice") as alice, site.client(None) as nobody:
            url = await site.start(alice, "echo", value=1)
            await worker.done(await worker.claim())
            assert (await nobody.get((await issue(alice, url))["url"])).status_code == 200
    site.jobs.close()


def test_sec_05_the_text_of_a_ticket() -> None:
    text = ticket(bytes(range(BYTES)))
    assert BYTES * 8 == 256
    assert len(text) == 43
    assert hashed(text) != hashed(ticket(bytes(BYTES)))
    assert [hashed(wrong) for wrong in ("", text[1:], text + "=", "ö" + text[1:], text + "\n")] == [None] * 5
    for query, there in ((b"ticket=x", True), (b"a=1&ticket=", True), (b"aticket=1", False), (b"a=ticket=", False)):
        assert offered(query) is there, query
    assert not is_id(text)
