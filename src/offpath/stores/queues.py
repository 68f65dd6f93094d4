"""Verbs of queues and of alerts. What an alert means is decided in `core/alerts.py`."""

from __future__ import annotations

from typing import Any

from ..core import flow
from ..core.alerts import AlertRow, Rule
from ..core.queues import Counted, PausedRow
from ..ports import Hint, NewJob, Now, Statement, Verb
from . import rows
from .shared import SharedVerbs


class QueueVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def pause(self, queue: str, reason: str) -> Verb[None]:
        now: int = yield Now()
        params = {"queue": queue, "reason": reason, "now": now}
        yield Statement(self.sql["queue.pause"], params, rows.nothing)
        yield Hint("queue", (queue,))

    def resume(self, queue: str) -> Verb[None]:
        yield Statement(self.sql["queue.resume"], {"queue": queue}, rows.nothing)
        yield Hint("queue", (queue,))

    def paused(self) -> Verb[list[PausedRow]]:
        found: list[PausedRow] = yield Statement(self.sql["queue.paused"], {}, _paused)
        return found

    def served(self) -> Verb[tuple[list[str], list[str]]]:
        return (yield from self.queues()), [row.name for row in (yield from self.paused())]

    def standing(self, queue: str | None) -> Verb[tuple[list[Counted], list[PausedRow], int]]:
        now: int = yield Now()
        counts: list[Counted] = yield Statement(self.sql["queue.counts"], {"queue": queue}, rows.plain)
        paused = [row for row in (yield from self.paused()) if queue in (None, row.name)]
        return counts, paused, now

    # ── alerts ───────────────────────────────────────────────────────────────────────────────────────────────────

    def reading(self, rule: Rule) -> Verb[tuple[int, AlertRow, int]]:
        now: int = yield Now()
        value = yield from (self._failures(rule, now) if rule.kind == "dead_letters" else self._age(rule, now))
        found: list[tuple[Any, ...]] = yield Statement(self.sql["alert.get"], {"name": rule.name}, rows.plain)
        return value, AlertRow(*found[0]) if found else AlertRow(rule.name, 0, None, 0), now

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
        names = [rule.queue] if rule.queue is not None else (yield from self.queues())
        eldest = now
        for queue in names:
            at: int | None = yield Statement(self.sql["pressure.oldest"], {"queue": queue}, rows.value)
            eldest = min(eldest, now if at is None else at)
        return now - eldest

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


def _paused(found: list[Any]) -> list[PausedRow]:
    return [PausedRow(*row) for row in found]
