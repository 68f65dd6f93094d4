"""Queues and schedules whose names are no easy segments of a path: over real servers, in both frameworks, behind
prefixes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from offpath import Offpath, Queue, Schedule
from offpath.admin import Admin
from offpath.core.options import CallOptions
from offpath.errors import ConfigurationError
from offpath.http.asgi import segmented
from offpath.http.messages import Caller
from offpath.integrations.fastapi import Operations
from offpath.integrations.starlette import Operations as StarletteOperations
from tests.http.site import served

pytestmark = pytest.mark.anyio
NAMES = ("a/b", "/", "a//b", "a/pause", "x/backlog", "50% / ☃", "a b", "a%2Fb", "...", "<b>/..")
ROOT = Caller("root", "", frozenset({"offpath.read", "offpath.write"}))


def application(jobs: Offpath, framework: str, prefix: str) -> Any:
    if framework == "fastapi":
        api = FastAPI()
        api.include_router(Operations(jobs, caller=lambda: ROOT, admin=Admin()).router, prefix=prefix)
        return api
    routes = StarletteOperations(jobs, caller=lambda request: ROOT, admin=Admin()).routes
    return Starlette(routes=[Mount(prefix, routes=routes)] if prefix else routes)


@contextlib.asynccontextmanager
async def at(jobs: Offpath, framework: str, prefix: str, root: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        served(application(jobs, framework, prefix), root_path=root) as base,
        httpx.AsyncClient(base_url=base + quote(prefix) + "/admin", timeout=30) as client,
    ):
        yield client


@pytest.fixture
def jobs(tmp_path: Path) -> Any:
    made = Offpath(f"sqlite:///{tmp_path / 'names.db'}")

    @made.task
    def noted() -> None: ...

    made.migrate()
    for name in NAMES:
        made.schedules.put(name, Schedule.cron("0 3 * * *"), noted.call()).result()
    yield made
    made.close()


@pytest.mark.parametrize("root", ["", "/outer"])
@pytest.mark.parametrize("prefix", ["", "/v1/in ner"])
@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
async def test_every_name_that_can_be_given_can_be_asked_for(
    jobs: Offpath, framework: str, prefix: str, root: str
) -> None:
    async with jobs, at(jobs, framework, prefix, root) as client:
        for name in NAMES:
            path = f"/queues/{quote(name, safe='')}"
            paused = await client.post(f"{path}/pause", json={"reason": "rain"})
            assert (paused.status_code, paused.json().get("name")) == (200, name), (name, paused.text)
            assert (await client.get(path)).json()["paused"] is True
            assert (await client.get(f"{path}/backlog")).json()["queue"] == name
            assert (await client.post(f"{path}/resume")).json()["paused"] is False
        assert [one async for one in jobs.audit(action="queue.pause", target="a")] == [], "that is another"
        assert (await client.get("/queues/a/b")).status_code == 404, "two segments are no name"


@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
async def test_what_no_name_has_leads_nowhere(jobs: Offpath, framework: str) -> None:
    """As the bytes are sent: a client that tidies its URLs would not."""
    async with jobs, at(jobs, framework, "", "") as client:
        for name in ("%00", "a%00b", "a%2Fb%00", "%2e%2e", "%2E", ".."):
            url = client.base_url.copy_with(raw_path=f"/admin/queues/{name}/pause".encode())
            reader, writer = await asyncio.open_connection(url.host, url.port)
            fields = b"Host: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(b"POST " + url.raw_path + b" HTTP/1.1\r\n" + fields)
            status = (await reader.read()).split(b" ", 2)[1]
            writer.close()
            assert status in (b"404", b"422"), (name, status)
        assert [one async for one in jobs.audit()] == []


@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
async def test_schedules_too(jobs: Offpath, framework: str) -> None:
    async with jobs, at(jobs, framework, "", "") as client:
        for name in NAMES:
            path = f"/schedules/{quote(name, safe='')}"
            assert (await client.get(path)).json()["name"] == name
            assert (await client.post(f"{path}/pause")).json()["paused"] is True
            ran = await client.post(f"{path}/run")
            assert (ran.status_code, ran.json()["schedule"]["name"]) == (202, name)


def test_names_that_no_url_leads_to_are_given_to_nothing() -> None:
    for name in (".", ".."):
        for give in (lambda name: Queue(name), lambda name: CallOptions(queue=name)):
            with pytest.raises(ConfigurationError, match="no URL leads there"):
                give(name)


@pytest.mark.parametrize(
    ("raw", "path", "said"),
    [
        (b"/q/a%2Fb", "/q/a/b", "/q/a\x00b"),
        (b"/q/a%2fb", "/outer/q/a/b", "/outer/q/a\x00b"),
        (b"/outer/q/a%2Fb", "/q/a/b", "/q/a/b"),  # something between has changed one of the two
        (b"/q/ab", "/q/ab", "/q/ab"),
        (None, "/q/a/b", "/q/a/b"),
    ],
)
def test_what_the_client_sent_says_where_a_segment_ends(raw: bytes | None, path: str, said: str) -> None:
    assert segmented({"path": path, "raw_path": raw})["path"] == said
