"""An event as the argument of a task: structured JSON in the store, `CloudEvent[T]` for the function.

So what is consumed becomes a job like any other: its stored arguments are `{"event": {"specversion": "1.0", …}}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..codec import Data
from ..codec.guards import Unfit
from ..core.checks import shown
from ..errors import ArgumentError, Unreadable
from .event import CloudEvent
from .reading import of_type
from .sending import written
from .structured import from_members, members

Way = Callable[[Any], Any]


def ways(args: tuple[Any, ...]) -> tuple[Way, Way]:
    """To plain data and back, for `CloudEvent[args]`. Both raise ArgumentError or Unreadable."""
    wanted = Any if not args or isinstance(args[0], TypeVar) else args[0]
    data = None if wanted is Any or wanted is object else Data("an event", wanted)

    last: tuple[Any, dict[str, Any]] = None, {}  # whoever writes an event has it checked first, which is writing it

    def dump(event: Any) -> dict[str, Any]:
        of, found = last  # in one look: other threads write too
        return found if of is event else fresh(event)

    def fresh(event: Any) -> dict[str, Any]:
        if not isinstance(event, CloudEvent):
            raise ArgumentError("", f"must be a CloudEvent, not {shown(event)}")
        if not event.id or not event.source:
            raise ArgumentError("", "needs an id and a source: it is handled as if it had come from somewhere")
        if event.data is None or isinstance(event.data, bytes):
            return members(event)
        return members(replace(event, data=json.loads(written(event.data, data))))

    def load(found: Any) -> CloudEvent[Any]:
        nonlocal last
        if isinstance(found, CloudEvent):
            last = found, fresh(found)
            return found
        if not isinstance(found, Mapping):
            raise ArgumentError("", f"must be a CloudEvent, not {shown(found)}")
        event = from_members(found)
        return event if data is None else of_type(event, data)

    return dump, load


def carrier(args: tuple[Any, ...]) -> tuple[Way, Way]:
    """For `codec.plain`."""
    dump, load = ways(args)

    def unfit(way: Way) -> Way:
        def through(value: Any) -> Any:
            try:
                return way(value)
            except (ArgumentError, Unreadable) as wrong:
                raise Unfit(reason(wrong)) from None

        return through

    return unfit(dump), unfit(load)


def core_schema(args: tuple[Any, ...]) -> Any:
    """For pydantic."""
    from pydantic_core import PydanticCustomError
    from pydantic_core import core_schema as core

    dump, load = ways(args)

    def validated(value: Any) -> Any:
        try:
            return load(value)
        except (ArgumentError, Unreadable) as wrong:
            raise PydanticCustomError("cloudevent", "{reason}", {"reason": reason(wrong)}) from None

    return core.no_info_plain_validator_function(
        validated,
        json_schema_input_schema=core.dict_schema(),
        serialization=core.plain_serializer_function_ser_schema(dump),
    )


def reason(wrong: ArgumentError | Unreadable) -> str:
    """Of the error, what comes after the name of the argument."""
    if isinstance(wrong, Unreadable):
        return str(wrong)
    return f"its {wrong.argument} {wrong.reason}" if wrong.argument else wrong.reason
