"""A message as the entry of a stream says it, and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ...errors import BrokerRefused
from ...ports import Message, Outgoing

LARGEST = 512 * 2**20  # bytes: proto-max-bulk-len, which ends the connection instead of refusing
BODY = "body"
FOREIGN_BODIES = ("data", "payload")
FIELDS = {
    "content-type": "type",
    "message-id": "id",
    "message-key": "key",
    "reply-to": "reply_to",
    "correlation-id": "correlation",
}
"""The fields of an entry that are no headers, and which part of the `Message` each is."""


def fields(message: Message) -> dict[str, bytes | str]:
    """The entry that says this message."""
    entry: dict[str, bytes | str] = dict(message.headers)
    for name, part in FIELDS.items():
        if (value := getattr(message, part)) is not None:
            entry[name] = value
    entry[BODY] = message.body
    return entry


def message(entry: Mapping[bytes, bytes]) -> Message:
    """The message that an entry says, whoever wrote it."""
    rest = {_text(name): value for name, value in entry.items()}
    parts = {part: _text(rest.pop(name)) for name, part in FIELDS.items() if name in rest}
    for name in (BODY, *FOREIGN_BODIES):
        if name in rest:
            body = rest.pop(name)
            return Message(body, {name: _text(value) for name, value in rest.items()}, **parts)
    headers = {name: _text(value) for name, value in rest.items()}
    return Message(json.dumps(headers).encode(), headers, **({"type": "application/json"} | parts))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def too_large(out: Outgoing) -> BrokerRefused | None:
    size = len(out.message.body)
    return (
        None if size <= LARGEST else BrokerRefused(f"Redis takes no value over 512 MiB, and this one has {size} bytes")
    )
