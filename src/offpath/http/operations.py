"""How an operation looks on the wire: a row → the Operation resource, its ETag, its Retry-After. Pure.

The resource is written as JSON text because a result goes in exactly as it was stored: no number, key order or
character of it changes on the way (RES-11).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from ..core import redact
from ..core.job import LIVE, State
from ..core.options import SECOND
from ..ports import OperationRow
from .conditional import among, tags
from .problems import Problems

INLINE = 64 * 1024  # bytes of a result that may be part of the resource
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

STATUSES = ("queued", "running", "canceling", "succeeded", "failed", "canceled")
_STATUS = {
    State.SCHEDULED: "queued",
    State.WAITING: "queued",
    State.READY: "queued",
    State.RUNNING: "running",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.CANCELED: "canceled",
}


class Shape(NamedTuple):
    """What rendering depends on besides the row.

    base      absolute URL of the collection (…/operations), without a slash at the end
    inline    how many bytes of a result go into the resource (default 64 KiB)
    """

    base: str
    problems: Problems
    inline: int = INLINE


def status(row: OperationRow) -> str:
    """One of `STATUSES`."""
    state = State(row.status)
    return "canceling" if state is State.RUNNING and row.cancel_at is not None else _STATUS[state]


def done(row: OperationRow) -> bool:
    return State(row.status) not in LIVE


def etag(row: OperationRow) -> str:
    """Strong: every visible change writes an event and so raises `seq`."""
    return f'"{row.seq}"'


def matches(header: Sequence[str], tag: str) -> bool:
    """If-None-Match, by weak comparison (RFC 9110 §13.1.2). Declined (400) for what is not a list of tags."""
    return among(tag, tags(header, "If-None-Match"), weakly=True)


def links(base: str, id: str) -> dict[str, str]:
    own = f"{base}/{id}"
    return {"self": own, "result": own + "/result", "events": own + "/events", "cancel": own + "/cancel"}


def resource(row: OperationRow, max_attempts: int, shape: Shape) -> dict[str, Any]:
    """The Operation, without `result` (see `document`)."""
    word, over = status(row), done(row)
    created = created_at(row.id)
    body: dict[str, Any] = {
        "id": row.id,
        "kind": row.kind,
        "status": word,
        "done": over,
        "created_at": moment(created),
        # seq 1 is the moment it was accepted: the 202 and the first poll are the same representation
        "updated_at": moment(created if row.seq == 1 else row.updated_at),
        "started_at": moment(row.started_at),
        "finished_at": moment(row.finished_at) if over else None,
        "expires_at": moment(row.expires_at) if over else None,
        "attempt": row.attempt,
        "max_attempts": max_attempts,
    }
    if row.progress is not None:
        body["progress"] = progress(json.loads(row.progress), over)
    body["metadata"] = {"label": row.label} if row.label else {}
    if row.retry_of is not None:
        body["retry_of"] = row.retry_of
    body["links"] = links(shape.base, row.id)
    if over and word != "succeeded":
        error = shape.problems.of_operation(row.error, id=row.id, attempts=row.attempt, state=word)
        if isinstance(error.get("requested_at"), int):
            error["requested_at"] = moment(error["requested_at"])
        body["error"] = error
    return body


def document(row: OperationRow, max_attempts: int, shape: Shape, *, with_result: bool = True, **more: Any) -> str:
    """The Operation as JSON text, its result spliced in as stored when it succeeded and the result is small enough.

    `with_result=False` leaves the result to `links.result`; `more` are further members.
    """
    text = dumps({**resource(row, max_attempts, shape), **more})
    if not with_result or status(row) != "succeeded":
        return text
    result = "null" if row.result is None else redact.masked(row.result)
    if len(result) > shape.inline or len(result.encode()) > shape.inline:
        return text
    return f'{text[:-1]},"result":{result}}}'


def progress(data: dict[str, Any], over: bool) -> dict[str, Any]:
    """`percent` is 0 to 100, and 100 only once the operation has ended (OPR-08)."""
    percent, current, total = (_number(data.get(name)) for name in ("percent", "current", "total"))
    if (over or percent is None) and current is not None and total:
        percent = 100 * current // total
    if percent is None:
        return data
    rest = {name: value for name, value in data.items() if name != "percent"}
    return {"percent": int(max(0, min(percent, 100 if over else 99))), **rest}


def retry_after(row: OperationRow, now: int, u: float) -> int:
    """Seconds until asking again is worth while, 1 to 60: a fifth of the age, or until it may start at all; spread by
    ±20 % (`u` is uniform in [0, 1)) so that clients that started together do not poll together."""
    seconds = min(30.0, (now - row.created_at) / SECOND / 5)
    if row.status == State.SCHEDULED:
        seconds = max(seconds, min(50.0, (row.run_at - now) / SECOND))
    return spread(max(1.0, seconds), u)


def spread(seconds: float, u: float) -> int:
    """`seconds` ±20 %, as the whole number of at least 1 that Retry-After takes."""
    return max(1, round(seconds * (0.8 + 0.4 * u)))


def created_at(id: str) -> int:
    """When the operation was asked for, µs: the moment in its UUIDv7, known before and after it is stored."""
    return int(id[:8] + id[9:13], 16) * 1000


def moment(at: int | None) -> str | None:
    """RFC 3339 in UTC, to the microsecond."""
    return None if at is None else f"{_second(at // SECOND)}.{at % SECOND:06}Z"


@lru_cache(maxsize=64)
def _second(at: int) -> str:
    return (_EPOCH + timedelta(seconds=at)).isoformat()[:19]


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
