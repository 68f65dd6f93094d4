"""Verbs of the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.audit import Act, ActFilter, ActRow
from .steps import Verb


class AuditVerbs(Protocol):
    """A part of `Verbs`."""

    def note(self, acts: Sequence[Act]) -> Verb[None]:
        """Write what somebody has done, in the transaction in which it is done."""
        ...

    def acts(self, where: ActFilter, after: str | None, limit: int) -> Verb[list[ActRow]]:
        """Newest first; `after` is the last id of the page before."""
        ...
