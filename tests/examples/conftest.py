"""The reference application as its users meet it: `serve` in a process of its own, real receivers beside it, on SQLite
and on PostgreSQL."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from examples.accounts.processes import FLAG, Child
from examples.accounts.receivers import Received, receivers
from tests import problems, servers
from tests.conftest import missing

from . import forked


@dataclass
class World:
    """A running application, a client for it, and what has reached the receivers."""

    base_url: str
    database: str
    environment: dict[str, str]
    http: httpx2.AsyncClient
    received: Received
    server: Child

    async def call(
        self, method: str, url: str, body: Any = None, *, user: str | None = "alice", **headers: str
    ) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if user:
            named["Authorization"] = f"Bearer dev-{user}"
        return await self.http.request(method, url, json=body, headers=named)

    async def follow(
        self, url: str, until: str = "", user: str = "alice", heard: asyncio.Event | None = None
    ) -> list[tuple[str, Any]]:
        """The events of an operation, to the end or to the first one of this name; `heard` is set at the first."""
        seen: list[tuple[str, Any]] = []
        headers = {"Authorization": f"Bearer dev-{user}", "Accept": "text/event-stream"}
        async with self.http.stream("GET", f"{url}/events", headers=headers, timeout=60) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for event in httpx2.EventSource(answer):
                if not event.data:  # httpx2 hands on the frame that only sets the retry time; browsers do not
                    continue
                seen.append((event.event, json.loads(event.data)))
                if heard is not None:
                    heard.set()
                if event.event == until:
                    break
        return seen


async def check(response: httpx2.Response) -> None:
    """Every refusal is a problem, from a server in another process too."""
    if response.status_code >= 400:
        body = await response.aread()
        headers = [(name.lower(), value) for name, value in response.headers.items()]
        request = response.request
        assert problems.held_against(request.method, request.url.path, response.status_code, headers, body) == []


@contextlib.asynccontextmanager
async def running(folder: Path, *arguments: str, database: str = "", **more: str) -> AsyncIterator[World]:
    """`database`: its URL; "" means SQLite, a file in the folder. `more`: of the environment."""
    database = database or f"sqlite:///{folder / 'accounts.db'}"
    async with receivers() as (received, smtp_url, http_url):
        environment = {
            "ACCOUNTS_DATABASE": database,
            "ACCOUNTS_DATA_DIR": str(folder / "files"),
            "ACCOUNTS_SMTP_URL": smtp_url,
            "ACCOUNTS_PUSH_URL": f"{http_url}/push",
            "ACCOUNTS_DOWNSTREAM_URL": f"{http_url}/downstream",
            **more,
        }
        server = await forked.start("examples.accounts.serve", "--port", "0", FLAG, *arguments, env=environment)
        try:
            base_url = (await server.line("ready ")).removeprefix("ready ")
            hooks = {"response": [check]}
            async with httpx2.AsyncClient(base_url=base_url, timeout=100, trust_env=False, event_hooks=hooks) as http:
                yield World(base_url, database, environment, http, received, server)
        finally:
            code = await server.stop()
        assert code == 0, server.lines


@contextlib.contextmanager
def lent(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The URL of an empty database of the kind that the fixture's parameter names."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'accounts.db'}"
        return
    server = servers.postgres()
    if isinstance(server, servers.Unavailable):
        missing(request.config, "postgres", str(server))
    with server.database(servers.with_tables) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with lent(request, tmp_path) as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("accounts")
    with lent(request, folder) as url:
        async with running(folder, database=url) as running_world:
            yield running_world
