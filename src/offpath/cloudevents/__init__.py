"""CloudEvents 1.0.2: the value, and how it travels. Pure.

    message = encode(event, broker.kind)        # binary mode; SQS has room for the structured one only
    event = decode(message, broker.kind)        # either mode; Unreadable says what is wrong

event       the value and its rules
attributes  names and canonical text forms
data        the data ↔ the bytes of a message
structured  one JSON object; also how an event is kept in a store: `dumps`, `loads`
binary      headers and a body, for each broker
sending     `sealed`: what is filled in when an event is published; the limit of its size; its trace
reading     `of_type`: the data of an event that came, as the type somebody wants
carrying    an event as the argument of a task
"""

from __future__ import annotations

from typing import Any, Literal

from ..errors import ConfigurationError, Unreadable
from ..ports.broker import Message
from . import binary
from .attributes import canonical
from .event import CloudEvent
from .reading import of_type
from .sending import Sealed, completed, sealed, traced
from .structured import MEDIA_TYPE, OUT, dumps, loads

__all__ = [
    "CloudEvent",
    "Mode",
    "Sealed",
    "canonical",
    "completed",
    "decode",
    "dumps",
    "encode",
    "loads",
    "of_type",
    "sealed",
    "traced",
]

Mode = Literal["binary", "structured"]

KINDS = frozenset((*binary.PREFIXES, "sqs"))


def encode(event: CloudEvent[Any], kind: str, mode: Mode = "binary") -> Message:
    """A message for a broker of this kind ("redis", "rabbitmq", "kafka", "sqs", "http").

    Its data is plain or bytes, as `loads` gives them. The message's key is the event's `partitionkey`, which stays an
    attribute too (Kafka Binding 3.1), its id the event's. Over SQS, which allows ten attributes of a message, it is
    always structured.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"there is no broker of the kind {kind!r}")
    if mode == "structured" or kind == "sqs":
        return Message(dumps(event).encode(), {}, OUT, event.partitionkey, event.id)
    return binary.message(event, kind)


def decode(message: Message, kind: str) -> CloudEvent[Any]:
    """The event that a message of a broker of this kind is: structured when its content type begins with
    application/cloudevents, else binary. Its data is plain data when it is JSON, else bytes, or None.

    Unreadable: it is none, or of a version or format not known here, or damaged.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"there is no broker of the kind {kind!r}")
    type = (message.type or "").strip()
    bare = type.partition(";")[0].strip().lower()
    if bare == MEDIA_TYPE or (kind == "sqs" and (not bare or not bare.startswith("application/cloudevents"))):
        return loads(message.body, type)
    if bare.startswith("application/cloudevents-batch"):
        raise Unreadable("it is a batch of events, which nobody asked for")
    if bare.startswith("application/cloudevents"):
        raise Unreadable(f"its format is {bare}; offpath reads {MEDIA_TYPE}")
    return binary.event(message, kind)
