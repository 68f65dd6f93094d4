"""How queues stand, worked out from what is counted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from .job import State
from .options import SECOND


class PausedRow(NamedTuple):
    """A queue from which nothing is claimed. `at` is µs."""

    name: str
    at: int
    reason: str


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue as it stands.

    paused      workers claim nothing from it
    reason      why, in the words of whoever paused it ("" when nobody said)
    paused_at   since when
    ready       jobs that could start now
    scheduled   jobs for later, those that back off among them
    waiting     jobs that wait for others of their flow
    running     claimed by a worker
    age         seconds that the oldest ready job has waited; None when none is ready
    """

    name: str
    paused: bool = False
    reason: str = ""
    paused_at: datetime | None = None
    ready: int = 0
    scheduled: int = 0
    waiting: int = 0
    running: int = 0
    age: float | None = None


Counted = tuple[str, int, int, int]
"""queue, state, how many, oldest run_at (µs)"""


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def stand(names: Iterable[str], counts: Sequence[Counted], paused: Iterable[PausedRow], now: int) -> list[QueueInfo]:
    """Every queue that has a name here (declared, say), a live job or a pause, in the order of names."""
    lines = {name: QueueInfo(name) for name in names}
    for name, at, reason in paused:
        line = lines.get(name, QueueInfo(name))
        lines[name] = replace(line, paused=True, reason=reason, paused_at=_EPOCH + timedelta(microseconds=at))
    for name, state, jobs, oldest in counts:
        line = lines.get(name, QueueInfo(name))
        what = State(state).name.lower()
        line = replace(line, **{what: getattr(line, what) + jobs})
        if state == State.READY:
            age = max(0.0, (now - oldest) / SECOND)
            line = replace(line, age=age if line.age is None else max(line.age, age))
        lines[name] = line
    return [lines[name] for name in sorted(lines)]
