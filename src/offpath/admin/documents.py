"""A job as the admin API shows it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..core import bulk, redact
from ..core.attempts import AttemptRow
from ..core.ids import moment_of
from ..core.job import TERMINAL, Finished, Job, State
from ..core.lifecycle import never_again
from ..core.policy import parted
from ..core.schedule import tick_of
from ..core.trace import trace_id, unstamped
from ..http import graph as flows
from ..http import operations
from ..http.operations import moment
from ..ports import EventRow, Found, OperationRow
from ..ports.flows import FlowRows
from ..tasks import flow_info


def row_of(found: Found) -> Job | Finished:
    row = found.job or found.finished
    assert row is not None  # noqa: S101 - one of the two is set
    return row


def iso(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the microsecond, as everywhere on the wire."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def job(found: Found) -> dict[str, Any]:
    """One line of a list: everything but what it was called with and what came of it."""
    row, live, ended = row_of(found), found.job, found.finished
    return {
        "id": row.id,
        "task": row.task,
        "version": row.version,
        "state": State(row.state).name.lower(),
        "queue": row.queue,
        "priority": row.priority,
        "attempt": row.attempt,
        "crashes": row.crashes,
        "created_at": moment(moment_of(row.id)),
        "run_at": moment(row.run_at),
        "deadline": None if live is None else moment(live.deadline),
        "finished_at": None if ended is None else moment(ended.finished_at),
        "expires_at": None if ended is None else moment(ended.expires_at),
        "key": row.key,
        "owner": row.owner,
        "tenant": parted(row.options)[1],
        "worker": None if live is None else live.worker,
        "canceling": live is not None and live.cancel_at is not None,
        "watched": bool(row.watched),
        "flow": None if row.flow == row.id else row.flow,
        "lane": row.lane,
        "retry_of": row.retry_of,
        "error": redact.plain(None if ended is None else ended.error),
    }


def called(found: Found, *, shown: bool) -> dict[str, Any]:
    """Its arguments and its result: shapes and lengths, or as they are."""
    row = row_of(found)
    result = None if found.finished is None else found.finished.result
    redacted, args, came = redact.called(row.task, row.args, result, full=shown)
    return {"redacted": redacted, "arguments": args, "result": came}


def options(found: Found) -> dict[str, Any]:
    """What this job says otherwise than its task."""
    said = redact.options(unstamped(parted(row_of(found).options)[0]))
    return said if isinstance(said, dict) else {}


def schedule(found: Found) -> dict[str, Any] | None:
    """The tick of a schedule that it is, if it is one."""
    tick = tick_of(row_of(found).options)
    return None if tick is None else {"name": tick[0], "tick": moment(tick[1]) if tick[1] else None}


def trace(found: Found) -> str:
    row = row_of(found)
    return trace_id(row.id, row.options)


def why_not(found: Found) -> str | None:
    """Why a finished job cannot be run again; None: it can, or it lives."""
    return None if found.finished is None else never_again(found.finished)


def can(found: Found, *, write: bool) -> dict[str, bool]:
    """What may be done to it now, by this caller."""
    over = State(row_of(found).state) in TERMINAL
    live = found.job
    return {
        "retry": write and over and why_not(found) is None,
        "cancel": write and not over and (live is None or live.cancel_at is None),
        "delete": write and over,
    }


def graph(found: Found, rows: FlowRows | None) -> dict[str, Any]:
    """As `http.graph` has it for operations."""
    row = row_of(found)
    if rows is None:
        live = found.job
        status = State(row.state).name.lower()
        word = "canceling" if live is not None and live.cancel_at is not None else flows.word(status)
        return {"id": row.id, "parts": [{"id": row.id, "kind": row.task, "status": word}], "edges": []}
    return flows.shown(flow_info(row.id, rows))


def attempt(row: AttemptRow) -> dict[str, Any]:
    """An attempt that did not succeed. Its error is as stored."""
    return {
        "attempt": row.attempt,
        "worker": row.worker,
        "label": row.label,
        "started_at": moment(row.started_at),
        "ended_at": moment(row.ended_at),
        "outcome": row.ended,
        "error": redact.plain(row.error),
    }


def event(row: EventRow) -> dict[str, Any]:
    """What one line of its log says. Errors in it are as stored."""
    said = redact.plain(row.data)
    if not isinstance(said, dict):
        return {}
    if isinstance(said.get("error"), str):
        said["error"] = redact.plain(said["error"])
    return said


def progress(row: OperationRow) -> dict[str, Any] | None:
    said = redact.plain(row.progress)
    return operations.progress(said, operations.done(row)) if isinstance(said, dict) else None


def operation(row: OperationRow, url: str) -> dict[str, Any] | None:
    """How its owner sees it over HTTP. A change of many jobs is nobody's."""
    if row.owner == bulk.NOBODY:
        return None
    return {"status": operations.status(row), "label": row.label, "url": url}
