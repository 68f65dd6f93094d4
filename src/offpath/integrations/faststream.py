"""FastStream receives, offpath works: a subscriber whose messages become durable jobs, acknowledged once they are
committed. Slow work is then nobody's business but the workers': no visibility timeout, no rebalance ends it.

    broker = RabbitBroker("amqp://localhost")
    app = FastStream(broker)

    @subscriber(jobs, broker, "user-updates")        # what follows the broker is what `broker.subscriber` takes
    @jobs.task
    async def apply_user_update(userId: int, userData: dict[str, object]) -> None: ...

`faststream run app:app` receives; `offpath --app app:jobs worker` runs the jobs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from copy import copy
from time import monotonic
from typing import Any, TypeVar

from ..app import Offpath
from ..core.checks import shown
from ..errors import ConfigurationError, MissingExtraError, StoreUnavailable
from ..observe import signal
from ..ports import Message, Received, Source
from ..tasks import EventType, Task

try:
    from faststream import AckPolicy, Context
    from faststream.message import StreamMessage
except ImportError as e:
    raise MissingExtraError("offpath.integrations.faststream", "faststream") from e

T = TypeVar("T", bound=Task[..., Any])

KINDS = {"rabbit": "rabbitmq", "redis": "redis", "kafka": "kafka", "confluent": "kafka", "nats": "http"}
"""How CloudEvents are encoded, by FastStream's room for a broker (NATS has the headers of HTTP)."""

PATIENCE = 60.0  # s, those of the tries too, for the database to come back before a message is handed back
RETRY, RETRY_MOST = 0.1, 5.0  # s between two tries meanwhile
CLAIM = 60_000  # ms without an acknowledgement until a message of a Redis stream is claimed
CLAIM_LOOK = 1_000  # ms between two looks for such ones

OWN = frozenset({"correlation_id", "reply_to", "content-type", "message_id"})
"""Headers that FastStream writes into messages, where the protocol has no place for them."""

_MESSAGE = Context("message")


def subscriber(
    jobs: Offpath,
    broker: Any,
    *place: Any,
    types: tuple[str | EventType[Any], ...] = (),
    ordered: bool = False,
    **options: Any,
) -> Callable[[T], T]:
    """A decorator for a task of `jobs`: what `broker.subscriber(*place, **options)` receives becomes its jobs.

    broker   of FastStream: RabbitMQ, Redis, Kafka (either client) or NATS
    types    of CloudEvents, for a task that takes the event; without, a plain JSON object's members are its arguments
    ordered  jobs of one key (the event's `partitionkey`, or Kafka's key) one after the other, in the order in which the
             messages came: they are taken one at a time, on RabbitMQ by a channel of its own with `prefetch_count=1`.
             One process has to read (Kafka: one for each partition)

    A message is acknowledged when its job is committed, and makes at most one job however often it comes, as far as it
    has a name: a message id, the place in its topic or stream, a CloudEvent's source and id. What cannot be read, or
    does not fit, is kept for a dead letter, and acknowledged. While the database is away the message waits; after a
    minute it is handed back (nack), and FastStream's broker brings it again; Redis takes none back, so it waits on.
    FastStream's own validation, middlewares and replies see the raw bytes and answer nothing.

    Redis' pub/sub, lists and streams without a group know no acknowledgement: what is on its way there when this
    process dies is lost. Take a stream with a group: there a second subscriber, which is added here, claims what nobody
    has acknowledged for a minute.

    ConfigurationError for what cannot be.
    """
    kind = _kind(broker)
    for taken in ("ack_policy", "decoder"):
        if taken in options:
            raise ConfigurationError(f"{taken} is ours to say: a message is acknowledged when its job is committed")
    if ordered:
        options = _one_by_one(kind, options)
    readers = _readers(kind, options)
    patience = math.inf if kind == "redis" else PATIENCE

    def declare(task: T) -> T:
        if not isinstance(task, Task):
            raise ConfigurationError("@subscriber(…) goes above @jobs.task, not below it")
        where = _named(place, options)
        reading = jobs.bring(task, *types, source=Source(where, "queue", ""), ordered=ordered)
        told = ""  # once for each reason, however many messages wait

        async def receive(message: StreamMessage[Any] = _MESSAGE) -> None:
            nonlocal told
            one = received(message, where)
            began, pause = monotonic(), RETRY
            while True:
                try:
                    await jobs.take(kind, [one], reading)
                    told = ""
                    return
                except StoreUnavailable as error:
                    if (said := str(error)) != told:
                        told = said
                        signal("inbox.failed", broker=kind, source=where, error=said)
                    if monotonic() - began >= patience:
                        raise  # nack
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_MOST)

        receive.__name__ = task.fn.__name__
        receive.__doc__ = task.fn.__doc__
        quiet = {} if kind == "http" else {"no_reply": True}
        for each in readers:
            subscribe = broker.subscriber(*place, ack_policy=AckPolicy.NACK_ON_ERROR, decoder=_raw, **quiet, **each)
            subscribe(receive)
        return task

    return declare


def received(message: StreamMessage[Any], where: str) -> Received:
    """A message of FastStream's as brokers of ours hand them out. ConfigurationError for a batch."""
    if not isinstance(message.body, bytes | bytearray):
        raise ConfigurationError(f"{where}: batches are not taken; leave batch= out")
    raw = message.raw_message
    headers = {str(name): _text(value) for name, value in message.headers.items() if name not in OWN}
    id = message.headers.get("message_id") or getattr(raw, "message_id", None)
    key = _call(raw, "key")
    made = Message(
        bytes(message.body),
        headers,
        message.content_type,
        None if key is None else _text(key),
        None if id is None else _text(id),
    )
    return Received(made, None, _place(raw, where), where)


# -- inside ------------------------------------------------------------------------------------------------------------


def _kind(broker: Any) -> str:
    for base in type(broker).__mro__:
        parts = base.__module__.split(".")
        if parts[0] == "faststream" and len(parts) > 1 and parts[1] in KINDS:
            return KINDS[parts[1]]
    raise ConfigurationError(
        f"subscriber takes a broker of FastStream (RabbitMQ, Redis, Kafka, NATS), not {shown(broker)}"
    )


def _one_by_one(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """With these FastStream begins a message when the one before has been taken."""
    if kind != "kafka" and options.get("max_workers", 1) != 1:  # Kafka: one of them for each partition
        raise ConfigurationError("ordered=True takes one message after the other: leave max_workers out")
    if kind != "rabbitmq":
        return options

    from faststream.rabbit import Channel

    channel = options.get("channel") or Channel(prefetch_count=1)  # by itself it begins all that is there at once
    if channel.prefetch_count != 1:
        raise ConfigurationError(
            "ordered=True takes one message after the other: leave channel out, or give Channel(prefetch_count=1)"
        )
    return {**options, "channel": channel}


def _readers(kind: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """The options of each subscriber there is to be. On a Redis stream FastStream reads what is new to the group, and
    never again what a process had in hand when it was killed: that is for a second one to claim."""
    stream: Any = options.get("stream")
    if kind != "redis" or not getattr(stream, "group", ""):
        return [options]
    if stream.no_ack:
        raise ConfigurationError("no_ack is ours to say: a message is acknowledged when its job is committed")
    if stream.last_id != ">":  # and which of the two makes the group is left to chance
        raise ConfigurationError(
            "leave last_id out: with one FastStream reads nothing new once the group is there. To begin with what the "
            f"stream has already, make the group beforehand: XGROUP CREATE {stream.name} {stream.group} 0 MKSTREAM"
        )
    if stream.min_idle_time is not None or getattr(stream, "claim_min_idle_time", None) is not None:
        return [options]  # it claims
    claiming = copy(stream)
    claiming.min_idle_time, claiming.polling_interval = CLAIM, CLAIM_LOOK
    return [options, {**options, "stream": claiming, "include_in_schema": False}]


def _named(place: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    """What to call the place it reads: for logs, and for knowing a message again."""
    names = ("queue", "stream", "list", "channel", "topic", "subject")
    said = [*place, *(options[name] for name in names if name in options)]
    if not said:
        raise ConfigurationError("subscriber needs to know what to read, as broker.subscriber does")
    return str(getattr(said[0], "name", said[0]))


def _place(raw: Any, where: str) -> str:
    """Where it stands in its topic or stream; the name of the queue where messages have no place."""
    if isinstance(raw, Mapping):  # Redis
        ids = raw.get("message_ids") or [b""]
        return f"{where}@{_text(ids[0])}" if ids[0] else where
    offset = _call(raw, "offset")
    return where if offset is None else f"{_call(raw, 'topic')}/{_call(raw, 'partition')}@{offset}"


def _call(raw: Any, name: str) -> Any:
    """confluent-kafka has methods where aiokafka has attributes; other clients have neither."""
    said = None if isinstance(raw, Mapping) else getattr(raw, name, None)
    return said() if callable(said) else said


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


async def _raw(message: StreamMessage[Any]) -> Any:
    return message.body
