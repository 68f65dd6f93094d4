"""What an attempt said. The engine turns whatever happened into one of these; `lifecycle.settle` decides what it means.

A stored error is plain data: {"kind": one of `ErrorKind`, "title", "detail"?, "status"?, "type"?, "public": bool,
"class"?, "traceback"?}. Only errors with "public": true show title, detail and type to an HTTP client (RES-08).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

ErrorKind = Literal[
    "raised",  # the handler raised
    "timeout",  # the attempt ran longer than it may
    "deadline",  # the job's deadline passed
    "undecodable",  # the stored arguments do not fit the task any more
    "result",  # the result cannot be stored
    "revoked",  # whoever started it may no more
    "died",  # the process in which the attempt ran has died, or there could be none
    "memory",  # the attempt held more memory than it may
    "quarantined",  # three workers died on this job
    "handed",  # what the earlier links of its flow hand on cannot be its arguments
    "lost",  # an at-most-once job whose worker died or was stopped
    "canceled",  # someone asked to stop
]

MAX_DETAIL = 2_000  # characters
MAX_TRACEBACK = 16_000


class Done(NamedTuple):
    """The handler returned; `result` is JSON text, or None when the task keeps no result."""

    result: str | None


class Errored(NamedTuple):
    """The attempt failed; `error` is the stored error as JSON text; `retryable` is what `Retry.allows` said."""

    error: str
    retryable: bool = True


class Snoozed(NamedTuple):
    """The handler asked to come again after `delay` seconds."""

    delay: float


class Canceled(NamedTuple):
    """The handler raised Cancel, or ended because it had been asked to."""

    reason: str


class Interrupted(NamedTuple):
    """We stopped it (shutdown): the job does not suffer, no attempt is spent.

    `begun` is False only when the handler is known not to have started: what an at-most-once job needs to go back.
    """

    reason: str = "shutdown"
    begun: bool = True


class Expired(NamedTuple):
    """The deadline had passed before the attempt began: it was never started."""


Outcome = Done | Errored | Snoozed | Canceled | Interrupted | Expired


def error(
    kind: ErrorKind,
    title: str,
    *,
    detail: str | None = None,
    status: int | None = None,
    type: str | None = None,
    public: bool = False,
    exception: str | None = None,
    traceback: str | None = None,
    **more: str | int | Mapping[str, Any] | None,
) -> str:
    """A stored error as JSON text; long texts are cut, NUL and lone surrogates are escaped.

    `more` is for what only one kind of error has; a mapping in it must be an error as stored, decoded.
    """
    data: dict[str, Any] = {"kind": kind, "title": clean(title), "public": public}
    if detail:
        data["detail"] = clean(detail)
    if status is not None:
        data["status"] = status
    if type is not None:
        data["type"] = clean(type)
    if exception:
        data["class"] = clean(exception, 200)
    if traceback:
        data["traceback"] = clean(traceback, MAX_TRACEBACK, keep_end=True)
    for name, value in more.items():
        data[name] = clean(value) if isinstance(value, str) else value
    return json.dumps(data, ensure_ascii=False)


def clean(text: str, limit: int = MAX_DETAIL, *, keep_end: bool = False) -> str:
    """Text any store can hold: no NUL, no lone surrogate, at most `limit` characters and a "…" where it was cut."""
    kept = text[-limit:] if keep_end else text[:limit]
    kept = kept.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= limit and len(kept) <= limit:
        return kept
    return "…" + kept[-limit:] if keep_end else kept[:limit] + "…"
