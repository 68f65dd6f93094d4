"""Where nobody has configured logging we are silent; what a programmer did wrong is told by the server."""

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
import os
import sqlite3
from typing import Annotated

from fastapi import Depends, FastAPI

from offpath import Offpath
from offpath.integrations.fastapi import Accepted, Acceptor, Operations, install_problem_handlers
from offpath.observe import signal

jobs = Offpath("sqlite:///jobs.db")


@jobs.task
async def work(n: int) -> int:
    return n


operations = Operations(jobs, public=True)
api = FastAPI(lifespan=jobs.lifespan)
api.include_router(operations.router)
if "HANDLERS" in os.environ:
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
    return 1
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
    """What is on stderr after a warning and a trifle were told and a 202 was withheld."""
    assert (await client.get("/told")).status_code == 200
    assert (await client.post("/work")).json()["type"].endswith("/uncommitted")
    said = b""
    async with asyncio.timeout(100):
        while b"Withheld: " not in said:
            said += (line := await stderr.readline())
            assert line
    return said.decode()


@pytest.mark.parametrize("handlers", [{"HANDLERS": "1"}, {}], ids=["problem handlers", "none"])
async def test_a_withheld_202_is_told_by_plain_uvicorn(tmp_path: Path, handlers: dict[str, str]) -> None:
    async with plain_uvicorn(tmp_path, **handlers) as (client, stderr):
        said = await everything(client, stderr)
    assert "given as tx= is still open: commit before the handler returns, for instance with `async with" in said
    assert "transport.failed" not in said
    assert "outbox.published" not in said
