"""wire.md 1.11: the stream of one operation."""

import asyncio
import contextlib
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse
from starlette.middleware.base import BaseHTTPMiddleware

from offpath.core.events import TERMINAL
from tests.http.decoder import Decoder, Seen, decode
from tests.http.site import Hand, Site, checked_client, eventually, served

pytestmark = pytest.mark.anyio


@pytest.fixture
async def wire(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """Alice, over a real connection."""
    async with served(site.api) as base, checked_client("alice", base_url=base) as client:
        yield client


async def whole(client: httpx.AsyncClient, url: str, after: int | None = None, **headers: str) -> list[Seen]:
    """A stream to its end."""
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    answer = await client.get(url + "/events", headers=headers)
    assert answer.status_code == 200, answer.text
    return decode(answer.content)


class Following:
    """A stream that stays open; `next()` is the next event."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.decoder = Decoder()
        self._pieces = response.aiter_raw()
        self._events: list[Seen] = []

    async def next(self) -> Seen:
        async with asyncio.timeout(60):
            while not self._events:
                self._events += self.decoder.feed(await anext(self._pieces))
        return self._events.pop(0)

    async def rest(self) -> list[Seen]:
        async with asyncio.timeout(60):
            async for piece in self._pieces:
                self._events += self.decoder.feed(piece)
        return self._events


@contextlib.asynccontextmanager
async def follow(client: httpx.AsyncClient, url: str, after: int | None = None) -> AsyncIterator[Following]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with client.stream("GET", url + "/events", headers=headers) as response:
        yield Following(response)


async def run(site: Site, worker: Hand, client: httpx.AsyncClient, steps: int) -> str:
    """An operation that has ended after `steps` lines of progress."""
    url = await site.start(client, "echo", value=1)
    job = await worker.claim()
    for step in range(steps):
        await worker.progress(job, step, steps, f"step {step}")
    await worker.done(job, "end")
    return url


def numbers(events: list[Seen]) -> list[int]:
    return [int(event.id) for event in events]


async def test_sse_01_headers(site: Site, worker: Hand, wire: httpx.AsyncClient) -> None:
    url = await run(site, worker, wire, 1)
    answer = await wire.get(url + "/events", headers={"Accept-Encoding": "gzip, br"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in answer.headers
    assert "connection" not in answer.headers
    assert "content-length" not in answer.headers


async def test_sse_02_awkward_text_arrives_as_one_event(site: Site, worker: Hand, wire: httpx.AsyncClient) -> None:
    awkward = "a\u2028b\u2029c\u0085d\x0be\x0cf\r\ng"
    url = await site.start(wire, "echo", value=1)
    job = await worker.claim()
    await worker.progress(job, 1, 2, awkward)
    await worker.done(job, awkward)
    events = await whole(wire, url, 1)
    assert json.loads(events[1].data)["message"] == awkward
    assert json.loads(events[-1].data)["result"] == awkward
    async with aconnect_sse(wire, "GET", url + "/events", headers={"Last-Event-ID": "1"}) as source:
        same = [(e.event, e.data, e.id) async for e in source.aiter_sse() if e.data]
    assert same == [tuple(event) for event in events]


async def test_sse_03_04_snapshot_first_the_end_last(site: Site, worker: Hand, wire: httpx.AsyncClient) -> None:
    url = await site.start(wire, "echo", value=1)
    async with follow(wire, url) as stream:
        first = await stream.next()
        assert first.type == "operation.snapshot"
        assert json.loads(first.data) == (await wire.get(url)).json()
        assert "reset" not in json.loads(first.data)
        assert first.id == "1"
        job = await worker.claim()
        started = await stream.next()
        assert (started.type, json.loads(started.data)["attempt"]) == ("operation.started", 1)
        await worker.progress(job, 1, 4, "one")
        progress = await stream.next()
        assert progress.type == "operation.progress"
        data = json.loads(progress.data)
        assert (data["percent"], data["current"], data["total"], data["message"]) == (25, 1, 4, "one")
        assert data["sequence"] == int(progress.id) == 3
        await worker.done(job, "end")
        last = await stream.next()
        assert last.type == "operation.succeeded"
        assert json.loads(last.data) == (await wire.get(url)).json()
        assert await stream.rest() == []
    assert site.service.watcher.open == 0
    fresh = await whole(wire, url)
    assert [event.type for event in fresh] == ["operation.snapshot", "operation.succeeded"]
    assert all(event.data and event.id for event in fresh)


async def test_sse_05_resumed_at_each_index(site: Site, worker: Hand, wire: httpx.AsyncClient) -> None:
    """Disconnect after every single event, live, each time to the other of two replicas: the union is the log."""
    other = Site(site.path.parent)
    async with served(other.api) as base, checked_client("alice", base_url=base) as second:
        url = await site.start(wire, "echo", value=1)
        path = url.partition("/operations")[1] + url.partition("/operations")[2]
        clients = (wire, second)
        seen: list[Seen] = []

        async def read() -> None:
            after = 0
            while not seen or seen[-1].type.removeprefix("operation.") not in TERMINAL:
                async with follow(clients[after % 2], path, after) as stream:
                    seen.append(await stream.next())
                after = int(seen[-1].id)

        async def write() -> None:
            job = await worker.claim()
            for step in range(40):
                await worker.progress(job, step, 40, f"step {step}")
            await worker.done(job)

        await asyncio.gather(read(), write())
        assert numbers(seen) == list(range(1, 44))
        log = await whole(wire, url, 0)
        assert [(e.type, e.id) for e in seen] == [(e.type, e.id) for e in log]
        assert [e.data for e in seen[:-1]] == [e.data for e in log[:-1]]
    other.jobs.close()


async def test_sse_05_a_thousand_events_and_a_restart(site: Site, worker: Hand, alice: httpx.AsyncClient) -> None:
    url = await run(site, worker, alice, 1_000)
    assert numbers(await whole(alice, url, 0)) == list(range(1, 1004))
    site.jobs.close()  # as a restarted server has it: everything is opened anew
    for after in (1, 99, 100, 101, 500, 1_001, 1_002):
        assert numbers(await whole(alice, url, after)) == list(range(after + 1, 1_004))


async def test_sse_06_a_gap_is_told(site: Site, worker: Hand, alice: httpx.AsyncClient) -> None:
    url = await site.start(alice, "echo", value=1)
    id = url.rpartition("/")[2]
    job = await worker.claim()
    for step in range(8):
        await worker.progress(job, step, 8)
    with sqlite3.connect(site.path) as db:  # as a shorter retention of events would
        db.execute("delete from offpath_event where job = ? and seq < 6", (id,))
    async with served(site.api) as base, checked_client("alice", base_url=base) as wire:
        async with follow(wire, f"{base}/operations/{id}", 2) as stream:
            first = await stream.next()
            assert first.type == "operation.snapshot"
            assert json.loads(first.data)["reset"] is True
            assert first.id == "10"
            await worker.progress(job, 8, 8)
            assert numbers([await stream.next()]) == [11]
        async with follow(wire, f"{base}/operations/{id}", 5) as stream:
            assert numbers([await stream.next() for _ in range(6)]) == [6, 7, 8, 9, 10, 11]
    await worker.done(job)
    with sqlite3.connect(site.path) as db:
        db.execute("delete from offpath_event where job = ?", (id,))
    events = await whole(alice, url, 7)
    assert [event.type for event in events] == ["operation.snapshot", "operation.succeeded"]
    assert json.loads(events[0].data)["reset"] is True
    assert events[-1].id == "12"


@pytest.mark.parametrize("last", ["", "nonsense", "-1", "1e9", "9999", "other:3", "9" * 100, "\xff"])
async def test_sse_07_a_last_event_id_that_is_none_of_ours(
    site: Site, worker: Hand, alice: httpx.AsyncClient, bob: httpx.AsyncClient, last: str
) -> None:
    theirs = await run(site, worker, bob, 3)
    url = await run(site, worker, alice, 1)
    events = await whole(alice, url, **{"Last-Event-ID": last.encode("latin-1")})  # type: ignore[arg-type]
    assert [event.type for event in events] == ["operation.snapshot", "operation.succeeded"]
    assert all(json.loads(event.data)["id"] == url.rpartition("/")[2] for event in events)
    assert (await alice.get(theirs + "/events", headers={"Last-Event-ID": "1"})).status_code == 404


async def test_sse_08_the_end_is_the_end(site: Site, worker: Hand, wire: httpx.AsyncClient) -> None:
    for end in (worker.done, worker.fail):
        url = await site.start(wire, "echo", value=1)
        await end(await worker.claim())
        events = await whole(wire, url)
        again = await wire.get(url + "/events", headers={"Last-Event-ID": events[-1].id})
        assert (again.status_code, again.content) == (204, b"")
        before = await whole(wire, url, int(events[-1].id) - 1)
        assert before == events[-1:]


async def test_sse_09_10_comments_in_silence_and_one_retry(site: Site, wire: httpx.AsyncClient) -> None:
    assert site.service.heartbeat == 15
    site.service.heartbeat = 0.02
    url = await site.start(wire, "echo", value=1)
    async with follow(wire, url) as stream:
        await stream.next()
        async with asyncio.timeout(60):
            while stream.decoder.comments < 3:
                assert stream.decoder.feed(await anext(stream._pieces)) == []
        assert stream.decoder.retry == 2000
        site.service.random = lambda: 0.0
    async with follow(wire, url) as stream:
        await stream.next()
        assert stream.decoder.retry == 1600


async def test_sse_11_errors_before_the_stream_are_problems(site: Site, wire: httpx.AsyncClient) -> None:
    url = await site.start(wire, "echo", value=1)
    assert (await wire.get(url[:-1] + "x/events")).status_code == 404
    assert (await wire.get(url + "/events?nope=1")).status_code == 400
    site.service.streams = 1
    async with follow(wire, url) as stream:
        await stream.next()
        refused = await wire.get(url + "/events")
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["content-type"] == "application/problem+json"
    await eventually(lambda: site.service.watcher.open == 0)


async def test_sse_12_by_query(site: Site, worker: Hand, alice: httpx.AsyncClient) -> None:
    url = await run(site, worker, alice, 2)
    by_query = decode((await alice.get(url + "/events?last_event_id=3")).content)
    assert numbers(by_query) == [4, 5]
    both = await alice.get(url + "/events?last_event_id=1", headers={"Last-Event-ID": "4"})
    assert numbers(decode(both.content)) == [5]


async def test_sse_13_a_slow_reader_is_cut_off_and_resumes(site: Site, worker: Hand) -> None:
    """It takes nothing; the worker never waits for it, the stream ends, and by id nothing is missing."""
    site.service.patience = 0.3
    async with served(site.api) as base, checked_client("alice", base_url=base) as client:
        url = await site.start(client, "echo", value=1)
        job = await worker.claim()
        host, port = base.removeprefix("http://").split(":")
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, (host, int(port)))
        path = url.removeprefix(base)
        ask = f"GET {path}/events HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\nLast-Event-ID: 0\r\n\r\n"
        await loop.sock_sendall(slow, ask.encode())
        await eventually(lambda: site.service.watcher.open == 1)
        for step in range(120):
            async with asyncio.timeout(60):
                assert await worker.progress(job, step, 120, "x" * 100_000)
        await eventually(lambda: site.service.watcher.open == 0)
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(loop.sock_recv(slow, 1 << 20), 60):
                got += piece
        slow.close()
        await worker.done(job)
        _, _, body = got.partition(b"\r\n\r\n")
        seen = numbers(decode(_dechunk(body)))
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) < 120
        assert numbers(await whole(client, url, len(seen))) == list(range(len(seen) + 1, 124))


def _dechunk(body: bytes) -> bytes:
    """As far as it is whole."""
    out = b""
    while body:
        size, found, rest = body.partition(b"\r\n")
        if not found or len(rest) < int(size, 16):
            return out + rest
        out += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    return out


@pytest.mark.parametrize("layered", [False, True])
async def test_sse_14_a_disconnect_frees_the_subscription(site: Site, layered: bool) -> None:
    """Also one that comes before the first byte, and under a middleware that wraps the body in another generator."""
    api: Any = site.api
    if layered:
        api = BaseHTTPMiddleware(site.api, dispatch=lambda request, call_next: call_next(request))
    async with served(api) as base, checked_client("alice", base_url=base) as client:
        site.service.heartbeat = 3600  # which would find out, too
        url = await site.start(client, "echo", value=1)
        host, port = base.removeprefix("http://").split(":")
        ask = f"GET {url.removeprefix(base)}/events HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\n\r\n".encode()

        async def once(read: bool) -> None:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(ask)
            await writer.drain()
            if read:
                await reader.readuntil(b"operation.snapshot")
            writer.close()

        for number in range(200):
            await once(number % 10 == 0)
        await eventually(lambda: site.service.watcher.open == 0)
        assert site.service.watcher._waiting == {}
        assert site.service.watcher._unsubscribe is None
        for _ in range(3):
            async with follow(client, url) as stream:
                await stream.next()
                assert site.service.watcher.open == 1
            await eventually(lambda: site.service.watcher.open == 0)


async def test_sse_15_closed_by_hand(site: Site, wire: httpx.AsyncClient) -> None:
    """Under uvicorn it happens by itself (test_processes.py); other servers can say so."""
    url = await site.start(wire, "echo", value=1)
    async with follow(wire, url) as stream:
        await stream.next()
        held = asyncio.create_task(wire.get(url, headers={"Prefer": "wait=30"}))
        await eventually(lambda: site.service.watcher.open == 2)
        site.operations.close()
        assert await stream.rest() == []
        assert (await held).json()["status"] == "queued"


async def test_sse_17_the_same_log_as_json(site: Site, worker: Hand, alice: httpx.AsyncClient) -> None:
    url = await run(site, worker, alice, 30)
    headers = {"Accept": "application/json"}
    items: list[dict[str, Any]] = []
    page = (await alice.get(url + "/events?limit=10", headers=headers)).json()
    while True:
        items += page["items"]
        if "next_cursor" not in page:
            break
        page = (await alice.get(f"{url}/events?limit=10&cursor={page['next_cursor']}", headers=headers)).json()
    assert [item["id"] for item in items] == list(range(1, 34))
    streamed = await whole(alice, url, 0)
    assert [(item["event"], item["id"]) for item in items] == [(e.type, int(e.id)) for e in streamed]
    assert [item["data"] for item in items[:-1]] == [json.loads(e.data) for e in streamed[:-1]]
    other = await run(site, worker, alice, 1)
    cursor = (await alice.get(url + "/events?limit=1", headers=headers)).json()["next_cursor"]
    assert (await alice.get(f"{other}/events?cursor={cursor}", headers=headers)).status_code == 400


async def test_a_database_that_goes_away_ends_it(
    site: Site, wire: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    url = await site.start(wire, "echo", value=1)
    async with follow(wire, url) as stream:
        await stream.next()
        site.jobs.store.close()
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.rest()
    assert "http.failed" in caplog.text
    assert (await wire.get(url + "/events")).status_code == 503


async def test_an_operation_deleted_under_a_stream_ends_it(site: Site, worker: Hand, wire: httpx.AsyncClient) -> None:
    site.service.heartbeat = 0.02
    url = await site.start(wire, "echo", value=1)
    async with follow(wire, url) as stream:
        await stream.next()
        with sqlite3.connect(site.path) as db:
            db.execute("delete from offpath_operation")
        assert await stream.rest() == []


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/event-stream"),
        ("*/*", "text/event-stream"),
        ("text/*;q=0.5", "text/event-stream"),
        ("application/json, text/event-stream", "text/event-stream"),
        ("Text/Event-Stream", "text/event-stream"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/*", "application/json"),
        ("application/xml", None),
        ("text/event-stream;q=0, text/html", None),
    ],
)
async def test_sse_17_what_the_client_accepts(
    site: Site, worker: Hand, alice: httpx.AsyncClient, accept: str | None, kind: str | None
) -> None:
    url = await run(site, worker, alice, 1)
    if accept is None:
        del alice.headers["accept"]
    answer = await alice.get(url + "/events", headers={} if accept is None else {"Accept": accept})
    assert answer.status_code == (406 if kind is None else 200)
    assert answer.headers["content-type"].partition(";")[0] == (kind or "application/problem+json")
