"""A message as SQS carries it, and back. Pure; the rules are in the docstring of `brokers.sqs`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from ...ports import Message

OWN = {
    "content-type": "type",
    "message-id": "id",
    "message-key": "key",
    "reply-to": "reply_to",
    "correlation-id": "correlation",
}
"""Attribute → field of Message."""
ENCODING, HEADERS = "body-encoding", "headers"
ATTRIBUTES = 10  # of one message
ENTRIES = 10  # of one batch
TOTAL = 256 * 1024  # bytes of one batch; SQS allows 1 MiB today, servers that copy it may not
LARGEST = 2**20  # bytes of a message
ALONE = "offpath:"  # begins the MessageGroupId of a message without a key

_ATTRIBUTE = re.compile(r"(?!AWS\.|Amazon\.|\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)", re.IGNORECASE)
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GROUP = re.compile(r"[!-~]{1,128}")

T = TypeVar("T")


class Entry(NamedTuple):
    """What is sent, without its `Id` in the batch, and how many bytes it counts."""

    fields: dict[str, Any]
    size: int


def encode(message: Message, fifo: bool) -> Entry:
    attributes = {name: value for name, part in OWN.items() if (value := getattr(message, part)) is not None}
    body = _text(message.body)
    if body is None:
        attributes[ENCODING] = "base64"
        body = base64.b64encode(message.body).decode() or "\n"  # no body may be empty
    unfit = any(name in attributes or not _fits(name, value) for name, value in message.headers.items())
    if unfit or len(attributes) + len(message.headers) > ATTRIBUTES:
        attributes[HEADERS] = json.dumps(dict(message.headers), ensure_ascii=True)
    else:
        attributes.update(message.headers)
    fields: dict[str, Any] = {"MessageBody": body}
    # A text that SQS does not take as a value, such as an empty one, goes as bytes.
    fields["MessageAttributes"] = {
        name: {"DataType": "String", "StringValue": value}
        if _fits(name, value)
        else {"DataType": "Binary", "BinaryValue": _bytes(value)}
        for name, value in attributes.items()
    }
    if fifo:
        fields["MessageGroupId"] = ALONE + uuid4().hex if message.key is None else _name(message.key)
        fields["MessageDeduplicationId"] = uuid4().hex if message.id is None else _name(message.id)
    size = len(body.encode()) + sum(len(f"{name}String{value}".encode()) for name, value in attributes.items())
    return Entry(fields, size)


def decode(said: Mapping[str, Any]) -> Message:
    """One message of ReceiveMessage."""
    attributes = {name: _value(value) for name, value in (said.get("MessageAttributes") or {}).items()}
    own = {part: attributes.pop(name, None) for name, part in OWN.items()}
    body = str(said.get("Body") or "")
    raw = body.encode("utf-8", "surrogatepass")
    if attributes.get(ENCODING) == "base64":
        try:
            raw = base64.b64decode(body)
            del attributes[ENCODING]
        except binascii.Error:
            pass  # then it is somebody else's word
    headers = _packed(attributes.get(HEADERS))
    if headers is not None:
        del attributes[HEADERS]
    group = (said.get("Attributes") or {}).get("MessageGroupId")
    if own["key"] is None and group is not None and not group.startswith(ALONE):
        own["key"] = group
    if own["id"] is None:
        own["id"] = said.get("MessageId")
    return Message(raw, {**attributes, **(headers or {})}, **own)


def batches(items: Iterable[tuple[T, Entry]]) -> Iterator[list[tuple[T, Entry]]]:
    """In order, as many together as one request takes; of a FIFO queue's group one at a time, for SQS may take what
    follows and fail at what is before it."""
    batch: list[tuple[T, Entry]] = []
    groups: set[str] = set()
    size = 0
    for item in items:
        group = item[1].fields.get("MessageGroupId")
        if batch and (len(batch) == ENTRIES or size + item[1].size > TOTAL or group in groups):
            yield batch
            batch, size = [], 0
            groups.clear()
        batch.append(item)
        if group is not None:
            groups.add(group)
        size += item[1].size
    if batch:
        yield batch


def _text(body: bytes) -> str | None:
    """The body as SQS takes it; None when it takes it not, or not as it is."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if not text or _UNFIT.search(text) else text


def _fits(name: str, value: str) -> bool:
    return bool(value) and _ATTRIBUTE.fullmatch(name) is not None and not _UNFIT.search(value)


def _name(text: str) -> str:
    """A text as an id or a group: as it is when SQS takes it, else its hash."""
    if _GROUP.fullmatch(text) and not text.startswith(ALONE):
        return text
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _bytes(value: str) -> bytes:
    """None may be empty: what is nothing but zeros, or nothing, gets one more."""
    data = value.encode("utf-8", "replace")
    return data if data.strip(b"\0") else data + b"\0"


def _value(attribute: Mapping[str, Any]) -> str:
    text = attribute.get("StringValue")
    if text is not None:
        return str(text)
    data: bytes = attribute.get("BinaryValue") or b""
    return (data if data.strip(b"\0") else data[1:]).decode("utf-8", "replace")


def _packed(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
        return found
    return None
