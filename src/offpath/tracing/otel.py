"""Spans of OpenTelemetry: one where a job is enqueued, one for each of its attempts. The only file that imports it.

Names follow the semantic conventions for messaging. Nothing of a job's arguments or results is told, nor a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace as api
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode

from ..core.job import Job
from ..core.trace import KNOWN_FLAGS, Trace, parse_state, started_in
from ..observe import signal

NAME: Final = "offpath"


class Recorder:
    """What makes spans with one tracer provider."""

    def __init__(self, provider: api.TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer(NAME)

    def current(self) -> Trace | None:
        """The part of a trace that is being recorded here."""
        return _trace(api.get_current_span().get_span_context())

    def enqueued(self, job: Job, parent: Trace | None) -> Trace | None:
        """The trace of a new job: a span says that it was enqueued. None when the provider makes no spans.

        `parent`: what it comes from, where nothing is recorded around us.
        """
        context = None
        if parent is not None and self.current() is None:
            context = api.set_span_in_context(NonRecordingSpan(_remote(parent)))
        name, about = f"enqueue {job.queue}", _about(job, "enqueue", "create")
        span = self._tracer.start_span(name, context, SpanKind.PRODUCER, about)
        span.end()
        return _trace(span.get_span_context())

    def attempt(self, job: Job, mates: Sequence[Job] = ()) -> AttemptSpan | None:
        """A span for an attempt, current in this context from now on: child of the one that enqueued the job, and
        linked to it. None when the provider makes no spans. `mates`: the other jobs of a batch whose call this is;
        each has a span of its own, and here is a link to what enqueued it."""
        context, links = contexts.Context(), []
        if (begun := started_in(job.options)) is not None:
            parent = _remote(begun)
            context, links = api.set_span_in_context(NonRecordingSpan(parent), context), [api.Link(parent)]
        about: dict[str, str | int] = {**_about(job, "process", "process"), "offpath.attempt": job.attempt}
        if mates:
            about["messaging.batch.message_count"] = 1 + len(mates)
            for mate in mates:
                if (begun := started_in(mate.options)) is not None:
                    links.append(api.Link(_remote(begun), {"messaging.message.id": mate.id}))
        span = self._tracer.start_span(f"process {job.queue}", context, SpanKind.CONSUMER, about, links)
        if not span.get_span_context().is_valid:
            return None
        contexts.attach(api.set_span_in_context(span, context))
        return AttemptSpan(span)

    def attach(self, trace: Trace) -> None:
        """From now on this context is in that part of a trace, which another process records."""
        contexts.attach(api.set_span_in_context(NonRecordingSpan(_remote(trace))))

    def call(
        self, name: str, about: Mapping[str, str | int], parent: Trace | None, links: Sequence[Trace] = ()
    ) -> CallSpan | None:
        """A span for a request to somebody else's server, below `parent`, or else below where we are; when they are of
        two traces there is a link between them. None when the provider makes no spans."""
        here = api.get_current_span().get_span_context()
        context, linked = None, [api.Link(_remote(one)) for one in links]
        if parent is not None and f"{here.trace_id:032x}" != parent.trace_id:
            context = api.set_span_in_context(NonRecordingSpan(_remote(parent)))
            linked += [api.Link(here)] if here.is_valid else []
        span = self._tracer.start_span(name, context, SpanKind.CLIENT, about, linked)
        return CallSpan(span) if span.get_span_context().is_valid else None


class CallSpan:
    """See `here.Call`."""

    def __init__(self, span: api.Span) -> None:
        self._span = span
        where = _trace(span.get_span_context())
        assert where is not None  # noqa: S101 (it is valid)
        self.trace = where

    def end(self, status: int | None, error: str | None) -> None:
        try:
            if status is not None:
                self._span.set_attribute("http.response.status_code", status)
            if error is not None or (status is not None and status >= 400):
                self._span.set_attribute("error.type", str(status) if status is not None else error or "_OTHER")
                self._span.set_status(api.Status(StatusCode.ERROR, error))
            self._span.end()
        except Exception as refused:
            signal("tracing.failed", error=repr(refused), exc_info=refused)


class AttemptSpan:
    """See `here.Span`."""

    def __init__(self, span: api.Span) -> None:
        self._span = span
        self._ended = False

    def end(self, outcome: str, error: tuple[str, str] | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._finish(outcome, error)
        except Exception as refused:
            signal("tracing.failed", error=repr(refused), exc_info=refused)

    def _finish(self, outcome: str, error: tuple[str, str] | None) -> None:
        self._span.set_attribute("offpath.outcome", outcome)
        if error is not None:
            kind, said = error
            self._span.set_attribute("error.type", kind)
            self._span.add_event("exception", {"exception.type": kind, "exception.message": said})
            self._span.set_status(api.Status(StatusCode.ERROR, f"{kind}: {said}"))
        self._span.end()


def recorder() -> Recorder | None:
    """What records here; None while the application has set up no tracer provider."""
    global _recorder  # one for the process, as OpenTelemetry's provider is
    # What `get_tracer_provider` gives, without its look at the environment, which costs a microsecond for every job.
    provider: Any = getattr(api, "_TRACER_PROVIDER", _UNKNOWN)
    if provider is _UNKNOWN:
        provider = api.get_tracer_provider()
    if provider is None or isinstance(provider, api.ProxyTracerProvider):
        return None
    if _recorder is None or _recorder.provider is not provider:
        _recorder = Recorder(provider)
    return _recorder


_UNKNOWN = object()
_recorder: Recorder | None = None
api.get_tracer_provider()  # once: it loads the provider that OTEL_PYTHON_TRACER_PROVIDER names


def _about(job: Job, name: str, kind: str) -> Mapping[str, str]:
    return {
        "messaging.system": NAME,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": job.queue,
        "messaging.message.id": job.id,
        "offpath.task": job.task,
    }


def _trace(span: SpanContext) -> Trace | None:
    if not span.is_valid:
        return None
    state = parse_state([span.trace_state.to_header()]) if span.trace_state else ""
    return Trace(f"{span.trace_id:032x}", f"{span.span_id:016x}", span.trace_flags & KNOWN_FLAGS, state)


def _remote(trace: Trace) -> SpanContext:
    state = api.TraceState.from_header([trace.state]) if trace.state else None
    flags = api.TraceFlags(trace.flags)
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), True, flags, state)
