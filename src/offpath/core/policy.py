"""The options in force for one job: what its row carries over its task's, over its queue's, over the defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from .checks import flag
from .options import DEFAULT_TIMEOUT, UNSET, CallOptions, Queue, TaskOptions, Unset
from .retention import Retention, kept
from .retry import DEFAULT_BACKOFF, DEFAULT_MAX_ATTEMPTS, Backoff, Retry, check_max_attempts, seconds

__all__ = ("Policy", "Retention", "callback_of", "overrides", "parted", "resolve", "wants_answer", "with_attempts")


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
    for said in (UNSET if queue is None else queue.retention, task.retention):
        if not isinstance(said, Unset):
            retention = kept(retention, said)
    policy = Policy(attempts, retry.backoff, retry, limit, task.keep_result, retention)
    if overrides is None:
        return policy
    try:
        own: Mapping[str, Any] = json.loads(overrides)
        if "max_attempts" in own:
            given = check_max_attempts(own["max_attempts"])
            attempts = 1 if task.delivery == "at_most_once" else given
            policy = policy._replace(max_attempts=attempts)
        if "backoff" in own:
            policy = policy._replace(backoff=Backoff.from_json(own["backoff"]))
        if "timeout" in own:
            longest = own["timeout"]
            policy = policy._replace(timeout=None if longest is None else seconds(longest, "timeout"))
        if "keep_result" in own:
            policy = policy._replace(keep_result=flag(own["keep_result"], "keep_result"))
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
    if call.reply_to is not None:
        said["reply_to"] = call.reply_to
        if call.correlation is not None:
            said["correlation"] = call.correlation
    if not tenant:
        return json.dumps(said) if said else None
    # Text first: of most jobs that are some tenant's this is all there is, and each 202 comes by here.
    return json.dumps({**said, "tenant": tenant}) if said else f'{{"tenant": {json.dumps(tenant)}}}'


def with_attempts(options: str | None, max_attempts: int) -> str:
    """A row's options, with another budget of attempts; the backoff stays what it was."""
    check_max_attempts(max_attempts)
    try:
        return json.dumps(({} if options is None else json.loads(options)) | {"max_attempts": max_attempts})
    except (ValueError, TypeError, RecursionError) as unreadable:
        raise ConfigurationError(f"the stored options of the job cannot be read: {unreadable}") from unreadable


def parted(options: str | None) -> tuple[str | None, str]:
    """A row's options as two: what can be told of many jobs, and the tenant that this one is for ("" for none). Which
    tick of which schedule a job is belongs to neither (see `core.schedule.tick_of`), nor does who is to be told of its
    end (`core.answers`).

    Options that cannot be read are all of the first kind: `resolve` says what is wrong with them.
    """
    if options is None or ('"tenant"' not in options and '"tick"' not in options and _REPLY not in options):
        return options, ""
    try:
        said = json.loads(options)
        tenant = said.pop("tenant", "")
        for name in ("schedule", "tick", "reply_to", "correlation"):
            said.pop(name, None)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return options, ""
    return (json.dumps(said) if said else None), str(tenant)


def callback_of(options: str | None) -> str | None:
    """The callback URL in the options of a job's row (JSON text), if it has one."""
    if options is None or _CALLBACK not in options:
        return None
    try:
        said = json.loads(options).get("callback")
    except (ValueError, AttributeError, TypeError, RecursionError):  # they must not keep jobs from ending
        return None
    return said if isinstance(said, str) else None


def wants_answer(options: str) -> bool:
    """Whether somebody may have asked to be told of the end of the job with these options: `core.answers` looks."""
    return _REPLY in options


_CALLBACK, _REPLY = '"callback"', '"reply_to"'
