"""What `offpath tail` has seen, and what is new in what it sees next: rows in, events out, each once. Pure.

There is no cursor over all jobs: a number or a time that is given inside a transaction says nothing about when that
transaction commits, and whoever reads on behind the highest one he has seen loses what commits late with a lower one
(DESIGN, decision 9). So the same stretch is read again and again, and what has been told is remembered:

ends      are read from `finished_at` on, with an overlap of LAP at each look and of LONG_LAP at every LONG_EVERY-th,
          and told once by the job's id. What commits later than that is caught by the other net: until it commits, its
          job is seen to run, and a job that ran at the last look and does not any more is asked for by its id. So an
          end is lost only when it commits more than LONG_LAP after its time *and* no look at what runs fell into that
          time.
attempts  that failed are read in the same way, and told once by job and fence.
starts    are seen: a running job with a fence that has not been seen. What starts and ends between two looks is told by
          its end, without a start; so are jobs that come and go between two looks.
arrivals  are read by id, which begins with the time, again with an overlap; a job that was enqueued in a transaction
          that was open for longer is told of when it is first seen to run, or by its end.
snoozes   and stops of a worker are seen too: a job that ran, has not ended, and has no failed attempt of that fence.
deliveries of webhooks are read by the id of the attempt, with the overlap, and told once.

Memory is bounded: of each kind MOST ids are remembered, the oldest forgotten first, and `Seen.since` never goes back
behind what has been forgotten. So above MOST ends in LAP the overlap shrinks to what MOST ends last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from ..core import redact
from ..core.alerts import AlertRow
from ..core.ids import moment_of
from ..core.job import State
from ..core.options import SECOND
from ..ports.recent import EndRow, LiveRow, RunRow, SentRow, TryRow
from ..ports.webhooks import DeliveryState
from .timeline import moment, short

LAP, LONG_LAP = 2 * SECOND, 60 * SECOND  # µs
LONG_EVERY = 10
MOST = 100_000

ENDED = {int(state): state.name.lower() for state in (State.SUCCEEDED, State.FAILED, State.CANCELED)}
STATE = {
    "enqueued": None, "started": "running", "retried": "scheduled", "crashed": "ready", "snoozed": "scheduled",
    "requeued": "ready", "progress": "running", "canceling": "running", **{name: name for name in ENDED.values()},
}  # fmt: skip
"""Where an event leads; of one that was enqueued its data say so."""


class Happened(NamedTuple):
    """An event, as plain data in `data`: "at", "event" and what is known of it. `order`: µs, to sort by."""

    order: int
    data: dict[str, Any]


class Seen:
    """What has been told. `begin`: from when on there is something to tell (µs)."""

    def __init__(self, begin: int, most: int = MOST) -> None:
        self.begin = begin
        self.ends = Told(begin, most)
        self.attempts = Told(begin, most)
        self.sendings = Told(begin, most)
        self.born = Told(begin, most)
        self.runs: dict[str, RunRow] | None = None  # as of the last look
        self.lost: dict[str, RunRow] = {}  # ran then, and do not any more: to be asked for by id
        self._alerts: dict[str, int] | None = None  # name → seq

    # -- each takes what a look has found, and gives what is new ------------------------------------------------------

    def arrived(self, rows: Iterable[LiveRow]) -> list[Happened]:
        told = []
        for row in rows:
            at = moment_of(row.id)
            if at < self.begin or not self.born.new(row.id, at):
                continue
            state = State(row.state).name.lower() if row.fence == 0 else "ready"
            data = {"state": state, "run_at": moment(row.run_at), "flow": row.flow}
            told.append(_of(at, "enqueued", row.id, row.task, row.queue, data))
        return told

    def running(self, rows: Sequence[RunRow], now: int) -> list[Happened]:
        """All that run. At the first look, those that have begun before are no news."""
        told = []
        here, before = {row.id: row for row in rows}, self.runs
        for row in rows:
            was = None if before is None else before.get(row.id)
            if was is not None and was.fence == row.fence:
                continue
            exact = row.started_at if row.fence == 1 else None
            if before is None and (exact is None or exact < self.begin):
                continue
            data = {"attempt": row.attempt, "worker": row.label}
            told.append(_of(exact or now, "started", row.id, row.task, row.queue, data))
        for id, row in (before or {}).items():
            if (id not in here or here[id].fence != row.fence) and id not in self.ends:
                self.lost[id] = row
        self.runs = here
        return told

    def ended(self, rows: Iterable[EndRow]) -> list[Happened]:
        told = []
        for row in rows:
            self.lost.pop(row.id, None)
            if not self.ends.new(row.id, row.finished_at):
                continue
            exact = row.started_at if row.fence == 1 else None
            data = {
                "attempt": row.attempt,
                "seconds": None if exact is None else _seconds(row.finished_at - exact),
                "since_due": _seconds(row.finished_at - row.run_at),
                "error": redact.plain(row.error),
            }
            told.append(_of(row.finished_at, ENDED[row.state], row.id, row.task, row.queue, data))
        return told

    def tried(self, rows: Iterable[TryRow]) -> list[Happened]:
        """An attempt that was the last one is told by its job's end."""
        told = []
        for row in rows:
            if not self.attempts.new((row.job, row.fence), row.ended_at):
                continue
            if not (row.live or row.fence < row.last) or row.ended not in ("errored", "timeout", "crashed"):
                continue
            data = {
                "attempt": row.attempt,
                "seconds": None if row.started_at is None else _seconds(row.ended_at - row.started_at),
                "worker": row.label,
                "next_at": moment(row.run_at) if row.live and row.state == State.SCHEDULED else None,
                "error": redact.plain(row.error),
            }
            event = "crashed" if row.ended == "crashed" else "retried"
            told.append(_of(row.ended_at, event, row.job, row.task, row.queue, data))
        return told

    def back(self, rows: Iterable[LiveRow], now: int) -> list[Happened]:
        """Of those that were lost, the ones that have not ended: they were put back, and may run again by now. What is
        neither here nor in history has been erased."""
        told = []
        for row in rows:
            was = self.lost.get(row.id)
            if was is None or (row.id, was.fence) in self.attempts:
                continue
            scheduled = row.state == State.SCHEDULED
            event = "snoozed" if scheduled else "requeued"
            data = {"attempt": row.attempt, "next_at": moment(row.run_at) if scheduled else None}
            told.append(_of(now, event, row.id, row.task, row.queue, data))
        self.lost.clear()
        return told

    def sent(self, rows: Iterable[SentRow]) -> list[Happened]:
        told = []
        for row in rows:
            if not self.sendings.new(row.id, row.at):
                continue
            data = {
                "at": moment(row.at), "event": "webhook", "delivery": row.delivery, "endpoint": row.endpoint,
                "type": row.event, "operation": row.operation, "attempt": row.number, "status": row.status,
                "seconds": _seconds(row.latency), "state": DeliveryState(row.state).name.lower(), "error": row.error,
            }  # fmt: skip
            told.append(Happened(row.at, data))
        return told

    def alerted(self, rows: Sequence[AlertRow], ringing: Collection[str], now: int) -> list[Happened]:
        """What has changed since the last look; at the first one, what is raised. Of those that are raised and do not
        ring, as nobody watches them, nothing is told."""
        known = self._alerts
        rows = [row for row in rows if row.raised_at is None or row.name in ringing]
        self._alerts = {row.name: row.seq for row in rows}
        told = []
        for row in rows:
            if row.raised_at is None if known is None else known.get(row.name) == row.seq:
                continue
            at = now if row.raised_at is None else row.raised_at
            event = "alert.resolved" if row.raised_at is None else "alert.raised"
            told.append(Happened(at, {"at": moment(at), "event": event, "alert": row.name, "value": row.value}))
        return told


class Told:
    """Which of one kind have been told, the newest `most` of them."""

    def __init__(self, begin: int, most: int) -> None:
        self._ids: OrderedDict[Hashable, int] = OrderedDict()
        self._begin, self._most = begin, most
        self._floor = begin  # what happened before may have been forgotten
        self._newest = begin

    def __contains__(self, id: Hashable) -> bool:
        return id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def new(self, id: Hashable, at: int) -> bool:
        """Whether it has to be told; it has been, from then on."""
        if id in self._ids or at < self._floor:
            return False
        self._ids[id] = at
        self._newest = max(self._newest, at)
        while len(self._ids) > self._most:
            _, gone = self._ids.popitem(last=False)
            self._floor = max(self._floor, gone + 1)
        return True

    def since(self, now: int, lap: int) -> int:
        """From when on to read."""
        return max(self._floor, self._begin, min(self._newest, now) - lap)


def text(data: dict[str, Any]) -> str:
    """An event on one line, for people. Nothing is escaped yet."""
    event = data["event"]
    clock = str(data["at"])[11:23]
    if event == "webhook":
        how = data["error"] if data["status"] is None else f"{data['status']}"
        said = f"{data['type']} {how} in {data['seconds']:g} s, attempt {data['attempt']}, {data['state']}"
        return f"{clock}  {event:<10}  {said}  {data['endpoint'] or data['operation'] or data['delivery']}"
    if event.startswith("alert."):
        return f"{clock}  {event:<10}  {data['alert']} ({data['value']})"
    parts: list[str] = []
    if event == "enqueued":
        parts.append(f"{data['state']}" + (f" for {data['run_at']}" if data["state"] == "scheduled" else ""))
    elif "attempt" in data and data["attempt"] is not None and (event == "started" or data["attempt"] > 1):
        parts.append(f"attempt {data['attempt']}")
    if data.get("seconds") is not None:
        parts.append(f"in {data['seconds']:g} s")
    elif data.get("since_due") is not None:
        parts.append(f"{data['since_due']:g} s after it was due")
    if data.get("error") is not None:
        parts.append(str(short(data["error"])))
    if data.get("next_at"):
        parts.append(f"again at {data['next_at'][11:19]}")
    if data.get("worker"):
        parts.append(str(data["worker"]))
    return f"{clock}  {event:<10}  {data['task']} [{data['queue']}]  {data['job']}  {', '.join(parts)}".rstrip()


def _of(at: int, event: str, job: str, task: str, queue: str, more: dict[str, Any]) -> Happened:
    head = {"at": moment(at), "event": event, "job": job, "task": task, "queue": queue}
    return Happened(at, head | more)


def _seconds(micros: int) -> float:
    return round(max(0, micros) / SECOND, 3)
