"""OBS-01, 02, 05: the trace of a request is that of the jobs it starts, in every attempt, thread, child and store."""

import asyncio
import json
import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from offpath import Context, Offpath, Retry, Snooze, trace_headers
from offpath.core.retry import Backoff
from offpath.core.trace import parse, started_in
from offpath.integrations import starlette
from offpath.integrations.fastapi import Accepted, Acceptor, Operations, TraceContext, install_problem_handlers
from offpath.tasks import AttemptInfo
from offpath.testing import run_inline
from offpath.tracing import Trace, continuing, current

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
SENT = {"traceparent": f"00-{ID}-{SPAN}-01", "tracestate": "foo=1,bar=2"}
AT_ONCE = Retry(max_attempts=3, backoff=Backoff.fixed(0.001))


class House:
    """An application whose tasks write down where they are."""

    def __init__(self, url: str, **options: Any) -> None:
        self.jobs = jobs = Offpath(url, poll=0.05)
        self.seen: list[Trace | None] = []
        self.headers: list[dict[str, str]] = []
        self.operations = operations = Operations(jobs, public=True)
        self.api = FastAPI()
        self.api.include_router(operations.router)
        install_problem_handlers(self.api, **options)
        accepts = Annotated[Acceptor, Depends(operations.acceptor)]

        @jobs.task
        async def look() -> None:
            self.note()

        @jobs.task
        def look_in_a_thread(ctx: Context) -> None:
            self.note()
            other = threading.Thread(target=lambda: self.seen.append(ctx.trace))  # a bare thread has no context
            other.start()
            other.join()

        @jobs.task
        def look_plainly() -> None:
            self.note()

        @jobs.task(retry=AT_ONCE)
        async def look_again(ctx: Context) -> None:
            self.seen.append(ctx.trace)
            if ctx.attempt < 3:
                raise ValueError("not yet")

        @jobs.task
        async def look_and_hand_on() -> None:
            self.note()
            await look.enqueue()

        self.look, self.look_in_a_thread, self.look_plainly = look, look_in_a_thread, look_plainly
        self.look_again, self.look_and_hand_on = look_again, look_and_hand_on

        async def accepted(task: str, accept: accepts) -> Accepted[None]:
            return await accept(getattr(self, task))

        async def plain(task: str) -> str:
            return str((await getattr(self, task).enqueue()).id)

        def blocking(task: str) -> str:
            return str(getattr(self, task).enqueue_sync().id)

        for route in (accepted, plain, blocking):
            status = 202 if route is accepted else 200
            self.api.add_api_route(f"/{route.__name__}/{{task}}", route, methods=["POST"], status_code=status)

    def note(self) -> None:
        self.seen.append(current())
        self.headers.append(trace_headers())

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.api), base_url="http://house.test")

    async def work(self) -> None:
        await self.jobs.make_worker(until_empty=True).run()

    def options(self) -> list[str | None]:
        """Of every job that is still there, in order."""
        with sqlite3.connect(self.jobs.settings.url.removeprefix("sqlite:///")) as db:
            return [options for (options,) in db.execute("select options from offpath_job order by id")]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        found: str = request.getfixturevalue("tables_url")
        return found
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(f"sqlite:///{tmp_path}/jobs.db")
    made.jobs.migrate()
    async with made.jobs:
        yield made


@pytest.mark.parametrize("way", ["accepted", "plain", "blocking"])
async def test_obs_01_a_request_s_trace_is_stored_and_restored_in_another_worker(url: str, way: str) -> None:
    web, worker = House(url), House(url)
    web.jobs.migrate()
    async with web.jobs, web.client() as client:
        answer = await client.post(f"/{way}/look", headers=SENT)
        assert answer.is_success
    async with worker.jobs:
        await worker.work()
    (here,) = worker.seen
    assert here is not None
    assert (here.trace_id, here.flags, here.state) == (ID, 1, "foo=1,bar=2")
    assert here.span_id != SPAN
    (headers,) = worker.headers
    out = parse([headers["traceparent"]], [headers["tracestate"]])
    assert out is not None
    assert out.trace_id == ID
    assert out.span_id not in (SPAN, here.span_id)
    assert headers["tracestate"] == "foo=1,bar=2"


@pytest.mark.parametrize("task", ["look_in_a_thread", "look_plainly"])
async def test_obs_01_threads_are_in_the_trace(house: House, task: str) -> None:
    async with house.client() as client:
        await client.post(f"/accepted/{task}", headers=SENT)
    await house.work()
    assert {here.trace_id for here in house.seen if here} == {ID}
    assert len(set(house.seen)) == 1, "the thread the task has made is told the same"


async def test_obs_01_retries_are_new_parts_of_the_same_trace(house: House) -> None:
    async with house.client() as client:
        await client.post("/accepted/look_again", headers=SENT)
        await client.post("/accepted/look_again")
    async with house.jobs.worker():
        await _until(lambda: len(house.seen) == 6)
    traces = [here for here in house.seen if here is not None]
    assert len({here.span_id for here in traces}) == 6
    own = {here.trace_id for here in traces} - {ID}
    assert len(own) == 1
    assert [here.trace_id for here in traces].count(ID) == 3


async def test_obs_01_what_a_task_enqueues_carries_the_trace_on(house: House) -> None:
    async with house.client() as client:
        await client.post("/plain/look_and_hand_on", headers=SENT)
    await house.work()
    parent, child = house.seen
    assert parent is not None
    assert child is not None
    assert child.trace_id == parent.trace_id == ID
    assert child.span_id != parent.span_id
    assert child.state == "foo=1,bar=2"


async def test_obs_01_a_child_s_parent_is_the_attempt_that_enqueued_it(house: House) -> None:
    @house.jobs.task
    async def hand_on(ctx: Context) -> None:
        house.seen.append(ctx.trace)
        await house.look.using(delay=3600).enqueue()

    await hand_on.enqueue()
    await house.work()
    (options,) = house.options()
    assert started_in(options) == house.seen[0]


async def test_obs_01_running_a_finished_operation_again_is_in_the_trace_that_started_it(house: House) -> None:
    async with house.client() as client:
        id = (await client.post("/accepted/look", headers=SENT)).json()["id"]
    await house.work()
    await house.jobs.retry(id)
    await house.work()
    assert [here.trace_id for here in house.seen if here] == [ID, ID]


async def test_a_request_without_a_trace_costs_the_job_nothing(house: House) -> None:
    async with house.client() as client:
        await client.post("/accepted/look", headers=SENT)
        await client.post("/accepted/look")
        await client.post("/plain/look", headers={"tracestate": "foo=1"})
    first, second, third = house.options()
    assert started_in(first) == Trace(ID, SPAN, 1, "foo=1,bar=2")
    assert second is None
    assert third is None


async def test_a_trace_that_differs_for_each_job_does_not_fill_the_caches(house: House) -> None:
    ids = [f"{n:032x}" for n in range(1, 101)]
    async with house.client() as client:
        for id in ids[:50]:
            await client.post("/accepted/look", headers={"traceparent": f"00-{id}-{SPAN}-01"})
    for id in ids[50:]:
        with continuing(f"00-{id}-{SPAN}-01"):
            await house.look.enqueue()
    assert len(house.look._policies) == 1
    worker = house.jobs.make_worker(until_empty=True)
    await worker.run()
    assert [here.trace_id for here in house.seen if here] == ids
    assert worker._crew is not None
    assert len(worker._crew.plans._plans) == 1


async def test_obs_05_public_endpoints_restart_the_trace(tmp_path: Path) -> None:
    def inside(scope: Any) -> bool:
        return not scope["path"].startswith("/accepted/")

    for trust in (False, inside):
        house = House(f"sqlite:///{tmp_path}/{trust is inside}.db", trust_trace=trust)
        house.jobs.migrate()
        async with house.jobs, house.client() as client:
            await client.post("/accepted/look", headers=SENT)
            await client.post("/plain/look", headers=SENT)
            public, internal = house.options()
            assert public is None
            assert (internal is None) is (trust is False)
            await house.work()
        here = house.seen[0]
        assert here is not None
        assert here.trace_id != ID
        assert not here.sampled, "nobody's word is taken for it"
        assert here.state == ""


async def test_obs_05_one_layer_that_does_not_trust_is_enough(tmp_path: Path) -> None:
    app = Starlette(routes=[Route("/", _where, methods=["POST"])])
    layers = {
        (True,): TraceContext(app),
        (True, False): TraceContext(TraceContext(app, trust_trace=False)),
        (False, True): TraceContext(TraceContext(app), trust_trace=False),
    }
    for trust, both in layers.items():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(both), base_url="http://house.test") as client:
            said = (await client.post("/", headers=SENT)).json()
        if all(trust):
            assert said == {"trace": ID, "headers": SENT}
        else:
            assert said == {"trace": None, "headers": {}}, "what is inside is not told either"


async def _where(request: Request) -> Response:
    here = current()
    sent = {name: value for name, value in request.headers.items() if name in SENT}
    return JSONResponse({"trace": here and here.trace_id, "headers": sent})


async def test_obs_01_starlette_carries_it_too(house: House) -> None:
    operations = starlette.Operations(house.jobs, public=True)

    async def start(request: Request) -> Response:
        return await (await operations.acceptor(request))(house.look)

    app = Starlette(routes=[*operations.routes, Route("/look", start, methods=["POST"])])
    starlette.install_problem_handlers(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://house.test") as client:
        assert (await client.post("/look", headers=SENT)).status_code == 202
        assert (await client.post("/look")).status_code == 202
    assert [bool(started_in(options)) for options in house.options()] == [True, False]


async def test_a_trace_ends_with_its_request_and_with_its_block(house: House) -> None:
    async with house.client() as client:
        with continuing(**SENT):
            assert current() == Trace(ID, SPAN, 1, "foo=1,bar=2")
            await client.post("/plain/look")  # a request is in its own trace, not in that of whoever calls the server
            with continuing("nonsense", "foo=1"):
                assert current() is None
                assert trace_headers() == {}
            with continuing(None):
                assert current() is None
        assert current() is None
        await client.post("/plain/look", headers=SENT)
        assert current() is None
    assert [bool(started_in(options)) for options in house.options()] == [False, True]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.offpath)  # type: ignore[attr-defined]

    caplog.set_level(logging.DEBUG, "offpath")
    handler = Keep()
    logging.getLogger("offpath").addHandler(handler)
    yield told
    logging.getLogger("offpath").removeHandler(handler)


async def test_the_log_lines_and_hooks_of_an_attempt_name_its_trace(house: House, lines: list[dict[str, Any]]) -> None:
    told: list[AttemptInfo] = []

    @house.look_again.hook("before")
    async def before(attempt: AttemptInfo) -> None:
        told.append(attempt)
        house.note()

    @house.look_again.hook("after")
    def after(attempt: AttemptInfo) -> None:
        told.append(attempt)
        house.look_plainly.using(delay=3600).enqueue_sync()

    async with house.client() as client:
        await client.post("/accepted/look_again", headers=SENT)
        await client.post("/plain/look")
    async with house.jobs.worker():
        await _until(lambda: len(told) == 6)
    attempts = [line for line in lines if line["signal"].startswith("attempt.")]
    mine = [line for line in attempts if line["task"] == house.look_again.name]
    assert {line["trace"] for line in mine} == {ID}
    assert {line["signal"] for line in mine} == {"attempt.started", "attempt.errored", "attempt.succeeded"}
    assert {attempt.trace for attempt in told} == {ID}
    others = [line for line in attempts if line["task"] == house.look.name]
    assert {line["trace"] for line in others} == {line["job"].replace("-", "") for line in others} != set()
    after_hook = [started_in(options) for options in house.options()]
    assert [trace.trace_id for trace in after_hook if trace] == [ID] * 3, "what a hook enqueues is in the trace"


async def test_a_snooze_and_a_lean_neighbour_keep_their_own_trace(house: House) -> None:
    @house.jobs.task
    async def snooze(ctx: Context) -> None:
        house.seen.append(ctx.trace)
        if ctx.fence == 1:
            raise Snooze(0.001)

    with continuing(**SENT):
        await snooze.enqueue()
    await house.look.enqueue()
    async with house.jobs.worker():
        await _until(lambda: len(house.seen) == 3)
    mine = [here for here in house.seen if here is not None and here.trace_id == ID]
    assert len(mine) == len({here.span_id for here in mine}) == 2


async def test_a_task_called_here_and_now_is_where_its_caller_is(house: House) -> None:
    with continuing(**SENT):
        with pytest.raises(ValueError, match="not yet"):
            await house.look_again()
        with run_inline(house.jobs):
            await house.look.enqueue()
            house.look_in_a_thread.enqueue_sync()
        await house.look()
    await house.look()
    direct, inline, thread, other, called, nowhere = house.seen
    assert direct == called == Trace(ID, SPAN, 1, "foo=1,bar=2")
    assert inline is not None
    assert thread is not None
    assert inline.trace_id == thread.trace_id == ID
    assert thread == other
    assert len({SPAN, inline.span_id, thread.span_id}) == 3, "inline there are attempts too"
    assert nowhere is None
    assert house.headers[-1] == {}


def test_nothing_of_opentelemetry_is_imported_where_nobody_uses_it(tmp_path: Path) -> None:
    program = (
        "import sys, json; from offpath import Offpath, trace_headers; trace_headers();"
        f"jobs = Offpath('sqlite:///{tmp_path}/jobs.db'); jobs.migrate(); f = jobs.task(name='f')(lambda: None);"
        "f.enqueue_sync(); jobs.run_worker(until_empty=True);"
        "print(json.dumps([name for name in sys.modules if name.startswith('opentelemetry')]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


async def _until(true: Any) -> None:
    """Wait for what tasks of this process have noted; they have no other way to say it."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - the tasks run on this loop, and a turn of it is all that is waited for
            await asyncio.sleep(0.001)
