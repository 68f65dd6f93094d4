"""`CloudEvent`: something that happened, as other applications are told of it (CloudEvents 1.0.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar, get_args

from ..core.checks import shown
from ..errors import ArgumentError

T = TypeVar("T")

JSON = "application/json"
SPECVERSION = "1.0"
NAME = re.compile(r"[a-z0-9]{1,20}")
"""What an attribute may be called (Naming Conventions; EVT-03)."""
CORE = ("id", "source", "specversion", "type", "datacontenttype", "dataschema", "subject", "time")
MAX_BYTES = 64 * 1024
"""What an event may be on its way, all of it (Size Limits; EVT-09)."""

Extension = str | int | bool


@dataclass(frozen=True, kw_only=True)
class CloudEvent(Generic[T]):
    """One event. What is "" or None is filled in when it is published, or left out.

    type             what has happened: "organization.sso_disabled", better "com.example.organization.sso_disabled.v1"
    data             what is to be told of it: anything pydantic can write as JSON; bytes with another datacontenttype
    source           where it happened, a URI reference; "": the application's (`Offpath(source=…)`)
    id               unique within the source, the same whenever it is sent again; "": one is made
    subject          what it happened to
    time             when, aware; None: when it is published
    datacontenttype  of the data
    dataschema       URI of the data's schema
    partitionkey     events of one key are published, and handled where that is asked for, in the order of their commits
    extensions       further attributes, name ([a-z0-9], at most 20) → text, whole number or bool

    ArgumentError for what cannot be one.
    """

    type: str
    data: T = None  # type: ignore[assignment]
    source: str = ""
    id: str = ""
    subject: str | None = None
    time: datetime | None = None
    datacontenttype: str | None = JSON
    dataschema: str | None = None
    partitionkey: str | None = None
    extensions: Mapping[str, Extension] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _text("type", self.type)
        for name in ("subject", "datacontenttype", "dataschema", "partitionkey"):
            value: Any = getattr(self, name)
            if value is not None:
                _text(name, value)
        for name in ("source", "id"):
            if getattr(self, name) != "":
                _text(name, getattr(self, name))
        moment: Any = self.time
        if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
            raise ArgumentError("time", f"must be a datetime with a time zone, not {shown(moment)}")
        extensions: Any = self.extensions
        if not isinstance(extensions, Mapping):
            raise ArgumentError("extensions", f"must be a dict of name and value, not {shown(extensions)}")
        for name, said in extensions.items():
            if not isinstance(name, str) or not NAME.fullmatch(name) or name in (*CORE, "data", "partitionkey"):
                raise ArgumentError("extensions", f"{shown(name)} is no name for one: [a-z0-9], at most 20 characters")
            if isinstance(said, int):
                if not -(2**31) <= said < 2**31:
                    raise ArgumentError("extensions", f"{name} must fit into 32 bits, not {shown(said)}")
            else:
                _text(f"extensions[{name!r}]", said, empty=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """As an argument of a task it travels as structured JSON, its data as its type."""
        from .carrying import core_schema

        return core_schema(get_args(source))

    @classmethod
    def __offpath_carrier__(cls, args: tuple[Any, ...]) -> Any:
        """The same without pydantic."""
        from .carrying import carrier

        return carrier(args)


def _text(name: str, value: object, empty: bool = False) -> None:
    """A CloudEvents String: nothing in it that the type system forbids (Type System); the specification's own
    attributes are never empty."""
    if not isinstance(value, str) or not (value or empty):
        raise ArgumentError(name, f"must be text, not {shown(value)}")
    if value.isascii() and value.isprintable():
        return
    for c in value:
        n = ord(c)
        if n < 0x20 or 0x7F <= n <= 0x9F or 0xD800 <= n <= 0xDFFF or 0xFDD0 <= n <= 0xFDEF or n & 0xFFFE == 0xFFFE:
            raise ArgumentError(name, f"{shown(value)} has the character U+{n:04X}, which no attribute may have")
