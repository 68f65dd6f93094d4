"""The verbs of what an attempt remembers and tells while it runs: steps, and events of its own. All carry the fence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.options import SECOND
from ..core.steps import Asked
from ..ports import Hint, Now, Statement, StepRow, Verb
from . import rows
from .shared import SharedVerbs

NOW = Now()
LOOK = 3600 * SECOND  # until it is looked whether the job of a step is still there
AGAIN = 60 * SECOND  # at least, before the next look


class StepVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def remember_steps(self, id: str, fence: int, worker: str, steps: Sequence[tuple[Asked, str]]) -> Verb[bool]:
        sql = self.sql["step.remember"]
        params = {
            **_guard(id, fence, worker),
            "steps": rows.dumps([(*asked, result) for asked, result in steps]),
            "look": LOOK,
        }
        if ":now" in sql:  # a server's text asks its own clock: one way there and back less
            params["now"] = yield NOW
        written: int = yield Statement(sql, params, rows.value)
        return written > 0

    def remembered_steps(self, id: str) -> Verb[list[Asked]]:
        found: list[tuple[Any, ...]] = yield Statement(self.sql["step.remembered"], {"id": id}, rows.plain)
        return [Asked(*row) for row in found]

    def step_result(self, id: str, name: str) -> Verb[str | None]:
        result: str | None = yield Statement(self.sql["step.result"], {"id": id, "name": name}, rows.value)
        return result

    def steps(self, id: str, limit: int) -> Verb[list[StepRow]]:
        found: list[tuple[Any, ...]] = yield Statement(self.sql["step.list"], {"id": id, "limit": limit}, rows.plain)
        return [StepRow(*row) for row in found]

    def forget_steps(self, now: int, limit: int) -> Verb[int]:
        """Part of `prune`. Steps stay as long as their job is live or in history. A job is not asked about at its end
        (most have no steps): an hour after a step was remembered it is looked where its job is, and again when history
        says that it forgets the job. How many steps were looked at."""
        page = {"now": now, "limit": limit}
        next_look = {"later": now + LOOK, "soonest": now + AGAIN}
        if "step.keep" not in self.sql:  # one statement does both
            looked: int = yield Statement(self.sql["step.forget"], {**page, **next_look}, rows.value)
            return looked
        gone: int = yield Statement(self.sql["step.forget"], page, rows.value)
        kept: int = yield Statement(self.sql["step.keep"], {**page, **next_look}, rows.value)
        return max(gone, kept)

    def emit(self, id: str, fence: int, worker: str, lines: Sequence[str]) -> Verb[bool]:
        if not (yield Statement(self.sql["progress.guard"], _guard(id, fence, worker), rows.value)):
            return False
        now: int = yield NOW
        params = {"id": id, "now": now, "count": len(lines)}
        yield Statement(self.sql["emit.number"], params, rows.nothing)
        yield Statement(self.sql["emit.events"], {**params, "lines": rows.dumps(list(lines))}, rows.nothing)
        yield Hint("event", (id,))
        return True


def _guard(id: str, fence: int, worker: str) -> dict[str, Any]:
    return {"id": id, "fence": fence, "worker": worker}
