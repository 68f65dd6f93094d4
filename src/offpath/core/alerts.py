"""When somebody is to be told that things go wrong, and when that they are well again. Pure.

A rule has two thresholds. Above the first it is raised, once; at the second or below it is resolved, once; between the
two it stays as it is, so that a value that trembles around a threshold does not ring all night.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypedDict

from ..errors import ConfigurationError
from .checks import check_name, number, shown, whole
from .options import DAY, SECOND
from .retry import Seconds, seconds
from .schedule import GRACE

Kind = Literal["dead_letters", "age", "depth", "error_rate", "workers", "schedule_late", "endpoints_disabled"]
News = Literal["raised", "resolved"]
MOST = 1_000_000  # that a rule may wait for, of what is counted
COUNTED = 10  # times its threshold, to which a rule counts
PERMILLE = 1_000  # a rate is watched as so many of a thousand
NAMED = 5  # of what a rule rings for
LISTED = 1_000  # of the same, that are counted


class Shape(NamedTuple):
    """What one kind of rule takes, and what its values are.

    unit    of the value told: it is divided by this
    takes   what may be said beside the threshold and `clear`
    needs   of those, what must be
    below   raised when the value is *less* than the threshold, and resolved when it is no less than `clear`
    names   what it rings for has names
    """

    unit: int = 1
    takes: tuple[str, ...] = ("queue",)
    needs: tuple[str, ...] = ()
    below: bool = False
    names: bool = False


KINDS: Mapping[str, Shape] = MappingProxyType(
    {
        "dead_letters": Shape(takes=("within", "queue", "task"), needs=("within",)),
        "age": Shape(SECOND),
        "depth": Shape(),
        "error_rate": Shape(PERMILLE, ("within", "at_least", "queue", "task"), ("within",)),
        "workers": Shape(takes=(), below=True),
        "schedule_late": Shape(SECOND, (), names=True),
        "endpoints_disabled": Shape(takes=(), names=True),
    }
)
"""By what is watched. A rule is of exactly one kind: the one whose threshold is given."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What to watch; values and thresholds are whole numbers.

    dead_letters        jobs that failed for good within the last `within` µs
    age                 µs that the oldest ready job has waited
    depth               ready jobs of the queue, or of the fullest one
    error_rate          of a thousand attempts that ended within `within`, so many failed; 0 below `at_least` of them
    workers             workers that are alive
    schedule_late       µs by which the latest of the schedules that are not paused is behind
    endpoints_disabled  webhook endpoints that were disabled because they failed

    name    what it is called in the database: one row, for all workers
    above   raised when the value is greater (kind "workers": less)
    clear   resolved when it is not greater than this (not less)
    task    only attempts and dead letters of this task
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
    at_least: int = 0

    @property
    def most(self) -> int:
        """How far it is worth counting."""
        return max(100, COUNTED * self.above)

    @property
    def shape(self) -> Shape:
        return KINDS[self.kind]


class AlertRow(NamedTuple):
    """How a rule stands. `seq` grows with each change; who changes it must have seen the last."""

    name: str
    seq: int
    raised_at: int | None
    value: int


class AlertGiven(TypedDict, total=False):
    """What to watch, one of these:

    dead_letters   raised when more than so many jobs have failed for good `within` this time
    age            raised when the oldest ready job has waited longer
    depth          raised when more than so many jobs are ready
    error_rate     raised when more than this share (0.2 = a fifth) of the attempts that ended `within` this time
                   failed, of `at_least` so many (20)
    workers        raised when fewer than so many workers are alive (whoever is left tells; when none is, nobody can)
    schedule_late  raised when a schedule that is not paused is so far behind its time
    endpoints_disabled  raised when more than so many webhook endpoints have been disabled because they failed

    clear          resolved when it is no more than this (default: half of what raises it; workers: no fewer than
                   this, and by default all of them)
    queue          only of this queue (age, depth: without it, of any)
    task           only attempts and dead letters of this task
    """

    dead_letters: int
    error_rate: float
    within: Seconds
    at_least: int
    age: Seconds
    depth: int
    workers: int
    schedule_late: Seconds
    endpoints_disabled: int
    clear: Seconds
    queue: str
    task: str


def rule(name: str, given: Mapping[str, Any], tell: str | None = None) -> Rule:
    """A checked rule. ConfigurationError for one that could never ring, or never stop."""
    check_name(name, "the name of an alert")
    if unknown := sorted(set(given) - set(AlertGiven.__annotations__)):
        raise ConfigurationError(f"alert {name!r}: there is no {unknown[0]!r}; see AlertGiven")
    said = {part: value for part, value in given.items() if value is not None}
    kinds = [kind for kind in KINDS if kind in said]
    if len(kinds) != 1:
        raise ConfigurationError(f"alert {name!r}: say one of {', '.join(f'{kind}=…' for kind in KINDS)}")
    kind: Any = kinds[0]
    shape = KINDS[kind]
    for part in ("queue", "task"):
        if part in said:
            check_name(said[part], part)
    if wrong := sorted(set(said) - {kind, "clear", *shape.takes}):
        takes = ", ".join(shape.takes) or "nothing else"
        raise ConfigurationError(f"alert {name!r}: {wrong[0]} does not go with {kind}, which takes {takes}")
    if lacking := [part for part in shape.needs if part not in said]:
        raise ConfigurationError(f"alert {name!r}: {kind}={shown(said[kind])} within what time? {lacking[0]}=…")
    within = round(seconds(said["within"], "within") * SECOND) if "within" in said else 0
    if "within" in said and not within:
        raise ConfigurationError(f"alert {name!r}: within must be longer than 0 seconds")
    at_least = whole(said.get("at_least", 20), 1, MOST, "at_least") if "at_least" in shape.takes else 0
    above = _threshold(kind, said[kind], kind)
    low = (above if shape.below else above // 2) if "clear" not in said else _threshold(kind, said["clear"], "clear")
    if shape.below and (above == 0 or low < above):
        raise ConfigurationError(f"alert {name!r}: workers must be 1 or more, and clear no less than that")
    if not shape.below and low > above:
        raise ConfigurationError(f"alert {name!r}: clear must not be above {kind}")
    return Rule(name, kind, above, low, within, said.get("queue"), said.get("task"), tell, at_least)


def _threshold(kind: str, given: Any, said: str) -> int:
    if kind == "error_rate":
        return round(number(given, 0, 1, said) * PERMILLE)
    if KINDS[kind].unit == SECOND:
        return round(seconds(given, said) * SECOND)
    return whole(given, 0, MOST, said)


FORGOTTEN = 7 * DAY
"""µs after which a raised alert is forgotten that nobody watches: until then its rule may come back."""


def gone(rows: Iterable[AlertRow], watched: Collection[str] | None, now: int) -> list[AlertRow]:
    """Those to forget: no living worker watches them (`core.workers.watched`), and they are well, or were raised long
    ago. One process must not judge by the rules of its own: during a deploy there are two versions of them."""
    if watched is None:
        return []
    left = (row for row in rows if row.name not in watched)
    return [row for row in left if row.raised_at is None or row.raised_at < now - FORGOTTEN]


def lateness(rules: Iterable[Rule]) -> int:
    """µs behind its time from which on a schedule is called late: a minute, or less where a rule rings sooner."""
    return min((rule.above for rule in rules if rule.kind == "schedule_late" and rule.above < GRACE), default=GRACE)


def rate(failed: int, ended: int, at_least: int) -> int:
    """Of a thousand attempts, so many failed; 0 while fewer than `at_least` have ended."""
    return 0 if ended < max(1, at_least) else failed * PERMILLE // ended


def judge(rule: Rule, raised: bool, value: int) -> News | None:
    """What there is to tell, when the rule stands so and the value is that."""
    sign = -1 if rule.shape.below else 1
    if not raised:
        return "raised" if sign * value > sign * rule.above else None
    return "resolved" if sign * value <= sign * rule.clear else None


def detail(which: Sequence[str]) -> str:
    """The first few by name, and how many more: "nightly, weekly and 3 more". `which`: up to LISTED of them."""
    rest = len(which) - NAMED
    if rest <= 0:
        return ", ".join(which)
    return f"{', '.join(which[:NAMED])} and {'at least ' if len(which) >= LISTED else ''}{rest} more"


def alert(rule: Rule, news: News, value: int, now: int, since: int | None, which: Sequence[str] = ()) -> dict[str, Any]:
    """What is told, as plain data: ages in seconds, rates from 0 to 1, times as ISO 8601 text in UTC. `since`: when it
    was raised; `which`: the names of what it rings for, where they have some. Of kind "workers", `above` is what the
    value has fallen below."""
    unit = rule.shape.unit
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
    if rule.within:
        told |= {"within": rule.within / SECOND, "task": rule.task}
    if rule.shape.names:
        told["detail"] = detail(which)
    return told


def _time(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
