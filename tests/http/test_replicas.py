"""wire.md 1.11 where it takes several servers: one log, read from any of them, whatever dies meanwhile."""

import asyncio
import contextlib
import random
import signal
import sqlite3
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.http.decoder import Decoder, Seen
from tests.http.either import STORES, site_on
from tests.http.site import Site, hand
from tests.http.test_processes import Server, server

pytestmark = pytest.mark.anyio
EVENTS = {"sqlite": 1_000, "postgres": 300}


@pytest.mark.parametrize("store", STORES)
async def test_sse_05_on_any_replica_whatever_dies(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Two servers on one database, a thousand events written while they are read, one server killed and one come anew:
    a reader that leaves at random points, and comes back to either, has each event exactly once."""
    chance, events = random.Random(20), EVENTS[store]
    with site_on(store, request, tmp_path) as site, hand(site) as worker:
        words = [site.jobs.settings.url] if store == "postgres" else []
        async with contextlib.AsyncExitStack() as stack:
            replicas = [await stack.enter_async_context(server(tmp_path, *words)) for _ in range(2)]
            async with site.client("alice") as alice:
                path = httpx.URL(await site.start(alice, "echo", value=1)).path
            job = await worker.claim()
            half, back = asyncio.Event(), asyncio.Event()

            async def write() -> None:
                for step in range(events):
                    assert await worker.progress(job, step, events)
                    if step == events // 2:
                        half.set()
                    if step == events * 3 // 4:
                        await back.wait()
                await worker.done(job)

            async def kill() -> None:
                await half.wait()
                await replicas[0].end(signal.SIGKILL)
                replicas[0] = await stack.enter_async_context(server(tmp_path, *words))

            seen: list[Seen] = []
            cut = Counter[str]()

            async def read() -> None:
                while not seen or not seen[-1].type.endswith("succeeded"):
                    replica = chance.choice(replicas)
                    got = await take(replica, path, int(seen[-1].id) if seen else 0, chance.choice((1, 7, 60, 150)))
                    seen.extend(got)
                    cut[replica.base] += 1
                    if len(cut) == 3:
                        back.set()

            await asyncio.gather(write(), kill(), read())
    assert [int(event.id) for event in seen] == list(range(1, events + 4))
    assert [event.type for event in seen[:2]] == ["operation.queued", "operation.started"]
    assert len(cut) == 3, "all of them were asked, the one that came anew too"


async def take(replica: Server, path: str, after: int, count: int) -> list[Seen]:
    """Up to `count` events after that; fewer when the server dies, or when there are no more for a while."""
    seen: list[Seen] = []
    decoder = Decoder()
    with contextlib.suppress(httpx.TransportError, TimeoutError):
        async with (
            replica.client() as client,
            asyncio.timeout(2),
            client.stream("GET", path + "/events", headers={"Last-Event-ID": str(after)}) as response,
        ):
            assert response.status_code == 200
            async for piece in response.aiter_raw():
                seen += decoder.feed(piece)
                if len(seen) >= count:
                    break
    return seen[:count]


async def test_sse_15_a_hundred_streams_do_not_hold_the_server_up(tmp_path: Path) -> None:
    """Told to stop, it ends all of them in good order, within its grace time; each reader can go on elsewhere."""
    async with server(tmp_path) as running, running.client() as client:
        path = httpx.URL((await client.post("/reports", json={"period": "q"})).headers["location"]).path
        host, port = running.base.removeprefix("http://").split(":")
        ask = f"GET {path}/events HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\n\r\n".encode()
        following = asyncio.Event()
        open_now = 0

        async def follow() -> bytes:
            nonlocal open_now
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(ask)
            got = await reader.readuntil(b"operation.snapshot")
            open_now += 1
            if open_now == 100:
                following.set()
            got += await reader.read()
            writer.close()
            return got

        streams = [asyncio.create_task(follow()) for _ in range(100)]
        await asyncio.wait_for(following.wait(), 60)
        await running.end(signal.SIGTERM)
        for got in await asyncio.gather(*streams):
            assert got.startswith(b"HTTP/1.1 200")
            assert got.endswith(b"0\r\n\r\n"), "the body is whole, not torn off"


async def test_sse_06_an_operation_that_has_expired_is_410_and_a_stream_of_it_ends(site: Site) -> None:
    """Its log is erased with it; what is asked for then is told so, and is no silent gap."""
    with hand(site) as worker:
        async with site.client("alice") as alice:
            url = await site.start(alice, "echo", value=1)
            await worker.done(await worker.claim())
            store = site.jobs.store
            found = await store.read(store.verbs.find(url.rpartition("/")[2]))
            assert found is not None
            assert found.finished is not None
            assert found.finished.expires_at is not None
            _age(site, found.finished.expires_at)
            assert await store.perform(lambda: store.verbs.prune(10)) > 0
            for last in ("", "1", "2", "3", "99"):
                answer = await alice.get(url + "/events", headers={"Last-Event-ID": last})
                assert answer.status_code == 410
            assert (await alice.get(url + "/events", headers={"Accept": "application/json"})).status_code == 410
            assert (await alice.post(url + "/events/ticket")).status_code == 410


def _age(site: Site, by: int) -> None:
    with sqlite3.connect(site.path) as db:
        db.execute("update offpath_operation set expires_at = expires_at - ?", (by,))
