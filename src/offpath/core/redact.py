"""What may be shown of arguments and results to somebody who has not asked for them: shapes and lengths, no values."""

from __future__ import annotations

import json
from typing import Any


def shape(value: object) -> str:
    """One value in words: `text, 17 characters`. Nothing of it can be read from that, and no key of a mapping."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return f"text, {_many(len(value), 'character')}"
    if isinstance(value, list | tuple):
        return f"list, {_many(len(value), 'item')}"
    if isinstance(value, dict):
        return f"object, {_many(len(value), 'member')}"
    return "something else"


def arguments(text: str | None) -> dict[str, str] | str | None:
    """Stored arguments, redacted: the name of each parameter (it is in the code) and its shape. None: erased."""
    if text is None:
        return None
    data = plain(text)
    return {str(name): shape(value) for name, value in data.items()} if isinstance(data, dict) else shape(data)


def result(text: str | None) -> str | None:
    """A stored result, redacted. None: there is none."""
    return None if text is None else shape(plain(text))


def plain(text: str | None) -> Any:
    """Stored JSON as data; text that is none (it should not be there) as it is."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _many(count: int, of: str) -> str:
    return f"{count} {of}" if count == 1 else f"{count} {of}s"
