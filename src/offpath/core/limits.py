"""A limit on how many jobs run at once, or start in a time; and what of it a job's row must carry. Pure.

A limit counts in buckets: one, or one for each value of the argument that `per` names. A job's lane is the text of all
its buckets, the widest first; jobs of one lane are in the same buckets, wait in one line, and lines take turns. The
numbers of a limit are not in the lane: they are looked up by its name when a job is claimed, so that a deploy can
change them for jobs that wait already.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import ArgumentError, ConfigurationError
from .checks import shown, whole
from .retry import Seconds, seconds

MOST = 1_000_000
MOST_LIMITS = 6  # of one job: its lane is in an index, whose entries the stores bound
MAX_VALUE = 255  # characters of a value that jobs are limited by, as JSON
MAX_PERIOD = 366 * 86_400.0  # s
MAX_PART = 96  # bytes of a name or a value as a lane has it
SECOND = 1_000_000  # µs
BETWEEN, WITHIN = "\n", "\t"  # buckets of a lane; a limit's name and the value, in a bucket

Per = str | Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many jobs may run at once, or start in a time, over all workers: `Limit(concurrency=4)`,
    `Limit(rate=10, period=1)`, `Limit(per="tenant_id", concurrency=2)`. On a task, a queue, or all of an application.

    concurrency  jobs that run at once (1 to 1,000,000)
    rate         jobs that start in each `period`, evenly spaced unless there is a `burst` (1 to 1,000,000)
    period       seconds or a timedelta
    burst        how many may start at once after a rest; in no window of `period` start more than rate + burst - 1
    per          a parameter of the task, "tenant_id", or a field of one, "order.customer": each value has a limit of
                 its own. Or a function of the arguments as they are stored (a dict of plain JSON)
    name         tasks and queues whose limits have the same name share it (1 to 255 characters)

    ConfigurationError when there is nothing to limit, or a number is out of range. The rate is GCRA, the "virtual
    scheduling" of ITU-T I.371; it counts starts, by the database's clock.
    """

    concurrency: int | None = None
    rate: int | None = None
    period: Seconds = 1.0
    burst: int = 1
    per: Per | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.concurrency is None and self.rate is None:
            raise ConfigurationError("a Limit needs concurrency=… (jobs at once), rate=… (starts in a period), or both")
        if self.concurrency is not None:
            whole(self.concurrency, 1, MOST, "Limit concurrency")
        if self.rate is not None:
            whole(self.rate, 1, MOST, "Limit rate")
        elif self.burst != 1:
            raise ConfigurationError("Limit burst says how many may start at once under a rate: give rate=… with it")
        whole(self.burst, 1, MOST, "Limit burst")
        length = seconds(self.period, "Limit period")
        if not 0.001 <= length <= MAX_PERIOD:
            raise ConfigurationError(f"Limit period must be from 1 ms to 366 days, not {shown(self.period)}")
        object.__setattr__(self, "period", length)
        if isinstance(self.per, str):
            if not all(part.isidentifier() for part in self.per.split(".")):
                raise ConfigurationError(
                    f'Limit per must name a parameter, "tenant_id", or a field of one, "order.customer", not '
                    f"{shown(self.per)}"
                )
        elif self.per is not None and not callable(self.per):
            raise ConfigurationError(f"Limit per takes a name or a function of the arguments, not {shown(self.per)}")
        name: object = self.name
        if name is not None and not (isinstance(name, str) and 1 <= len(name) <= MAX_VALUE and name.isprintable()):
            raise ConfigurationError(
                f"Limit name must be printable text of 1 to {MAX_VALUE} characters, not {shown(name)}"
            )
        if callable(self.per) and self.name is None:
            raise ConfigurationError("a Limit whose per is a function needs a name=…: what waits is filed under it")


def at_once(jobs: object) -> Limit:
    """What `max_concurrency=4` is short for."""
    return Limit(concurrency=whole(jobs, 1, MOST, "max_concurrency"))


class Rule(NamedTuple):
    """The numbers of a limit, as the store has them.

    spacing   µs between two starts; None: no rate
    burst     how many starts may be ahead of that
    """

    name: str
    concurrency: int | None
    spacing: int | None
    burst: int


class Placed(NamedTuple):
    """A limit where it was declared, under the name that its numbers are stored by."""

    name: str
    limit: Limit

    @property
    def rule(self) -> Rule:
        limit = self.limit
        interval: int | None = None
        if limit.rate is not None:  # rounded up: never a µs too early
            interval = -(-round(seconds(limit.period, "Limit period") * SECOND) // limit.rate)
        return Rule(self.name, limit.concurrency, interval, limit.burst)


def check_limits(limit: object, limits: object, what: str) -> tuple[Limit, ...]:
    """What was given as `limit=` and `limits=`, as one tuple."""
    if limit is not None and not isinstance(limit, Limit):
        raise ConfigurationError(f"{what}: limit takes a Limit, for instance Limit(concurrency=4), not {shown(limit)}")
    if not isinstance(limits, Iterable) or isinstance(limits, str | bytes):
        raise ConfigurationError(f"{what}: limits takes a list of Limit values, not {shown(limits)}")
    given: tuple[object, ...] = (*(() if limit is None else (limit,)), *limits)
    checked: list[Limit] = []
    for one in given:
        if not isinstance(one, Limit):
            raise ConfigurationError(f"{what}: limits takes Limit values, not {shown(one)}")
        checked.append(one)
    if len(checked) > MOST_LIMITS:
        raise ConfigurationError(f"{what}: a job can be under {MOST_LIMITS} limits, not {len(checked)}")
    return tuple(checked)


def place(limits: Sequence[Limit], scope: str) -> tuple[Placed, ...]:
    """Names for limits declared at `scope` ("all", "queue:mail", "task:render")."""
    found: list[Placed] = []
    seen: dict[str, int] = {}
    for limit in limits:
        if limit.name is not None:
            name = f"limit:{limit.name}"
        else:
            name = scope if limit.per is None else f"{scope}/{limit.per}"
        seen[name] = nth = seen.get(name, 0) + 1
        if nth > 1 and limit.name is not None:
            raise ConfigurationError(f"{scope}: two limits are called {limit.name!r}; give each a name of its own")
        found.append(Placed(short(name if nth == 1 else f"{name}#{nth}"), limit))
    return tuple(found)


def agree(placed: Iterable[Placed]) -> dict[str, Rule]:
    """The rule of every limit, by name. ConfigurationError when one name stands for different numbers."""
    rules: dict[str, Rule] = {}
    for one in placed:
        rule = one.rule
        if rules.setdefault(one.name, rule) != rule:
            raise ConfigurationError(
                f"limit {one.limit.name or one.name!r} is declared twice with different numbers: make it one Limit "
                "and use it in both places"
            )
    return rules


def bucket(name: str, value: object, parameter: str) -> str:
    """Where a limit counts jobs with this value of `parameter`. ArgumentError for what cannot be one."""
    if value is not None and not isinstance(value, str | int | float):
        raise ArgumentError(
            parameter, f"is {shown(value)}, and jobs are limited by text, a number, True, False or None: limit them "
            f"per a field of it, {parameter}.…"
        )  # fmt: skip
    if isinstance(value, str) and len(value) > MAX_VALUE:  # a look before it is copied: it may be large
        raise ArgumentError(parameter, f"has {len(value)} characters, and jobs are limited by at most {MAX_VALUE}")
    return f"{name}{WITHIN}{short(json.dumps(value, ensure_ascii=False))}"


def field(values: Mapping[str, Any], path: str) -> Any:
    """The stored argument, or the field of one, that `path` names. ArgumentError when there is no such field."""
    parameter, *rest = path.split(".")
    found: Any = values.get(parameter)
    for part in rest:
        if not isinstance(found, Mapping) or part not in found:
            raise ArgumentError(parameter, f"has no field {part!r} ({path}), which its jobs are limited by")
        found = found[part]
    return found


def lane_of(placed: Sequence[Placed], values: Mapping[str, Any]) -> str:
    """The lane of a job with these stored arguments (defaults among them) under these limits, the widest first. A limit
    that holds for the job on two accounts, by its name, is one."""
    buckets: list[str] = []
    for name, limit in placed:
        per = limit.per
        if per is None:
            buckets.append(name)
        elif isinstance(per, str):
            buckets.append(bucket(name, field(values, per), per))
        else:
            try:
                value = per(values)
            except Exception as error:
                raise ArgumentError("", f"limit {limit.name!r} has no key for them: {error!r}") from error
            buckets.append(bucket(name, value, limit.name or name))
    if len(buckets) > MOST_LIMITS:
        raise ConfigurationError(
            f"a job can be under {MOST_LIMITS} limits; its task, its queue and the application have {len(buckets)}"
        )
    return BETWEEN.join(dict.fromkeys(buckets))


def buckets_of(lane: str) -> list[str]:
    return lane.split(BETWEEN)


def rule_name(bucket: str) -> str:
    return bucket.partition(WITHIN)[0]


def short(text: str) -> str:
    """The same text for the same text, in at most 96 bytes, without what separates buckets."""
    text = text.replace(BETWEEN, " ").replace(WITHIN, " ")
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_PART:
        return text
    digest = hashlib.sha256(raw).hexdigest()[:32]
    return f"{raw[: MAX_PART - 36].decode('utf-8', 'ignore')}…{digest}"
