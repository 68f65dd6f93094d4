"""Verbs of alerts."""

from __future__ import annotations

from typing import Protocol

from ..core.alerts import AlertRow, Rule
from .rows import NewJob
from .steps import Verb


class AlertVerbs(Protocol):
    """A part of `Verbs`."""

    def reading(self, rule: Rule) -> Verb[tuple[int, AlertRow, int]]:
        """What the rule watches, how it stands, and the time (µs)."""
        ...

    def which(self, rule: Rule, now: int) -> Verb[list[str]]:
        """What the rule rings for at `now`, up to LISTED: names of schedules that are later than it allows, the latest
        first; ids of the disabled endpoints, the last that was first. Of other kinds nothing."""
        ...

    def move_alert(self, seen: AlertRow, raised_at: int | None, value: int, told: NewJob | None) -> Verb[bool]:
        """Raise it, or resolve it (None), and enqueue what tells of it; False, and nothing is written, when somebody
        was quicker."""
        ...

    def forget_alert(self, seen: AlertRow) -> Verb[bool]:
        """Delete its row; False when somebody has moved it since."""
        ...

    def alerts(self) -> Verb[list[AlertRow]]:
        """How every rule stands that has ever been raised, by name."""
        ...
