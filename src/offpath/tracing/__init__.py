"""The trace in which code runs: read from a request, kept with the jobs it starts, found again in every attempt.

    await http.post(url, json=body, headers=trace_headers())

`here.py` knows where we are; `otel.py` makes spans, and is imported only where OpenTelemetry is.
"""

from ..core.trace import Trace
from .here import (
    Call,
    Span,
    anywhere,
    arrive,
    calling,
    carried_on,
    continuing,
    current,
    job_here,
    record,
    recording,
    started,
    trace_headers,
    within,
)
from .labels import JobLabels

__all__ = [
    "Call",
    "JobLabels",
    "Span",
    "Trace",
    "anywhere",
    "arrive",
    "calling",
    "carried_on",
    "continuing",
    "current",
    "job_here",
    "record",
    "recording",
    "started",
    "trace_headers",
    "within",
]
