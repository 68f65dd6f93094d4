"""An event as one JSON object (CloudEvents JSON Event Format 1.0.2): structured mode, and how it is kept in a store."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from ..codec.guards import plain_json
from ..core.checks import shown
from ..errors import Unreadable
from .attributes import assembled, attributes
from .data import is_json, parsed
from .event import JSON, CloudEvent

MEDIA_TYPE = "application/cloudevents+json"
OUT = f"{MEDIA_TYPE}; charset=utf-8"


def members(event: CloudEvent[Any]) -> dict[str, Any]:
    """The members of the object, in the specification's order: attributes, then `data` or `data_base64`.
    The data is plain or bytes already."""
    found: dict[str, Any] = attributes(event)
    if isinstance(event.data, bytes):
        found["data_base64"] = base64.b64encode(event.data).decode()
    elif event.data is not None:
        found["data"] = event.data
    return found


def dumps(event: CloudEvent[Any]) -> str:
    """The object as JSON text."""
    return plain_json(members(event)).decode()


def loads(text: str | bytes, type: str | None = None) -> CloudEvent[Any]:
    """The event of such a text. Unreadable for any other."""
    body = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    found, twice = parsed(body, type, "it")
    if isinstance(found, list):
        raise Unreadable("it is a batch of events, which nobody asked for")
    if not isinstance(found, dict):
        raise Unreadable(f"it is no CloudEvent but {shown(found)}")
    if twice:
        raise Unreadable("it is no CloudEvent: a member of it is there twice")
    return from_members(found)


def from_members(found: Mapping[str, Any]) -> CloudEvent[Any]:
    """The event of such an object. A member that is null is as good as absent."""
    set_ = {name: value for name, value in found.items() if value is not None}
    data, coded = set_.pop("data", None), set_.pop("data_base64", None)
    type = set_.get("datacontenttype")
    text = type if isinstance(type, str) else None
    if data is not None and coded is not None:
        raise Unreadable("it has both data and data_base64")
    if coded is not None:
        data = _decoded(coded)
        if is_json(text):
            data = parsed(data, text, "its data")[0] if data else None
    elif data is not None and text is None:
        set_.setdefault("datacontenttype", JSON)  # what the format implies, said aloud
    elif isinstance(data, str) and not is_json(text):
        data = data.encode()
    return assembled(set_, data)


def _decoded(coded: object) -> bytes:
    try:
        if isinstance(coded, str):
            return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise Unreadable(f"its data_base64 is no base64: {shown(coded)}")


def text_of(found: Mapping[str, Any]) -> str:
    """The members as JSON text."""
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))
