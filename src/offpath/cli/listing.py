"""Lists of jobs, for people: with when it happened, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import IO, Any

from ..app import Offpath
from ..core.selection import Which
from . import printing
from .timeline import short

COLUMNS = ("id", "task", "state", "queue", "attempt", "at", "error")
LOOK = 500  # dead letters whose errors are counted
KINDS = 5  # of them that are named


def table(rows: Sequence[dict[str, Any]], none: str, *, to_json: bool = False, stream: IO[str] | None = None) -> None:
    """`at`: when it ended; of a job that has not, when it is or was due. Of an error the first line."""
    people = (
        rows if to_json else [row | {"at": row["finished_at"] or row["run_at"], "error": _why(row)} for row in rows]
    )
    printing.table(people, COLUMNS, none, to_json=to_json, stream=stream)


def errors(jobs: Offpath, which: Which) -> str:
    """Which errors there are, where `which` names one that nothing has ended with: "; …", or nothing."""
    if "error" not in which:
        return ""
    others: Which = {**which}
    del others["error"]
    others.setdefault("state", "failed")
    found = (info.error for info in jobs.list_sync(limit=LOOK, **others))
    counts = Counter(str(error.get("class") or error.get("kind")) for error in found if error)
    if not counts:
        return ""
    named = [f"{name} ({count})" for name, count in counts.most_common(KINDS)]
    return f" ended with {which['error']}; with what jobs have ended of late: {', '.join(named)}"


def _why(row: dict[str, Any]) -> str | None:
    said = short(row["error"])
    return said and said.splitlines()[0]
