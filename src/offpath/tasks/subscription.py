"""`Subscription`: which messages of a broker become jobs of which task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ..errors import ConfigurationError
from ..ports.broker import Shape, Source

Format = Literal["cloudevent", "json"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """One `@jobs.on(…)`.

    task      name of the task whose jobs they become
    types     of CloudEvents, each wanted word for word; () of format "json"
    address   name of the topic, queue or stream; "": the application's topic (`Settings.topic`)
    shape     which of the three it is
    group     under which workers share what they consume; "": the application's (`Settings.group`); a queue has none
    ordered   jobs of one key (a CloudEvent's `partitionkey`, or the message's) run one after the other, as received
    format    "cloudevent": the task takes the event; "json": its arguments are the members of the message's object
    parameter of the task that takes the event; "" of format "json"
    data      annotation of the event's data; of format "json" Any: the task's `passed` has its members
    """

    task: str
    types: tuple[str, ...]
    address: str = ""
    shape: Shape = "topic"
    group: str = ""
    ordered: bool = False
    format: Format = "cloudevent"
    parameter: str = ""
    data: Any = field(default=Any, compare=False)

    def place(self, topic: str, group: str) -> Place:
        """What has to be consumed for it, in an application with this topic and group. ConfigurationError when workers
        could not share it."""
        where = self.address or topic
        if self.shape == "queue":
            return Place(where, "queue", "")
        shared = self.group or group
        if not shared:
            raise ConfigurationError(
                f"task {self.task} consumes the {self.shape} {where!r}, and nothing says for which group: give "
                'group="…" to Offpath(…) or jobs.on(…), or set OFFPATH_GROUP; the workers of a group share the messages'
            )
        return Place(where, self.shape, shared)


class Place(NamedTuple):
    """What one consumer reads."""

    address: str
    shape: Shape
    group: str


class Reading(NamedTuple):
    """One consumer, and for whom it reads."""

    source: Source
    subscriptions: tuple[Subscription, ...]


def readings(subscriptions: Iterable[Subscription], topic: str, group: str) -> list[Reading]:
    """One consumer for each place: with a second one for the same place, each would have half of the messages.
    ConfigurationError for a topic or stream without a group."""
    found: dict[Place, list[Subscription]] = {}
    for one in subscriptions:
        found.setdefault(one.place(topic, group), []).append(one)
    return [Reading(_source(place, those), tuple(those)) for place, those in found.items()]


def _source(place: Place, those: Sequence[Subscription]) -> Source:
    """Read in order for all when one of them wants it."""
    return Source(*place, subjects=subjects(those), ordered=any(one.ordered for one in those))


def subjects(subscriptions: Sequence[Subscription]) -> tuple[str, ...]:
    """The types that they want between them; () when one of them wants everything."""
    if any(not one.types for one in subscriptions):
        return ()
    return tuple(dict.fromkeys(type for one in subscriptions for type in one.types))
