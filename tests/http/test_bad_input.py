"""Whatever a client sends: never a 5xx, never anything of somebody else, and the next request is served. Over real
sockets, under both of uvicorn's parsers (`corpus.py` has the requests)."""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.http.corpus import EXACT, GROUPS, JSON, TEXTS, Bad, documents, request
from tests.http.site import Hand, Site, served

pytestmark = pytest.mark.anyio
CANARY = "only bob may read this"
STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")


@pytest.fixture(params=["h11", "httptools"])
async def address(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[tuple[str, int]]:
    async with served(site.api, http=request.param) as base:
        url = httpx.URL(base)
        yield url.host, url.port or 80


async def say(address: tuple[str, int], bad: Bad) -> bytes:
    """All that the server answers."""
    reader, writer = await asyncio.open_connection(*address)
    answer = b""
    try:
        writer.write(bad.raw)
        await writer.drain()
        if bad.cut:
            try:  # a server that waits for the rest gives no sign of it
                async with asyncio.timeout(0.3):
                    while part := await reader.read(1 << 16):
                        answer += part
            except TimeoutError:
                writer.write_eof()
        async with asyncio.timeout(200):
            while part := await reader.read(1 << 16):
                answer += part
    except TimeoutError:
        answer += b"and then nothing, for ever: HTTP/1.1 599 "
    except ConnectionError:
        pass  # it has said what it had to say, and did not read the rest
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer


@pytest.mark.parametrize("group", GROUPS)
async def test_res_06_sec_06_bad_input_is_refused(
    site: Site, worker: Hand, address: tuple[str, int], group: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.service.wait = 0.05  # however long a client asks to be kept
    async with site.client("alice") as alice, site.client("bob") as bob:
        places = {"done": await site.start(alice, "echo", value=1)}
        await worker.done(await worker.claim(), 1)
        places["live"] = await site.start(alice, "echo", value=1)
        places["theirs"] = await site.start(bob, "echo", value=CANARY)
        job = await worker.claim()
        if not places["theirs"].endswith(job.id):
            job = await worker.claim()
        await worker.done(job, CANARY)
        before = (await bob.get(places["theirs"])).content
        assert CANARY.encode() in before

        ids = {name: url.rpartition("/")[2] for name, url in places.items()} | {"THEIRS": job.id.upper()}
        caplog.clear()
        turns = asyncio.Semaphore(20)

        async def one(bad: Bad) -> list[str]:
            raw = bad.raw
            for name, id in ids.items():
                raw = raw.replace(b"{%s}" % name.encode(), id.encode())
            async with turns:
                answer = await say(address, bad._replace(raw=raw))
            statuses = [int(status) for status in STATUS.findall(answer)]
            said = [] if statuses or bad.cut else [f"{bad.name}: no answer"]
            said += [f"{bad.name}: {status}: {answer[:900]!r}" for status in statuses if status not in bad.allowed]
            return said + ([f"{bad.name}: {CANARY}"] if CANARY.encode() in answer else [])

        found = [said for all_of_it in await asyncio.gather(*map(one, GROUPS[group]())) for said in all_of_it]
        assert not found, "\n".join(found)
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
        assert STATUS.findall(await say(address, Bad("good", request("/operations")))) == [b"200"]
        assert (await bob.get(places["theirs"])).content == before


async def test_a14_half_a_body_does_nothing(site: Site, address: tuple[str, int]) -> None:
    """RFC 9112 section 8: a request that was cut off is no request, though what came of it could be read as one."""
    async with site.client("alice") as alice:
        url = await site.start(alice, "echo", value=1)
        path = httpx.URL(url).path
        for body, length in ((b"", 2), (b'{"reason": "half"}', 99)):
            raw = request(path + "/cancel", f"Content-Type: {JSON}", f"Content-Length: {length}", method="POST") + body
            await say(address, Bad("half", raw, cut=True))
        raw = request("/start/echo", f"Content-Type: {JSON}", "Content-Length: 99", method="POST") + b'{"value": 1}'
        await say(address, Bad("half", raw, cut=True))
        assert STATUS.findall(await say(address, Bad("good", request("/operations")))) == [b"200"]
        assert (await alice.get(url)).json()["status"] == "queued"
        assert len((await alice.get("/operations")).json()["items"]) == 1


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_acc_08_res_11_what_no_store_takes_is_refused_by_both(
    request: pytest.FixtureRequest, tmp_path: Path, store: str
) -> None:
    """A04 to A09: refused at once, or stored and given back as it was; the same on both stores."""
    site = Site(tmp_path, url=request.getfixturevalue("tables_url") if store == "postgres" else "")
    await site.jobs.migrate()
    async with site.client("alice") as alice, site.jobs.worker():
        seen: dict[str, int] = {}
        for name, body, allowed in documents():
            answer = await alice.post("/start/echo", content=body, headers={"Content-Type": JSON})
            assert answer.status_code in allowed, (name, answer.text)
            seen[name] = answer.status_code
            if answer.status_code == 202:
                url = answer.headers["location"]
                ended = (await alice.get(url, headers={"Prefer": "wait=20"})).json()
                assert ended["status"] == "succeeded", (name, ended)
                assert ended["result"] == json.loads(body)["value"], name
    site.jobs.close()
    assert {name for name, status in seen.items() if status == 202} == {
        *EXACT,
        "A09 a name twice",
        "A13 control characters and bidi",
        "UTF-16",
    }
    assert all(seen[name] == 422 for name in TEXTS)
