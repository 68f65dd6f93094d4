"""How long it will take until what waits now has been worked off: one figure, to scale workers by. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .options import SECOND

MINUTE = 60 * SECOND
RATED = 5 * MINUTE  # µs: what ended in the last minutes says how fast a queue is worked off
SHORTEST = 5 * SECOND  # µs: no rate is told of less; workers write what they have counted as often as that


def rate(ended: int, first: int | None, now: int) -> float:
    """Attempts that end in a second: `ended` of them since the minute that began at `first` (µs)."""
    if not ended or first is None:
        return 0.0
    return ended / (max(SHORTEST, now - first) / SECOND)


def backlog_seconds(ready: int, rate: float, oldest: float | None, *, paused: bool = False) -> float:
    """Seconds until the `ready` jobs of a queue have been started, at the `rate` (jobs a second) of the last minutes.

    When nothing has ended lately although jobs wait, nobody knows: then it is how long the oldest of them has waited
    (`oldest`, seconds), which grows as long as nobody comes. A queue that is `paused` has none: more workers would
    change nothing.
    """
    if ready <= 0 or paused:
        return 0.0
    if rate > 0:
        return ready / rate
    return max(0.0, oldest or 0.0)


def window(now: int) -> int:
    """From when on ended attempts count for a rate, µs: whole minutes."""
    return (now - RATED) // MINUTE * MINUTE + MINUTE


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """How full a queue is and how fast it is worked off: quick to ask, however many jobs there are.

    paused, reason, paused_at   as of `QueueInfo`
    ready, scheduled, waiting   jobs, counted up to a limit; `more`: there are at least so many. Of ready jobs beyond it
                     it is told how many a worker counted in one of the last minutes, where one has
    running          jobs that workers hold, as of their last word (they say so every few seconds)
    age              seconds that the oldest ready job has waited; None when none is ready
    rate             attempts that ended in a second, over the last minutes
    backlog_seconds  see `backlog_seconds`
    """

    name: str
    paused: bool
    reason: str
    paused_at: datetime | None
    ready: int
    scheduled: int
    waiting: int
    running: int
    age: float | None
    rate: float
    backlog_seconds: float
    more: bool
