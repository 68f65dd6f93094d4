"""Verbs of alerts: what a rule watches, and how it stands. What that means is decided in `core/alerts.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import flow
from ..core.alerts import LISTED, AlertRow, Rule, rate
from ..core.deliveries import BY_HAND
from ..core.stats import MINUTE
from ..ports import NewJob, Now, Statement, Verb
from . import rows
from .shared import SharedVerbs


class AlertVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def reading(self, rule: Rule) -> Verb[tuple[int, AlertRow, int]]:
        now: int = yield Now()
        look: dict[str, Callable[[Rule, int], Verb[int]]] = {
            "dead_letters": self._failures,
            "age": self._age,
            "depth": self._depth,
            "error_rate": self._rate,
            "workers": self._alive,
            "schedule_late": self._late,
            "endpoints_disabled": self._disabled,
        }
        value = yield from look[rule.kind](rule, now)
        found: list[tuple[Any, ...]] = yield Statement(self.sql["alert.get"], {"name": rule.name}, rows.plain)
        return value, AlertRow(*found[0]) if found else AlertRow(rule.name, 0, None, 0), now

    def which(self, rule: Rule, now: int) -> Verb[list[str]]:
        if rule.kind == "schedule_late":
            late = {"before": now - rule.above, "limit": LISTED}
            names: list[str] = yield Statement(self.sql["alert.late"], late, rows.column)
            return names
        if rule.kind == "endpoints_disabled":
            off = {"by_hand": BY_HAND, "limit": LISTED}
            found: list[tuple[str, int]] = yield Statement(self.sql["alert.off"], off, rows.plain)
            return [id for id, _ in sorted(found, key=lambda row: (-row[1], row[0]))]
        return []

    def alerts(self) -> Verb[list[AlertRow]]:
        found: list[tuple[Any, ...]] = yield Statement(self.sql["alert.all"], {}, rows.plain)
        return [AlertRow(*row) for row in found]

    def move_alert(self, seen: AlertRow, raised_at: int | None, value: int, told: NewJob | None) -> Verb[bool]:
        params: dict[str, Any] = {"name": seen.name, "raised_at": raised_at, "value": value}
        if seen.seq:
            moved: int = yield Statement(self.sql["alert.move"], {**params, "seq": seen.seq}, rows.value)
        else:
            moved = yield Statement(self.sql["alert.first"], params, rows.value)
        if not moved:
            return False
        if told is not None:
            yield from self.enqueue([told])
        return True

    def forget_alert(self, seen: AlertRow) -> Verb[bool]:
        gone: int = yield Statement(self.sql["alert.forget"], {"name": seen.name, "seq": seen.seq}, rows.value)
        return bool(gone)

    def _failures(self, rule: Rule, now: int) -> Verb[int]:
        params = {
            "since": now - rule.within,
            "queue": rule.queue,
            "task": rule.task,
            "limit": rule.most,
            "flow": flow.TASK,
        }
        failed: int = yield Statement(self.sql["alert.failures"], params, rows.value)
        return failed

    def _age(self, rule: Rule, now: int) -> Verb[int]:
        eldest = now
        for queue in (yield from self._queues(rule)):
            at: int | None = yield Statement(self.sql["pressure.oldest"], {"queue": queue}, rows.value)
            eldest = min(eldest, now if at is None else at)
        return now - eldest

    def _depth(self, rule: Rule, now: int) -> Verb[int]:
        most = 0
        for queue in (yield from self._queues(rule)):
            here = {"queue": queue, "limit": rule.most}
            depth: int = yield Statement(self.sql["pressure.depth"], here, rows.value)
            most = max(most, depth)
        return most

    def _rate(self, rule: Rule, now: int) -> Verb[int]:
        failed = ended = 0
        since = (now - rule.within) // MINUTE * MINUTE
        for line in (yield from self.ended(since, rule.queue, rule.task)):
            failed += line.failed + line.retried
            ended += line.failed + line.retried + line.succeeded
        return rate(failed, ended, rule.at_least)

    def _alive(self, rule: Rule, now: int) -> Verb[int]:
        alive: int = yield Statement(self.sql["alert.alive"], {"now": now}, rows.value)
        return alive

    def _late(self, rule: Rule, now: int) -> Verb[int]:
        due: int | None = yield Statement(self.sql["alert.due"], {}, rows.value)
        return 0 if due is None else max(0, now - due)

    def _disabled(self, rule: Rule, now: int) -> Verb[int]:
        which = {"by_hand": BY_HAND, "limit": rule.most}
        disabled: int = yield Statement(self.sql["alert.disabled"], which, rows.value)
        return disabled

    def _queues(self, rule: Rule) -> Verb[list[str]]:
        return [rule.queue] if rule.queue is not None else (yield from self.queues())
