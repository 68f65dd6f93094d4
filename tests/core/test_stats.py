"""Counts of many workers become one chart, whatever the order; quantiles are right to the bucket."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core import backlog, stats
from offpath.core.backlog import backlog_seconds
from offpath.core.options import SECOND
from offpath.core.stats import MINUTE, ROLLED, WINDOWS, Line, Sample, bounds, bucket, quantile
from offpath.core.workers import About, WorkerRow, info, running

NAMES = st.sampled_from(["a", "b", "é"])
DURATIONS = st.integers(0, 40 * 86_400 * SECOND)
HISTOGRAMS = st.dictionaries(st.integers(0, 80), st.integers(1, 10**6), max_size=8)
COUNTS = st.integers(0, 10**9)
LINES = st.builds(
    Line, st.integers(0, 60).map(lambda n: n * MINUTE), NAMES, NAMES, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS,
    HISTOGRAMS, HISTOGRAMS,
)  # fmt: skip


@given(DURATIONS)
def test_a_duration_is_in_its_bucket(duration: int) -> None:
    low, high = bounds(bucket(duration))
    assert low <= duration < high
    assert high <= max(stats.UNIT * 2, 1.5 * low), "none is wider than half of where it begins"


def test_buckets_leave_nothing_between_them() -> None:
    assert bounds(0)[0] == 0
    for number in range(90):
        assert bounds(number)[1] == bounds(number + 1)[0]


@given(st.lists(DURATIONS, min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.01, 1.0]))
def test_a_quantile_is_in_the_bucket_of_the_true_one(durations: list[int], share: float) -> None:
    histogram: dict[int, int] = {}
    for duration in durations:
        histogram = stats.added(histogram, {bucket(duration): 1})
    true = sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]
    low, high = bounds(bucket(true))
    told = quantile(histogram, share)
    assert told is not None
    assert low / SECOND <= told <= high / SECOND


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None


@given(HISTOGRAMS, HISTOGRAMS, HISTOGRAMS)
def test_histograms_are_added_in_any_order(one: dict[int, int], other: dict[int, int], third: dict[int, int]) -> None:
    assert stats.added(one, other) == stats.added(other, one)
    assert stats.added(stats.added(one, other), third) == stats.added(one, stats.added(other, third))
    assert sum(stats.added(one, other).values()) == sum(one.values()) + sum(other.values())


@given(HISTOGRAMS)
def test_a_histogram_comes_back_from_its_text(one: dict[int, int]) -> None:
    assert stats.from_text(stats.as_text(one)) == one


@given(LINES, LINES, LINES)
def test_lines_are_merged_in_any_order(one: Line, other: Line, third: Line) -> None:
    other, third = (line._replace(queue=one.queue, task=one.task) for line in (other, third))
    assert stats.merged(one, other) == stats.merged(other, one)
    assert stats.merged(stats.merged(one, other), third) == stats.merged(one, stats.merged(other, third))


@given(st.lists(LINES, max_size=20))
def test_rolling_loses_nothing_and_does_it_once(lines: list[Line]) -> None:
    rolled = stats.rolled(lines)
    for place in range(3, 9):
        assert sum(line[place] for line in rolled) == sum(line[place] for line in lines)
    assert len({line[:3] for line in rolled}) == len(rolled)
    assert all(line.at % ROLLED == 0 for line in rolled)
    assert stats.rolled(rolled) == rolled


@given(st.lists(LINES, max_size=20), st.sampled_from(sorted(WINDOWS)))
def test_a_chart_has_every_step_and_everything_in_it(lines: list[Line], window: str) -> None:
    now = 61 * MINUTE
    since, step = stats.begin(window, now)
    inside = [line for line in lines if line.at >= since]
    points = stats.points(since, step, now, inside, [])
    assert [point.at for point in points] == list(range(since, now + 1, step))
    assert points[-1].at <= now < points[-1].at + step
    assert sum(point.succeeded for point in points) == sum(line.succeeded for line in inside)
    assert sum(point.retried for point in points) == sum(line.retried for line in inside)
    assert all((point.wait_p50 is None) == (point.wait_p95 is None) for point in points)
    assert all(point.ready is None for point in points)


def test_a_chart_shows_how_full_it_was() -> None:
    since, step = stats.begin("15m", 20 * MINUTE)
    points = stats.points(since, step, 20 * MINUTE, [], [Sample(since + step, 7, 2, 3 * SECOND)])
    assert (points[1].ready, points[1].running, points[1].oldest_ready) == (7, 2, 3.0)
    assert points[0].ready is None


# ── the figure that workers are scaled by ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ready", "rate", "oldest", "want"),
    [
        (0, 5.0, None, 0.0),
        (0, 0.0, 99.0, 0.0),  # nothing is ready: whatever it says of ages
        (100, 5.0, 99.0, 20.0),
        (100, 0.0, 99.0, 99.0),  # nothing has ended lately: nobody knows, and it grows
        (1, 0.0, None, 0.0),
    ],
)
def test_backlog_seconds(ready: int, rate: float, oldest: float | None, want: float) -> None:
    assert backlog_seconds(ready, rate, oldest) == want
    assert backlog_seconds(ready, rate, oldest, paused=True) == 0.0


def test_a_rate_counts_from_the_minute_in_which_something_first_ended() -> None:
    now = 100 * MINUTE + 30 * SECOND
    assert backlog.window(now) == 96 * MINUTE
    assert backlog.rate(0, None, now) == 0.0
    assert backlog.rate(300, 100 * MINUTE, now) == 10.0
    assert backlog.rate(300, 98 * MINUTE, now) == 2.0
    assert backlog.rate(300, 100 * MINUTE, 100 * MINUTE) == 60.0, "no rate of less than five seconds"


# ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_is_alive_late_or_lost() -> None:
    about = About("host", 7, 5 * SECOND, 100, ("a",), "1.2.3", 15.0)
    row = WorkerRow("id", "host:7", 100 * SECOND, None, '["mail@1", "schedule:x#y@z"]', about.text(), '{"a": 2}')
    one = info(row, 99 * SECOND)
    assert (one.state, one.host, one.pid, one.concurrency, one.version) == ("alive", "host", 7, 100, "1.2.3")
    assert (one.queues, one.tasks, dict(one.running)) == (("a",), ("mail@1",), {"a": 2})
    assert one.renewed_at is not None
    assert one.renewed_at.timestamp() == 85.0
    assert info(row, 100 * SECOND).state == "late"
    assert info(row._replace(lapsed_at=1), 0).state == "lost"
    assert running([row, row._replace(load='{"a": 1, "b": 1}'), row._replace(load=None)]) == {"a": 3, "b": 1}


def test_one_of_an_older_version_says_nothing() -> None:
    one = info(WorkerRow("id", "host:7", 100, None, "[]", None, None), 0)
    assert (one.host, one.queues, one.renewed_at, dict(one.running)) == (None, None, None, {})
