"""What has become of one job so far: its attempts that did not succeed, the log of a watched one, and its end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ..app import Offpath
from ..core import redact
from ..core.attempts import KEPT
from ..core.ids import moment_of
from ..core.job import State
from ..core.options import SECOND
from ..ports import Found

COLUMNS = ("at", "event", "attempt", "worker", "detail")
EVENTS = 1_000  # of a log


def lines(jobs: Offpath, found: Found) -> list[dict[str, Any]]:
    """In order: `{"at", "event", "attempt", "worker", "detail", "error"}`."""
    row = found.job or found.finished
    assert row is not None  # noqa: S101 - one of the two is set
    store = jobs.store
    told: list[dict[str, Any]] = []
    if row.watched:
        for event in store.read(store.verbs.events(row.id, 0, EVENTS)).result():
            data = redact.plain(event.data)
            said = data if isinstance(data, dict) else {}
            error = redact.plain(said.pop("error")) if isinstance(said.get("error"), str) else None
            told.append(_line(event.at, event.type, said.pop("attempt", None), None, _words(said), error))
    else:
        told.append(_line(moment_of(row.id), "queued", None, None, "", None))
    for one in store.read(store.verbs.job_attempts(row.id, KEPT)).result():
        error = redact.plain(one.error)
        told.append(_line(one.ended_at, one.ended, one.attempt, one.label or one.worker, short(error), error))
    if found.finished is not None and not row.watched:
        over = found.finished
        error = redact.plain(over.error)
        state = State(over.state).name.lower()
        told.append(_line(over.finished_at, state, over.attempt, None, short(error) or "", error))
    elif found.job is not None and found.job.state == State.RUNNING:
        told.append(_line(jobs.store.now(), "running", found.job.attempt, found.job.worker, "", None))
    return [one for _, one in sorted(((one["at"], one) for one in told), key=lambda pair: pair[0])]


def course(jobs: Offpath, found: Found) -> dict[str, Any]:
    """How it went: `{"started_at", "seconds", "since_due", "expires_at"}`; null is what is not known.

    started_at, seconds   of its only attempt, if it is watched: of others no start is kept
    since_due             seconds from when its last attempt was due to its end
    expires_at            when it is forgotten; null: never
    """
    row, over = found.job or found.finished, found.finished
    assert row is not None  # noqa: S101 - one of the two is set
    seen = jobs.store.read(jobs.store.verbs.operation(row.id)).result() if row.watched and row.fence == 1 else None
    started = None if seen is None else seen.started_at

    def until_end(since: int | None) -> float | None:
        return None if over is None or since is None else round(max(0, over.finished_at - since) / SECOND, 3)

    return {
        "started_at": moment(started),
        "seconds": until_end(started),
        "since_due": until_end(row.run_at),
        "expires_at": None if over is None else moment(over.expires_at),
    }


def attempts(jobs: Offpath, id: str) -> list[dict[str, Any]]:
    """Those that did not succeed: `{"attempt", "started_at", "ended_at", "seconds", "outcome", "worker", "error"}`."""
    rows = jobs.store.read(jobs.store.verbs.job_attempts(id, KEPT)).result()
    return [
        {
            "attempt": row.attempt,
            "started_at": moment(row.started_at),
            "ended_at": moment(row.ended_at),
            "seconds": None if row.started_at is None else round((row.ended_at - row.started_at) / SECOND, 3),
            "outcome": row.ended,
            "worker": row.label or row.worker,
            "error": redact.plain(row.error),
        }
        for row in rows
    ]


def moment(at: int | None) -> str | None:
    """µs as ISO 8601 text in UTC."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / SECOND, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def short(error: Any) -> str | None:
    """An error on a line: the class of the exception and what it said, or the kind."""
    if not isinstance(error, dict):
        return None if error is None else str(error)
    kind = str(error.get("class") or error.get("exception") or error.get("kind") or "error")
    said = error.get("detail") or error.get("title")
    return f"{kind}: {said}" if said else kind


def _line(at: int, event: str, attempt: Any, worker: str | None, detail: str | None, error: Any) -> dict[str, Any]:
    return {
        "at": moment(at), "event": event, "attempt": attempt, "worker": worker, "detail": detail or None,
        "error": error,
    }  # fmt: skip


def _words(said: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in said.items()
        if value is not None
    )
