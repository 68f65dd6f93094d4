"""A job, its operation and its events, as the Tasks API shows them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.utils import timezone

from ...core import redact
from ...core.job import State
from ...core.options import DEFAULT_PRIORITY
from ...ports import EventRow, Found, OperationRow, Verb, Verbs
from .api import Task, TaskError, TaskResult, TaskResultStatus

TENANT, OWNER = "offpath.integrations.django", "tasks"
"""Whose operations these are: nobody's who asks over HTTP."""

MOST = 10_000  # events; an attempt has two

STATUS = {
    State.SCHEDULED: TaskResultStatus.READY,
    State.WAITING: TaskResultStatus.READY,
    State.READY: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.FAILED: TaskResultStatus.FAILED,
    State.CANCELED: TaskResultStatus.FAILED,
}


class Seen(NamedTuple):
    found: Found
    operation: OperationRow
    events: list[EventRow]

    @property
    def row(self) -> Any:
        return self.found.job or self.found.finished


def look(verbs: Verbs, id: str) -> Verb[Seen | None]:
    """Everything about a job that was enqueued through the Tasks API; None for any other."""
    found = yield from verbs.find(id)
    operation = yield from verbs.operation(id)
    if found is None or operation is None or (operation.tenant, operation.owner) != (TENANT, OWNER):
        return None
    return Seen(found, operation, (yield from verbs.events(id, 0, MOST)))


def result_of(seen: Seen, task: Task[Any, Any]) -> TaskResult[Any]:
    """`task` is the function's, as it is declared.

    worker_ids has an entry for each attempt; only of a running one is the worker known, the others are "".
    """
    row, operation, events = seen.row, seen.operation, seen.events
    starts = [(event.at, json.loads(event.data)["attempt"]) for event in events if event.type == "started"]
    worker_ids = [""] * len({attempt for _, attempt in starts})
    if seen.found.job is not None and seen.found.job.worker is not None and worker_ids:
        worker_ids[-1] = seen.found.job.worker
    given = json.loads(row.args) if row.args else {"args": [], "kwargs": {}}  # erased
    result: TaskResult[Any] = TaskResult(
        task=task.using(
            priority=priority_of(row.priority),
            queue_name=row.queue,
            backend=operation.label,
            run_after=None if starts or row.state != State.SCHEDULED else moment(row.run_at),
        ),
        id=row.id,
        status=STATUS[row.state],
        enqueued_at=moment(operation.created_at),
        started_at=moment(starts[0][0]) if starts else None,
        last_attempted_at=moment(starts[-1][0]) if starts else None,
        finished_at=None if seen.found.finished is None else moment(seen.found.finished.finished_at),
        args=given["args"],
        kwargs=given["kwargs"],
        backend=operation.label,
        errors=_errors(seen),
        worker_ids=worker_ids,
    )
    if seen.found.finished is not None and seen.found.finished.result is not None:
        object.__setattr__(result, "_return_value", redact.plain(seen.found.finished.result))
    return result


def _errors(seen: Seen) -> list[TaskError]:
    """Of every attempt that failed, then of the job itself when that is not the last attempt's."""
    said = [json.loads(event.data)["error"] for event in seen.events if event.type == "retrying"]
    if seen.found.finished is not None and seen.found.finished.error is not None:
        said.append(seen.found.finished.error)
    return [_error(json.loads(one) if isinstance(one, str) else one) for one in said]


def _error(stored: dict[str, Any]) -> TaskError:
    """See `core/outcome.py` for what is stored."""
    path = stored.get("class") or ("TimeoutError" if stored["kind"] == "timeout" else "offpath.errors.JobFailed")
    said = ": ".join(part for part in (stored["title"], stored.get("detail")) if part)
    return TaskError(
        exception_class_path=path if "." in path else f"builtins.{path}", traceback=stored.get("traceback") or said
    )


def moment(micros: int) -> datetime:
    """µs since the epoch as Django keeps times: aware under USE_TZ, else naive and local."""
    aware = datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
    return aware if settings.USE_TZ else timezone.make_naive(aware)


# ── priorities: theirs are -100 to 100, the highest first; of ours the lowest is first, and 5 is the middle ──────────


def priority(theirs: int) -> int | None:
    """Their middle is said by nobody: the queue's own priority applies, or 5."""
    return DEFAULT_PRIORITY - theirs if theirs else None


def priority_of(ours: int) -> int:
    return max(-100, min(100, DEFAULT_PRIORITY - ours))
