"""A worker as people see it, worked out from its row. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from .options import SECOND
from .schedule import is_sign


class About(NamedTuple):
    """What a worker says of itself, once. `queues`: those it serves by name; None: all. `lease` is in seconds.
    `alerts`: the names of the rules that it watches; None: it does not say."""

    host: str
    pid: int
    started_at: int
    concurrency: int
    queues: tuple[str, ...] | None
    version: str
    lease: float
    alerts: tuple[str, ...] | None = None

    def text(self) -> str:
        return json.dumps(self._asdict(), ensure_ascii=False)


class WorkerRow(NamedTuple):
    """A worker as stored. Times are µs.

    tasks  JSON array of what it may claim
    about  JSON text of `About`; None: it has not said yet, or is of a version that does not
    load   JSON object: how many jobs of which queue it held when it last said so; None as above
    """

    id: str
    label: str
    expires_at: int
    lapsed_at: int | None
    tasks: str
    about: str | None
    load: str | None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as it stands.

    id           a process that was judged dead and goes on has a new one
    label        host and pid, for people
    state        alive; late: its lease has run out, and nobody has judged it yet; lost: it has been judged dead, and
                 its jobs are taken from it
    queues       those it was told to serve; None: all, or it has not said
    tasks        that it knows, as "name@version"
    running      jobs that it holds, by queue, as of its last word (it says so every few seconds)
    renewed_at   its last sign of life; None: not known
    version      of offpath
    """

    id: str
    label: str
    state: Literal["alive", "late", "lost"]
    host: str | None
    pid: int | None
    started_at: datetime | None
    renewed_at: datetime | None
    queues: tuple[str, ...] | None
    tasks: tuple[str, ...]
    concurrency: int | None
    running: Mapping[str, int]
    version: str | None


def load_of(row: WorkerRow) -> dict[str, int]:
    """How many jobs of which queue it holds."""
    return {} if row.load is None else {str(queue): int(jobs) for queue, jobs in json.loads(row.load).items()}


def info(row: WorkerRow, now: int) -> WorkerInfo:
    """What the row says at `now`."""
    said: dict[str, Any] = {} if row.about is None else json.loads(row.about)
    lease = said.get("lease")
    late: Literal["late", "alive"] = "late" if row.expires_at <= now else "alive"
    served = said.get("queues")
    return WorkerInfo(
        id=row.id,
        label=row.label,
        state="lost" if row.lapsed_at is not None else late,
        host=said.get("host"),
        pid=said.get("pid"),
        started_at=_time(said.get("started_at")),
        renewed_at=None if lease is None else _time(row.expires_at - round(lease * SECOND)),
        queues=None if served is None else tuple(served),
        tasks=tuple(str(name) for name in json.loads(row.tasks) if not is_sign(str(name))),
        concurrency=said.get("concurrency"),
        running=load_of(row),
        version=said.get("version"),
    )


def running(rows: list[WorkerRow]) -> dict[str, int]:
    """How many jobs of which queue all of them hold."""
    total: dict[str, int] = {}
    for row in rows:
        for queue, jobs in load_of(row).items():
            total[queue] = total.get(queue, 0) + jobs
    return total


def watched(rows: Iterable[WorkerRow]) -> frozenset[str] | None:
    """The names of the alerts that somebody alive (or late) watches; None: not known, as nobody lives, or somebody does
    not say: it has only just begun, or is of a version that does not."""
    names: set[str] = set()
    living = [row for row in rows if row.lapsed_at is None]
    for row in living:
        said = None if row.about is None else json.loads(row.about).get("alerts")
        if said is None:
            return None
        names.update(said)
    return frozenset(names) if living else None


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)
