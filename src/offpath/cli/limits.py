"""`offpath limits list`: the limits that workers have declared, and how full each is."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from ..core.limits import SECOND, WITHIN, Rule, buckets_of
from . import printing
from .target import opened

COLUMNS = ("name", "concurrency", "rate", "burst", "running", "values", "fullest")


def list_limits(options: argparse.Namespace) -> int:
    """By name. A limit that is `per` something has a count for each value."""
    with opened(options) as jobs:
        rules, lanes = jobs.store.read(jobs.store.verbs.limits()).result()
    rows = [standing(rule, counts) for rule, counts in counted(rules, lanes)]
    if options.json:
        printing.as_json(rows)
        return 0
    people = [row | {"rate": None if row["rate"] is None else f"{row['rate']:g}/s"} for row in rows]
    printing.table(people, COLUMNS, "no limit is declared")
    return 0


def counted(rules: Iterable[Rule], lanes: Sequence[tuple[str, int]]) -> list[tuple[Rule, dict[str, int]]]:
    """Of each limit: bucket → jobs that run in it."""
    counts: dict[str, dict[str, int]] = {}
    for lane, jobs in lanes:
        for bucket in buckets_of(lane):
            of = counts.setdefault(bucket.partition(WITHIN)[0], {})
            of[bucket] = of.get(bucket, 0) + jobs
    return [(rule, counts.get(rule.name, {})) for rule in sorted(rules)]


def standing(rule: Rule, counts: dict[str, int]) -> dict[str, Any]:
    """`running`: jobs under it; `values`: of how many values; `fullest`: the value with the most of them."""
    fullest = max(counts, key=lambda bucket: (counts[bucket], bucket), default=None)
    return {
        "name": rule.name,
        "concurrency": rule.concurrency,
        "rate": None if rule.spacing is None else round(SECOND / rule.spacing, 6),
        "burst": None if rule.spacing is None else rule.burst,
        "running": sum(counts.values()),
        "values": len(counts),
        "fullest": None if fullest is None else (fullest.partition(WITHIN)[2] or None),
        "most": 0 if fullest is None else counts[fullest],
    }
