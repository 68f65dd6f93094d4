"""POST /api/files: streamed to disk, counted in a process, purged when nobody needs it."""

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.accounts import files

from .conftest import World, running

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
MOST = 4 << 20


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("accounts"), ACCOUNTS_MAX_UPLOAD=str(MOST)) as world:
        yield world


def folder(world: World) -> Path:
    return Path(world.environment["ACCOUNTS_DATA_DIR"]) / "uploads"


async def post(
    world: World, *, user: str | None = "alice", headers: dict[str, str] | None = None, **more: Any
) -> httpx2.Response:
    said = dict(headers or {}) | ({"Authorization": f"Bearer dev-{user}"} if user else {})
    return await world.http.post("/api/files", headers=said, timeout=60, **more)


def one(content: bytes, name: str = "notes.txt") -> dict[str, Any]:
    return {"files": {"file": (name, content, "text/plain")}}


async def test_a_file_is_streamed_counted_in_a_process_and_its_facts_are_the_result(shop: World) -> None:
    content = b"the quick brown fox\njumps over the lazy dog\n" * 50_000
    accepted = await post(shop, **one(content, "große notes.txt"))
    assert accepted.status_code == 202, accepted.text
    events = await shop.follow(accepted.headers["location"])
    assert events[-1][0] == "operation.succeeded", events[-1]
    said = [said for kind, said in events if kind == "operation.progress"]
    assert said[-1]["unit"] == "bytes", said
    assert said[-1]["current"] == len(content)
    result = events[-1][1]["result"]
    assert result == {
        "name": "große notes.txt",
        "bytes": len(content),
        "lines": 100_000,
        "words": 450_000,
        "distinct": 8,
        "entropy": result["entropy"],
        "sha256": hashlib.sha256(content).hexdigest(),
        "common": result["common"],
    }
    assert result["common"][0] == "the"
    worker = next(p for p in psutil.Process(shop.server.pid).children() if "worker" in " ".join(p.cmdline()))
    assert any("offpath-child" in child.cmdline() for child in worker.children())
    assert (await shop.call("GET", accepted.headers["location"], user="bob")).status_code == 404


async def test_the_same_key_and_body_is_the_same_operation_and_one_file(shop: World) -> None:
    boundary = "a-boundary-of-our-own"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--{boundary}--\r\n'
    ).encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Idempotency-Key": '"upload-1"'}
    first, second = [await post(shop, content=body, headers=headers) for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.headers["location"] == second.headers["location"]
    changed = await post(shop, content=body.replace(b"abc", b"abd"), headers=headers)
    assert changed.status_code == 422
    assert not list(folder(shop).glob("*.part"))


BOUNDARY = b"--x\r\n"
PART = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
REFUSED: dict[str, tuple[int, str, bytes]] = {
    "json": (415, "application/json", b"{}"),
    "no boundary": (415, "multipart/form-data", b""),
    "nothing": (400, "multipart/form-data; boundary=x", b""),
    "no multipart": (400, "multipart/form-data; boundary=x", b"hello"),
    "cut short": (400, "multipart/form-data; boundary=x", BOUNDARY + PART + b"half of"),
    "another name": (
        422, "multipart/form-data; boundary=x", BOUNDARY + PART.replace(b'"file"', b'"other"') + b"a\r\n--x--\r\n",
    ),
    "a field": (
        422, "multipart/form-data; boundary=x", BOUNDARY + PART.replace(b'; filename="a"', b"") + b"a\r\n--x--\r\n",
    ),
    "two files": (
        422, "multipart/form-data; boundary=x", (BOUNDARY + PART + b"a\r\n") * 2 + b"--x--\r\n",
    ),
    "many headers": (
        400, "multipart/form-data; boundary=x", BOUNDARY + b"A: b\r\n" * 20 + PART + b"a\r\n--x--\r\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_no_upload_is_refused_and_leaves_nothing(shop: World, what: str) -> None:
    status, kind, body = REFUSED[what]
    before = set(folder(shop).glob("*")) if folder(shop).exists() else set()
    refused = await post(shop, content=body, headers={"Content-Type": kind})
    assert refused.status_code == status, refused.text
    assert set(folder(shop).glob("*")) == before


async def status_of(world: World, path: str, length: int) -> bytes:
    """The first line of the answer to a request that only announces its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(world.base_url).port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer dev-alice\r\n"
    writer.write(f"{head}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n".encode())
    try:
        return await reader.readline()
    finally:
        writer.close()


async def test_more_than_may_be_is_413_before_it_is_all_there(shop: World) -> None:
    assert b" 413 " in await status_of(shop, "/api/files", MOST + 1), "by its length alone: nothing of it has been sent"
    assert b" 413 " in await status_of(shop, "/api/orders", MOST), "the rest of the application keeps its own limit"
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield BOUNDARY + PART
        while sent < 100 * MOST:
            sent += 1 << 16
            yield b"x" * (1 << 16)

    try:
        refused = await post(shop, content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert refused.status_code == 413
    except httpx2.TransportError:
        pass  # it closed the connection while we were still sending
    assert sent < 100 * MOST
    assert not list(folder(shop).glob("*.part"))


async def test_without_a_caller_nothing_is_written(shop: World) -> None:
    before = set(folder(shop).glob("*"))
    assert (await post(shop, user=None, **one(b"abc"))).status_code == 401
    assert set(folder(shop).glob("*")) == before


async def test_it_is_in_the_description(shop: World) -> None:
    document = (await shop.http.get("/openapi.json")).json()
    there = document["paths"]["/api/files"]["post"]
    schema = there["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["file"]["format"] == "binary"
    assert {"202", "413", "415", "422"} <= set(there["responses"])


async def test_files_that_no_job_needs_are_purged_and_no_others(tmp_path: Path) -> None:
    """With nobody to run it, the job of an upload lives, and its file stays; everything else goes when it is old."""
    async with running(tmp_path, "--no-worker") as world:
        waits = await post(world, **one(b"waits"))
        gone = await post(world, **one(b"canceled"))
        await world.call("POST", f"{gone.headers['location']}/cancel")
        here = folder(world)
        for name in ("left.part", "00000000-0000-7000-8000-000000000000", "not a job"):
            (here / name).write_bytes(b"x")
        (here / "young.part").write_bytes(b"x")
        for file in here.glob("*"):
            if file.name != "young.part":
                os.utime(file, (time.time() - 2 * files.YOUNG,) * 2)
        script = (
            "from examples.accounts.file_jobs import jobs, purge_files\n"
            "job = purge_files.enqueue_sync()\n"
            "jobs.run_worker(queues='low', until_empty=True)\n"
        )
        ran = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, cwd=ROOT, env={**os.environ, **world.environment}
        )
        assert await ran.wait() == 0
        assert not (here / "left.part").exists()
        assert sorted(file.name for file in here.glob("*")) == sorted(
            [waits.headers["location"].rpartition("/")[2], "young.part"]
        )


async def test_reports_and_exports_are_purged_with_their_operations(tmp_path: Path) -> None:
    """What an operation has made is there for as long as the operation; a draft, for as long as its job lives."""
    async with running(tmp_path) as world:
        data = folder(world).parent
        reports, exports = data / "reports", data / "exports"
        stays, goes = [await world.call("POST", "/api/reports", {"title": "q3", "rows": 1}) for _ in range(2)]
        export = await world.call("POST", "/api/exports", {"format": "json", "data": [{"a": 1}]})
        for accepted in (stays, goes, export):
            assert (await world.follow(accepted.headers["location"]))[-1][0] == "operation.succeeded"
        for accepted in (goes, export):
            assert (await world.call("DELETE", accepted.headers["location"])).status_code == 204
        kept = stays.headers["location"].rpartition("/")[2] + ".csv"
        (reports / f"{kept[:-4]}.died.part").write_bytes(b"x")
        assert len(list(reports.glob("*"))) == 3
        assert len(list(exports.glob("*"))) == 1
        for file in (*reports.glob("*"), *exports.glob("*")):
            os.utime(file, (time.time() - 2 * files.YOUNG,) * 2)
        script = (
            "import asyncio\n"
            "from examples.accounts.file_jobs import purge_files\n"
            "print(asyncio.run(purge_files.enqueue_sync().result(timeout=60)))\n"
        )
        ran = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script),
            cwd=ROOT,
            env={**os.environ, **world.environment},
            stdout=asyncio.subprocess.PIPE,
        )
        assert (await ran.communicate())[0].strip() == b"3"
        assert [file.name for file in reports.glob("*")] == [kept]
        assert list(exports.glob("*")) == []
        assert (await world.call("GET", f"/api/reports/{kept[:-4]}/file")).status_code == 200


@given(st.binary(max_size=400), st.integers(min_value=1, max_value=50))
def test_facts_are_the_same_however_the_file_is_read(content: bytes, piece: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as at, pytest.MonkeyPatch.context() as patch:
        file = Path(at) / "file"
        file.write_bytes(content)
        whole = files.facts(file, lambda done: None)
        patch.setattr(files, "PIECE", piece)
        seen: list[int] = []
        assert asdict(files.facts(file, seen.append)) == asdict(whole)
        assert seen == sorted(seen)
        assert whole.words == len([w for w in files.WORD.findall(content) if len(w) <= files.LONGEST])
