"""The verbs of what happened lately. They only read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ports import Statement, Verb
from ..ports.recent import EndRow, LiveRow, RunRow, SentRow, TryRow
from . import rows
from .shared import SharedVerbs

Rows = list[tuple[Any, ...]]


class RecentVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def ended_since(
        self, since: int, after: str, limit: int, queue: str | None = None, task: str | None = None
    ) -> Verb[list[EndRow]]:
        params = {"since": since, "after": after, "limit": limit, "queue": queue, "task": task}
        found: Rows = yield Statement(self.sql["recent.ended"], params, rows.plain)
        return [EndRow(*row) for row in found]

    def ended_of(self, ids: Sequence[str]) -> Verb[list[EndRow]]:
        found: Rows = yield Statement(self.sql["recent.ended_of"], {"ids": rows.dumps(ids)}, rows.plain)
        return [EndRow(*row) for row in found]

    def now_running(self, limit: int, queue: str | None = None, task: str | None = None) -> Verb[list[RunRow]]:
        params = {"limit": limit, "queue": queue, "task": task}
        found: Rows = yield Statement(self.sql["recent.running"], params, rows.plain)
        return [RunRow(*row)._replace(canceling=bool(row[9])) for row in found]

    def arrived(self, after: str, limit: int, queue: str | None = None, task: str | None = None) -> Verb[list[LiveRow]]:
        params = {"after": after, "limit": limit, "queue": queue, "task": task}
        found: Rows = yield Statement(self.sql["recent.arrived"], params, rows.plain)
        return [LiveRow(*row) for row in found]

    def live_of(self, ids: Sequence[str]) -> Verb[list[LiveRow]]:
        found: Rows = yield Statement(self.sql["recent.live_of"], {"ids": rows.dumps(ids)}, rows.plain)
        return [LiveRow(*row) for row in found]

    def tried(
        self, since: int, after: str, limit: int, queue: str | None = None, task: str | None = None
    ) -> Verb[list[TryRow]]:
        params = {"since": since, "after": after, "limit": limit, "queue": queue, "task": task}
        found: Rows = yield Statement(self.sql["recent.tried"], params, rows.plain)
        return [TryRow(*row)._replace(live=bool(row[10])) for row in found]

    def sent(self, after: str, limit: int) -> Verb[list[SentRow]]:
        found: Rows = yield Statement(self.sql["recent.sent"], {"after": after, "limit": limit}, rows.plain)
        return [SentRow(*row) for row in found]
