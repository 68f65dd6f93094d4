"""When somebody is to be told that things go wrong, and when that they are well again. Pure.

A rule has two thresholds. Above the first it is raised, once; at the second or below it is resolved, once; between the
two it stays as it is, so that a value that trembles around a threshold does not ring all night.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict

from ..errors import ConfigurationError
from .checks import shown, whole
from .options import SECOND, check_name
from .retry import Seconds, seconds

Kind = Literal["dead_letters", "age"]
News = Literal["raised", "resolved"]
MOST = 1_000_000  # dead letters that a rule may wait for
COUNTED = 10  # times its threshold, to which a rule's dead letters are counted


@dataclass(frozen=True, slots=True)
class Rule:
    """What to watch. `kind` "dead_letters": jobs that failed for good within the last `within` µs; "age": µs that the
    oldest ready job has waited.

    name    what it is called in the database: one row, for all workers
    above   raised when the value is greater
    clear   resolved when it is not greater than this
    task    only dead letters of this task
    tell    the task, by name, whose job gets the alert as its argument; None: only the log hears of it
    """

    name: str
    kind: Kind
    above: int
    clear: int
    within: int = 0
    queue: str | None = None
    task: str | None = None
    tell: str | None = None

    @property
    def most(self) -> int:
        """How far it is worth counting."""
        return max(100, COUNTED * self.above)


class AlertRow(NamedTuple):
    """How a rule stands. `seq` grows with each change; who changes it must have seen the last."""

    name: str
    seq: int
    raised_at: int | None
    value: int


class AlertGiven(TypedDict, total=False):
    """What to watch: `dead_letters` with `within`, or `age`.

    dead_letters  raised when more than so many jobs have failed for good …
    within        … in this time
    age           raised when the oldest ready job has waited longer
    clear         resolved when it is no more than this (default: half of what raises it)
    queue         only of this queue (age: without it, of any)
    task          only dead letters of this task
    """

    dead_letters: int
    within: Seconds
    age: Seconds
    clear: Seconds
    queue: str
    task: str


def rule(name: str, given: Mapping[str, Any], tell: str | None = None) -> Rule:
    """A checked rule. ConfigurationError for one that could never ring, or never stop."""
    check_name(name, "the name of an alert")
    if unknown := sorted(set(given) - set(AlertGiven.__annotations__)):
        raise ConfigurationError(f"alert {name!r}: there is no {unknown[0]!r}; see AlertGiven")
    queue, task, clear = (given.get(part) for part in ("queue", "task", "clear"))
    for part, value in (("queue", queue), ("task", task)):
        if value is not None:
            check_name(value, part)
    failed, age, within = (given.get(part) for part in ("dead_letters", "age", "within"))
    if (failed is None) == (age is None):
        raise ConfigurationError(f"alert {name!r}: say dead_letters=… with within=…, or age=…")
    if failed is not None:
        if within is None:
            raise ConfigurationError(f"alert {name!r}: {shown(failed)} dead letters within what time? within=…")
        span = round(seconds(within, "within") * SECOND)
        if not span:
            raise ConfigurationError(f"alert {name!r}: within must be longer than 0 seconds")
        above = whole(failed, 0, MOST, "dead_letters")
        low = above // 2 if clear is None else whole(clear, 0, above, "clear")
        return Rule(name, "dead_letters", above, low, span, queue, task, tell)
    if within is not None or task is not None:
        raise ConfigurationError(f"alert {name!r}: within and task go with dead_letters; age is a queue's")
    above = round(seconds(age, "age") * SECOND)
    low = above // 2 if clear is None else round(seconds(clear, "clear") * SECOND)
    if low > above:
        raise ConfigurationError(f"alert {name!r}: clear must not be above age")
    return Rule(name, "age", above, low, 0, queue, None, tell)


def judge(rule: Rule, raised: bool, value: int) -> News | None:
    """What there is to tell, when the rule stands so and the value is that."""
    if not raised:
        return "raised" if value > rule.above else None
    return "resolved" if value <= rule.clear else None


def alert(rule: Rule, news: News, value: int, now: int, since: int | None) -> dict[str, Any]:
    """What is told, as plain data: ages in seconds, times as ISO 8601 text in UTC. `since`: when it was raised."""
    unit = SECOND if rule.kind == "age" else 1
    told: dict[str, Any] = {
        "alert": rule.name,
        "news": news,
        "kind": rule.kind,
        "value": value / unit if unit > 1 else value,
        "above": rule.above / unit if unit > 1 else rule.above,
        "queue": rule.queue,
        "at": _time(now),
        "raised_at": _time(now if since is None else since),
    }
    if rule.kind == "dead_letters":
        told |= {"within": rule.within / SECOND, "task": rule.task}
    return told


def _time(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
