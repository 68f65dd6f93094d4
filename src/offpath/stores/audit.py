"""Verbs of the audit log: who has done what."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..core import selection
from ..core.audit import Act, ActFilter, ActRow
from ..core.ids import uuid7_fine
from ..ports import Now, Statement, Verb
from . import rows
from .shared import SharedVerbs


class AuditVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def note(self, acts: Sequence[Act]) -> Verb[None]:
        now: int = yield Now()
        lines = [
            (
                uuid7_fine(now + n, os.urandom(10)),
                now + n, act.actor, act.action, act.target, rows.dumps(dict(act.data)),
                act.tenant,
            )
            for n, act in enumerate(acts)
        ]  # fmt: skip
        yield Statement(self.sql["audit.note"], {"rows": rows.dumps(lines)}, rows.nothing)

    def acts(self, where: ActFilter, after: str | None, limit: int) -> Verb[list[ActRow]]:
        """Over the index of the narrowest part that is given."""
        name = next((part for part in ("target", "actor", "action") if getattr(where, part) is not None), "all")
        params: dict[str, Any] = {**where._asdict(), "after": after, "limit": limit}
        page: list[ActRow] = yield Statement(self.sql[f"audit.{name}"], params, _acts)
        return page

    def forget_acts(self, now: int, limit: int) -> Verb[int]:
        """Part of `prune`."""
        if self.terms.audit is None:
            return 0
        before = selection.oldest_id(max(0, now - self.terms.audit))
        gone: int = yield Statement(self.sql["audit.forget"], {"before": before, "limit": limit}, rows.value)
        return gone


def _acts(found: list[Any]) -> list[ActRow]:
    return [ActRow(*row) for row in found]
