"""The database goes away under a worker at work, and comes back: what its log and its pages say meanwhile."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from offpath import Offpath, Schedule
from offpath.metrics.server import serving

from .test_health import get

pytestmark = [pytest.mark.anyio, pytest.mark.servers("postgres")]


class Way:
    """The way to the server. `up` False: whoever is on it falls off, and nobody gets on it (`refused` counts them)."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self.url, self.up, self.refused = "", True, 0
        self._open: set[asyncio.StreamWriter] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            self.refused += 1
            writer.close()
            return
        there, on = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._open |= {writer, on}
        await asyncio.gather(self._carry(reader, on), self._carry(there, writer))
        self._open -= {writer, on}

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while said := await reader.read(65_536):
                writer.write(said)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        self.up = False
        for writer in self._open:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def way_to(url: str) -> AsyncIterator[Way]:
    way = Way(url)
    server = await asyncio.start_server(way.accept, "127.0.0.1", 0)
    user = way._to.netloc.rpartition("@")[0]
    way.url = way._to._replace(netloc=f"{user}@127.0.0.1:{server.sockets[0].getsockname()[1]}").geturl()
    try:
        yield way
    finally:
        way.cut()
        server.close()


async def test_an_outage_is_told_of_once_by_each_and_with_its_reason(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "offpath")
    async with way_to(postgres_url) as way:
        jobs = Offpath(way.url, poll=0.05, lease=3.0)

        @jobs.task
        async def work(n: int) -> int:
            return n

        jobs.schedule("now and then", Schedule.every(3600), work.call(1))
        with serving(jobs, 0) as port:
            async with jobs, jobs.worker() as worker, asyncio.timeout(100):
                await worker.ready.wait()
                assert await (await work.enqueue(1)).result(60) == 1
                way.cut()
                looks = 0
                while way.refused < 40 or looks < 40:
                    looks += (await asyncio.to_thread(get, f"http://127.0.0.1:{port}/readyz"))[0] == 503
                    await asyncio.sleep(0.02)
                way.up = True
                while (await asyncio.to_thread(get, f"http://127.0.0.1:{port}/readyz"))[0] != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                assert await (await work.enqueue(2)).result(60) == 2
    said = [vars(record)["offpath"] for record in caplog.records if record.levelno >= logging.WARNING]
    assert "has been closed" not in caplog.text
    told = Counter((one["signal"], one.get("duty", "")) for one in said if "error" in one)
    assert told[("worker.failed", "")] == 1
    assert set(told.values()) == {1}, told
