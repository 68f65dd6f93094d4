"""`EventType`: a kind of CloudEvent that an application publishes, declared once with the type of its data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar, overload

from ..cloudevents import CloudEvent
from ..cloudevents.data import is_json
from ..cloudevents.event import JSON, Extension
from ..codec import Data
from ..core.checks import flag, shown
from ..errors import ArgumentError, ConfigurationError

T = TypeVar("T")

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s<>\"{}|\\^`]+")


class EventType(Generic[T]):
    """A declared type of event, made by `jobs.event`. Calling it makes one to publish.

    name             the CloudEvents attribute `type`: reverse DNS and a version, "com.example.order.placed.v1", is the
                     custom; a change that readers of the old one would not survive gets a new version
    data             annotation of what the event tells; None: nothing
    topic            where it is published; "": the application's topic (`Settings.topic`)
    description      in a sentence, for the AsyncAPI document
    dataschema       URI of a published schema of the data; it travels with each event. None is made up
    datacontenttype  of the data; of another than JSON it is `bytes` or `str`
    published        whether this application is one of those that publish it: the AsyncAPI document says so
    """

    def __init__(
        self,
        name: str,
        data: Any = None,
        *,
        topic: str = "",
        description: str = "",
        dataschema: str | None = None,
        datacontenttype: str = JSON,
        published: bool = True,
    ) -> None:
        try:
            CloudEvent[Any](type=name, datacontenttype=datacontenttype, dataschema=dataschema)
        except ArgumentError as wrong:
            raise ConfigurationError(f"event {shown(name)}: its {wrong.argument} {wrong.reason}") from None
        for what, text in (("topic", topic), ("description", description)):
            if not isinstance(text, str):
                raise ConfigurationError(f"event {name}: its {what} must be text, not {shown(text)}")
        if dataschema is not None and not _ABSOLUTE.fullmatch(dataschema):
            raise ConfigurationError(f"event {name}: its dataschema must be an absolute URI, not {shown(dataschema)}")
        if not is_json(datacontenttype) and data not in (bytes, str):
            raise ConfigurationError(
                f"event {name}: what is {datacontenttype} is bytes or str here, not {shown(data)}; leave "
                "datacontenttype out for JSON"
            )
        if is_json(datacontenttype) and data is bytes:
            raise ConfigurationError(f'event {name}: bytes need a datacontenttype, as in datacontenttype="image/png"')
        self.name = name
        self.data = data
        self.topic = topic
        self.description = description
        self.dataschema = dataschema
        self.datacontenttype = datacontenttype
        self.published = flag(published, f"event {name}: published")
        self.shape = Data(f"event {name}", data)

    def __repr__(self) -> str:
        return f"<event {self.name}>"

    @overload
    def __call__(
        self: EventType[None],
        data: None = None,
        *,
        subject: str | None = None,
        partitionkey: str | None = None,
        id: str = "",
        source: str = "",
        time: datetime | None = None,
        extensions: Mapping[str, Extension] | None = None,
    ) -> CloudEvent[None]: ...
    @overload
    def __call__(
        self,
        data: T,
        *,
        subject: str | None = None,
        partitionkey: str | None = None,
        id: str = "",
        source: str = "",
        time: datetime | None = None,
        extensions: Mapping[str, Extension] | None = None,
    ) -> CloudEvent[T]: ...
    def __call__(
        self,
        data: Any = None,
        *,
        subject: str | None = None,
        partitionkey: str | None = None,
        id: str = "",
        source: str = "",
        time: datetime | None = None,
        extensions: Mapping[str, Extension] | None = None,
    ) -> CloudEvent[Any]:
        """An event of this type: see `CloudEvent` for the attributes. `jobs.publish` checks the data.
        ArgumentError for what cannot be one."""
        return CloudEvent(
            type=self.name,
            data=data,
            subject=subject,
            partitionkey=partitionkey,
            id=id,
            source=source,
            time=time,
            datacontenttype=self.datacontenttype,
            dataschema=self.dataschema,
            extensions={} if extensions is None else extensions,
        )

    def same_as(self, other: EventType[Any]) -> bool:
        """Whether it says the same, as when its module is imported twice."""
        return self._said == other._said

    @cached_property
    def _said(self) -> tuple[str, ...]:
        data = getattr(self.data, "__qualname__", None) or repr(self.data)
        return (self.name, data, self.topic, self.description, self.dataschema or "", self.datacontenttype)
