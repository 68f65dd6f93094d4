"""`jobs.publish`: what has happened is told to other applications."""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..cloudevents import CloudEvent, sealed, traced
from ..cloudevents.event import MAX_BYTES
from ..cloudevents.sending import written
from ..core import call as core
from ..core.checks import check_name, shown
from ..core.options import CallOptions
from ..core.outbox import MOST, TASK, shard_of
from ..errors import ArgumentError
from ..observe import meters
from ..ports.outbox import NewEvent
from ..tasks import Job
from ..tracing import current
from .desk import Counter, at_once, fresh_id

_NO_OPTIONS = CallOptions(owner=None)  # what has happened is told, whoever its cause was and whatever becomes of them


class Publishing:
    """A part of `Offpath`."""

    _desk: Counter

    def _begin_to_publish(self) -> None:
        """Who has no broker has no such tasks, and pays for none."""
        if self._desk.settings.broker or self._desk.settings.transport:
            from .posting import register

            register(self._desk)

    async def publish(self, event: CloudEvent[Any], *, tx: object | None = None, to: str | None = None) -> Job[None]:
        """Write an event, and the job that sends it, in your transaction `tx` or in one of its own. When it commits,
        the event will be sent, at least once, however long the broker is away; when it does not, nobody hears of it.

        Events with the same `partitionkey` are sent in the order of their commits: whoever publishes for a key waits
        until an open transaction that has done so has ended. What the event leaves open (id, source, time) is filled
        in. It goes to `to`, or the topic its type was declared with (`jobs.event`), or the application's.

        The job ends when the broker has the event. One that the broker will not take ends `failed`, and
        `jobs.retry(id)` sends it again, then out of order. ConfigurationError without a broker; ArgumentError for what
        cannot be an event: without a source, data that does not fit, more than 64 KiB.
        """
        (job,) = await self.publish_many([event], tx=tx, to=to)
        return job

    async def publish_many(
        self, events: Sequence[CloudEvent[Any]], *, tx: object | None = None, to: str | None = None
    ) -> list[Job[None]]:
        """Up to 1,000 events in one round trip and one transaction; the jobs come in the order of the events."""
        return await _write(self._desk, [_event(self._desk, event, to) for event in _several(events)], tx)

    def publish_sync(self, event: CloudEvent[Any], *, tx: object | None = None, to: str | None = None) -> Job[None]:
        """`publish`, blocking."""
        (job,) = self.publish_many_sync([event], tx=tx, to=to)
        return job

    def publish_many_sync(
        self, events: Sequence[CloudEvent[Any]], *, tx: object | None = None, to: str | None = None
    ) -> list[Job[None]]:
        """`publish_many`, blocking."""
        return _write_sync(self._desk, [_event(self._desk, event, to) for event in _several(events)], tx)

    async def send(self, queue: str, data: object, *, key: str | None = None, tx: object | None = None) -> Job[None]:
        """Write a plain JSON message for a queue of the broker, and the job that sends it: for consumers that know
        nothing of CloudEvents. All else is as with `publish`; messages of one `key` keep the order of their commits."""
        (job,) = await _write(self._desk, [_plain(self._desk, queue, data, key)], tx)
        return job

    def send_sync(self, queue: str, data: object, *, key: str | None = None, tx: object | None = None) -> Job[None]:
        """`send`, blocking."""
        (job,) = _write_sync(self._desk, [_plain(self._desk, queue, data, key)], tx)
        return job


# -- from an event to its rows -----------------------------------------------------------------------------------------


def _several(events: object) -> list[CloudEvent[Any]]:
    if isinstance(events, str | bytes) or not isinstance(events, Sequence):
        raise ArgumentError("events", f"must be a list of CloudEvents, not {shown(events)}")
    for event in events:
        if not isinstance(event, CloudEvent):
            raise ArgumentError("event", f"must be a CloudEvent, not {shown(event)}")
    if len(events) > MOST:
        raise ArgumentError("events", f"may be {MOST:,} in one call, not {len(events):,}: publish them in several")
    return list(events)


def _event(desk: Counter, event: CloudEvent[Any], to: str | None) -> NewEvent:
    declared = desk.registry.events.get(event.type)
    now = desk.store.now()
    made = sealed(
        traced(event, current()),
        None if declared is None else declared.shape,
        source=desk.settings.source,
        id=fresh_id(now),
        time=datetime.fromtimestamp(now / 1e6, UTC),
    )
    topic = check_name(to, "to", 2048) if to is not None else declared.topic if declared is not None else ""
    return _new(desk, made.id, made.key, topic or desk.settings.topic, made.type, made.text)


def _plain(desk: Counter, queue: str, data: object, key: str | None) -> NewEvent:
    check_name(queue, "queue", 2048)
    if key is not None:
        check_name(key, "key")
    text = written(data, None)
    if (size := len(text.encode())) > MAX_BYTES:
        raise ArgumentError("data", f"takes {size:,} bytes, more than {MAX_BYTES:,}: send where it can be fetched")
    return _new(desk, fresh_id(desk.store.now()), key, queue, "", text, plain=True)


def _new(
    desk: Counter, id: str, key: str | None, address: str, subject: str, text: str, *, plain: bool = False
) -> NewEvent:
    from .posting import publishes

    shard = shard_of(key, random.random())
    call = core.Call(TASK, 1, json.dumps({"event": id, "shard": shard}), publishes(desk).options, _NO_OPTIONS)
    return NewEvent(id, shard, key, address, subject, plain, plain, text, desk.new_job(call))


# -- writing -----------------------------------------------------------------------------------------------------------


async def _write(desk: Counter, events: Sequence[NewEvent], tx: object | None) -> list[Job[None]]:
    if not events:
        return []
    if desk.instead is not None:
        return await desk.instead.publish(events, tx)
    verbs = desk.store.verbs
    if tx is None:
        await desk.store.perform(lambda: verbs.publish(events))
    else:
        answer: Any = desk.store.run_on(tx, verbs.publish(events))
        if inspect.isawaitable(answer):
            await answer
    _count(events)
    return _jobs(desk, events)


def _write_sync(desk: Counter, events: Sequence[NewEvent], tx: object | None) -> list[Job[None]]:
    if not events:
        return []
    if desk.instead is not None:
        return desk.instead.publish_sync(events, tx)
    verbs = desk.store.verbs
    if tx is None:
        desk.store.perform(lambda: verbs.publish(events)).result()
    else:
        at_once(desk.store.run_on(tx, verbs.publish(events)), tx)
    _count(events)
    return _jobs(desk, events)


def _count(events: Sequence[NewEvent]) -> None:
    if meters.on is not None:
        meters.on.enqueued((event.new.job.queue, event.new.job.task) for event in events)


def _jobs(desk: Counter, events: Sequence[NewEvent]) -> list[Job[None]]:
    return [Job(desk, event.new.job.id, TASK) for event in events]
