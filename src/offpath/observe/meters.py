"""Counts what this process does, once somebody wants to know: until then `on` is None, and that is all that is asked.

Nothing here knows Prometheus; `offpath.metrics` makes pages of it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .metrics import METRICS, MOST, OTHER

Labels = tuple[str, ...]
_WAITS, _RUNS = METRICS["offpath_wait_seconds"].buckets, METRICS["offpath_run_seconds"].buckets


class Told(NamedTuple):
    """A signal that is counted: its fields that are labels (or fixed words, "=refused"), and the one that says how many
    or how long ("": one)."""

    metric: str
    labels: tuple[str, ...] = ()
    amount: str = ""


SAID: dict[str, tuple[Told, ...]] = {
    "attempt.abandoned": (Told("offpath_attempts_abandoned_total", ("task",)),),
    "attempt.undecodable": (Told("offpath_attempts_undecodable_total", ("task",)),),
    "upkeep.recovered": (Told("offpath_jobs_recovered_total", (), "jobs"),),
    "upkeep.overdue": (Told("offpath_jobs_overdue_total", (), "jobs"),),
    "upkeep.failed": (Told("offpath_store_errors_total", ("=upkeep",)),),
    "worker.failed": (Told("offpath_store_errors_total", ("=exchange",)),),
    "store.unavailable": (Told("offpath_store_errors_total", ("=lease",)),),
    "http.failed": (Told("offpath_http_failures_total"),),
    "alert.raised": (Told("offpath_alerts_raised_total", ("alert",)),),
    "schedule.fired": (Told("offpath_schedule_skipped_total", ("schedule",), "skipped"),),
    "schedule.failed": (Told("offpath_schedule_failures_total", ("schedule",)),),
    "outbox.published": (Told("offpath_outbox_published_total", ("broker",), "events"),),
    "outbox.refused": (Told("offpath_outbox_refused_total", ("broker",)),),
    "inbox.received": (
        Told("offpath_inbox_received_total", ("broker", "source"), "jobs"),
        Told("offpath_inbox_known_total", ("broker", "source"), "known"),
    ),
    "inbox.unreadable": (Told("offpath_inbox_unreadable_total", ("broker", "source")),),
    "webhooks.delivered": (
        Told("offpath_webhook_attempts_total", ("endpoint", "=delivered")),
        Told("offpath_webhook_seconds", ("endpoint",), "duration"),
    ),
    "webhooks.refused": (
        Told("offpath_webhook_attempts_total", ("endpoint", "=refused")),
        Told("offpath_webhook_seconds", ("endpoint",), "duration"),
    ),
    "webhooks.failed": (
        Told("offpath_webhook_attempts_total", ("endpoint", "=failed")),
        Told("offpath_webhook_seconds", ("endpoint",), "duration"),
    ),
    "webhooks.disabled": (Told("offpath_webhook_endpoints_disabled_total"),),
}
"""What is counted by what is said."""

UP: dict[str, tuple[str, str, int]] = {
    "broker.failed": ("offpath_broker_up", "broker", 0),
    "broker.restored": ("offpath_broker_up", "broker", 1),
    "transport.failed": ("offpath_transport_up", "transport", 0),
    "transport.restored": ("offpath_transport_up", "transport", 1),
}


class Tally:
    """Counters, gauges and histograms of one process. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {}
        self._spread: dict[str, dict[Labels, list[float]]] = {}  # counts per bucket, then all above, then the sum

    def add(self, name: str, labels: Labels = (), amount: float = 1) -> None:
        with self._lock:
            self._add(name, labels, amount)

    def set(self, name: str, labels: Labels, value: float) -> None:
        with self._lock:
            series = self._values.setdefault(name, {})
            series[_room(series, labels)] = value

    def took(self, name: str, labels: Labels, seconds: float) -> None:
        with self._lock:
            self._took(name, labels, seconds)

    def enqueued(self, jobs: Iterable[tuple[str, str]]) -> None:
        """(queue, task) of new jobs."""
        with self._lock:
            for labels, count in Counter(jobs).items():
                self._add("offpath_jobs_enqueued_total", labels, count)

    def waited(self, jobs: Iterable[tuple[str, str, float]]) -> None:
        """(queue, task, seconds) of claimed ones."""
        last: tuple[str, str] = ("", "")  # neighbours are mostly alike
        row: list[float] = []
        with self._lock:
            for queue, task, seconds in jobs:
                if task != last[1] or queue != last[0]:
                    last = queue, task
                    row = self._row("offpath_wait_seconds", last)
                row[bisect_left(_WAITS, seconds)] += 1
                row[-1] += seconds

    def ended(self, attempts: Iterable[tuple[str, str, str, float | None]]) -> None:
        """(queue, task, outcome, seconds) of attempts; None where none was made."""
        ends: dict[Labels, int] = {}
        last: tuple[str, str] = ("", "")
        row: list[float] = []
        with self._lock:
            for queue, task, outcome, seconds in attempts:
                end = queue, task, outcome
                ends[end] = ends.get(end, 0) + 1
                if seconds is None:
                    continue
                if task != last[1] or queue != last[0]:
                    last = queue, task
                    row = self._row("offpath_run_seconds", last)
                row[bisect_left(_RUNS, seconds)] += 1
                row[-1] += seconds
            for labels, count in ends.items():
                self._add("offpath_attempts_total", labels, count)

    def told(self, signal: str, fields: Mapping[str, Any]) -> None:
        """A signal is given."""
        if (up := UP.get(signal)) is not None:
            self.set(up[0], (str(fields[up[1]]),), up[2])
        for one in SAID.get(signal, ()):
            labels = tuple(name[1:] if name[0] == "=" else str(fields[name]) for name in one.labels)
            amount = fields[one.amount] if one.amount else 1
            if METRICS[one.metric].kind == "histogram":
                self.took(one.metric, labels, amount)
            else:
                self.add(one.metric, labels, amount)

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """One more of a gauge as long as the block lasts."""
        self.add(name)
        try:
            yield
        finally:
            self.add(name, (), -1)

    def read(self) -> tuple[dict[str, dict[Labels, float]], dict[str, dict[Labels, list[float]]]]:
        """All values, and all histograms, as they are now."""
        with self._lock:
            values = {name: dict(series) for name, series in self._values.items()}
            spread = {name: {key: list(row) for key, row in series.items()} for name, series in self._spread.items()}
        return values, spread

    def value(self, name: str, *labels: str) -> float:
        """One counter or gauge; for tests and for whoever has no Prometheus."""
        with self._lock:
            return self._values.get(name, {}).get(labels, 0)

    def _add(self, name: str, labels: Labels, amount: float) -> None:
        series = self._values.get(name)
        if series is None:
            series = self._values[name] = {}
        if labels not in series:
            labels = _room(series, labels)
        series[labels] = series.get(labels, 0) + amount

    def _took(self, name: str, labels: Labels, seconds: float) -> None:
        row = self._row(name, labels)
        row[bisect_left(METRICS[name].buckets, seconds)] += 1
        row[-1] += seconds

    def _row(self, name: str, labels: Labels) -> list[float]:
        series = self._spread.setdefault(name, {})
        row = series.get(labels)
        if row is None:
            row = series.setdefault(_room(series, labels), [0.0] * (len(METRICS[name].buckets) + 2))
        return row


def _room(series: Mapping[Labels, Any], labels: Labels) -> Labels:
    return labels if labels in series or len(series) < MOST else (OTHER,) * len(labels)


on: Tally | None = None
"""What is counted; None: nobody wants to know."""


def start() -> Tally:
    """Count from now on; one tally for the process."""
    global on
    if on is None:
        on = Tally()
    return on


def during(name: str) -> contextlib.AbstractContextManager[None]:
    """One more of a gauge as long as the block lasts, where anything is counted."""
    return contextlib.nullcontext() if on is None else on.during(name)


def _after_fork() -> None:
    global on
    if on is not None:
        on = Tally()  # what the parent has done it tells itself; and its lock may be held by nobody any more


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
