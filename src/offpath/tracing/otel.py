"""Spans of OpenTelemetry: one where a job is enqueued, one for each of its attempts. The only file that imports it.

Names follow the semantic conventions for messaging. Nothing of a job's arguments or results is told, nor a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
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

    def attempt(self, job: Job) -> AttemptSpan | None:
        """A span for an attempt, current in this context from now on: child of the one that enqueued the job, and
        linked to it. None when the provider makes no spans."""
        context, links = contexts.Context(), []
        if (begun := started_in(job.options)) is not None:
            parent = _remote(begun)
            context, links = api.set_span_in_context(NonRecordingSpan(parent), context), [api.Link(parent)]
        about: dict[str, str | int] = {**_about(job, "process", "process"), "offpath.attempt": job.attempt}
        span = self._tracer.start_span(f"process {job.queue}", context, SpanKind.CONSUMER, about, links)
        if not span.get_span_context().is_valid:
            return None
        contexts.attach(api.set_span_in_context(span, context))
        return AttemptSpan(span)


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
