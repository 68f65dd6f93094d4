"""SSE-16: who was let in once is looked at again while the stream goes on."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from offpath.errors import ConfigurationError
from offpath.http import sse
from offpath.http.problems import Problems
from offpath.http.watch import Watcher
from offpath.integrations.fastapi import Caller, Operations
from offpath.ports import EventRow, OperationRow
from tests.http.decoder import Decoder
from tests.http.site import Site, checked_client, eventually, hand, served
from tests.http.test_sse import follow

pytestmark = pytest.mark.anyio


class Passes:
    """Who may look; told of everybody who is asked about."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.asked: list[Caller] = []
        self.ask = asyncio.Event()

    def __call__(self, caller: Caller) -> bool:
        self.asked.append(caller)
        self.ask.set()
        return caller.id not in self.revoked


@pytest.fixture
async def passes(tmp_path: Path) -> AsyncIterator[tuple[Site, Passes, httpx.AsyncClient]]:
    passes = Passes()
    site = Site(tmp_path, recheck=passes, recheck_every=0.02, heartbeat=15)
    site.service.poll = 0.02
    async with served(site.api) as base, checked_client("alice@acme", base_url=base) as client:
        yield site, passes, client
    site.jobs.close()


async def test_sse_16_a_silent_stream_ends_when_access_is_revoked(
    passes: tuple[Site, Passes, httpx.AsyncClient],
) -> None:
    site, may, client = passes
    url = await site.start(client, "echo", value=1)
    async with follow(client, url) as stream:
        await stream.next()
        await asyncio.wait_for(may.ask.wait(), 60)
        may.revoked.add("alice")
        assert await stream.rest() == []
    assert set(may.asked) == {Caller("alice", "acme")}
    await eventually(lambda: site.service.seats.taken == 0)


async def test_sse_16_a_busy_stream_ends_too(passes: tuple[Site, Passes, httpx.AsyncClient]) -> None:
    """There is no silence in which a heartbeat could ask."""
    site, may, client = passes
    with hand(site) as worker:
        url = await site.start(client, "echo", value=1)
        job = await worker.claim()
        stop = asyncio.Event()

        async def write() -> None:
            step = 0
            while not stop.is_set():
                step += 1
                await worker.progress(job, step, 1_000_000)

        writing = asyncio.create_task(write())
        async with follow(client, url) as stream:
            await stream.next()
            await asyncio.wait_for(may.ask.wait(), 60)
            may.revoked.add("alice")
            events = await stream.rest()
        stop.set()
        await writing
        assert all(event.type == "operation.progress" for event in events)


async def test_sse_16_one_that_was_opened_by_a_ticket_is_asked_about_its_owner(
    passes: tuple[Site, Passes, httpx.AsyncClient],
) -> None:
    site, may, client = passes
    url = await site.start(client, "echo", value=1)
    said = (await client.post(url + "/events/ticket")).json()
    async with checked_client(None) as nobody, nobody.stream("GET", said["url"]) as response:
        assert response.status_code == 200
        await asyncio.wait_for(may.ask.wait(), 60)
        may.revoked.add("alice")
        async with asyncio.timeout(60):
            async for _ in response.aiter_raw():
                pass
    assert [(caller.id, caller.tenant) for caller in may.asked[:1]] == [("alice", "acme")]


async def test_sse_16_a_row_that_changes_hands_ends_the_stream(
    passes: tuple[Site, Passes, httpx.AsyncClient],
) -> None:
    site, _, client = passes
    url = await site.start(client, "echo", value=1)
    async with follow(client, url) as stream:
        await stream.next()
        with sqlite3.connect(site.path) as db:
            db.execute("update offpath_operation set owner = 'bob'")
        assert await stream.rest() == []


async def test_sse_16_a_held_poll_is_looked_at_again(passes: tuple[Site, Passes, httpx.AsyncClient]) -> None:
    site, may, client = passes
    url = await site.start(client, "echo", value=1)
    may.revoked.add("alice")
    assert (await client.get(url)).status_code == 200, "the caller dependency has just said who it is"
    answer = await client.get(url, headers={"Prefer": "wait=0"})
    assert answer.status_code == 404


async def test_sse_16_one_that_cannot_answer_lets_nobody_look(tmp_path: Path) -> None:
    async def broken(caller: Caller) -> bool:
        raise OSError("the directory cannot be reached")

    site = Site(tmp_path, recheck=broken, recheck_every=0.02)
    site.service.poll = 0.02
    async with served(site.api) as base, checked_client("alice", base_url=base) as client:
        url = await site.start(client, "echo", value=1)
        async with follow(client, url) as stream:
            with pytest.raises(httpx.RemoteProtocolError):
                await stream.rest()
    site.jobs.close()


def test_sse_16_at_least_once_a_minute(site: Site) -> None:
    service = Operations(site.jobs, caller=lambda: None)._face.service
    assert service.recheck_every <= 60
    with pytest.raises(ConfigurationError):
        Operations(site.jobs, caller=lambda: None, recheck_every=61)


class Scripted:
    """A log of which ten more lines are always there: the stream is never idle."""

    recheck = 30.0

    def __init__(self, watcher: Watcher, row: OperationRow) -> None:
        self.watcher, self.problems, self._row = watcher, Problems(), row
        self.checks = 0

    async def row(self) -> OperationRow | None:
        return self._row

    async def trusted(self) -> bool:
        self.checks += 1
        return self.checks < 3

    async def events(self, after: int, limit: int) -> list[EventRow]:
        return [EventRow(after + n, "progress", 0, '{"current":1}') for n in range(1, 11)]

    def document(self, row: OperationRow, **more: Any) -> str:
        return json.dumps(more)


async def test_sse_16_by_the_clock_however_slow_the_reader(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that takes ten seconds for each event: nobody looks longer than a minute without being asked about."""
    id = (await site.start(alice, "gated")).rpartition("/")[2]
    row = await site.jobs.store.read(site.jobs.store.verbs.operation(id))
    assert row is not None
    now, at = 0.0, list[float]()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    source = Scripted(site.service.watcher, row)
    frames = sse.stream(source, id, 0, heartbeat=15, poll=1, u=0.5)
    decoder, before = Decoder(), 0
    async for piece in frames:
        decoder.feed(piece)
        if source.checks > before:
            before = source.checks
            at.append(now)
        now += 10.0
    assert source.checks == 3
    assert at[0] <= 60
    assert at[1] - at[0] <= 60
