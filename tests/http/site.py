"""A small application for these tests, the worker's part played by hand, and clients that check what they see.

`Site` is a FastAPI application over a real SQLite store. `Hand` claims and settles through the store exactly as a
worker does, one step at a time, so that a test decides when what happens; where the engine itself matters a test says
`async with site.jobs.worker()`.
"""

import asyncio
import contextlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import Depends, FastAPI, Header
from pydantic import BaseModel

from offpath import Context, Offpath, Problem, Retry
from offpath.core import lifecycle
from offpath.core.ids import uuid7
from offpath.core.job import Job
from offpath.core.outcome import Done, Errored, Outcome, error
from offpath.core.policy import Policy
from offpath.http import Reply
from offpath.integrations.fastapi import Accepted, Acceptor, Caller, Operations, install_problem_handlers
from offpath.ports import Want
from offpath.tasks import Task
from tests import files, problems

ONCE = Retry(max_attempts=1)
BOTH = pytest.mark.parametrize("site", ["sqlite", "postgres"], indirect=True)
"""On each of the two stores."""


class Report(BaseModel):
    url: str


class ReportRequest(BaseModel):
    period: str
    label: str = ""


def caller_of(authorization: Annotated[str | None, Header()] = None) -> Caller | None:
    """`Authorization: alice` is alice of no tenant, `bob@globex` is bob of globex; none is nobody."""
    if not authorization:
        return None
    name, _, tenant = authorization.partition("@")
    return Caller(name, tenant)


class Site:
    """The application, its tasks, and what they report."""

    def __init__(self, folder: Path, *, settings: dict[str, Any] | None = None, url: str = "", **options: Any) -> None:
        self.path = folder / "jobs.db"
        self.url = url
        self.jobs = Offpath(url or f"sqlite:///{self.path}", **{"lease": 1.0, "poll": 0.05, **(settings or {})})
        options.setdefault("caller", caller_of)
        self.operations = Operations(self.jobs, **options)
        self.service = self.operations._face.service
        self.service.random = lambda: 0.5
        self.api = FastAPI()
        self.api.include_router(self.operations.router)
        install_problem_handlers(self.api)
        self.gate = asyncio.Event()
        self.began = asyncio.Event()
        self.runs: list[str] = []
        self._tasks()
        self._routes()

    def _tasks(self) -> None:
        jobs = self.jobs

        @jobs.task(name="reports.render")
        async def render(ctx: Context, period: str) -> Report:
            self.runs.append(ctx.job)
            for page in range(3):
                await ctx.progress(page + 1, of=3, unit="pages", message=f"page {page + 1}")
            return Report(url=f"/files/{period}")

        @jobs.task(name="gated", retry=ONCE)
        async def gated() -> str:
            self.began.set()
            await self.gate.wait()
            return "through"

        @jobs.task(name="stubborn", retry=ONCE)
        async def stubborn() -> None:
            self.began.set()
            while not self.gate.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await self.gate.wait()

        @jobs.task(name="breaks", retry=ONCE)
        async def breaks(secret: str) -> None:
            raise RuntimeError(f"the password is {secret}")

        @jobs.task(name="refuses", retry=ONCE)
        async def refuses() -> None:
            raise Problem(status=422, title="No such period", detail="2026-13", type="https://api.example/no-period")

        @jobs.task(name="flaky", retry=Retry(max_attempts=2))
        async def flaky() -> None: ...

        @jobs.task(name="echo")
        async def echo(value: Any) -> Any:
            return value

        @jobs.task(name="silent", keep_result=False)
        async def silent() -> None: ...

        @jobs.task(name="export")
        async def export(status: int = 200) -> Reply:
            if status == 204:
                return Reply(status=204)
            return Reply(b"\x00\xffa;b\r\n", "text/csv", status=201, headers={"Content-Disposition": "attachment"})

        @jobs.task(name="plain")
        def plain(n: int) -> int:
            return n + 1

        self.render, self.gated, self.breaks, self.refuses, self.flaky = render, gated, breaks, refuses, flaky
        self.echo, self.silent, self.export, self.plain = echo, silent, export, plain

    def _routes(self) -> None:
        accepts = Annotated[Acceptor, Depends(self.operations.acceptor)]

        async def start_report(body: ReportRequest, accept: accepts) -> Accepted[Report]:
            return await accept.using(label=body.label)(self.render, period=body.period)

        async def start(task: str, accept: accepts, args: dict[str, Any] | None = None) -> Any:
            return await accept(self.task(task), **(args or {}))

        def start_plain(n: int, accept: accepts) -> Accepted[int]:
            return accept.sync(self.plain, n)

        async def boom() -> None:
            raise LookupError("a secret of the house")

        add = self.api.add_api_route
        add("/reports", start_report, methods=["POST"], status_code=202, responses=self.operations.responses)
        add("/start/{task}", start, methods=["POST"], status_code=202)
        add("/plain", start_plain, methods=["POST"], status_code=202)
        add("/boom", boom, methods=["GET"])

    def task(self, name: str) -> Task[..., Any]:
        task = self.jobs.registry.get(name)
        assert task is not None
        return task

    def client(self, caller: str | None = "alice", **options: Any) -> httpx.AsyncClient:
        """Without a network: straight into the application."""
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
        return checked_client(caller, transport=transport, base_url="http://site.test", **options)

    async def start(self, client: httpx.AsyncClient, task: str, **args: Any) -> str:
        """Accept work; gives the operation's URL."""
        answer = await client.post(f"/start/{task}", json=args)
        assert answer.status_code == 202, answer.text
        return answer.headers["location"]


@contextlib.contextmanager
def opened(request: pytest.FixtureRequest, folder: Path, **options: Any) -> Iterator[Site]:
    """With offpath's tables in its database: on SQLite, unless the test is marked as one for `BOTH` stores."""
    other = getattr(request, "param", "sqlite") == "postgres"
    made = Site(folder, url=request.getfixturevalue("tables_url") if other else "", **options)
    if not other:
        files.with_tables(made.path)
    try:
        yield made
    finally:
        made.jobs.close()


def checked_client(caller: str | None, **options: Any) -> httpx.AsyncClient:
    """A client that holds every non-2xx it is given against RFC 9457 and against RES-06 and POL-02."""
    headers = {"Authorization": caller} if caller else {}
    return httpx.AsyncClient(headers=headers, event_hooks={"response": [check]}, timeout=100, **options)


async def check(response: httpx.Response) -> None:
    if response.status_code < 400:
        return
    body = await response.aread()
    headers = [(name.lower(), value) for name, value in response.headers.items()]
    request = response.request
    assert problems.held_against(request.method, request.url.path, response.status_code, headers, body) == []


class Hand:
    """A worker, played step by step."""

    def __init__(self, site: Site, lease: float = 60.0) -> None:
        self.site = site
        self.store = site.jobs.store
        self.store.open()
        self.id = uuid7(time.time_ns() // 1000, os.urandom(10))
        self.lease = self.store.lease()
        self.names = site.jobs.registry.names()
        self.lease.register(self.id, lease, json.dumps([f"{name}@1" for name in self.names]), "hand")

    def close(self) -> None:
        self.lease.close()

    async def claim(self) -> Job:
        """The next ready job, now running here."""
        want = Want((("default", 1),), json.dumps([f"{name}@1" for name in self.names]), 1, 1, True)
        said = await self.store.exchange(self.id, [], want)
        assert len(said.claimed) == 1, said
        return said.claimed[0]

    async def settle(self, job: Job, outcome: Outcome, policy: Policy = Policy()) -> str:  # noqa: B008 (immutable)
        """The store's verdict; asked to decide again, because someone wants the job stopped, it does, once."""
        for _ in range(2):
            change = lifecycle.settle(job, outcome, policy, self.store.now(), 0.5)
            said = await self.store.exchange(self.id, [change], None)
            if said.verdicts != ["changed"]:
                break
            found = await self.store.read(self.store.verbs.find(job.id))
            assert found is not None
            assert found.job is not None
            job = found.job
        return said.verdicts[0]

    async def done(self, job: Job, result: Any = None) -> str:
        return await self.settle(job, Done(json.dumps(result)))

    async def fail(self, job: Job, title: str = "boom", *, again: bool = False, **more: Any) -> str:
        return await self.settle(job, Errored(error("raised", title, **more), retryable=again))

    async def progress(self, job: Job, current: int, total: int, message: str = "") -> bool:
        text = json.dumps({"current": current, "total": total, "message": message}, ensure_ascii=False)
        return await self.store.perform(self.store.verbs.progress(job.id, job.fence, self.id, text))


@contextlib.contextmanager
def hand(site: Site, lease: float = 60.0) -> Iterator[Hand]:
    worker = Hand(site, lease)
    try:
        yield worker
    finally:
        worker.close()


@pytest.fixture
def worker(site: Site) -> Iterator[Hand]:
    """For a `conftest.py` with a `site`: import it there."""
    with hand(site) as made:
        yield made


@contextlib.contextmanager
def beside(site: Site) -> Iterator[Any]:
    """A connection of our own to the site's database, committed at the end."""
    with psycopg.connect(site.url) if site.url else contextlib.closing(sqlite3.connect(site.path)) as db, db:
        yield db


def promote(site: Site) -> None:
    """Make what is scheduled ready now, as the passing of time would."""
    with beside(site) as db:
        db.execute("update offpath_job set run_at = 0 where state = 0")


def dump(site: Site) -> dict[str, list[Any]]:
    """Every row of every table."""
    names = (
        "select tablename from pg_tables where schemaname = 'public'"
        if site.url
        else ("select name from sqlite_master where type = 'table'")
    )
    with beside(site) as db:
        return {name: db.execute(f"select * from {name}").fetchall() for (name,) in db.execute(names).fetchall()}


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the test runner's own


@contextlib.asynccontextmanager
async def served(app: Any, at: socket.socket | None = None, **config: Any) -> AsyncIterator[str]:
    """The application under a real uvicorn on this loop, listening `at` this socket if it is given; its base URL."""
    server = _Quiet(uvicorn.Config(app, **{"port": 0, "log_config": None, "lifespan": "off", **config}))
    running = asyncio.create_task(server.serve([at] if at is not None else None))
    await eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running


async def eventually(true: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for what gives no signal (another side's state); the only place here that looks again and again."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
