"""One line of a job's history. Events are numbered per job by the store, under the job's row lock.

Only jobs that someone can watch (operations) have them. The names are those of the wire (SSE, webhooks), without the
leading "operation.".
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

EventType = Literal[
    "queued",  # {}: the first event of every operation
    "started",  # {"attempt"}
    "progress",  # {"current", "total", "unit", "message", "percent"}
    "output",  # {"name", "data"}: the task's own words
    "retrying",  # {"attempt", "delay", "error"}: back in the queue after a failure; attempt is the coming one
    "requeued",  # {"reason"}: back in the queue without a failure (snooze, interruption, a dead worker)
    "canceling",  # {"reason"}: someone asked a running job to stop
    "succeeded",  # {}
    "failed",  # {}
    "canceled",  # {"reason"}
]

TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "canceled"})


class Event(NamedTuple):
    """One event before the store has numbered it; `data` is plain JSON data."""

    type: EventType
    data: dict[str, Any]
