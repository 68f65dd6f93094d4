"""From what an application says to what is kept and sent: attributes filled in, data written, the size looked at."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..codec import Data
from ..core.checks import shown
from ..errors import ArgumentError
from .data import is_json
from .event import MAX_BYTES, CloudEvent
from .structured import dumps

if TYPE_CHECKING:
    from ..core.trace import Trace

_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_ABSOLUTE = re.compile(rf"[A-Za-z][A-Za-z0-9+.\-]*:{_REFERENCE.pattern}")


def completed(event: CloudEvent[Any], *, source: str, id: str, time: datetime) -> CloudEvent[Any]:
    """The event with what it left open: `source` and `id` when they are "", `time` when there is none.
    ArgumentError when there is no source at all, or it or the schema is no URI."""
    made = replace(
        event,
        source=event.source or source,
        id=event.id or id,
        time=event.time if event.time is not None else time,
    )
    if not made.source:
        raise ArgumentError(
            "source", 'says where the event happened: give it to the event, or Offpath(…, source="/orders") for all'
        )
    if not _REFERENCE.fullmatch(made.source):
        raise ArgumentError("source", f"must be a URI or a path, as in /orders, not {shown(made.source)}")
    if made.dataschema is not None and not _ABSOLUTE.fullmatch(made.dataschema):
        raise ArgumentError("dataschema", f"must be an absolute URI, not {shown(made.dataschema)}")
    return made


class Sealed(NamedTuple):
    """An event ready to be kept and sent: its `text` is structured JSON, read again by `loads`. `key`: events of one
    key keep their order."""

    id: str
    type: str
    key: str | None
    text: str


def sealed(event: CloudEvent[Any], data: Data | None, *, source: str, id: str, time: datetime) -> Sealed:
    """The event with what it left open (`completed`), its data written as the type of `data` (None: as what
    it is).

    ArgumentError for what cannot be sent: no source, data that does not fit, more than 64 KiB (Size Limits; EVT-09).
    """
    made = completed(event, source=source, id=id, time=time)
    text = dumps(replace(made, data=raw)) if (raw := _raw(made)) is not None else _spliced(made, data)
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ArgumentError(
            "data",
            f"the event takes {size:,} bytes, and whoever passes it on need not take more than {MAX_BYTES:,}: "
            "keep the data where others can fetch it, and publish a link to it",
        )
    return Sealed(made.id, made.type, made.partitionkey, text)


def written(value: object, data: Data | None) -> str:
    """The value as JSON text: as the type of `data`, or for None as the type it is of."""
    kind: Any = type(value)
    return (data or of_kind(Any if kind in _PLAIN else kind)).encode(value)


_PLAIN = frozenset((type(None), bool, int, float, str, dict, list, tuple))


@lru_cache(maxsize=512)
def of_kind(kind: Any) -> Data:
    """For an event that nobody has declared."""
    return Data("an event", kind)


def _raw(event: CloudEvent[Any]) -> bytes | str | None:
    """Data that is as it is to go, since its media type is not JSON; None: it is to be written as JSON."""
    data = event.data
    if is_json(event.datacontenttype):
        if isinstance(data, bytes):
            raise ArgumentError("data", 'bytes need a datacontenttype of their own, as in datacontenttype="image/png"')
        return None
    if data is None or isinstance(data, bytes | str):
        return data
    raise ArgumentError(
        "data", f"must be bytes or text when datacontenttype is {shown(event.datacontenttype)}, not {shown(data)}"
    )


def _spliced(event: CloudEvent[Any], data: Data | None) -> str:
    """As `dumps`, with data that is JSON text already."""
    text = written(event.data, data)
    if text == "null":
        return dumps(replace(event, data=None))
    return dumps(replace(event, data=0))[:-2] + text + "}"  # it ends with `"data":0}`


def traced(event: CloudEvent[Any], trace: Trace | None) -> CloudEvent[Any]:
    """The event with the trace in which its sending began, as Distributed Tracing has it; one that says so already is
    left as it is (OBS-04)."""
    if trace is None or "traceparent" in event.extensions:
        return event
    said = {"traceparent": trace.traceparent}
    if trace.state:
        said["tracestate"] = trace.state
    return replace(event, extensions={**event.extensions, **said})
