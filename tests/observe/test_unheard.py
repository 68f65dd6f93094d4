"""Where nobody has configured logging: what a programmer must know is on stderr, the rest is not."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.http.site import checked_client

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]

APP = """
import logging
import os
import sqlite3
from typing import Annotated

from fastapi import Depends, FastAPI

from offpath import Offpath
from offpath.integrations.fastapi import Accepted, Acceptor, Operations, install_problem_handlers
from offpath.observe import signal

if "QUIET" in os.environ:
    logging.getLogger("offpath").addHandler(logging.NullHandler())

jobs = Offpath("sqlite:///jobs.db")


@jobs.task
async def work(n: int) -> int:
    return n


def caller() -> str:
    raise LookupError("nobody foresaw this")


operations = Operations(jobs, public=True)
others = Operations(jobs, caller=caller)
api = FastAPI(lifespan=jobs.lifespan)
api.include_router(operations.router)
api.include_router(others.router, prefix="/others")
install_problem_handlers(api)
left_open = []


@api.post("/work", status_code=202)
async def start(accept: Annotated[Acceptor, Depends(operations.acceptor)]) -> Accepted[int]:
    left_open.append(sqlite3.connect("jobs.db"))
    return await accept.using(tx=left_open[0])(work, 1)


@api.get("/told")
async def told() -> int:
    signal("outbox.published", broker="nobody", events=1)
    signal("transport.failed", transport="local", error="as one would")
    return left_open[0].rollback() or 1
"""


@contextlib.asynccontextmanager
async def plain_uvicorn(folder: Path, **env: str) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.StreamReader]]:
    """The application under `uvicorn`, as whoever tries it first starts it."""
    (folder / "shop.py").write_text(APP)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "shop:api", "--port", "0"),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/src", **env},
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(100):
            while b"running on " not in (line := await process.stderr.readline()):
                assert line, "uvicorn has ended"
        async with checked_client(None, base_url=line.split(b"running on ")[1].split()[0].decode()) as client:
            yield client, process.stderr
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def everything(client: httpx.AsyncClient, stderr: asyncio.StreamReader) -> str:
    """What is on stderr after a 202 was withheld and a warning and a trifle were told."""
    assert (await client.post("/work")).json()["type"].endswith("/uncommitted")
    assert (await client.get("/told")).status_code == 200
    assert (await client.get("/others/operations")).status_code == 500
    said = b""
    async with asyncio.timeout(100):
        while b"nobody foresaw this" not in said:  # uvicorn tells of this one itself
            said += (line := await stderr.readline())
            assert line
    return said.decode()


async def test_under_plain_uvicorn_errors_and_warnings_are_on_stderr(tmp_path: Path) -> None:
    async with plain_uvicorn(tmp_path) as (client, stderr):
        said = await everything(client, stderr)
    assert "http.uncommitted job=" in said
    assert "given as tx= is still open: commit before the handler returns, for instance with `async with" in said
    assert "transport.failed transport=local error='as one would'" in said
    assert "outbox.published" not in said


async def test_a_null_handler_silences_them(tmp_path: Path) -> None:
    async with plain_uvicorn(tmp_path, QUIET="1") as (client, stderr):
        said = await everything(client, stderr)
    assert "http.uncommitted" not in said
    assert "transport.failed" not in said
