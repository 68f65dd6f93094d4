"""Spans of OpenTelemetry, seen by its SDK's in-memory exporter: accept → attempts → children, and both ends."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from opentelemetry import trace as api
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from offpath import Cancel, Context, Offpath, Problem, Retry, trace_headers
from offpath.core.retry import Backoff
from offpath.core.trace import parse, started_in
from offpath.integrations import starlette
from offpath.integrations.fastapi import Accepted, Acceptor, Operations, TraceContext, install_problem_handlers
from offpath.tracing import current
from tests.spans import Spans, context, provide, spans

__all__ = ["spans"]

ID, SPAN = "12345678901234567890123456789012", "1234567890123456"
SENT = {"traceparent": f"00-{ID}-{SPAN}-01", "tracestate": "foo=1"}

Named = Callable[[], dict[str, list[ReadableSpan]]]


@pytest.fixture
def named(spans: Spans) -> Named:
    """What has been exported so far, by name, in the order in which it began."""

    def seen() -> dict[str, list[ReadableSpan]]:
        found: dict[str, list[ReadableSpan]] = {}
        for span in sorted(spans(), key=lambda span: span.start_time or 0):
            found.setdefault(span.name, []).append(span)
        return found

    return seen


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Offpath]:
    made = Offpath(f"sqlite:///{tmp_path}/jobs.db", poll=0.05)
    made.migrate()
    yield made
    made.close()


def came_from(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """Child of the other, and linked to it."""
    assert span.parent is not None
    one = context(parent)
    links = [(link.context.trace_id, link.context.span_id) for link in span.links]
    return (span.parent.trace_id, span.parent.span_id) == (one.trace_id, one.span_id) and links == [
        (one.trace_id, one.span_id)
    ]


async def work(jobs: Offpath, done: Callable[[], bool]) -> None:
    async with jobs.worker(), asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - until the exporter has been told: it has no signal
            await asyncio.sleep(0.001)


async def test_obs_01_accept_attempt_1_attempt_2_and_the_child_are_one_story(jobs: Offpath, named: Named) -> None:
    heard: list[dict[str, str]] = []

    @jobs.task(queue="low")
    def child() -> None:
        heard.append(trace_headers())

    @jobs.task(queue="mail", retry=Retry(max_attempts=2, backoff=Backoff.fixed(0.001)))
    async def work_hard(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError("not yet")
        with api.get_tracer("user").start_as_current_span("inside"):
            await child.enqueue()
            heard.append(trace_headers())

    async def start(request: Request) -> Response:
        return await (await operations.acceptor(request))(work_hard)

    operations = starlette.Operations(jobs, public=True)
    app = Starlette(routes=[*operations.routes, Route("/start", start, methods=["POST"])])
    starlette.install_problem_handlers(app)
    answer = await post(app)
    await work(jobs, lambda: "process low" in named())

    said = named()
    (accepted,), (first, second) = said["enqueue mail"], said["process mail"]
    (inside,), (sent,), (ran,) = said["inside"], said["enqueue low"], said["process low"]
    assert accepted.kind is SpanKind.PRODUCER
    assert accepted.parent is not None
    assert (f"{accepted.parent.trace_id:032x}", f"{accepted.parent.span_id:016x}") == (ID, SPAN)
    assert {f"{context(span).trace_id:032x}" for group in said.values() for span in group} == {ID}
    assert first.kind is second.kind is SpanKind.CONSUMER
    assert came_from(first, accepted)
    assert came_from(second, accepted)
    assert came_from(ran, sent)
    for lower, upper in ((inside, second), (sent, inside)):
        assert lower.parent is not None
        assert lower.parent.span_id == context(upper).span_id
    assert len({context(span).span_id for group in said.values() for span in group}) == 6

    about = {
        "messaging.system": "offpath",
        "messaging.destination.name": "mail",
        "messaging.message.id": answer.json()["id"],
        "offpath.task": work_hard.name,
    }
    create = {"messaging.operation.name": "enqueue", "messaging.operation.type": "create"}
    process = {"messaging.operation.name": "process", "messaging.operation.type": "process"}
    assert dict(accepted.attributes or {}) == {**about, **create}
    errored = {"offpath.attempt": 1, "offpath.outcome": "errored", "error.type": "ValueError"}
    assert dict(first.attributes or {}) == {**about, **process, **errored}
    assert dict(second.attributes or {}) == {**about, **process, "offpath.attempt": 2, "offpath.outcome": "done"}
    assert first.status.status_code is StatusCode.ERROR
    assert first.status.description == "ValueError: not yet"
    assert [event.name for event in first.events] == ["exception"]
    assert second.status.status_code is StatusCode.UNSET
    # Calls to others name the span that is recorded, wherever one is, and hand on the tracestate.
    outgoing = [parse([one["traceparent"]], [one["tracestate"]]) for one in heard]
    assert [one.span_id for one in outgoing if one] == [f"{context(span).span_id:016x}" for span in (inside, ran)]
    assert {one.state for one in outgoing if one} == {"foo=1"}


def fastapi(jobs: Offpath) -> FastAPI:
    """It records requests by itself, around all of the application's middleware."""

    @jobs.task
    async def nothing() -> None: ...

    operations = Operations(jobs, public=True)

    async def start(accept: Annotated[Acceptor, Depends(operations.acceptor)]) -> Accepted[None]:
        return await accept(nothing)

    app = FastAPI()
    app.include_router(operations.router)
    install_problem_handlers(app)
    app.add_api_route("/start", start, methods=["POST"], status_code=202)
    return app


async def post(app: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t.test") as client:
        answer = await client.post("/start", headers=SENT)
        assert answer.status_code == 202, answer.text
        return answer


async def test_obs_01_an_instrumented_application_s_span_lies_between(jobs: Offpath, named: Named) -> None:
    await post(fastapi(jobs))
    await work(jobs, lambda: "process default" in named())
    found = {context(span).span_id: span for group in named().values() for span in group}
    (ran,) = named()["process default"]
    way = [ran]
    while way[-1].parent is not None and way[-1].parent.span_id in found:
        way.append(found[way[-1].parent.span_id])
    assert way[1].name == "enqueue default"
    assert way[-1].kind is SpanKind.SERVER
    assert way[-1].parent is not None
    assert (f"{way[-1].parent.trace_id:032x}", f"{way[-1].parent.span_id:016x}") == (ID, SPAN)


async def test_obs_05_around_an_instrumented_application_it_restarts_too(jobs: Offpath, named: Named) -> None:
    await post(TraceContext(fastapi(jobs), trust_trace=False))
    await work(jobs, lambda: "process default" in named())
    ids = {f"{context(span).trace_id:032x}" for group in named().values() for span in group}
    assert len(ids) == 1
    assert ids != {ID}


async def test_the_user_s_own_span_is_the_parent_before_what_the_header_said(jobs: Offpath, named: Named) -> None:
    @jobs.task
    async def nothing() -> None: ...

    with api.get_tracer("web").start_as_current_span("PATCH /users"):
        await nothing.enqueue()
        assert current() is not None
    await work(jobs, lambda: "process default" in named())
    (web,), (sent,), (ran,) = (named()[name] for name in ("PATCH /users", "enqueue default", "process default"))
    assert sent.parent is not None
    assert sent.parent.span_id == context(web).span_id
    assert came_from(ran, sent)


async def test_an_attempt_comes_from_its_job_and_not_from_where_the_worker_was_started(
    jobs: Offpath, named: Named, monkeypatch: pytest.MonkeyPatch
) -> None:
    @jobs.task
    async def nothing() -> None: ...

    with monkeypatch.context() as before:  # a process that records nothing
        provide(before, api.ProxyTracerProvider())
        await nothing.enqueue()
    with api.get_tracer("worker").start_as_current_span("start"):
        await work(jobs, lambda: "process default" in named())
    (ran,) = named()["process default"]
    assert ran.parent is None
    assert not ran.links


async def test_outcomes_that_are_no_failures_are_not_shown_as_such(jobs: Offpath, named: Named) -> None:
    @jobs.task(queue="stops")
    async def stops() -> None:
        raise Cancel("enough")

    @jobs.task(queue="slow", timeout=0.05, retry=Retry(max_attempts=1))
    async def slow() -> None:
        await asyncio.Event().wait()

    @jobs.task(queue="told", retry=Retry(max_attempts=1))
    def told() -> None:
        raise Problem(status=422, title="No such period")

    for task in (stops, slow, told):
        await task.enqueue()
    await work(jobs, lambda: named().keys() >= {"process stops", "process slow", "process told"})
    found = {name: named()[f"process {name}"][0] for name in ("stops", "slow", "told")}
    said = {
        name: ((span.attributes or {})["offpath.outcome"], (span.attributes or {}).get("error.type"))
        for name, span in found.items()
    }
    assert said == {
        "stops": ("canceled", None),
        "slow": ("errored", "timeout"),
        "told": ("errored", "offpath.errors.Problem"),
    }
    assert found["stops"].status.status_code is StatusCode.UNSET


async def test_an_abandoned_attempt_has_its_span_ended_once(tmp_path: Path, named: Named) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/jobs.db", poll=0.05, cancel_grace=0.05)
    jobs.migrate()
    gate = asyncio.Event()

    @jobs.task(timeout=0.05, retry=Retry(max_attempts=1))
    async def stubborn() -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    @jobs.task(queue="next")
    async def after() -> None: ...

    async with jobs, jobs.worker(), asyncio.timeout(60):
        job = await stubborn.enqueue()
        while "process default" not in named():  # noqa: ASYNC110 - until the exporter has been told
            await asyncio.sleep(0.001)
        gate.set()
        assert (await job.info()).id == job.id
        await (await after.enqueue()).result(60)
    (span,) = named()["process default"]
    assert (span.attributes or {})["error.type"] == "timeout"


async def test_nothing_is_recorded_of_what_the_sampler_refuses_and_the_trace_goes_on(
    jobs: Offpath, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide(monkeypatch, TracerProvider(sampler=ParentBased(ALWAYS_OFF)))
    seen: list[Any] = []

    @jobs.task
    async def look(ctx: Context) -> None:
        seen.append(ctx.trace)

    job = await look.enqueue()
    there = (await jobs.desk.find(job.id)).job  # type: ignore[union-attr]
    assert there is not None
    start = started_in(there.options)
    assert start is not None
    assert not start.sampled
    await work(jobs, lambda: bool(seen))
    assert seen[0].trace_id == start.trace_id
    assert not seen[0].sampled


@pytest.mark.parametrize("provider", [api.NoOpTracerProvider(), api.ProxyTracerProvider()])
async def test_a_provider_that_makes_no_spans_changes_nothing(
    jobs: Offpath, monkeypatch: pytest.MonkeyPatch, provider: api.TracerProvider
) -> None:
    provide(monkeypatch, provider)
    seen: list[Any] = []

    @jobs.task
    async def look(ctx: Context) -> None:
        seen.append(ctx.trace)

    job = await look.enqueue()
    there = (await jobs.desk.find(job.id)).job  # type: ignore[union-attr]
    assert there is not None
    assert there.options is None
    await work(jobs, lambda: bool(seen))
    assert seen[0].trace_id == job.id.replace("-", "")


class Broken(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("no room")

    def on_end(self, span: Any) -> None:
        raise RuntimeError("no room at the end either")


async def test_a_processor_that_raises_hurts_neither_the_enqueue_nor_the_attempt(
    jobs: Offpath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Broken())
    provide(monkeypatch, provider)

    @jobs.task
    async def work_on() -> int:
        return 7

    caplog.set_level("WARNING", "offpath.tracing")
    async with jobs.worker():
        assert await (await work_on.enqueue()).result(60) == 7
    said = [record.offpath for record in caplog.records if record.name == "offpath.tracing"]  # type: ignore[attr-defined]
    assert {line["signal"] for line in said} == {"tracing.failed"}
    assert len(said) == 2
