"""Every option of a task, a queue and a single call, and the order in which they win: call > task > queue > default.

To add an option: a field here, a line for it in the docstring of its class, its meaning in `core/`; only what *claim*
must see becomes a column. The tables in `docs/reference/options.md` are generated from this file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from ..errors import ConfigurationError
from .checks import flag, shown, whole
from .retry import (
    DEFAULT_BACKOFF,
    DEFAULT_MAX_ATTEMPTS,
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
MAX_NAME = 255
MAX_URL = 2048

Delivery = Literal["at_least_once", "at_most_once"]


class Unset:
    """The mark of an option that was not given (None can be a value: `timeout=None` means no timeout)."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()


@dataclass(frozen=True, slots=True)
class Queue:
    """A named line and the defaults of the jobs in it. None or UNSET = not said: offpath's default applies.

    name           1 to 255 characters
    weight         its share of a worker that serves several queues (1 to 1000)
    priority       for tasks that do not say themselves; lower runs first
    max_attempts   for tasks without a `retry` of their own
    backoff        for tasks without a `retry` of their own
    timeout        of one attempt, for tasks that do not say themselves (None = none)
    """

    name: str
    weight: int = field(default=1, kw_only=True)
    priority: int | None = field(default=None, kw_only=True)
    max_attempts: int | None = field(default=None, kw_only=True)
    backoff: Backoff | None = field(default=None, kw_only=True)
    timeout: Seconds | Unset | None = field(default=UNSET, kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.name, "queue")
        whole(self.weight, 1, 1000, f"queue {self.name!r}: weight")
        if self.priority is not None:
            check_priority(self.priority)
        if self.max_attempts is not None:
            check_max_attempts(self.max_attempts)
        if self.backoff is not None:
            check_backoff(self.backoff)
        check_timeout(self.timeout)


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What `@jobs.task(...)` was given. None or UNSET = not said: the queue's default, then offpath's, applies.

    queue         where its jobs wait
    priority      lower runs first; -32768 to 32767
    retry         see `Retry`: one value, so it replaces a queue's max_attempts and backoff together
    timeout       of one attempt (None = none)
    deadline      how long after enqueue an attempt may still start; a job that is late then ends `failed`
    keep_result   False: the return value is thrown away
    delivery      "at_most_once": work that must never repeat; a worker's death or a failure ends the job `failed`
    """

    queue: str = "default"
    priority: int | None = None
    retry: Retry | None = None
    timeout: Seconds | Unset | None = UNSET
    deadline: Seconds | None = None
    keep_result: bool = True
    delivery: Delivery = "at_least_once"

    def __post_init__(self) -> None:
        check_name(self.queue, "queue")
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


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What `task.using(...)` was given: this one job's options. `tx` is not here: it says where to write, not what.

    key           unique among the task's live jobs: while one lives, enqueue gives that one back
    delay         not before now + delay; not together with `run_at`
    run_at        not before this moment (an aware datetime)
    queue         instead of the task's
    priority      instead of the task's or the queue's
    deadline      a moment (an aware datetime) or a duration from now; no attempt starts after it
    retry         max_attempts and backoff for this job; `retry_on` and `give_up_on` stay the task's own
    timeout       of one attempt (None = none)
    keep_result   instead of the task's
    owner         whose work it is, for listing and erasure
    callback      a URL that is sent a signed webhook when the operation ends (see `Webhooks`)
    """

    key: str | None = None
    delay: Seconds | None = None
    run_at: datetime | None = None
    queue: str | None = None
    priority: int | None = None
    deadline: datetime | Seconds | None = None
    retry: Retry | None = None
    timeout: Seconds | Unset | None = UNSET
    keep_result: bool | None = None
    owner: str | None = None
    callback: str | None = None

    def __post_init__(self) -> None:
        if self.key is not None:
            check_name(self.key, "key")
        if self.queue is not None:
            check_name(self.queue, "queue")
        if self.owner is not None:
            check_name(self.owner, "owner")
        if self.callback is not None:
            check_name(self.callback, "callback", MAX_URL)
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


class Retention(NamedTuple):
    """How long what has ended is kept, µs; None = until someone deletes it.

    finished    jobs that succeeded or were canceled
    failed      dead letters: they do not vanish by themselves
    operation   jobs that HTTP shows, however they ended
    """

    finished: int | None = 7 * DAY
    failed: int | None = None
    operation: int | None = 30 * DAY


class Policy(NamedTuple):
    """The options in force for one job, resolved: all that `lifecycle` and the engine need."""

    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    backoff: Backoff = DEFAULT_BACKOFF
    retry: Retry = Retry()
    timeout: float | None = DEFAULT_TIMEOUT
    keep_result: bool = True
    retention: Retention = Retention()


def resolve(task: TaskOptions, queue: Queue | None, overrides: str | None, retention: Retention) -> Policy:
    """The policy of a job of `task` in `queue` whose row carries `overrides` (JSON text or None).

    ConfigurationError when the stored overrides cannot be read: that job fails, its neighbours run.
    """
    retry = task.retry or Retry(
        max_attempts=(queue and queue.max_attempts) or DEFAULT_MAX_ATTEMPTS,
        backoff=(queue and queue.backoff) or DEFAULT_BACKOFF,
    )
    timeout = task.timeout if not isinstance(task.timeout, Unset) else (queue.timeout if queue else UNSET)
    limit = DEFAULT_TIMEOUT if isinstance(timeout, Unset) else None if timeout is None else seconds(timeout, "timeout")
    attempts = 1 if task.delivery == "at_most_once" else retry.max_attempts
    policy = Policy(attempts, retry.backoff, retry, limit, task.keep_result, retention)
    if overrides is None:
        return policy
    try:
        said: Mapping[str, Any] = json.loads(overrides)
        if "max_attempts" in said:
            given = check_max_attempts(said["max_attempts"])
            attempts = 1 if task.delivery == "at_most_once" else given
            policy = policy._replace(max_attempts=attempts, backoff=Backoff.from_json(said["backoff"]))
        if "timeout" in said:
            longest = said["timeout"]
            policy = policy._replace(timeout=None if longest is None else seconds(longest, "timeout"))
        if "keep_result" in said:
            policy = policy._replace(keep_result=flag(said["keep_result"], "keep_result"))
    except (ConfigurationError, ValueError, TypeError, LookupError, RecursionError) as unreadable:
        raise ConfigurationError(f"the stored options of the job cannot be read: {unreadable}") from unreadable
    return policy


def overrides(call: CallOptions, tenant: str = "") -> str | None:
    """The part of a call's options that its row must carry, and the tenant it is for, as JSON text; None when there is
    none.

    A call's `retry` travels as numbers; which exceptions it retries stays the task's own (classes are never stored).
    """
    said: dict[str, Any] = {}
    if call.retry is not None:
        if call.retry.retry_on != (Exception,) or call.retry.give_up_on:
            raise ConfigurationError("retry_on and give_up_on belong to the task: classes are never stored with a job")
        said["max_attempts"] = call.retry.max_attempts
        said["backoff"] = call.retry.backoff.as_json()
    if not isinstance(call.timeout, Unset):
        said["timeout"] = None if call.timeout is None else seconds(call.timeout, "timeout")
    if call.keep_result is not None:
        said["keep_result"] = call.keep_result
    if call.callback is not None:
        said["callback"] = call.callback
    if not tenant:
        return json.dumps(said) if said else None
    # Text first: of most jobs that are some tenant's this is all there is, and each 202 comes by here.
    return json.dumps({**said, "tenant": tenant}) if said else f'{{"tenant": {json.dumps(tenant)}}}'


def parted(options: str | None) -> tuple[str | None, str]:
    """A row's options as two: what can be told of many jobs, and the tenant that this one is for ("" for none).

    Options that cannot be read are all of the first kind: `resolve` says what is wrong with them.
    """
    if options is None or '"tenant"' not in options:
        return options, ""
    try:
        said = json.loads(options)
        tenant = said.pop("tenant", "")
    except (ValueError, AttributeError, TypeError, RecursionError):
        return options, ""
    return (json.dumps(said) if said else None), str(tenant)


def callback_of(options: str | None) -> str | None:
    """The callback URL in the options of a job's row (JSON text), if it has one."""
    if options is None or _CALLBACK not in options:
        return None
    said = json.loads(options).get("callback")
    return said if isinstance(said, str) else None


_CALLBACK = '"callback"'


def check_name(value: object, what: str, most: int = MAX_NAME) -> str:
    """A name, key or owner: text of 1 to 255 characters without control characters or lone surrogates."""
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise ConfigurationError(f"{what} must be text of 1 to {most} characters, not {shown(value)}")
    if any(c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" for c in value):
        raise ConfigurationError(f"{what} must not contain control characters or surrogates: {shown(value)}")
    return value


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
    if not isinstance(value, Unset) and value is not None:
        seconds(value, "timeout")


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
