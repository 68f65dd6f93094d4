"""`offpath tail --job ID`: one job, from its beginning to its end. Its own numbers say what has been told: that of an
event in the log of a watched job, and the fence of an attempt."""

from __future__ import annotations

from typing import Any

from ..app import Offpath
from ..core import redact
from ..core.attempts import KEPT
from ..core.ids import moment_of
from ..core.job import TERMINAL, Finished, Job, State
from ..core.options import SECOND
from ..ports import EventRow
from ..tasks import found
from .following import ENDED, Happened
from .timeline import moment

PAGE = 500
WORDS = {"queued": "enqueued", "retrying": "retried"}
"""What events of the log are called here, if otherwise."""


class OneJob:
    """`begin`: nothing before is told (µs)."""

    def __init__(self, jobs: Offpath, id: str, begin: int) -> None:
        self._jobs, self._id, self._begin = jobs, id, begin
        self.over = False
        self._seq = 0
        self._fence = 0  # of the newest attempt told of as failed
        self._started = 0  # of the newest seen to run
        self._begun = False

    def look(self) -> list[Happened]:
        """What is new. NotFound when there is no such job (any more)."""
        there = found(self._id, self._jobs.desk.find(self._id).result())
        row = there.job or there.finished
        assert row is not None  # noqa: S101 - one of the two is set
        self.over = State(row.state) in TERMINAL  # it was, before its log was read: so all of that is there
        told = self._logged(row) if row.watched else self._tried(row)
        return [one for one in told if one.order >= self._begin]

    def _logged(self, row: Job | Finished) -> list[Happened]:
        store, told = self._jobs.store, []
        while True:
            events = store.read(store.verbs.events(self._id, self._seq, PAGE)).result()
            told += [self._event(row, event) for event in events]
            if len(events) < PAGE:
                return told
            self._seq = events[-1].seq

    def _event(self, row: Job | Finished, event: EventRow) -> Happened:
        self._seq = max(self._seq, event.seq)
        said = redact.plain(event.data)
        data: dict[str, Any] = said if isinstance(said, dict) else {}
        if isinstance(data.get("error"), str):
            data["error"] = redact.plain(data["error"])
        word = WORDS.get(event.type, event.type)
        if word == "requeued" and data.get("reason") == "snooze":
            word = "snoozed"
        if word == "enqueued":
            data |= {"state": "ready" if row.run_at <= event.at else "scheduled", "run_at": moment(row.run_at)}
        if event.type in ENDED.values() and isinstance(row, Finished):
            data |= {"attempt": row.attempt, "since_due": _seconds(row.finished_at - row.run_at)}
            data["error"] = redact.plain(row.error)
        return self._told(event.at, word, row, data)

    def _tried(self, row: Job | Finished) -> list[Happened]:
        store, told = self._jobs.store, []
        if not self._begun:
            self._begun = True
            at = moment_of(row.id)
            told.append(self._told(at, "enqueued", row, {"state": "ready", "run_at": moment(row.run_at)}))
        for one in store.read(store.verbs.job_attempts(self._id, KEPT)).result():
            if one.fence <= self._fence:
                continue
            self._fence = one.fence
            if one.fence < row.fence or not self.over:
                event = "crashed" if one.ended == "crashed" else "retried"
                data = {"attempt": one.attempt, "worker": one.label, "error": redact.plain(one.error)}
                told.append(self._told(one.ended_at, event, row, data))
        if isinstance(row, Finished):
            data = {
                "attempt": row.attempt,
                "since_due": _seconds(row.finished_at - row.run_at),
                "error": redact.plain(row.error),
            }
            told.append(self._told(row.finished_at, ENDED[row.state], row, data))
        elif row.state == State.RUNNING and row.fence > self._started:
            self._started = row.fence
            told.append(self._told(store.now(), "started", row, {"attempt": row.attempt}))
        return told

    def _told(self, at: int, event: str, row: Job | Finished, data: dict[str, Any]) -> Happened:
        head = {"at": moment(at), "event": event, "job": row.id, "task": row.task, "queue": row.queue}
        return Happened(at, head | data)


def _seconds(micros: int) -> float:
    return round(max(0, micros) / SECOND, 3)
