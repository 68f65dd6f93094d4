"""What one may ask of a store about attempts that did not succeed."""

from __future__ import annotations

from typing import Protocol

from ..core.attempts import AttemptRow
from .steps import Verb


class AttemptVerbs(Protocol):
    """A part of `Verbs`."""

    def job_attempts(self, id: str, limit: int) -> Verb[list[AttemptRow]]:
        """Those of a job that did not succeed, in their order; of many the newest are kept."""
        ...
