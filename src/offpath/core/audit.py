"""What people do to an application's jobs, as the audit log names it. Pure.

An act is written in the transaction of what it tells of: either both are there or neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from .checks import check_name, shown

ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "job.cancel": "asked a job to stop",
        "job.retry": "ran a job again",
        "job.delete": "erased a job",
        "job.arguments": "looked at a job's arguments and result",
        "jobs.cancel": "began to stop many jobs",
        "jobs.retry": "began to run many jobs again",
        "jobs.delete": "began to erase many jobs",
        "jobs.cancel.ended": "came to the end of stopping many jobs",
        "jobs.retry.ended": "came to the end of running many jobs again",
        "jobs.delete.ended": "came to the end of erasing many jobs",
        "queue.pause": "paused a queue",
        "queue.resume": "let a queue go on",
        "queue.drain": "paused a queue, to wait until nothing of it runs",
        "schedule.put": "created or changed a schedule",
        "schedule.pause": "paused a schedule",
        "schedule.resume": "let a schedule go on",
        "schedule.run": "ran a schedule's job now",
        "schedule.delete": "removed a schedule",
        "endpoint.enable": "enabled a webhook endpoint",
        "endpoint.disable": "disabled a webhook endpoint",
        "endpoint.delete": "deleted a webhook endpoint",
        "endpoint.test": "sent a test to a webhook endpoint",
        "endpoint.resend": "sent webhooks again",
        "endpoint.rotate": "gave a webhook endpoint a new secret",
        "owner.export": "exported what is kept of an owner",
        "owner.purge": "erased what is kept of an owner",
    }
)
"""Action → what its actor did."""


class Actor(NamedTuple):
    """Who acts: by `id` of that tenant, as owners of jobs are (`core.job.Principal`); tenant None: no owner's name."""

    id: str
    tenant: str | None


class Act(NamedTuple):
    """target: the id of a job or an endpoint, the name of a queue or a schedule; of many jobs, the id of the job that
    sees to it, or "". tenant: the actor's, see `Actor`.
    """

    actor: str
    action: str
    target: str = ""
    data: Mapping[str, Any] = MappingProxyType({})
    tenant: str | None = None


class ActRow(NamedTuple):
    """An act as stored: `at` is µs, `data` JSON text."""

    id: str
    at: int
    actor: str
    action: str
    target: str
    data: str
    tenant: str | None = None


class ActFilter(NamedTuple):
    """All given parts must hold."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None


def acts(actor: str | None, action: str | None, target: str | None) -> ActFilter:
    """ConfigurationError for what no act can have."""
    for name, value in (("actor", actor), ("target", target)):
        if value is not None:
            check_name(value, name, 4096)
    if action is not None and action not in ACTIONS:
        raise ConfigurationError(f"an action is one of {', '.join(ACTIONS)}, not {shown(action)}")
    return ActFilter(actor, action, target)
