"""What is remembered of a job while it runs, and what it tells those who watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ..core.steps import Asked
from .steps import Verb


class StepRow(NamedTuple):
    """One remembered step, for showing. `at`: µs since the epoch; `result`: JSON text."""

    name: str
    position: int
    version: int
    at: int
    result: str


class StepVerbs(Protocol):
    def remember_steps(self, id: str, fence: int, worker: str, steps: Sequence[tuple[Asked, str]]) -> Verb[bool]:
        """Write steps with their results (JSON text), fenced; False: stale. Written again, they are the same."""
        ...

    def remembered_steps(self, id: str) -> Verb[list[Asked]]:
        """Without their results."""
        ...

    def step_result(self, id: str, name: str) -> Verb[str | None]:
        """The same bytes that were remembered; None: there is no such step."""
        ...

    def steps(self, id: str, limit: int) -> Verb[list[StepRow]]:
        """In the order they were remembered; of a job that has ended too, until history forgets it."""
        ...

    def emit(self, id: str, fence: int, worker: str, lines: Sequence[str]) -> Verb[bool]:
        """Write events of type "output" (JSON text each), numbered in this order, fenced; False: stale."""
        ...
