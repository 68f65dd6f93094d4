"""Verbs of queues."""

from __future__ import annotations

from typing import Any

from ..core.queues import Counted, PausedRow
from ..ports import Hint, Now, Statement, Verb
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


def _paused(found: list[Any]) -> list[PausedRow]:
    return [PausedRow(*row) for row in found]
