"""The verbs of attempts that did not succeed: written with the change that ends them, forgotten with their job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.attempts import KEPT, AttemptRow
from ..core.change import Change
from ..core.options import DAY, SECOND
from ..ports import Statement, Verb
from . import rows
from .shared import SharedVerbs

AGAIN = 60 * SECOND  # at least, before the next look


class AttemptVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def record_attempts(self, changes: Sequence[Change], now: int) -> Verb[None]:
        """What these changes say of the attempts that they end."""
        said = [
            (c.id, c.fence, c.record.attempt, c.record.worker, c.record.started_at, c.record.ended, c.record.error)
            for c in changes
            if c.record is not None
        ]
        params = {"rows": rows.dumps(said), "now": now, "look": now + DAY}
        yield Statement(self.sql["attempt.insert"], params, rows.nothing)
        if many := [(one[0], one[2] - KEPT + 1) for one in said if one[2] > KEPT]:
            yield Statement(self.sql["attempt.fewer"], {"rows": rows.dumps(many)}, rows.nothing)

    def job_attempts(self, id: str, limit: int) -> Verb[list[AttemptRow]]:
        found: list[tuple[Any, ...]] = yield Statement(self.sql["attempt.list"], {"id": id, "limit": limit}, rows.plain)
        return [AttemptRow(*row) for row in found]

    def forget_attempts(self, now: int, limit: int) -> Verb[int]:
        """Part of `prune`. A job that is erased takes its attempts with it; one whose day of history is dropped does
        not, so that once a day it is looked whether it is still there. How many were looked at."""
        page = {"now": now, "limit": limit}
        next_look = {"later": now + DAY, "soonest": now + AGAIN}
        if "attempt.keep" not in self.sql:  # one statement does both
            looked: int = yield Statement(self.sql["attempt.forget"], {**page, **next_look}, rows.value)
            return looked
        gone: int = yield Statement(self.sql["attempt.forget"], page, rows.value)
        kept: int = yield Statement(self.sql["attempt.keep"], {**page, **next_look}, rows.value)
        return max(gone, kept)
