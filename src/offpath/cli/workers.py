"""`offpath workers list|show`: who works, and what for."""

from __future__ import annotations

import argparse
from typing import Any

from ..app import Offpath
from ..core.options import SECOND
from ..core.workers import WorkerInfo, info
from ..errors import ConfigurationError, NotFound
from ..ports.recent import RunRow
from . import printing
from .target import opened, plain
from .timeline import moment

COLUMNS = ("id", "label", "state", "version", "up", "seen", "running", "concurrency", "queues", "tasks")
HELD = ("id", "task", "queue", "attempt", "started_at", "seconds")
MOST = 20_000  # running jobs that are looked at


def list_workers(options: argparse.Namespace) -> int:
    """All that are registered: alive ones, late ones (the lease has run out), lost ones (judged dead)."""
    with opened(options) as jobs:
        now, infos = standing(jobs)
    if options.json:
        printing.as_json([data(one) for one in infos])
        return 0
    printing.table([people(one, now) for one in infos], COLUMNS, "no workers")
    return 0


def show(options: argparse.Namespace) -> int:
    """One worker, with the jobs that it holds, longest first."""
    with opened(options) as jobs:
        now, infos = standing(jobs)
        one = chosen(infos, options.id)
        rows = jobs.store.read(jobs.store.verbs.now_running(MOST)).result()
    held = [running(row, now) for row in rows if row.worker == one.id]
    if options.json:
        printing.as_json(data(one) | {"jobs": held})
        return 0
    printing.record(data(one), False)
    print()
    printing.table(held, HELD, "it holds no job")
    return 0


def standing(jobs: Offpath) -> tuple[int, list[WorkerInfo]]:
    """The time, µs, and every worker: alive ones first, by label."""
    now, rows = jobs.store.read(jobs.store.verbs.workers()).result()
    order = {"alive": 0, "late": 1, "lost": 2}
    return now, sorted((info(row, now) for row in rows), key=lambda one: (order[one.state], one.label, one.id))


def chosen(infos: list[WorkerInfo], said: str) -> WorkerInfo:
    """The one whose label it is, or whose id begins so. NotFound; ConfigurationError when there are several."""
    found = [one for one in infos if said == one.label] or [one for one in infos if said and one.id.startswith(said)]
    if not found:
        raise NotFound(f"no worker {said}")
    if len(found) > 1:
        raise ConfigurationError(f"{said!r} may be {', '.join(one.id for one in found[:5])}: say more of its id")
    return found[0]


def data(one: WorkerInfo) -> dict[str, Any]:
    return plain(one) | {"running": dict(one.running)}


def people(one: WorkerInfo, now: int) -> dict[str, Any]:
    def ago(at: Any) -> str | None:
        return None if at is None else printing.age(max(0.0, now / SECOND - at.timestamp()))

    return {
        "id": one.id,
        "label": one.label,
        "state": one.state,
        "version": one.version,
        "up": ago(one.started_at),
        "seen": ago(one.renewed_at),
        "running": sum(one.running.values()),
        "concurrency": one.concurrency,
        "queues": "all" if one.queues is None else ", ".join(one.queues),
        "tasks": ", ".join(one.tasks),
    }


def running(row: RunRow, now: int) -> dict[str, Any]:
    """`seconds`: since it was started, if that is known (of watched jobs), else since it was due."""
    exact = row.started_at if row.fence == 1 else None
    return {
        "id": row.id,
        "task": row.task,
        "queue": row.queue,
        "attempt": row.attempt,
        "worker": row.label or row.worker,
        "started_at": moment(exact),
        "due_at": moment(row.run_at),
        "seconds": round(max(0, now - (row.run_at if exact is None else exact)) / SECOND, 1),
        "canceling": row.canceling,
    }
