"""wire.md 1.3: polling and waiting."""

import asyncio
import contextlib
import threading
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from fastapi.routing import APIRoute

from offpath.http.messages import Declined
from offpath.http.operations import matches, retry_after, spread
from offpath.integrations.fastapi import Caller, routing
from offpath.ports import OperationRow
from tests.http.site import BOTH, Hand, Site, checked_client, eventually, served

pytestmark = pytest.mark.anyio
HELD = {"Prefer": "wait=20"}


async def test_pol_01_retry_after_while_it_lives(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    assert int((await alice.get(url)).headers["retry-after"]) >= 1
    job = await worker.claim()
    assert (await alice.get(url)).headers["retry-after"].isdigit()
    await worker.done(job)
    assert "retry-after" not in (await alice.get(url)).headers


async def test_pol_02_never_cached(alice: httpx.AsyncClient, bob: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    for path in (url, url + "/result", "/operations"):
        assert (await alice.get(path)).headers["cache-control"] == "private, no-store"
    await worker.done(await worker.claim())
    for path in (url, url + "/result"):
        assert (await alice.get(path)).headers["cache-control"] == "private, no-store"
    for client, path in ((bob, url), (alice, "/operations/x"), (alice, "/operations?nope=1")):
        assert (await client.get(path)).headers["cache-control"] == "private, no-store"


class Cache:
    """A shared cache that keeps whatever RFC 9111 section 4.2.2 lets it keep without being told, for everybody."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.kept: dict[str, tuple[int, Any, bytes]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        url = f"{scope['path']}?{scope['query_string'].decode()}"
        if scope["method"] == "GET" and url in self.kept:
            status, headers, body = self.kept[url]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        begun: dict[str, Any] = {}

        async def sending(message: Any) -> None:
            begun.update(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                rules = dict(begun["headers"]).get(b"cache-control", b"")
                heuristic = begun["status"] in (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501)
                if scope["method"] == "GET" and heuristic and not (b"no-store" in rules or b"private" in rules):
                    self.kept[url] = begun["status"], begun["headers"], message.get("body", b"")
            await send(message)

        await self.app(scope, receive, sending)


async def test_pol_02_mistake_04_a_cache_in_between_keeps_nothing(site: Site, worker: Hand) -> None:
    @site.api.get("/kept")
    async def keep() -> int:
        return 1

    cache = Cache(site.api)
    transport = httpx.ASGITransport(cache)
    async with (
        checked_client("alice", transport=transport, base_url="http://site.test") as alice,
        checked_client("bob", transport=transport, base_url="http://site.test") as bob,
    ):
        await alice.get("/kept")
        assert set(cache.kept) == {"/kept?"}, "it does keep what says nothing"
        url = await site.start(alice, "echo", value=1)
        seen = [(await alice.get(url)).json()["status"]]
        job = await worker.claim()
        seen.append((await alice.get(url)).json()["status"])
        assert (await alice.get(url + "/result")).status_code == 202
        await worker.done(job, "mine")
        seen.append((await alice.get(url)).json()["status"])
        assert seen == ["queued", "running", "succeeded"]
        assert (await alice.get(url + "/result")).json() == "mine"
        assert (await alice.get(url + "/events")).status_code == 200
        for path in (url, url + "/result", url + "/events"):
            assert (await bob.get(path)).status_code == 404
        assert len((await alice.get("/operations")).json()["items"]) == 1
        assert (await bob.get("/operations")).json() == {"items": []}
        for path, status in (("/operations/x", 404), ("/operations/", 404), ("/operations?x=1", 400), ("/none", 404)):
            assert (await alice.get(path)).status_code == status
        assert (await alice.put("/operations")).status_code == 405
        assert (await alice.delete(url)).status_code == 204
        assert (await alice.get(url)).status_code == 404
    assert set(cache.kept) == {"/kept?"}


@BOTH
async def test_pol_03_etag(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    seen: list[str] = []

    async def tag() -> None:
        answer = await alice.get(url)
        etag = answer.headers["etag"]
        assert etag.startswith('"')
        assert etag not in seen
        seen.append(etag)
        for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            same = await alice.get(url, headers={"If-None-Match": known})
            assert same.status_code == 304
            assert same.content == b""
            assert same.headers["etag"] == etag
            assert same.headers["cache-control"] == "private, no-store"
            assert same.headers["vary"] == "Prefer"
        for other in seen[:-1]:
            assert (await alice.get(url, headers={"If-None-Match": other})).status_code == 200

    await tag()
    job = await worker.claim()
    await tag()
    await worker.progress(job, 1, 2)
    await tag()
    await alice.post(url + "/cancel")
    await tag()
    await worker.done(job)
    await tag()


def test_pol_03_tags_with_commas_and_junk() -> None:
    assert matches(['"a,b", "7"'], '"7"')
    assert not matches(['"a,7"'], '"7"')
    for junk in ("7", '"7'):
        with pytest.raises(Declined):
            matches([junk], '"7"')
    assert matches(['"1"', 'W/"7"'], '"7"')


@BOTH
async def test_pol_04_held_until_done(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    held = asyncio.create_task(alice.get(url, headers=HELD))
    await eventually(lambda: site.service.watcher.open == 1)
    job = await worker.claim()
    await worker.progress(job, 1, 2)
    assert not held.done()
    await worker.done(job, "x")
    answer = await held
    assert answer.json()["result"] == "x"
    assert answer.headers["preference-applied"] == "wait"
    assert answer.headers["vary"] == "Prefer"
    assert site.service.watcher.open == 0


@BOTH
async def test_pol_04_held_until_a_change(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    held = asyncio.create_task(alice.get(url, headers={**HELD, "If-None-Match": '"1"'}))
    await eventually(lambda: site.service.watcher.open == 1)
    await worker.claim()
    answer = await held
    assert answer.json()["status"] == "running"
    at_once = await alice.get(url, headers={**HELD, "If-None-Match": '"1"'})
    assert at_once.json() == answer.json()


async def test_pol_04_time_is_up(alice: httpx.AsyncClient, site: Site) -> None:
    url = await site.start(alice, "echo", value=1)
    site.service.wait = 0.05  # the server's cap
    answer = await alice.get(url, headers={"Prefer": "wait=99999999999999999999"})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert "retry-after" in answer.headers
    answer = await alice.get(url, headers={**HELD, "If-None-Match": '"1"'})
    assert answer.status_code == 304
    for nonsense in ("wait=-1", "wait", "wait=soon", 'wait="', "=;,"):
        answer = await alice.get(url, headers={"Prefer": nonsense})
        assert answer.status_code == 200
        assert "preference-applied" not in answer.headers


async def test_pol_04_a_lost_hint_costs_a_poll_only(alice: httpx.AsyncClient, site: Site, worker: Hand) -> None:
    url = await site.start(alice, "echo", value=1)
    site.service.poll = 0.05
    held = asyncio.create_task(alice.get(url, headers=HELD))
    await eventually(lambda: site.service.watcher.open == 1)
    site.jobs.transport.close()  # forgets its listeners: nothing is heard from here on
    await worker.done(await worker.claim())
    assert (await asyncio.wait_for(held, 15)).json()["status"] == "succeeded"


async def test_pol_05_a_held_poll_ends_with_its_client_and_holds_nothing(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def from_a_session() -> AsyncIterator[Caller]:
        """As FastAPI users write it: a session is opened to see who is asking."""
        closed.clear()
        yield Caller("alice")
        closed.set()

    site = Site(tmp_path, caller=from_a_session)
    async with served(site.api) as base, site.client() as direct:
        url = (await direct.post("/start/echo", json={"value": 1})).json()["links"]["self"]
        path = url.partition("site.test")[2]
        await direct.get(path)
        threads = threading.active_count()
        async with httpx.AsyncClient(base_url=base) as client:
            held = [asyncio.create_task(client.get(path, headers=HELD)) for _ in range(20)]
            await eventually(lambda: site.service.watcher.open == 20)
            assert closed.is_set(), "the caller's session is closed before the waiting begins"
            assert threading.active_count() <= threads + 1
            for one in held:
                one.cancel()
            await asyncio.gather(*held, return_exceptions=True)
        await eventually(lambda: site.service.watcher.open == 0, seconds=15)  # sooner than the polls would end
    site.jobs.close()


async def test_pol_05_too_many_held_polls_are_answered_at_once(alice: httpx.AsyncClient, site: Site) -> None:
    url = await site.start(alice, "echo", value=1)
    site.service.streams = 1
    held = asyncio.create_task(alice.get(url, headers=HELD))
    await eventually(lambda: site.service.watcher.open == 1)
    answer = await asyncio.wait_for(alice.get(url, headers=HELD), 15)
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)


async def test_pol_06_retry_after_grows_and_is_spread(site: Site) -> None:
    row = await _row(site)
    second = 1_000_000
    assert [retry_after(row, row.created_at + age * second, 0.5) for age in (0, 10, 50, 100, 10_000)] == [
        *(1, 2, 10, 20, 30)
    ]
    assert {spread(10, u / 100) for u in range(100)} == set(range(8, 13))
    later = row._replace(status=0, run_at=row.created_at + 40 * second)
    assert retry_after(later, row.created_at, 0.5) == 40


async def _row(site: Site) -> OperationRow:
    async with site.client() as alice:
        url = await site.start(alice, "echo", value=1)
    row = await site.jobs.store.read(site.jobs.store.verbs.operation(url.rpartition("/")[2]))
    assert row is not None
    return row


async def test_pol_10_head(site: Site, worker: Hand) -> None:
    async with served(site.api) as base, httpx.AsyncClient(base_url=base, headers={"Authorization": "alice"}) as alice:
        url = await site.start(alice, "echo", value=1)
        for path in (url, url + "/result", f"{base}/operations"):
            get, head = await alice.get(path), await alice.head(path)
            assert head.status_code == get.status_code
            assert head.content == b""
            date = {"date"}
            assert {k: v for k, v in head.headers.items() if k not in date} == {
                k: v for k, v in get.headers.items() if k not in date
            }
        assert (await alice.head(url + "x")).status_code == 404
        head = await alice.head(url + "/events")
        assert head.status_code == 200
        assert head.headers["content-type"].startswith("text/event-stream")
        assert site.service.watcher.open == 0


async def test_pol_05_a_fastapi_that_keeps_its_dependencies_elsewhere_is_named(site: Site) -> None:
    """What ends a dependency early lives under this name; without it that must not be lost in silence."""
    assert routing.STACK == "fastapi_inner_astack"
    seen: list[Any] = []

    @site.api.get("/scope")
    async def scope_of(request: Request) -> None:
        seen.append(request.scope.get(routing.STACK))

    async with site.client() as alice:
        await alice.get("/scope")
    assert isinstance(seen[0], contextlib.AsyncExitStack)
    routing._warn_once.cache_clear()
    (route, *_) = (route for route in site.operations.router.routes if isinstance(route, APIRoute))
    handler = route.get_route_handler()
    scope = {"type": "http", "method": "GET", "path": "/operations", "headers": [], "query_string": b""}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            with contextlib.suppress(AssertionError):  # FastAPI's own, of a scope that is not from it
                await handler(Request(scope))
    assert [routing.STACK in str(one.message) for one in told] == [True]
