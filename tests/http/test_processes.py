"""What only real processes can show: a 202 outlives every kill, and a server that stops lets its streams go."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.http.decoder import Decoder, Seen
from tests.http.site import checked_client

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


class Server:
    def __init__(self, process: asyncio.subprocess.Process, base: str) -> None:
        self.process = process
        self.base = base

    def client(self) -> httpx.AsyncClient:
        return checked_client("alice", base_url=self.base)

    async def end(self, how: int, seconds: float = 60) -> int:
        self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), seconds)


@contextlib.asynccontextmanager
async def server(folder: Path, *words: str) -> AsyncIterator[Server]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.http.served",
        str(folder),
        *words,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
    )
    try:
        assert process.stdout is not None
        port = (await asyncio.wait_for(process.stdout.readline(), 100)).decode().strip()
        yield Server(process, f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_acc_06_mistake_03_a_202_outlives_the_death_of_every_process(
    request: pytest.FixtureRequest, tmp_path: Path, store: str
) -> None:
    """Kill -9 while accepting under load, then again while working; every 202 that arrived is found and ends well."""
    url = [request.getfixturevalue("tables_url")] if store == "postgres" else []
    accepted: list[str] = []

    async def accept(client: httpx.AsyncClient) -> None:
        with contextlib.suppress(httpx.TransportError):
            while True:
                answer = await client.post("/reports", json={"period": "q"})
                assert answer.status_code == 202
                accepted.append(httpx.URL(answer.headers["location"]).path)

    async with server(tmp_path, *url) as first, first.client() as client:
        running = [asyncio.create_task(accept(client)) for _ in range(8)]
        while len(accepted) < 40:
            await asyncio.wait(running, timeout=0.05)
        await first.end(signal.SIGKILL)
        await asyncio.gather(*running)
    async with server(tmp_path, "worker", *url) as second, second.client() as client:
        await client.get(accepted[0], headers={"Prefer": "wait=20"})
        await second.end(signal.SIGKILL)
    async with server(tmp_path, "worker", *url) as third, third.client() as client:
        for path in accepted:
            answer = await client.get(path, headers={"Prefer": "wait=20"})
            while not answer.json().get("done", True):  # that was not long enough; the suite's timeout is
                answer = await client.get(path, headers={"Prefer": "wait=20"})
            assert answer.status_code == 200
            assert answer.json()["status"] == "succeeded"
        assert await third.end(signal.SIGTERM) == -signal.SIGTERM


async def test_sse_05_resumed_across_a_restart(tmp_path: Path) -> None:
    async with server(tmp_path) as first, first.client() as client:
        path = httpx.URL((await client.post("/reports", json={"period": "q"})).headers["location"]).path
        async with client.stream("GET", path + "/events", headers={"Last-Event-ID": "0"}) as response:
            (queued,) = await _events(response, 1)
            assert queued.id == "1"
            await first.end(signal.SIGKILL)
    async with server(tmp_path, "worker") as second, second.client() as client:
        async with client.stream("GET", path + "/events", headers={"Last-Event-ID": "1"}) as response:
            events = await _events(response)
        assert [int(event.id) for event in events] == list(range(2, len(events) + 2))
        assert events[-1].type == "operation.succeeded"


async def _events(response: httpx.Response, count: int | None = None) -> list[Seen]:
    """The first `count` events of a stream, or all of them."""
    decoder, seen = Decoder(), list[Seen]()
    async with asyncio.timeout(60):
        async for piece in response.aiter_raw():
            seen += decoder.feed(piece)
            if count is not None and len(seen) >= count:
                break
    return seen


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_sse_15_a_stopping_server_lets_its_streams_go(tmp_path: Path, how: signal.Signals) -> None:
    """uvicorn waits for open responses without a limit and tells them nothing: they must notice."""
    async with server(tmp_path) as running, running.client() as client:
        path = httpx.URL((await client.post("/reports", json={"period": "q"})).headers["location"]).path
        held = asyncio.create_task(client.get(path, headers={"Prefer": "wait=30"}))
        async with client.stream("GET", path + "/events") as response:
            decoder = Decoder()
            pieces = response.aiter_raw()
            while not decoder.feed(await anext(pieces)):
                pass
            ended = asyncio.create_task(running.end(how, 25))  # sooner than the poll would end by itself
            async with asyncio.timeout(25):
                async for piece in pieces:
                    assert decoder.feed(piece) == []
        assert (await held).status_code == 200
        await ended
