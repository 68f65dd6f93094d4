"""`jobs.event`: the events an application publishes, declared; and the document that describes them to others."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from ..cloudevents.event import JSON
from ..tasks.eventtypes import EventType
from . import asyncapi
from .desk import Counter

T = TypeVar("T")


class Events:
    """The part of `Offpath` that declares events."""

    _desk: Counter

    @overload
    def event(
        self,
        name: str,
        data: None = None,
        *,
        topic: str = "",
        description: str = "",
        dataschema: str | None = None,
        datacontenttype: str = JSON,
        published: bool = True,
    ) -> EventType[None]: ...
    @overload
    def event(
        self,
        name: str,
        data: type[T],
        *,
        topic: str = "",
        description: str = "",
        dataschema: str | None = None,
        datacontenttype: str = JSON,
        published: bool = True,
    ) -> EventType[T]: ...
    def event(
        self,
        name: str,
        data: Any = None,
        *,
        topic: str = "",
        description: str = "",
        dataschema: str | None = None,
        datacontenttype: str = JSON,
        published: bool = True,
    ) -> EventType[Any]:
        """Declare a type of CloudEvent: `OrderPlaced = jobs.event("com.example.order.placed.v1", data=Order)`.

        Calling it makes an event for `jobs.publish`, which knows the topic and checks the data by it; `jobs.on` takes
        it too, and the AsyncAPI document has it. Its data is told to everyone who reads the topic; attributes, such as
        `subject`, are seen by everything on the way as well: no secrets and no personal data there.

        name             reverse DNS and a version: "com.example.order.placed.v1"
        data             its type: a model, a dataclass, a TypedDict, …; None: it tells nothing more
        topic            where it is published, in place of the application's `topic`
        description      for the document
        dataschema       URI of a schema that others can fetch; it travels with each event
        datacontenttype  "image/png", "text/csv", …: then data is `bytes` or `str`
        published        False: another application publishes it, this one only consumes it

        ConfigurationError for what cannot be declared, or is declared twice in different ways.
        """
        made: EventType[Any] = EventType(
            name,
            data,
            topic=topic,
            description=description,
            dataschema=dataschema,
            datacontenttype=datacontenttype,
            published=published,
        )
        return self._desk.registry.event(made)

    def asyncapi(self, *, title: str = "", version: str = "1.0.0") -> dict[str, Any]:
        """The AsyncAPI 3 document of what this application publishes and consumes, from the same types that its code
        uses: for `json.dumps`, or a route of yours. `offpath asyncapi` prints it.

        title    of the application; "": its `group` or its `source`
        version  of its interface

        It names the broker without its credentials. ConfigurationError for a topic that is consumed for no group;
        MissingExtraError without pydantic.
        """
        desk = self._desk
        return asyncapi.document(desk.registry, desk.settings, title=title, version=version)
