"""Every option of a task, a queue and a single call, and the order in which they win: call > task > queue > default.

To add an option: a field here, a line for it in the docstring of its class, its meaning in `core/`; only what *claim*
must see becomes a column. The tables in `docs/reference/options.md` are generated from this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from ..errors import ConfigurationError
from .checks import check_name, check_segment, flag, shown, whole
from .limits import Limit, at_once, check_limits
from .memory import memory as check_memory
from .retention import Keeps, check_keeps
from .retry import (
    Backoff,
    Retry,
    Seconds,
    check_backoff,
    check_max_attempts,
    seconds,
)

SECOND = 1_000_000  # µs
DAY = 86_400 * SECOND
DEFAULT_PRIORITY = 5
DEFAULT_TIMEOUT = 300.0
MAX_CRASHES = 3
SUSPECT = MAX_CRASHES - 1  # dead workers after which a job is handled with care: one more, and it is quarantined
MAX_URL = 2048

Delivery = Literal["at_least_once", "at_most_once"]
Executor = Literal["async", "thread", "process"]


class Unset:
    """The mark of an option that was not given (None can be a value: `timeout=None` means no timeout)."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()


@dataclass(frozen=True, slots=True)
class Queue:
    """A named line and the defaults of the jobs in it. None or UNSET = not said: offpath's default applies.

    name           1 to 255 characters
    weight         its share of the jobs that a worker starts while several of its queues have work (1 to 1000)
    priority       for tasks that do not say themselves; lower runs first
    max_attempts   for tasks without a `retry` of their own
    backoff        for tasks without a `retry` of their own
    timeout        of one attempt, for tasks that do not say themselves (None = none)
    retention      how long what has ended is kept, for tasks that do not say themselves; see there
    limit          how many of its jobs run at once, or start in a time: see `Limit`
    limits         several of them
    """

    name: str
    weight: int = field(default=1, kw_only=True)
    priority: int | None = field(default=None, kw_only=True)
    max_attempts: int | None = field(default=None, kw_only=True)
    backoff: Backoff | None = field(default=None, kw_only=True)
    timeout: Seconds | Unset | None = field(default=UNSET, kw_only=True)
    retention: Keeps | Unset = field(default=UNSET, kw_only=True)
    limit: Limit | None = field(default=None, kw_only=True)
    limits: Sequence[Limit] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        check_segment(self.name, "queue")
        whole(self.weight, 1, 1000, f"queue {self.name!r}: weight")
        if self.priority is not None:
            check_priority(self.priority)
        if self.max_attempts is not None:
            check_max_attempts(self.max_attempts)
        if self.backoff is not None:
            check_backoff(self.backoff)
        check_timeout(self.timeout)
        if not isinstance(self.retention, Unset):
            check_keeps(self.retention, f"queue {self.name!r}")
        object.__setattr__(self, "limits", check_limits(None, self.limits, f"queue {self.name!r}"))
        self.under  # noqa: B018 (made now, so that what is wrong is told here)

    @property
    def under(self) -> tuple[Limit, ...]:
        """All limits that it was given."""
        return check_limits(self.limit, self.limits, f"queue {self.name!r}")


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What `@jobs.task(...)` was given. None or UNSET = not said: the queue's default, then offpath's, applies.

    queue         where its jobs wait
    priority      lower runs first; -32768 to 32767
    retry         see `Retry`: one value, so it replaces a queue's max_attempts and backoff together
    timeout       of one attempt (None = none). A plain function in a thread hears of it only by `ctx.canceled`; if it
                  returns within `cancel_grace` all the same, it has succeeded
    deadline      how long after enqueue an attempt may still start; a job that is late then ends `failed`
    keep_result   False: the return value is thrown away
    delivery      "at_most_once": work that must never repeat; a worker's death or a failure ends the job `failed`
    retention     how long what has ended is kept: {"succeeded": …, "failed": …, "canceled": …, "operation": …}, as far
                  as it differs, or one duration for the succeeded and the canceled (None = until someone deletes it)
    limit         how many of its jobs run at once, or start in a time: see `Limit`
    limits        several of them
    max_concurrency  short for limit=Limit(concurrency=…)
    executor      "async", "thread" or "process" (see `docs/how-to/executors.md`); not said: the worker's loop for a
                  coroutine function, a thread for a plain one
    memory        what an attempt's process may hold, bytes or "512MiB"; one that holds more is killed and the attempt
                  has failed. Only with executor="process", and enforced on Linux
    """

    queue: str = "default"
    priority: int | None = None
    retry: Retry | None = None
    timeout: Seconds | Unset | None = UNSET
    deadline: Seconds | None = None
    keep_result: bool = True
    delivery: Delivery = "at_least_once"
    retention: Keeps | Unset = UNSET
    limit: Limit | None = None
    limits: Sequence[Limit] = ()
    max_concurrency: int | None = None
    executor: Executor | None = None
    memory: int | str | None = None

    def __post_init__(self) -> None:
        check_segment(self.queue, "queue")
        if self.priority is not None:
            check_priority(self.priority)
        if self.deadline is not None:
            seconds(self.deadline, "deadline")
        if self.delivery not in ("at_least_once", "at_most_once"):
            raise ConfigurationError(f'delivery must be "at_least_once" or "at_most_once", not {shown(self.delivery)}')
        if self.retry is not None:
            check_retry(self.retry)
            if self.delivery == "at_most_once":
                check_once(self.retry)
        check_timeout(self.timeout)
        flag(self.keep_result, "keep_result")
        if not isinstance(self.retention, Unset):
            check_keeps(self.retention, "task")
        object.__setattr__(self, "limits", check_limits(None, self.limits, "task"))
        self.under  # noqa: B018 (made now, so that what is wrong is told here)
        if self.executor not in (None, "async", "thread", "process"):
            raise ConfigurationError(f'executor must be "async", "thread" or "process", not {shown(self.executor)}')
        if self.memory is not None:
            check_memory(self.memory, "memory")
            if self.executor != "process":
                raise ConfigurationError('memory can only be limited in a process of its own: say executor="process"')

    @property
    def under(self) -> tuple[Limit, ...]:
        """All limits that it was given."""
        short = () if self.max_concurrency is None else (at_once(self.max_concurrency),)
        return check_limits(self.limit, (*self.limits, *short), "task")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What `task.using(...)` was given: this one job's options. `tx` is not here: it says where to write, not what.

    key           unique among the task's live jobs: while one lives, enqueue gives that one back, unless one of the
                  next three says more: then what has not begun takes the new arguments, and what is asked for while
                  one runs waits until that has ended
    debounce      with a `key`: run when nobody has called for so long
    max_wait      of a debounce: run so long after the first call at the latest
    throttle      with a `key`: run at once, and then not again before so long has passed, with the newest arguments
    latest        with a `key`: True: run in its turn, with the newest arguments
    delay         not before now + delay; not together with `run_at`
    run_at        not before this moment (an aware datetime)
    queue         instead of the task's
    priority      instead of the task's or the queue's
    deadline      a moment (an aware datetime) or a duration from now; no attempt starts after it
    retry         max_attempts and backoff for this job; `retry_on` and `give_up_on` stay the task's own
    timeout       of one attempt (None = none)
    keep_result   instead of the task's
    owner         whose work it is, for listing and erasure; not said: inside of an attempt the owner and tenant of its
                  job, anywhere else nobody's, as with None
    tenant        with an `owner`: which tenant's (not said: in no tenant)
    callback      of an operation: a URL that is sent a signed webhook when it ends (see `Webhooks`)
    reply_to      a queue of the broker that is sent a CloudEvent with the result, or the error, when the job ends
    correlation   what that event is marked with, so that whoever waits for it knows which it is
    """

    key: str | None = None
    debounce: Seconds | None = None
    max_wait: Seconds | None = None
    throttle: Seconds | None = None
    latest: bool = False
    delay: Seconds | None = None
    run_at: datetime | None = None
    queue: str | None = None
    priority: int | None = None
    deadline: datetime | Seconds | None = None
    retry: Retry | None = None
    timeout: Seconds | Unset | None = UNSET
    keep_result: bool | None = None
    owner: str | Unset | None = UNSET
    tenant: str | None = None
    callback: str | None = None
    reply_to: str | None = None
    correlation: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None:
            check_name(self.key, "key")
        if self.latest or self.debounce is not None or self.throttle is not None or self.max_wait is not None:
            _check_rule(self)
        else:
            flag(self.latest, "latest")
        if self.queue is not None:
            check_segment(self.queue, "queue")
        if self.owner is not None and not isinstance(self.owner, Unset):
            check_name(self.owner, "owner")
        if self.tenant is not None:
            check_name(self.tenant, "tenant")
            if self.owner is None or isinstance(self.owner, Unset):
                raise ConfigurationError("tenant says which tenant's owner it is: give owner too")
        if self.callback is not None:
            check_name(self.callback, "callback", MAX_URL)
        if self.reply_to is not None:
            check_name(self.reply_to, "reply_to", MAX_URL)
        if self.correlation is not None:
            check_name(self.correlation, "correlation", MAX_URL)
            if self.reply_to is None:
                raise ConfigurationError("correlation marks an answer: give reply_to too, the queue that waits for it")
        if self.priority is not None:
            check_priority(self.priority)
        if self.delay is not None:
            seconds(self.delay, "delay")
            if self.run_at is not None:
                raise ConfigurationError("give delay or run_at, not both")
        if self.retry is not None:
            check_retry(self.retry)
        check_timeout(self.timeout)
        if self.keep_result is not None:
            flag(self.keep_result, "keep_result")
        if self.run_at is not None:
            moment(self.run_at, "run_at")
        if isinstance(self.deadline, datetime):
            moment(self.deadline, "deadline")
        elif self.deadline is not None:
            seconds(self.deadline, "deadline")


class OnGiven(TypedDict, total=False):
    """`TaskOptions` as keyword arguments of `@jobs.on(…)`, where `queue` is the broker's."""

    priority: int | None
    retry: Retry | None
    timeout: Seconds | Unset | None
    deadline: Seconds | None
    keep_result: bool
    delivery: Delivery
    retention: Keeps | Unset
    limit: Limit | None
    limits: Sequence[Limit]
    max_concurrency: int | None
    executor: Executor | None
    memory: int | str | None


class TaskGiven(OnGiven, total=False):
    """Those of `@jobs.task(…)`."""

    queue: str


class CallGiven(TypedDict, total=False):
    """`CallOptions` as keyword arguments, as far as everybody who starts a job may give them."""

    key: str | None
    delay: Seconds | None
    run_at: datetime | None
    queue: str | None
    priority: int | None
    deadline: datetime | Seconds | None
    retry: Retry | None
    timeout: Seconds | Unset | None
    keep_result: bool | None


class OwnGiven(CallGiven, total=False):
    """Those of `task.using(…)`."""

    owner: str | None
    tenant: str | None
    debounce: Seconds | None
    max_wait: Seconds | None
    throttle: Seconds | None
    latest: bool
    reply_to: str | None
    correlation: str | None


class AcceptGiven(CallGiven, total=False):
    """Those of `accept.using(…)`: the owner is the caller."""

    callback: str | None
    reply_to: str | None
    correlation: str | None


def _check_rule(of: CallOptions) -> None:
    """What is to become of a call whose key is taken is one thing, and needs a key."""
    rules = {"debounce": of.debounce, "throttle": of.throttle, "latest": flag(of.latest, "latest") or None}
    said = [name for name, value in rules.items() if value is not None]
    if not said:
        raise ConfigurationError("max_wait is the longest that a debounce may come to: give debounce too")
    name, *more = said
    if more:
        raise ConfigurationError(f"give {name} or {more[0]}, not both: each says when a key may run")
    if of.key is None:
        raise ConfigurationError(f'{name} is one key\'s: give key too, for instance key="user:42"')
    for length in ("debounce", "throttle", "max_wait"):
        value = getattr(of, length)
        if value is not None and not seconds(value, length):
            raise ConfigurationError(f"{length} must be more than 0 seconds")
    if name != "latest" and (of.delay is not None or of.run_at is not None):
        raise ConfigurationError(f"{name} says when the job runs: leave delay and run_at out")
    if of.max_wait is not None:
        if of.debounce is None:
            raise ConfigurationError(f"max_wait is the longest that a debounce may come to, and this is {name}")
        if seconds(of.max_wait, "max_wait") < seconds(of.debounce, "debounce"):
            raise ConfigurationError("max_wait must not be shorter than debounce: it could never come to that")


def check_priority(value: object) -> int:
    return whole(value, -32768, 32767, "priority")


def check_retry(value: object) -> Retry:
    if not isinstance(value, Retry):
        raise ConfigurationError(f"retry must be a Retry, for instance Retry(max_attempts=5), not {shown(value)}")
    return value


def check_once(retry: Retry) -> None:
    """ConfigurationError for work that must never repeat and yet is to be tried again."""
    if retry.max_attempts > 1:
        raise ConfigurationError(
            f'delivery="at_most_once" is never tried again, so retry with max_attempts={retry.max_attempts} cannot go '
            "with it: leave retry out, or say max_attempts=1"
        )


def check_timeout(value: object) -> None:
    if isinstance(value, Unset) or value is None:
        return
    if not seconds(value, "timeout"):
        raise ConfigurationError("timeout must be more than 0 seconds (None: there is none)")


def check_names(options: Iterable[str], known: Any, *others: str) -> None:
    """ConfigurationError for an option that is none of those `known` (a TypedDict), nor of the `others`."""
    names = {*known.__optional_keys__, *others}
    if unknown := sorted(set(options) - names):
        raise ConfigurationError(f"there is no option {unknown[0]!r}; there are {', '.join(sorted(names))}") from None


def moment(value: object, what: str) -> int:
    """An aware datetime from 1970 to 9999 as µs since the epoch."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ConfigurationError(f"{what} must be an aware datetime (with a time zone), not {shown(value)}")
    delta = value - _EPOCH
    if not 0 <= delta.days < _DAYS:
        raise ConfigurationError(f"{what} must lie between 1970 and 9999, not {shown(value)}")
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_DAYS = (datetime.fromisoformat("9999-12-31T00:00:00+00:00") - _EPOCH).days  # what RFC 3339 can still write


def after(now: int, duration: Seconds) -> int:
    """now + duration, µs."""
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    return now + round(duration * SECOND)
