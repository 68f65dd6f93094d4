"""Context attributes by name, and their canonical text forms (CloudEvents 1.0.2, Type System)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..core.checks import shown
from ..errors import ArgumentError, Unreadable
from .event import CORE, SPECVERSION, CloudEvent, Extension

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-]\d\d:\d\d))", re.ASCII)
_BARE = frozenset(("id", "source", "type", "subject", "dataschema", "datacontenttype", "partitionkey"))


def attributes(event: CloudEvent[Any]) -> dict[str, Extension]:
    """All that are set, in the specification's order: text, and of extensions whole numbers and bools too."""
    found: dict[str, Extension | None] = {
        "id": event.id,
        "source": event.source,
        "specversion": SPECVERSION,
        "type": event.type,
        "datacontenttype": event.datacontenttype if event.data is not None else None,
        "dataschema": event.dataschema,
        "subject": event.subject,
        "time": None if event.time is None else stamp(event.time),
        "partitionkey": event.partitionkey,
        **event.extensions,
    }
    return {name: value for name, value in found.items() if value is not None}


def required(found: Mapping[str, object]) -> None:
    """Unreadable unless it is an event of our version."""
    version = found.get("specversion")
    if version is None:
        raise Unreadable("it is no CloudEvent: it has no specversion")
    if version != SPECVERSION:
        raise Unreadable(f"its specversion is {shown(version)}; this version of offpath reads {SPECVERSION}")
    for name in ("id", "source", "type"):
        if found.get(name) in (None, ""):
            raise Unreadable(f"it is no CloudEvent: it has no {name}")


def assembled(found: Mapping[str, object], data: object) -> CloudEvent[Any]:
    """The event with these attributes, in text or in JSON's own types. Unreadable for what is none."""
    required(found)
    time = found.get("time")
    given: dict[str, Any] = {name: found[name] for name in _BARE if name in found}
    given.setdefault("datacontenttype", None)
    extensions: dict[str, Any] = {name: value for name, value in found.items() if name not in (*CORE, "partitionkey")}
    for name, value in extensions.items():
        if not isinstance(value, str | int):
            raise Unreadable(f"its attribute {shown(name)} must be text, a whole number or a bool, not {shown(value)}")
    try:
        made = CloudEvent(data=data, time=None if time is None else moment(time), extensions=extensions, **given)
    except ArgumentError as wrong:
        raise Unreadable(f"its attribute {wrong.argument} {wrong.reason}") from None
    # The type of no data says nothing, and not every binding could carry it.
    return made if data is not None or made.datacontenttype is None else replace(made, datacontenttype=None)


def canonical(value: object) -> str:
    """An attribute's value as text: what each binding without types of its own carries, and what the client of a broker
    that has them (AMQP) makes of them, time stamps included."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")  # a surrogate is refused by whoever reads it
    return str(value)


def stamp(time: datetime) -> str:
    """RFC 3339, UTC as Z."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    text = time.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def moment(text: object) -> datetime:
    """RFC 3339. What a datetime cannot hold is cut off: a leap second, digits after the microsecond."""
    match = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Unreadable(f"its time must look like 2026-01-31T12:00:00Z, not {shown(text)}")
    day, minute, second, fraction, _, offset = match.groups()
    second = "59" if second == "60" else second
    try:
        return datetime.fromisoformat(f"{day}T{minute}:{second}.{(fraction or '')[:6]:0<6}{offset or '+00:00'}")
    except ValueError:
        raise Unreadable(f"its time is none: {shown(text)}") from None
