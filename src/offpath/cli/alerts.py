"""`offpath alerts list`: which alerts are raised. What they mean is decided in `core/alerts.py`."""

from __future__ import annotations

import argparse
from typing import Any

from ..app import Offpath
from ..core.alerts import KINDS, Kind, Rule
from ..core.options import SECOND
from . import printing
from .target import opened
from .timeline import moment

COLUMNS = ("name", "state", "kind", "now", "rings", "raised_at")


def list_alerts(options: argparse.Namespace) -> int:
    """Those that the application declares, and those that have ever been raised; raised ones first.
    "unwatched" is one whose rule no living worker has any more (renamed, removed): it does not ring."""
    with opened(options) as jobs:
        rows = standing(jobs)
    people = rows if options.json else [row | {"now": spoken(row)} for row in rows]
    printing.table(people, COLUMNS, "no alerts", to_json=options.json)
    return 0


def standing(jobs: Offpath) -> list[dict[str, Any]]:
    """`{"name", "state", "kind", "value", "now", "above", "queue", "task", "within", "rings", "raised_at",
    "declared"}`. Of what only the database knows, no more than name, state, value and times. Ages and `within` are
    seconds, rates from 0 to 1.

    state   "raised", "ok", or "unwatched": raised once, and no living worker has such a rule any more
    value   what it was last told with, when it was raised or resolved
    now     what the rule reads at this moment
    above   of kind "workers" it is what the value falls below
    rings   all of it in words
    """
    rules = {rule.name: rule for rule in jobs.registry.alerts}
    stored = {row.name: row for row in jobs.store.read(jobs.store.verbs.alerts()).result()}
    ringing = {row.name for row in jobs.store.read(jobs.store.verbs.raised()).result()}
    rows = []
    for name in sorted(rules.keys() | stored.keys()):
        rule, row = rules.get(name), stored.get(name)
        raised = None if row is None else row.raised_at
        unit = 1 if rule is None else KINDS[rule.kind].unit
        rows.append(
            {
                "name": name,
                "state": "ok" if raised is None else "raised" if name in ringing else "unwatched",
                "kind": None if rule is None else rule.kind,
                "value": None if row is None else _in(row.value, unit),
                "now": None if rule is None else _in(jobs.store.read(jobs.store.verbs.reading(rule)).result()[0], unit),
                "above": None if rule is None else _in(rule.above, unit),
                "queue": None if rule is None else rule.queue,
                "task": None if rule is None else rule.task,
                "within": rule.within / SECOND if rule is not None and rule.within else None,
                "rings": None if rule is None else _words(rule),
                "raised_at": moment(raised),
                "declared": rule is not None,
            }
        )
    rows.sort(key=lambda row: ("raised", "unwatched", "ok").index(row["state"]))
    return rows


def spoken(row: dict[str, Any]) -> str | None:
    """What one of them reads now, with its unit. Of a raised one whose rule is not known here: what it rang with, as
    the database has it."""
    if row["now"] is not None:
        return _unit(row["kind"], row["now"])
    return None if row["raised_at"] is None else f"{row['value']:,} when it rang"


def _words(rule: Rule) -> str:
    """When it is raised, as in "fewer than 2", "more than 12 min in queue mail"."""
    above = _unit(rule.kind, _in(rule.above, rule.shape.unit))
    parts = ("fewer" if rule.shape.below else "more", "than", above)
    where = [f"{word} {name}" for word, name in (("in queue", rule.queue), ("of task", rule.task)) if name is not None]
    within = [f"within {printing.age(rule.within / SECOND)}"] if rule.within else []
    return " ".join((*parts, *where, *within))


def _unit(kind: Kind | None, value: float) -> str:
    if kind == "error_rate":
        return f"{100 * value:g} %"
    return str(printing.age(value)) if kind is not None and KINDS[kind].unit == SECOND else f"{value:g}"


def _in(value: int, unit: int) -> float | int:
    return value if unit == 1 else value / unit
