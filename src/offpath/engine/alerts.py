"""The duties that watch the rules of `core/alerts.py`. Every worker looks; one of them tells."""

from __future__ import annotations

import os
from functools import partial

from ..core import alerts, lifecycle, workers
from ..core.ids import uuid7
from ..observe import signal
from ..ports import NewJob, Store, Verb
from ..tasks import Registry
from .clock import Clock


async def look(store: Store, registry: Registry, clock: Clock) -> None:
    """Read what each rule watches, and tell of what has changed: the change and the job that tells of it are one
    transaction, so that it is told once, and not lost with the worker that saw it."""
    for rule in registry.alerts:
        value, seen, now = await store.read(store.verbs.reading(rule))
        news = alerts.judge(rule, seen.raised_at is not None, value)
        if news is None:
            continue
        which = await store.read(store.verbs.which(rule, now)) if rule.shape.names else ()
        told = alerts.alert(rule, news, value, now, seen.raised_at, which)
        job = _job(registry, rule.tell, told, clock.now()) if rule.tell is not None else None
        if not await store.perform(
            partial(store.verbs.move_alert, seen, now if news == "raised" else None, value, job)
        ):
            continue  # another worker was quicker
        what = {"alert": rule.name, "kind": rule.kind, "value": told["value"], "above": told["above"]}
        if told.get("detail"):
            what["detail"] = told["detail"]
        if news == "raised":
            signal("alert.raised", **what)
        else:
            signal("alert.resolved", **what)


async def forget(store: Store) -> None:
    """Forget alerts whose rule no living worker has any more (renamed, removed): nobody else would resolve them."""

    def look() -> Verb[list[alerts.AlertRow]]:
        now, rows = yield from store.verbs.workers()
        return alerts.gone((yield from store.verbs.alerts()), workers.watched(rows), now)

    for row in await store.read(look()):
        await store.perform(partial(store.verbs.forget_alert, row))


def _job(registry: Registry, name: str, told: dict[str, object], now: int) -> NewJob:
    task = registry.get(name)
    assert task is not None, name  # noqa: S101 (it was there when the rule was made)
    call = task.call(told).core
    job, event = lifecycle.new(call, registry.queues.get(call.options.queue), now, uuid7(now, os.urandom(10)))
    return NewJob(job._replace(lane=registry.lane(job.task, job.queue, job.args)), event, None)
