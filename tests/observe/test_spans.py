"""Spans from the request to the webhook, in one trace; in processes; and of batches."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from offpath import Offpath
from offpath.cloudevents import CloudEvent
from offpath.core.trace import parse
from offpath.engine.post import Away, Post
from offpath.errors import BrokerRefused, BrokerUnavailable
from offpath.ports import Message, Outgoing
from offpath.tracing import continuing
from tests.engine import cpu
from tests.engine.children import LONG, working
from tests.spans import Spans, context, spans
from tests.webhooks.houses import Build, build, inbox
from tests.webhooks.place import Inbox

__all__ = ["build", "inbox", "spans"]

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def only(spans: list[ReadableSpan], name: str, kind: SpanKind) -> ReadableSpan:
    (found,) = [span for span in spans if span.name == name and span.kind is kind]
    return found


@pytest.mark.parametrize("status", [204, 503])
async def test_obs_04_request_queue_and_webhook_are_one_trace(
    build: Build, inbox: Inbox, spans: Spans, status: int
) -> None:
    house = build()
    inbox.say = lambda letter: status
    async with house.client() as alice, house.jobs:
        made = await house.endpoint(alice, inbox.url + "/hook?token=secret")
        sent = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "foo=1"}
        assert (await alice.post("/start", headers=sent)).status_code == 202
        async with house.jobs.worker():
            (letter,) = await inbox.got(1)
            async with asyncio.timeout(60):
                while not [span for span in spans() if span.kind is SpanKind.CLIENT]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    enqueued = only(spans(), "enqueue default", SpanKind.PRODUCER)
    ran = only(spans(), "process default", SpanKind.CONSUMER)
    called = only(spans(), "POST", SpanKind.CLIENT)
    assert {f"{context(span).trace_id:032x}" for span in (enqueued, ran, called)} == {TRACE}
    assert called.parent is not None
    assert called.parent.span_id == context(enqueued).span_id
    heard = parse([letter.headers["traceparent"]], [letter.headers["tracestate"]])
    assert heard is not None
    assert (heard.trace_id, heard.span_id, heard.state) == (TRACE, f"{context(called).span_id:016x}", "foo=1")
    about = dict(called.attributes or {})
    assert about["messaging.system"] == "offpath"
    assert (about["messaging.operation.name"], about["messaging.operation.type"]) == ("deliver", "send")
    assert about["messaging.destination.name"] == made["id"]
    assert about["messaging.message.id"] == letter.id
    assert about["http.response.status_code"] == status
    assert (about.get("error.type"), called.status.status_code) == (
        (None, StatusCode.UNSET) if status == 204 else ("503", StatusCode.ERROR)
    )
    assert "secret" not in str(about)


async def test_a_process_of_its_own_goes_on_with_the_attempt_s_span(tmp_path: Path, spans: Spans) -> None:
    async with working(f"sqlite:///{tmp_path}/jobs.db", processes=1):
        job = await cpu.look.using(owner="alice").enqueue()
        seen = await job.result(LONG)
        async with asyncio.timeout(60):
            while not [span for span in spans() if span.name == "process default"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    ran = only(spans(), "process default", SpanKind.CONSUMER)
    assert seen["trace"] == f"{context(ran).trace_id:032x}"
    assert ran.parent is not None
    assert ran.parent.span_id == context(only(spans(), "enqueue default", SpanKind.PRODUCER)).span_id


def test_what_is_recorded_in_a_process_lies_below_the_attempt(spans: Spans) -> None:
    import contextvars

    from offpath.testing.stores.kit import new_job
    from offpath.tracing import carried_on

    def inside() -> None:
        carried_on(parse([f"00-{TRACE}-{SPAN}-01"]), new_job().job)
        with api.get_tracer("user").start_as_current_span("inside"):
            pass

    contextvars.copy_context().run(inside)
    (span,) = spans()
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert not api.get_current_span().get_span_context().is_valid


async def test_a_batch_is_linked_to_all_that_enqueued_its_jobs(lite: Offpath, spans: Spans) -> None:
    @lite.batch(size=3, wait=5)
    async def many(items: list[int]) -> None:
        with api.get_tracer("user").start_as_current_span("inside"):
            pass

    jobs = [await many.enqueue(n) for n in range(3)]
    async with lite, lite.worker():
        for job in jobs:
            await job.result(60)
        async with asyncio.timeout(60):
            while len([span for span in spans() if span.name == "process default"]) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    enqueued = {context(span).span_id for span in spans() if span.name == "enqueue default"}
    ran = [span for span in spans() if span.name == "process default"]
    (first,) = [span for span in ran if "messaging.batch.message_count" in (span.attributes or {})]
    assert (first.attributes or {})["messaging.batch.message_count"] == 3
    assert {link.context.span_id for link in first.links} == enqueued
    assert {str((link.attributes or {})["messaging.message.id"]) for link in first.links[1:]} < {job.id for job in jobs}
    assert {str((span.attributes or {})["messaging.message.id"]) for span in ran} == {job.id for job in jobs}
    inside = only(spans(), "inside", SpanKind.INTERNAL)
    assert inside.parent is not None
    assert inside.parent.span_id == context(first).span_id


@pytest.mark.servers("redis")
async def test_a_published_event_is_one_trace_from_the_request_to_the_job_elsewhere(
    tmp_path: Path, spans: Spans, redis_url: str, unique: str
) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/a.db", broker=redis_url, topic=unique, source="/shop", group="g", poll=0.1)
    jobs.migrate()
    heard = asyncio.Event()

    @jobs.on("com.example.order.placed.v1", topic=unique)
    async def placed(event: CloudEvent[dict[str, int]]) -> None:
        heard.set()

    async with jobs, jobs.worker():
        with continuing(f"00-{TRACE}-{SPAN}-01"):
            job = await jobs.publish(CloudEvent(type="com.example.order.placed.v1", data={"n": 1}))
        await job.result(timeout=60)
        await asyncio.wait_for(heard.wait(), 60)
    sent = only(spans(), f"send {unique}", SpanKind.CLIENT)
    published = only(spans(), f"enqueue {(await job.info()).queue}", SpanKind.PRODUCER)
    ran = next(span for span in spans() if span.kind is SpanKind.CONSUMER and context(span) == sent.parent)
    assert {f"{context(span).trace_id:032x}" for span in (sent, published, ran)} == {TRACE}
    assert dict(sent.attributes or {}) == {
        "messaging.system": "redis",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": unique,
        "messaging.batch.message_count": 1,
    }
    assert [f"{link.context.trace_id:032x}" for link in sent.links] == [TRACE]
    assert sent.status.status_code is StatusCode.UNSET
    begun = [span for span in spans() if span.name == "process default" and span.kind is SpanKind.CONSUMER]
    assert [f"{context(span).trace_id:032x}" for span in begun] == [TRACE]


async def test_a_page_that_the_broker_does_not_take_is_a_span_that_failed(spans: Spans) -> None:
    class Down:
        kind = "sqs"

        async def open(self) -> None: ...

        async def close(self) -> None: ...

        async def publish(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
            if outgoing[0].subject == "down":
                raise BrokerUnavailable("gone")
            return [BrokerRefused("no") for _ in outgoing]

    down: Any = Down()
    post = Post("sqs", lambda: down)
    here = parse([f"00-{TRACE}-{SPAN}-01"])
    assert await post.send([Outgoing(topic, "x", Message(b""), trace=here) for topic in "ab"])
    with pytest.raises(Away):
        await post.send([Outgoing("a", "down", Message(b""))])
    refused, failed = spans()
    assert (refused.name, failed.name) == ("send", "send a")
    assert len(refused.links) == 2
    for span, kind in ((refused, "BrokerRefused"), (failed, "BrokerUnavailable")):
        about = dict(span.attributes or {})
        assert (about["messaging.system"], about["error.type"]) == ("aws_sqs", kind)
        assert span.status.status_code is StatusCode.ERROR
