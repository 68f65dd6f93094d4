"""The data of an event that came, as the type that somebody wants of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, get_args

from ..codec import Data
from ..core.checks import shown
from ..errors import Unreadable
from .data import parsed, plain
from .event import CloudEvent

T = TypeVar("T")


def of_type(event: CloudEvent[Any], data: Data) -> CloudEvent[Any]:
    """The event with its data as `data.annotation`.

    JSON is validated into the type, and data without a media type is taken for JSON. Whoever wants `bytes` is given
    the bytes of any other media type, whoever wants `str` the text of text/…; Any takes what there is.
    ArgumentError about `data` when it does not fit; Unreadable when it is not JSON at all.
    """
    wanted = data.annotation
    if wanted is Any or wanted is object:
        return event
    given = event.data
    if not isinstance(given, bytes):
        return replace(event, data=data.decode(plain(given).decode()))
    kinds = (wanted, *get_args(wanted))
    if bytes in kinds:
        return event
    type = (event.datacontenttype or "").lower()
    if str in kinds and type.startswith("text/"):
        try:
            return replace(event, data=given.decode())
        except UnicodeDecodeError:
            raise Unreadable("its data is not UTF-8") from None
    if type:
        raise Unreadable(f"its data is {shown(event.datacontenttype)}, which cannot be read as {shown(wanted)}")
    parsed(given, None, "its data")
    return replace(event, data=data.decode(given.decode()))
