"""Where we are: in a request, in an attempt, or nowhere. One context variable; in an attempt it holds the job itself,
and what is wanted is worked out when somebody asks.

Wherever OpenTelemetry has a current span, that is where we are.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from ..core.job import Job
from ..core.trace import Trace, attempt_of, parse, stamped, started_in
from ..observe import signal

if TYPE_CHECKING:
    from . import otel

_here: ContextVar[Job | Trace | None] = ContextVar("offpath.trace", default=None)
_inside: ContextVar[Job | None] = ContextVar("offpath.job", default=None)  # in a process of its own


class Span(Protocol):
    """What records one attempt."""

    def end(self, outcome: str, error: tuple[str, str] | None = None) -> None:
        """`outcome`: in one word. `error`: the name of the exception and what it said. Only the first call counts."""
        ...


def _recorder() -> otel.Recorder | None:
    """Nobody pays for what is not used: where OpenTelemetry has not been imported this is one look into a dict, and
    where it has (FastAPI does) and nothing has been set up, one at its provider."""
    global _look  # found once
    if _look is None:
        if "opentelemetry.trace" not in sys.modules:
            return None
        from . import otel

        _look = otel.recorder
    return _look()


_look: Callable[[], otel.Recorder | None] | None = None


def _recorded() -> Trace | None:
    recorder = _recorder()
    return None if recorder is None else recorder.current()


def _plainly() -> Trace | None:
    here = _here.get()
    return _attempt_of(here.id, here.fence, here.options) if isinstance(here, Job) else here


_attempt_of = lru_cache(maxsize=256)(attempt_of)  # a task that enqueues a thousand jobs asks a thousand times


def current() -> Trace | None:
    """Where we are; None outside of attempts and of requests that brought a trace."""
    return _recorded() or _plainly()


def trace_headers() -> dict[str, str]:
    """The headers that let a receiver carry on the trace: `traceparent` and, when there is one, `tracestate`.

    For calls to others made inside a task or a request, in any thread of it; {} where there is no trace. Each time
    `traceparent` has an id of its own, since each request is a part of the trace (W3C Trace Context §3.4), unless
    OpenTelemetry records the part we are in.
    """
    trace = _recorded()
    if trace is None:
        trace = _plainly()
        if trace is None:
            return {}
        trace = trace.child(_fresh())
    headers = {"traceparent": trace.traceparent}
    if trace.state:
        headers["tracestate"] = trace.state
    return headers


def _fresh() -> str:
    while True:
        if (made := os.urandom(8).hex()).strip("0"):
            return made


def attempt_here() -> Job | None:
    """The job whose attempt this is, on the loop or in a thread of it."""
    here = _here.get()
    return here if isinstance(here, Job) else None


def job_here() -> Job | None:
    """The same, also in a process of its own. Of a batch: one of its jobs, with an owner if that is everyone's."""
    here = _here.get()
    return here if isinstance(here, Job) else _inside.get()


def anywhere() -> bool:
    """Are we anywhere already? (What OpenTelemetry records does not count.)"""
    return _here.get() is not None


@contextlib.contextmanager
def within(where: Job | Trace | None) -> Iterator[None]:
    """Inside the block we are there: in an attempt of this job, in this trace, or in none."""
    before = _here.set(where)
    try:
        yield
    finally:
        _here.reset(before)


@contextlib.contextmanager
def continuing(traceparent: str | None, tracestate: str | None = None) -> Iterator[None]:
    """Inside the block we are in the trace that these headers name: jobs enqueued there carry it on.

    For what takes requests or messages without `TraceContext`: Django, Flask, a consumer. What is missing or not valid
    is no trace.
    """
    with within(None if traceparent is None else parse((traceparent,), () if tracestate is None else (tracestate,))):
        yield


def started(job: Job) -> Job:
    """A new job, with the trace it is started in."""
    recorder = _recorder()
    if recorder is None and _here.get() is None:
        return job
    trace: Trace | None = None
    if recorder is not None:
        try:
            trace = recorder.enqueued(job, _parent())
        except Exception as error:  # foreign code: exporters, processors and samplers of the application's choice
            signal("tracing.failed", error=repr(error), exc_info=error)
    if trace is None:
        trace = _plainly()
    if trace is None:
        return job
    # `_replace` takes four times as long.
    return Job._make((*job[:_OPTIONS], stamped(job.options, trace), *job[_OPTIONS + 1 :]))


_OPTIONS = Job._fields.index("options")


def _parent() -> Trace | None:
    """What a span comes from that has no span of OpenTelemetry's around it."""
    here = _here.get()
    return started_in(here.options) if isinstance(here, Job) else here


arrive = _here.set
"""`arrive(job)`: from now on this context is an attempt of the job.

Called in the attempt's own context, which ends with it: there is nothing to put back. (So is `record`.)
"""


def recording() -> bool:
    """Does anything record attempts? Asked now and then, not for each of them."""
    return _recorder() is not None


def record(job: Job, mates: Sequence[Job] = ()) -> Span | None:
    """Begin the span of an attempt, current in this context from now on. `mates`: the other jobs of its batch."""
    recorder = _recorder()
    try:
        return None if recorder is None else recorder.attempt(job, mates)
    except Exception as error:
        signal("tracing.failed", error=repr(error), exc_info=error)
        return None


def carried_on(trace: Trace | None, job: Job) -> None:
    """In a process of its own: from now on this context is an attempt of the job that the worker records, in that
    trace."""
    _here.set(trace)
    _inside.set(job)
    if trace is not None and (recorder := _recorder()) is not None:
        try:
            recorder.attach(trace)
        except Exception as error:
            signal("tracing.failed", error=repr(error), exc_info=error)


class Call(Protocol):
    """What records one request to somebody else's server; `trace` is what that is told."""

    trace: Trace

    def end(self, status: int | None, error: str | None) -> None:
        """`error`: why there was no whole answer, in a word."""
        ...


def calling(
    name: str, about: Mapping[str, str | int], parent: Trace | None, links: Sequence[Trace] = ()
) -> Call | None:
    """Begin the span of such a request, in the trace of `parent`, or else where we are; `links`: where what it carries
    was made."""
    recorder = _recorder()
    try:
        return None if recorder is None else recorder.call(name, about, parent, links)
    except Exception as error:
        signal("tracing.failed", error=repr(error), exc_info=error)
        return None
