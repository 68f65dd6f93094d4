"""Binary mode: the attributes are headers, the body is the data. One prefix for each binding.

http      ce-            HTTP Protocol Binding 3.1: percent-encoded, names in any case
kafka     ce_            Kafka Protocol Binding 3.2: UTF-8
rabbitmq  cloudEvents_   AMQP Protocol Binding 3.1; `cloudEvents:` is read too
redis     ce_            there is no binding for it: Kafka's, in the fields of a stream's entry
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..core.checks import shown
from ..errors import Unreadable
from ..ports.broker import Message
from .attributes import assembled, attributes, canonical, required, stamp
from .data import read, written
from .event import CloudEvent
from .percent import decoded, encoded

PREFIXES: Mapping[str, tuple[str, ...]] = {
    "http": ("ce-",),
    "kafka": ("ce_",),
    "rabbitmq": ("cloudEvents_", "cloudEvents:"),
    "redis": ("ce_",),
}
"""What the headers of each broker begin with; the first is written, each is read."""

_MILLISECONDS = re.compile(r"[0-9]{1,14}")


def message(event: CloudEvent[Any], kind: str) -> Message:
    """The event in binary mode."""
    prefix = PREFIXES[kind][0]
    found = attributes(event)
    type = found.pop("datacontenttype", None)
    headers = {f"{prefix}{name}": canonical(value) for name, value in found.items()}
    if kind == "http":
        headers = {name: encoded(value) for name, value in headers.items()}
    body = written(event.data, event.datacontenttype)
    return Message(body, headers, None if type is None else str(type), event.partitionkey, event.id)


def event(message: Message, kind: str) -> CloudEvent[Any]:
    """The event of such a message. Unreadable for any other."""
    found: dict[str, str] = {}
    for header, value in message.headers.items():
        name = _attribute(header, kind)
        if name is None:
            continue
        if name in found:
            raise Unreadable(f"its header {shown(header)} is there twice")
        found[name] = decoded(value, header) if kind == "http" else value
    if not found:
        prefix = PREFIXES[kind][0]
        raise Unreadable(
            f"it is no CloudEvent: no header of it begins with {prefix}, and its content type "
            f"({shown(message.type)}) is not application/cloudevents+json"
        )
    if kind == "rabbitmq" and _MILLISECONDS.fullmatch(found.get("time", "")):
        found["time"] = stamp(datetime.fromtimestamp(int(found["time"]) / 1000, UTC))  # AMQP 1.0's timestamp
    type = message.type or found.get("datacontenttype")  # the header is not ours to write, but some do
    if type:
        found["datacontenttype"] = type
    required(found)  # told before anything that is wrong with the data
    return assembled(found, read(message.body, type))


def _attribute(header: str, kind: str) -> str | None:
    """Which attribute a header is; None: none."""
    if kind == "http":
        header = header.lower()
    for prefix in PREFIXES[kind]:
        if header.startswith(prefix):
            return header[len(prefix) :]
    return None
