"""The data of an event ↔ the bytes of a message. JSON's is plain data here, any other is bytes."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from ..codec.guards import MAX_BYTES, MAX_DEPTH, NOT_FINITE, Unfit, plain_json, refuse
from ..core.checks import shown
from ..errors import ArgumentError, Unreadable

_JSON = re.compile(r"[^/;\s]+/(?:[^/;\s]+\+)?json", re.IGNORECASE)
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]+)', re.IGNORECASE)
_UTF8 = frozenset(("utf-8", "utf8", "us-ascii"))


def is_json(type: str | None) -> bool:
    """Whether a media type says JSON: its subtype is json or ends in +json (JSON Format 3.1)."""
    return type is not None and _JSON.fullmatch(type.partition(";")[0].strip()) is not None


def written(data: object, type: str | None) -> bytes:
    """The data as the body of a message. ArgumentError for what has no such form."""
    if data is None:
        return b""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str) and not is_json(type):
        return data.encode()
    return plain(data)


def plain(value: object) -> bytes:
    """Plain data as JSON. ArgumentError for what JSON has no form for."""
    try:
        raw = plain_json(value)
    except Unfit as unfit:
        raise ArgumentError("data", unfit.reason) from None
    if b"NaN" in raw or b"Infinity" in raw:
        reason = refuse(raw, MAX_DEPTH + 2)
        if reason is not None:
            raise ArgumentError("data", reason)
    return raw


def read(body: bytes, type: str | None) -> object:
    """What a body of that media type says: plain data when it is JSON, else the bytes; None when there are none.
    Unreadable when it says JSON and is not, or more than can be kept."""
    if not body:
        return None
    if not is_json(type):
        if len(body) > MAX_BYTES:
            raise Unreadable(TOO_MUCH.format(len(body)))
        return body
    return parsed(body, type, "its data")[0]


def parsed(body: bytes, type: str | None, what: str) -> tuple[Any, bool]:
    """JSON as plain data, and whether a name is there twice in the outermost object. Unreadable, beginning with `what`,
    when it is not UTF-8, not JSON, or nothing that a store could keep."""
    if len(body) > MAX_BYTES:
        raise Unreadable(TOO_MUCH.format(len(body)))
    charset = _CHARSET.search(type or "")
    if charset is not None and charset[1].lower() not in _UTF8:
        raise Unreadable(f"{what} is in {shown(charset[1])}: JSON is read in UTF-8")
    twice = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice  # the outermost object is the last to be finished
        found = dict(pairs)
        twice = len(found) != len(pairs)
        return found

    try:
        value = json.loads(body.decode(), object_pairs_hook=members, parse_constant=_constant, parse_float=_finite)
    except UnicodeDecodeError as wrong:
        raise Unreadable(f"{what} is not UTF-8: byte 0x{body[wrong.start]:02x} at {wrong.start:,}") from None
    except RecursionError:
        raise Unreadable(f"{what} is nested more than {MAX_DEPTH} levels deep") from None
    except Unfit as unfit:
        raise Unreadable(f"{what} {unfit.reason}") from None
    except ValueError as wrong:
        raise Unreadable(f"{what} is not JSON: {wrong}") from None
    reason = refuse(body, MAX_DEPTH + 1)
    if reason is None and b"\\ud" in body.lower():
        reason = _surrogates(value)
    if reason is not None:
        raise Unreadable(f"{what} {reason}")
    return value, twice and isinstance(value, dict)


TOO_MUCH = f"it takes {{:,}} bytes, more than {MAX_BYTES:,}"


def _constant(name: str) -> NoReturn:
    raise Unfit(NOT_FINITE)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Unfit(f"contains a number that is too large: {shown(text)}")
    return number


def _surrogates(value: object) -> str | None:
    """JSON can name half a character, `\\ud800`; nothing can keep it."""
    try:
        plain_json(value)
    except Unfit as unfit:
        return unfit.reason
    return None
