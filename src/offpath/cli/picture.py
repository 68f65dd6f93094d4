"""What `offpath top` shows, as plain data: one look, bounded where there may be a million jobs.

Depths and totals are counted up to MOST of each kind ("more" says that there are). Looking at what runs reads the whole
live table, so it is left out while it takes too much of the time: the picture has the last one then.
"""

from __future__ import annotations

import time
from typing import Any

from ..app import Offpath
from ..app.watching import loads
from ..core import redact
from ..core.job import State
from ..core.selection import JobFilter
from . import workers
from .alerts import standing as alerts_standing
from .timeline import moment, short

MOST = 10_000
SHARE = 10  # a look at what runs is followed by so many times its length without one
RUNNING = 100  # shown, the longest first
FAILED = 20


class Camera:
    """Makes one picture after the other."""

    def __init__(self, jobs: Offpath) -> None:
        self._jobs = jobs
        self._next_scan = 0.0
        self._running: list[dict[str, Any]] = []

    def look(self) -> dict[str, Any]:
        """`{"at", "store", "totals", "rate", "queues", "workers", "running", "failed", "alerts"}`."""
        store, verbs = self._jobs.store, self._jobs.store.verbs
        now, infos = workers.standing(self._jobs)
        totals = store.read(verbs.totals(MOST)).result()
        queues = self._queues()
        counts = {
            "scheduled": totals.scheduled,
            "waiting": totals.waiting,
            "ready": totals.ready,
            "running": sum(sum(one.running.values()) for one in infos),
            "failed": totals.outstanding,
        }
        return {
            "at": moment(now),
            "store": "sqlite" if self._jobs.settings.url.startswith("sqlite") else "postgresql",
            "totals": counts,
            "more": sorted(name for name, count in counts.items() if name != "running" and count >= MOST),
            "rate": round(sum(one["rate"] for one in queues), 2),
            "queues": queues,
            "workers": [
                workers.people(one, now)
                | {
                    "running": sum(one.running.values()),
                    "queues": None if one.queues is None else list(one.queues),
                    "tasks": list(one.tasks),
                }
                for one in infos
            ],
            "running": self._longest(now),
            "failed": self._failures(),
            "alerts": [one for one in alerts_standing(self._jobs) if one["state"] == "raised"],
        }

    def _queues(self) -> list[dict[str, Any]]:
        store = self._jobs.store
        return [
            {
                "name": one.name,
                "paused": one.paused,
                "ready": one.ready,
                "scheduled": one.scheduled,
                "waiting": one.waiting,
                "running": one.running,
                "age": None if one.age is None else round(one.age, 1),
                "rate": round(one.rate, 2),
                "backlog": round(one.backlog_seconds, 1),
            }
            for one in store.read(loads(store.verbs, self._jobs.queues.known())).result()
        ]

    def _longest(self, now: int) -> list[dict[str, Any]]:
        if time.monotonic() >= self._next_scan:
            began = time.monotonic()
            store = self._jobs.store
            rows = store.read(store.verbs.now_running(workers.MOST)).result()
            self._running = [workers.running(row, now) for row in rows]
            self._next_scan = time.monotonic() + SHARE * (time.monotonic() - began)
        return sorted(self._running, key=lambda one: -one["seconds"])[:RUNNING]

    def _failures(self) -> list[dict[str, Any]]:
        """The newest dead letters."""
        store = self._jobs.store
        where = JobFilter(states=(int(State.FAILED),), outstanding=True)
        rows = []
        for found in store.read(store.verbs.list_jobs(where, None, FAILED)).result():
            over = found.finished
            assert over is not None  # noqa: S101 - it has ended
            rows.append(
                {
                    "id": over.id,
                    "task": over.task,
                    "queue": over.queue,
                    "attempt": over.attempt,
                    "finished_at": moment(over.finished_at),
                    "error": short(redact.plain(over.error)),
                }
            )
        return rows
