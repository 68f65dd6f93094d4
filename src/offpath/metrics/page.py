"""The page that Prometheus reads, in either of its formats."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError
from ..observe import METRICS, Metric
from ..observe.meters import Labels, Tally
from ..observe.metrics import MOST, OTHER
from ..observe.pulse import Pulse
from .look import Figure, Seen

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import Collector, CollectorRegistry
except ImportError as error:
    raise MissingExtraError("a page of metrics", "metrics") from error


class _Shown(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def page(tally: Tally, pulses: Iterable[Pulse], seen: Seen | None, accept: str) -> tuple[str, bytes]:
    """(content type, bytes): OpenMetrics when `accept` asks for it, else Prometheus' text. `seen` None: without what
    the database says."""
    encode, kind = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(list(families(tally, pulses, seen))))
    return kind, encode(registry)


def families(tally: Tally, pulses: Iterable[Pulse], seen: Seen | None) -> Iterator[Family]:
    values, spread = tally.read()
    figures = [*of_workers(list(pulses))]
    if seen is not None:
        figures += [
            ("offpath_store_up", (), float(seen.up)),
            ("offpath_store_look_seconds", (), seen.took),
            *seen.figures,
        ]
    for name, labels, value in figures:
        series = values.setdefault(name, {})
        series[labels if len(series) < MOST else (OTHER,) * len(labels)] = value
    for name, metric in METRICS.items():
        if metric.kind == "histogram":
            if name in spread:
                yield _histogram(name, metric, spread[name])
        elif name in values:
            yield _plain(name, metric, values[name])
        elif not metric.labels and metric.of == "process":
            yield _plain(name, metric, {(): 0.0})  # so that an alert on its growth sees where it began


def _plain(name: str, metric: Metric, series: Mapping[Labels, float]) -> Family:
    made: Any
    if metric.kind == "counter":
        made = CounterMetricFamily(name.removesuffix("_total"), metric.meaning, labels=metric.labels)
    else:
        made = GaugeMetricFamily(name, metric.meaning, labels=metric.labels)
    for labels, value in series.items():
        made.add_metric(labels, value)
    family: Family = made
    return family


def _histogram(name: str, metric: Metric, series: Mapping[Labels, list[float]]) -> Family:
    made = HistogramMetricFamily(name, metric.meaning, labels=metric.labels)
    for labels, row in series.items():
        up, buckets = 0.0, []
        for bound, count in zip(metric.buckets, row, strict=False):
            up += count
            buckets.append((repr(float(bound)), up))
        buckets.append(("+Inf", up + row[len(metric.buckets)]))
        made.add_metric(labels, buckets, row[-1])
    return made


def of_workers(pulses: list[Pulse]) -> Iterator[Figure]:
    """The workers of this process as one: there is rarely more than one."""
    if not pulses:
        return
    for one in pulses:
        for lane in one.slots:
            running = sum(other.running.get(lane, 0) for other in pulses)
            yield "offpath_worker_running", (lane,), running
            yield "offpath_worker_slots", (lane,), sum(other.slots.get(lane, 0) for other in pulses)
    oldest = max(pulses, key=lambda one: one.age)
    yield "offpath_worker_ready", (), float(all(one.ready and not one.draining for one in pulses))
    yield "offpath_worker_abandoned", (), sum(one.abandoned for one in pulses)
    yield "offpath_worker_lease_age_seconds", (), oldest.age
    yield "offpath_worker_lease_seconds", (), oldest.lease
    yield "offpath_worker_loop_lag_seconds", (), max(one.lag for one in pulses)
    if (held := rss(os.getpid())) is not None:
        yield "offpath_worker_rss_bytes", ("worker",), held
        children = [rss(pid) or 0 for one in pulses for pid in one.children]
        yield "offpath_worker_rss_bytes", ("children",), sum(children)


def rss(pid: int) -> int | None:
    """Bytes of memory that a process holds; None where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None
