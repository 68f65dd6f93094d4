"""A message as AMQP says it, and back; which may be sent, and which of them together. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ...errors import BrokerRefused
from ...ports import Message, Outgoing, Received
from .frames import aiormq, commands, header

KEY = "message-key"
COUNT = "x-delivery-count"
PERSISTENT = 2
LONGEST = 128  # bytes of a header's name, says AMQP


def properties(message: Message) -> commands.Basic.Properties:
    headers: dict[str, Any] = dict(message.headers)
    if message.key is not None:
        headers[KEY] = message.key
    return commands.Basic.Properties(
        content_type=message.type,
        message_id=message.id,
        correlation_id=message.correlation,
        reply_to=message.reply_to,
        headers=headers,
        delivery_mode=PERSISTENT,
    )


def decode(delivered: aiormq.abc.DeliveredMessage, address: str, queue: str) -> Received:
    said = delivered.header.properties
    headers = {str(name): value for name, value in (said.headers or {}).items()}
    count = headers.pop(COUNT, None)
    key = headers.pop(KEY, None)
    if said.content_encoding:
        headers.setdefault("content-encoding", said.content_encoding)
    if isinstance(count, int):
        times = count + 1
    else:
        times = 0 if delivered.redelivered else 1
    tag = delivered.delivery_tag or 0
    message = Message(
        delivered.body,
        {name: text(value) for name, value in headers.items()},
        said.content_type or None,
        None if key is None else text(key),
        said.message_id or None,
        said.reply_to or None,
        said.correlation_id or None,
    )
    return Received(message, tag, f"{queue}#{tag}", address, times)


def text(value: object) -> str:
    """A header of any type of AMQP's, as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping | list):
        return json.dumps(value, default=text, ensure_ascii=False)
    return "" if value is None else str(value)


def tag_of(received: Received) -> int:
    return received.tag if isinstance(received.tag, int) else 0


def fits(out: Outgoing, frame: int) -> None:
    """BrokerRefused for what ends the connection instead of being refused: headers that fill more than one frame."""
    try:
        size = len(header.ContentHeader(body_size=0, properties=properties(out.message)).marshal())
    except Exception as e:
        raise BrokerRefused(f"AMQP cannot say this: {e}") from e
    if any(len(name.encode()) > LONGEST for name in out.message.headers):
        raise BrokerRefused(f"the name of a header has {LONGEST} bytes at most")
    if size + 8 > frame:
        raise BrokerRefused(f"the headers have {size} bytes, and RabbitMQ takes {frame - 8} at most")


def runs(outgoing: Sequence[Outgoing], *, alone: bool = False) -> list[list[int]]:
    """Places of what may be sent together: what comes back from the server is known by its id alone. `alone`: each is
    to be sent by itself."""
    found: list[list[int]] = []
    ids: set[str | None] = set()
    for place, out in enumerate(outgoing):
        if not found or alone or (out.message.id is not None and out.message.id in ids):
            found.append([])
            ids.clear()
        ids.add(out.message.id)
        found[-1].append(place)
    return found
