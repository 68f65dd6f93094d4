"""What we set out to reach on PostgreSQL, read off the rows of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import ge, le
from statistics import median
from typing import NamedTuple

from .measure import Row, Sample


class Must(NamedTuple):
    """`value` raises KeyError when a side of the row was not there."""

    row: str
    what: str
    compare: Callable[[float, float], bool]
    bound: float
    value: Callable[[Row], float]


def against(side: str) -> Callable[[Row], float]:
    return lambda row: row.ratio(side)


def last(row: Row) -> float:
    """Of the last side that is no sum of the others, as a share of the row's base."""
    return row.ratio([side for side in row.samples if side != "all"][-1])


MUSTS = (
    Must("drain", "drain, times graphile-worker", ge, 1.5, against("graphile-worker")),
    Must("drain", "drain, times PgQueuer", ge, 3, against("pgqueuer")),
    Must("drain", "worker CPU, s per 1,000 jobs", le, 0.025, lambda row: 1000 * median(s.cpu for s in ours(row))),
    Must("drain", "worker RSS, MB", le, 50, lambda row: median(s.rss for s in ours(row))),
    Must("many", "enqueue with 100 in flight, times PgQueuer", ge, 15, against("pgqueuer")),
    Must("accept", "durable accept, of BackgroundTasks", ge, 0.9, against("BackgroundTasks")),
    Must("accept", "durable accept, times one INSERT per request", ge, 1.7, against("one INSERT")),
    Must("pickup", "pickup p50, ms", le, 2, lambda row: row.median("offpath")),
    Must("pickup", "pickup p99, ms", le, 6, lambda row: median(s.more["p99"] for s in ours(row))),
    Must("pickup", "pickup p50, of graphile-worker", le, 0.6, lambda row: 1 / row.ratio("graphile-worker")),
    Must("growth", "drain of the largest backlog, of the smallest", ge, 0.9, last),
    Must("churn", "churn, slowest tenth, of the first", ge, 0.6, last),
    Must("held", "churn with a held snapshot, slowest tenth, of the first", ge, 0.5, last),
)


def ours(row: Row) -> list[Sample]:
    return row.samples["offpath"]


def verdicts(rows: Iterable[Row]) -> str:
    """Markdown: each must whose row was measured."""
    measured = {row.key: row for row in rows}
    lines = ["| target | must | measured | |", "|---|---|---|---|"]
    for must in MUSTS:
        try:
            value = must.value(measured[must.row])
        except KeyError:
            continue
        sign = "≥" if must.compare is ge else "≤"
        said = "reached" if must.compare(value, must.bound) else "**missed**"
        lines.append(f"| {must.what} | {sign} {must.bound:g} | {value:.3g} | {said} |")
    return "\n".join(lines)
