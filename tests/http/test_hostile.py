"""SEC-06 and the issue's bad input: whatever is sent, never a 5xx, and nothing is buffered beyond its cap."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from offpath.http.asgi import MAX_FIELDS, MAX_HEADERS
from tests.http.either import STORES, site_on
from tests.http.site import Site, hand, served

pytestmark = pytest.mark.anyio
DEEP = [50, 150, 500, 900, 990, 1_000, 1_100, 5_000, 100_000]
JSON = {"Content-Type": "application/json"}


def nested(depth: int, kind: str) -> str:
    return "[" * depth + "]" * depth if kind == "list" else '{"a":' * depth + "1" + "}" * depth


@pytest.fixture(params=STORES)
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with site_on(request.param, request, tmp_path) as site:
        yield site


async def test_sec_06_nested_deep(either: Site) -> None:
    """Taken or refused, and what was taken can be shown, listed, streamed and run."""
    taken: list[str] = []
    async with either.client("alice") as alice:
        for depth in DEEP:
            for kind in ("list", "object"):
                answer = await alice.post("/start/echo", content=f'{{"value":{nested(depth, kind)}}}', headers=JSON)
                assert answer.status_code in (202, 400, 422), (depth, kind, answer.text[:200])
                if answer.status_code == 202:
                    taken.append(answer.headers["location"])
                for path in ("/reports", f"{taken[0]}/cancel"):
                    answer = await alice.post(path, content=nested(depth, kind), headers=JSON)
                    assert answer.status_code in (200, 400, 413, 422), (depth, kind, path, answer.text[:200])
        assert taken, "what is not deep is taken"
        async with either.jobs.worker():
            for url in taken:
                answer = await alice.get(url, headers={"Prefer": "wait=20"})
                assert answer.status_code == 200
                for path in ("/result", "/events"):
                    assert (await alice.get(url + path)).status_code < 500
        assert (await alice.get("/operations")).status_code == 200


AWKWARD = ["\x00", "a\x00b", "\ud800", "\udfff\ud800", "\uffff", "\U0010ffff", "\u2028", "'\";--", "%00", "../.."]


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
async def test_sec_06_nul_and_lone_surrogates(either: Site, text: str) -> None:
    either.gate.set()
    body = json.dumps({"value": text, text: text})
    async with either.client("alice") as alice:
        for path, content in (
            ("/start/echo", json.dumps({"value": text})),
            ("/start/echo", body),
            ("/start/breaks", json.dumps({"secret": text})),
            ("/reports", json.dumps({"period": text, "label": text})),
        ):
            answer = await alice.post(path, content=content, headers=JSON)
            assert answer.status_code in (202, 400, 422), (path, answer.text)
        url = await either.start(alice, "gated")
        answer = await alice.post(url + "/cancel", content=json.dumps({"reason": text}), headers=JSON)
        assert answer.status_code in (200, 422), answer.text
        raw = text.encode("utf-8", "surrogatepass")
        escaped = "".join(f"%{byte:02X}" for byte in raw)
        for query in (
            "status",
            "kind",
            "label",
            "cursor",
            "limit",
            "created_after",
            "last_event_id",
            "ticket",
            escaped,
        ):
            for path in ("/operations", url + "/events"):
                answer = await alice.get(f"{path}?{query}={escaped}", headers={"Accept": "application/json"})
                assert answer.status_code < 500, (path, query, answer.text)
        for path in (f"/operations/{escaped}", f"/operations/{escaped}/events/ticket", f"{url}{escaped}"):
            for method in ("GET", "POST", "DELETE"):
                answer = await alice.request(method, path)
                assert answer.status_code in (404, 405), (path, answer.text)
        field = raw.replace(b"\x00", b"\x01")
        for name in ("Prefer", "If-None-Match", "Last-Event-ID", "Accept"):
            headers: Any = {"Accept": "application/json", name: field}
            answer = await alice.get(url + "/events", headers=headers)
            assert answer.status_code < 500, name
        async with either.jobs.worker():
            for item in (await alice.get("/operations")).json()["items"]:
                answer = await alice.get(item["links"]["self"], headers={"Prefer": "wait=20"})
                assert answer.json()["done"]


async def raw(base: str, head: str, *pieces: bytes) -> tuple[int, bytes]:
    """One request by hand; what came back until the server closed or stopped sending."""
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.replace("\n", "\r\n").encode("latin-1"))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    writer.close()
    return int(got.split(b" ", 2)[1]), got


async def test_sec_06_headers(site: Site) -> None:
    async with served(site.api, http="h11") as base:
        for extra in ("".join(f"X-{n}: 1\n" for n in range(MAX_FIELDS)), f"X-Big: {'x' * MAX_HEADERS}\n"):
            head = f"GET /operations HTTP/1.1\nHost: x\nAuthorization: alice\n{extra}\n"
            status, answer = await raw(base, head)
            assert status == 431
            assert b"application/problem+json" in answer
        fine = "".join(f"X-{n}: {'x' * 200}\n" for n in range(MAX_FIELDS - 10))
        status, _ = await raw(base, f"GET /operations HTTP/1.1\nHost: x\nAuthorization: alice\n{fine}\n")
        assert status == 200


async def test_sec_06_bodies_declared_chunked_and_without_end(site: Site) -> None:
    """413 as soon as the cap is passed: nobody waits for the rest, and not much of it was ever held."""
    async with served(site.api, http="h11") as base:
        post = "POST {} HTTP/1.1\nHost: x\nAuthorization: alice\nContent-Type: application/json\n"
        for length in (str((1 << 20) + 1), "9" * 18):
            status, _ = await raw(base, post.format("/start/echo") + f"Content-Length: {length}\n\n")
            assert status == 413
        chunk = b"10000\r\n" + b"[" * 0x10000 + b"\r\n"
        for path in ("/start/echo", "/reports"):
            head = post.format(path) + "Transfer-Encoding: chunked\n\n"
            status, _ = await raw(base, head, *[chunk] * 40)  # and no last chunk
            assert status == 413
        async with site.client("alice") as alice:
            url = (await site.start(alice, "gated")).replace("http://site.test", "")
            cancel = post.format(httpx.URL(url).path + "/cancel") + "Transfer-Encoding: chunked\n\n"
            status, _ = await raw(base, cancel, chunk, chunk)
            assert status == 413, "our own routes take 64 KiB"
            assert (await alice.get(url)).json()["status"] == "queued"
            assert len((await alice.get("/operations")).json()["items"]) == 1


async def test_sec_06_lies_about_length_and_type(site: Site) -> None:
    bodies: list[tuple[bytes, dict[str, str]]] = [
        (b"", JSON),
        (b"\xff\xfe", JSON),
        (b"\xef\xbb\xbf{}", JSON),
        (b"{}", {"Content-Type": "application/json; charset=utf-7"}),
        (b"{}", {"Content-Type": "text/plain"}),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
        (b"{}", {"Content-Type": ";;;"}),
        (b"NaN", JSON),
        (b'{"value":1e999}', JSON),
        (b'{"value":' + b"9" * 5_000 + b"}", JSON),
        (b'{"value":-0.0,"value":2}', JSON),
        (b'{"value"', JSON),
    ]
    async with site.client("alice") as alice:
        url = await site.start(alice, "gated")
        for content, headers in bodies:
            for path in ("/start/echo", "/reports", url + "/cancel", url + "/events/ticket"):
                answer = await alice.post(path, content=content, headers=headers)
                assert answer.status_code < 500, (content[:30], headers, path, answer.text)


async def test_sec_06_the_number_of_digits_is_no_attack(site: Site) -> None:
    huge = "9" * (sys.get_int_max_str_digits() + 100)
    async with site.client("alice") as alice, site.client("alice") as other:
        url = await site.start(alice, "gated")
        for path in (f"/operations?limit={huge}", f"{url}/events?last_event_id={huge}&limit=1"):
            answer = await alice.get(path, headers={"Accept": "application/json"})
            assert answer.status_code in (200, 400)
        answer = await other.get(url, headers={"Prefer": f"wait={huge}", "If-None-Match": '"0"'})
        assert answer.status_code == 200


async def test_sec_06_a_result_beyond_the_cap_is_no_part_of_the_operation(site: Site) -> None:
    with hand(site) as worker:
        async with site.client("alice") as alice:
            url = await site.start(alice, "echo", value=1)
            await worker.done(await worker.claim(), "x" * (65 * 1024))
            document = (await alice.get(url)).json()
            assert "result" not in document
            assert len((await alice.get(url + "/result")).json()) == 65 * 1024
