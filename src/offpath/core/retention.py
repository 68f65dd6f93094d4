"""How long what has ended is kept: the application's word, and what its queues and tasks say instead. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypedDict

from ..errors import ConfigurationError
from .checks import shown
from .retry import Seconds, seconds

_SECOND = 1_000_000  # µs; `options`, which has the word for it, is made of this
_DAY = 86_400 * _SECOND


class Retention(NamedTuple):
    """How long what has ended is kept, µs; None = until someone deletes it.

    finished    jobs that succeeded
    failed      dead letters: they do not vanish by themselves
    operation   jobs that HTTP shows, however they ended
    canceled    jobs that were canceled ("finished": as long as those that succeeded)
    """

    finished: int | None = 7 * _DAY
    failed: int | None = None
    operation: int | None = 30 * _DAY
    canceled: int | Literal["finished"] | None = "finished"

    def lengths(self) -> set[int]:
        return {length for length in self if isinstance(length, int)}


class Kept(TypedDict, total=False):
    """`retention=` of a queue or a task, by outcome. None = until someone deletes it; what is not said here holds as if
    there were no `retention`.

    operation   of jobs that HTTP shows, however they ended
    """

    succeeded: Seconds | None
    failed: Seconds | None
    canceled: Seconds | None
    operation: Seconds | None


OUTCOMES = tuple(Kept.__annotations__)
Keeps = Kept | Seconds | None
"""What may be said: by outcome, or one duration for what has succeeded or was canceled."""


def check_keeps(given: object, whose: str) -> None:
    """ConfigurationError unless it is a duration, None, or durations by outcome."""
    if not isinstance(given, Mapping):
        _length(given, f"{whose}: retention")
        return
    for outcome, length in given.items():
        if outcome not in OUTCOMES:
            raise ConfigurationError(f"{whose}: retention is by {', '.join(OUTCOMES)}, not {shown(outcome)}")
        _length(length, f"{whose}: retention of {outcome}")


def kept(base: Retention, given: Keeps) -> Retention:
    """`base`, with what `given` says instead."""
    if not isinstance(given, Mapping):
        return base._replace(finished=_length(given, "retention"), canceled="finished")
    said: dict[str, Any] = {
        "finished" if outcome == "succeeded" else outcome: _length(length, "retention")
        for outcome, length in given.items()
    }
    if "finished" in said and base.canceled == "finished":
        said.setdefault("canceled", base.finished)
    return base._replace(**said)


class Terms:
    """Who says what: the application (`base`), queues and tasks by name. A task's word beats its queue's.

    audit  how long it is known who has done what, µs; None: for ever
    """

    def __init__(self, base: Retention = Retention()) -> None:  # noqa: B008 (immutable)
        self.base = base
        self.queues: dict[str, Keeps] = {}
        self.tasks: dict[str, Keeps] = {}
        self.audit: int | None = 365 * _DAY

    def of(self, queue: str, task: str) -> Retention:
        """What holds for jobs of that task in that queue."""
        found = self.base
        if queue in self.queues:
            found = kept(found, self.queues[queue])
        if task in self.tasks:
            found = kept(found, self.tasks[task])
        return found

    def lengths(self) -> set[int]:
        """Every length that anything may be kept for, µs."""
        said = [kept(self.base, given) for given in (*self.queues.values(), *self.tasks.values())]
        return self.base.lengths().union(*(one.lengths() for one in said))

    def longest_operation(self) -> int | None:
        """How long operations are kept at most, µs; None: one may be kept for ever."""
        said = [kept(self.base, given).operation for given in (*self.queues.values(), *self.tasks.values())]
        lengths = [self.base.operation, *said]
        return None if None in lengths else max(length for length in lengths if length is not None)


def _length(value: object, what: str) -> int | None:
    return None if value is None else round(seconds(value, what) * _SECOND)
