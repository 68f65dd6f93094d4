"""What workers count of the attempts that end, minute by minute, and how the counts of many become one chart. Pure.

A histogram counts durations in buckets, each at most half as wide again as it begins: two for every doubling, from a
tenth of a millisecond on. Those of two workers are added bucket by bucket, in any order.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

from .options import SECOND

UNIT = 100  # µs: durations below are one bucket
MINUTE = 60 * SECOND
ROLLED = 300 * SECOND  # what the counts of many minutes and workers become
APART = 600 * SECOND  # how long what a process has counted stays apart: it says a minute again until it is over
FRESH = 5400 * SECOND  # how long minutes stay minutes
HOUR = 3600 * SECOND  # what those become in turn
RECENT = 25 * HOUR  # how long they stay as they were rolled first
MOST = 10_000  # rows of one kind that are looked at, where a look must be quick

WINDOWS: Mapping[str, tuple[timedelta, timedelta]] = MappingProxyType(
    {
        "15m": (timedelta(minutes=15), timedelta(minutes=1)),
        "1h": (timedelta(hours=1), timedelta(minutes=1)),
        "6h": (timedelta(hours=6), timedelta(minutes=5)),
        "24h": (timedelta(hours=24), timedelta(minutes=15)),
        "7d": (timedelta(days=7), timedelta(hours=1)),
    }
)
"""How far back, and the step from one point to the next."""

Histogram = Mapping[int, int]
"""bucket → how many"""


class Line(NamedTuple):
    """What was counted in the minute (or five) that began at `at`, of one task in one queue.

    retried      attempts that failed and come again
    waited, ran  sums, µs: from when a job could have started until it did, and from then until it ended
    wait, run    histograms of the same
    """

    at: int
    queue: str
    task: str
    succeeded: int
    failed: int
    canceled: int
    retried: int
    waited: int
    ran: int
    wait: Histogram
    run: Histogram


class Sample(NamedTuple):
    """How full it was: the most that was seen between `at` and the next. `oldest`: µs that the oldest ready job had
    waited; None: none was ready."""

    at: int
    ready: int
    running: int
    oldest: int | None


class Point(NamedTuple):
    """One point of a chart. Times are µs, quantiles seconds; None: there was nothing to measure."""

    at: int
    succeeded: int
    failed: int
    canceled: int
    retried: int
    wait_p50: float | None
    wait_p95: float | None
    run_p50: float | None
    run_p95: float | None
    oldest_ready: float | None
    ready: int | None
    running: int | None


# ── histograms ───────────────────────────────────────────────────────────────────────────────────────────────────────


def bucket(duration: int) -> int:
    """Of a duration in µs."""
    return bisect_right(EDGES, duration)


def bounds(number: int) -> tuple[int, int]:
    """From where to where (not included) a bucket reaches, µs."""
    return _begin(number), _begin(number + 1)


def _begin(number: int) -> int:
    if number < 2:
        return number * UNIT
    bits, half = divmod(number + 2, 2)
    return (2 + half) * (1 << bits) // 4 * UNIT if bits > 1 else UNIT


EDGES = tuple(_begin(number) for number in range(1, 120))
"""Where each bucket but the first begins, µs: that of a duration is how many edges it has reached."""


def added(one: Histogram, other: Histogram) -> dict[int, int]:
    """Of both together."""
    both = dict(one)
    for number, count in other.items():
        both[number] = both.get(number, 0) + count
    return both


def quantile(histogram: Histogram, share: float) -> float | None:
    """The duration (seconds) that `share` of all do not exceed, to the bucket; None: there are none."""
    total = sum(histogram.values())
    if not total:
        return None
    rank, below = max(1, math.ceil(share * total)), 0
    for number in sorted(histogram):
        count = histogram[number]
        if below + count >= rank:
            low, high = bounds(number)
            return (low + (high - low) * (rank - below) / count) / SECOND
        below += count
    raise AssertionError("unreachable")


def as_text(histogram: Histogram) -> str:
    return json.dumps({str(number): histogram[number] for number in sorted(histogram)}, separators=(",", ":"))


def from_text(text: str) -> dict[int, int]:
    return {int(number): int(count) for number, count in json.loads(text).items()}


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def merged(one: Line, other: Line) -> Line:
    """Of both together, as of the earlier; queue and task are those of `one`."""
    return Line(
        min(one.at, other.at),
        one.queue,
        one.task,
        one.succeeded + other.succeeded,
        one.failed + other.failed,
        one.canceled + other.canceled,
        one.retried + other.retried,
        one.waited + other.waited,
        one.ran + other.ran,
        added(one.wait, other.wait),
        added(one.run, other.run),
    )


def rolled(lines: Iterable[Line], span: int = ROLLED) -> list[Line]:
    """One for each task and queue in `span` µs."""
    by: dict[tuple[int, str, str], Sum] = {}
    for line in lines:
        by.setdefault((line.at // span * span, line.queue, line.task), Sum()).add(line)
    return [by[key].line(*key) for key in sorted(by)]


def with_totals(lines: Iterable[Line], span: int) -> list[Line]:
    """`rolled`, and for each span one more of each queue, whose task has no name, and one of all, whose queue has none
    either. Such as are among `lines` are left out."""
    made = rolled((line for line in lines if line.task), span)
    queues = rolled((line._replace(task="") for line in made), span)
    return [*rolled((line._replace(queue="") for line in queues), span), *queues, *made]


class Sum:
    """Of many lines."""

    __slots__ = ("numbers", "run", "wait")

    def __init__(self) -> None:
        self.numbers = [0, 0, 0, 0, 0, 0]
        self.wait: dict[int, int] = {}
        self.run: dict[int, int] = {}

    def add(self, line: Line) -> None:
        numbers = self.numbers
        for place in range(6):
            numbers[place] += line[place + 3]  # type: ignore[operator]
        for mine, more in ((self.wait, line.wait), (self.run, line.run)):
            for number, count in more.items():
                mine[number] = mine.get(number, 0) + count

    def line(self, at: int, queue: str = "", task: str = "") -> Line:
        return Line._make((at, queue, task, *self.numbers, self.wait, self.run))


# ── charts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def begin(name: str, now: int) -> tuple[int, int]:
    """(where a window begins, its step), µs. It ends with the step in which `now` is. KeyError."""
    length, step = (round(one.total_seconds() * SECOND) for one in WINDOWS[name])
    return now // step * step + step - length, step


def points(since: int, step: int, now: int, lines: Iterable[Line], samples: Sequence[Sample]) -> list[Point]:
    """One for each step from `since` until now, those without anything among them."""
    by: dict[int, Sum] = {}
    for line in lines:
        by.setdefault(since + (line.at - since) // step * step, Sum()).add(line)
    seen = {since + (sample.at - since) // step * step: sample for sample in samples}
    made = []
    for at in range(since, now + 1, step):
        here, sample = by.get(at), seen.get(at)
        wait, run = (here.wait, here.run) if here is not None else ({}, {})
        made.append(
            Point._make(
                (
                    at,
                    *(here.numbers[:4] if here is not None else (0, 0, 0, 0)),
                    quantile(wait, 0.5),
                    quantile(wait, 0.95),
                    quantile(run, 0.5),
                    quantile(run, 0.95),
                    None if sample is None or sample.oldest is None else sample.oldest / SECOND,
                    None if sample is None else sample.ready,
                    None if sample is None else sample.running,
                )
            )
        )
    return made
