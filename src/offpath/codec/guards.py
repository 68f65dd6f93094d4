"""What no store may be asked to keep, looked for in the finished JSON bytes: cheap when there is nothing to find.

The bounds are those of every store, so that a call accepted over one is never refused by another.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

MAX_BYTES = 1 << 20
MAX_DEPTH = 64  # of one argument or result
MAX_DIGITS = 4300  # Python's own limit for reading an int

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_LONG_INT = re.compile(rb"[0-9]{%d}" % (MAX_DIGITS + 1))


class Unfit(Exception):
    """A value cannot be stored, or a stored one cannot be read. `name` is the argument's, "" when it is not known."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.name = name


def refuse(raw: bytes, depth: int = MAX_DEPTH) -> str | None:
    """Why this JSON text must not be stored, or None. `raw` is valid JSON, `NaN` and `Infinity` aside."""
    size = len(raw)
    if size > MAX_BYTES:
        return f"takes {size:,} bytes as JSON, more than {MAX_BYTES:,}"
    if b"\\u0000" in raw and _has_nul(raw):
        return "contains a NUL character"
    if (b"NaN" in raw or b"Infinity" in raw) and _has_constant(raw):
        return NOT_FINITE
    if raw.count(b"[") + raw.count(b"{") > depth and not _shallow(raw, depth):
        return f"is nested more than {MAX_DEPTH} levels deep"
    if size > MAX_DIGITS and _LONG_INT.search(_STRINGS.sub(b"", raw)):
        return f"contains a whole number of more than {MAX_DIGITS:,} digits"
    return None


NOT_FINITE = "contains NaN or an infinite number, which JSON does not have"
UNSTORABLE = "has a secret that cannot be stored"  # why would say something of it
SURROGATE = "contains a lone surrogate, which UTF-8 does not have"


def _has_nul(raw: bytes) -> bool:
    r"""`\u0000` really is an escape when an even number of backslashes stands before it."""
    return re.search(rb"(?<!\\)(?:\\\\)*\\u0000", raw) is not None


def _has_constant(raw: bytes) -> bool:
    bare = _STRINGS.sub(b"", raw)
    return b"NaN" in bare or b"Infinity" in bare


def _shallow(raw: bytes, depth: int) -> bool:
    """Take the innermost pairs away, one level at a time, all of it in C."""
    brackets = _STRINGS.sub(b"", raw).translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(depth):
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"")
    return not brackets


def disguised(value: Any) -> str | None:
    """What a writer may have replaced without a word, in plain containers: NaN by `null` (a model's own settings may
    say so), a lone surrogate in a key by U+FFFD."""
    if isinstance(value, float):
        return None if math.isfinite(value) else NOT_FINITE
    if isinstance(value, str):
        return SURROGATE if any("\ud800" <= c <= "\udfff" for c in value) else None
    inside: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inside = chain(value.keys(), value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        inside = value
    return next((reason for one in inside if (reason := disguised(one))), None)


def keys_lost(value: Any, raw: bytes) -> str | None:
    """What JSON cannot say of this value's dict keys: every key there is text. A tuple does not come back as one, and
    1 and "1" are one key, of which one entry would vanish. `raw` is the value as JSON."""
    kinds = set(_key_kinds(value))
    if any(issubclass(kind, tuple) for kind in kinds):
        return "contains a dict whose keys are tuples, which JSON does not have"
    if kinds <= {str}:
        return None
    try:
        json.loads(raw, object_pairs_hook=_distinct)
    except Unfit as unfit:
        return unfit.reason
    return None


def _key_kinds(value: Any) -> Iterator[type]:
    inside: Iterable[Any] = ()
    if isinstance(value, Mapping):
        yield from map(type, value)
        inside = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        inside = value
    for one in inside:
        if isinstance(one, Mapping | list | tuple):
            yield from _key_kinds(one)


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise Unfit(f"contains a dict with two keys that are both {key[:40]!r} in JSON")
        seen.add(key)


def plain_json(value: Any) -> bytes:
    """JSON bytes of plain data; Unfit for what JSON or UTF-8 cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise Unfit(SURROGATE) from None
    except RecursionError:
        raise Unfit(f"is nested more than {MAX_DEPTH} levels deep") from None
    except (TypeError, ValueError) as error:
        raise Unfit(str(error)) from None
