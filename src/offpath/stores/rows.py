"""Between rows and values: the order of columns is written once here and once in each dialect's SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from ..core.change import Change
from ..core.job import Finished, Job, State
from ..ports import EventRow, NewJob, OperationRow

dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Any JSON value as text. (`json.dumps` with settings of its own makes an encoder at each call.)"""


_LATER = ("worker", "cancel_at", "cancel_reason")
_COLUMNS = itemgetter(*(at for at, name in enumerate(Job._fields) if name not in _LATER))
"""What a job is inserted with; in C, since the thread that writes does it for every job."""


def new_rows(jobs: Sequence[NewJob]) -> str:
    """The parameter of `enqueue.insert`: a job's columns, and what its operation needs when it has one."""
    return dumps(
        [
            _COLUMNS(job)
            if op is None
            else (*_COLUMNS(job), *op, first.type, dumps(first.data) if first.data else "{}")
            for job, first, op, _ in jobs
        ]
    )


def change_rows(changes: Sequence[Change]) -> str:
    """The parameter of the statements in `settle.sql`."""
    return dumps(
        [
            (
                c.id, c.fence, 1 if c.seen_cancel else 0, int(c.state), c.run_at, c.attempt, c.crashes, c.result,
                c.error, c.cancel_at, c.expires_at, c.cancel_reason,
            )
            for c in changes
        ]
    )  # fmt: skip


def recorded_rows(changes: Sequence[Change]) -> str:
    """The same, with what is to be remembered of each attempt."""
    return dumps(
        [
            (
                c.id, c.fence, 1 if c.seen_cancel else 0, int(c.state), c.run_at, c.attempt, c.crashes, c.result,
                c.error, c.cancel_at, c.expires_at, c.cancel_reason,
                c.record and (c.record.attempt, c.record.worker, c.record.ended, c.record.started_at, c.record.error),
            )
            for c in changes
        ]
    )  # fmt: skip


def ending(changes: Sequence[Change]) -> tuple[str, str]:
    """Which statement ends them all at once, where rows can be returned, and its rows."""
    if any([change.record is not None for change in changes]):  # noqa: C419 (a list is quicker)
        return "settle.end_recorded", recorded_rows(changes)
    return "settle.end", change_rows(changes)


def job(row: Sequence[Any]) -> Job:
    """A live row, columns as in `find.live`."""
    (id_, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
     cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits, lane) = row  # fmt: skip
    return Job(id_, task, version, args, queue, priority, State(state), run_at, deadline, key, attempt, crashes, fence,
               worker, cancel_at, bool(once), bool(watched), owner, options, retry_of, cancel_reason, flow, waits,
               lane)  # fmt: skip


def finished(row: Sequence[Any]) -> Finished:
    """A row of history, columns as in `find.finished`."""
    (id_, task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once, watched, owner,
     options, retry_of, result, error, finished_at, expires_at, flow, lane) = row  # fmt: skip
    return Finished(id_, task, version, args, queue, priority, State(outcome), run_at, key, attempt, crashes, fence,
                    bool(once), bool(watched), owner, options, retry_of, result, error, finished_at, expires_at,
                    flow, lane)  # fmt: skip


def operation(row: Sequence[Any]) -> OperationRow:
    """A row of `operation.get` or `operation.list`."""
    return OperationRow(*row)._replace(expired=bool(row[13]))


# Readers of whole answers, for `Statement.read`.


def nothing(rows: list[Any]) -> None:
    return None


def value(rows: list[Any]) -> Any:
    """The first column of the only row, or None."""
    return rows[0][0] if rows else None


def column(rows: list[Any]) -> list[Any]:
    return [row[0] for row in rows]


def plain(rows: list[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in rows]


def jobs(rows: list[Any]) -> list[Job]:
    return [job(row) for row in rows]


def histories(rows: list[Any]) -> list[Finished]:
    return [finished(row) for row in rows]


def operations(rows: list[Any]) -> list[OperationRow]:
    return [operation(row) for row in rows]


def events(rows: list[Any]) -> list[EventRow]:
    return [EventRow(*row) for row in rows]
