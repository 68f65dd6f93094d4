"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) on documents from strangers. Pure.

Merge patches are ours. JSON patches are applied by the library `jsonpatch`, one operation at a time, behind this guard:
what an operation will add is known before it is done, and whatever the library raises has an answer. See
docs/decisions/0018-json-patch-guard.md.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn

from ..core.checks import whole
from ..errors import MissingExtraError
from .messages import Declined

JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"

_NEEDS: Final = {"add": "value", "replace": "value", "test": "value", "copy": "from", "move": "from", "remove": None}
_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_MISSING: Final = object()
_DEEPEST = 200  # levels that pydantic reads
_PASSES = 4  # times the size of the largest result that one patch may have copied and weighed


@dataclass(frozen=True, slots=True)
class Caps:
    """What one patch may ask for.

    operations   of a JSON patch (1,000)
    depth        steps of a pointer (32)
    nesting      levels of arrays and objects, in the patch and in its result (64)
    patch_bytes  of the patch itself (256 KiB); more is 413
    result_bytes of the patched document as JSON (1 MiB), an array or object counted as 16 bytes because an empty one
                 takes as much work as a text of that length; a document that is larger may shrink, but not grow
    """

    operations: int = 1_000
    depth: int = 32
    nesting: int = 64
    patch_bytes: int = 256 * 1024
    result_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        for name in self.__slots__:
            whole(getattr(self, name), 1, _DEEPEST if name == "nesting" else 1 << 30, name)


def library() -> Any:
    """The library; MissingExtraError when it is not installed."""
    try:
        import jsonpatch
    except ImportError as error:
        raise MissingExtraError("JSON Patch", "patch") from error
    return jsonpatch


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def load(raw: bytes, caps: Caps) -> Any:
    """JSON from a stranger; Declined (400) for what is none, or only to Python: a name twice in one object, NaN, a
    number beyond every float, half a surrogate pair, a nesting beyond the cap."""
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
        _weigh(value, caps.nesting)
    except (ValueError, RecursionError):  # ValueError: also an int of more than 4,300 digits, and UnicodeError
        raise Declined("malformed-patch", "It is not JSON, or not JSON that everyone reads the same.") from None
    return value


def operations(value: Any, caps: Caps, *, bare: bool = False) -> list[dict[str, Any]]:
    """The operations of a JSON patch, each held against RFC 6902 §4; `bare` also takes one that is in no array.

    Declined: 400 for what is no patch, 422 for one beyond the caps.
    """
    if bare and isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        _malformed("", "a JSON patch is an array of operations")
    if len(value) > caps.operations:
        raise Declined("patch-too-large", f"More than {caps.operations} operations.")
    for number, operation in enumerate(value):
        if not isinstance(operation, dict):
            _malformed(f"/{number}", "must be an object")
        op = operation.get("op")
        if not isinstance(op, str) or op not in _NEEDS:
            _malformed(f"/{number}/op", f"must be one of {', '.join(_NEEDS)}")
        needs = _NEEDS[op]
        if needs is not None and needs not in operation:
            _malformed(f"/{number}/{needs}", f"{op} needs it")
        for name in ("path", "from") if needs == "from" else ("path",):
            if len(_steps(operation.get(name), f"/{number}/{name}")) > caps.depth:
                raise Declined("patch-too-large", f"A pointer of more than {caps.depth} steps.")
        if op == "remove" and operation["path"] == "":
            # Held erratum 4787: nothing is left that could be answered. `replace` says it in a form everyone reads.
            _conflict(number, "the whole document cannot be removed")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name twice in one object")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number beyond every float")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _steps(pointer: Any, where: str) -> list[str]:
    """A JSON Pointer (RFC 6901) in parts; Declined (400) when it is none."""
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")) or _ESCAPE.search(pointer):
        _malformed(where, "must be a JSON Pointer: empty, or parts that begin with `/`, in which ~ is ~0 and / is ~1")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _malformed(where: str, why: str) -> NoReturn:
    raise Declined("malformed-patch", why, errors=[{"detail": why, "pointer": "#" + where}])


def _conflict(number: int, why: str) -> NoReturn:
    raise Declined("patch-conflict", why, errors=[{"detail": why, "pointer": f"#/{number}"}])


# ── applying ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def apply(document: Any, patch: Sequence[dict[str, Any]], caps: Caps) -> Any:
    """The document with the `operations` applied, all of them; `document` stays as it is.

    Declined: 409 when one does not apply, 422 as soon as one would make it too large.
    """
    library_ = library()
    guard = _Guard(document, caps)
    document = copy.deepcopy(document)
    for number, operation in enumerate(patch):
        guard.admit(document, operation)
        try:
            document = library_.JsonPatch([operation]).apply(document, in_place=True)
        except library_.JsonPatchTestFailed:
            _conflict(number, "the test failed")
        except (library_.JsonPatchException, library_.JsonPointerException):
            _conflict(number, "its target, or what holds it, is not there")
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError):
            # The operation is well formed, so it is the document that the library stumbled over.
            _conflict(number, "it cannot be applied to what is there")
    return document


def merge(target: Any, patch: Any, caps: Caps) -> Any:
    """RFC 7396 §2; `target` stays as it is. Declined (422) when the result is too large."""
    merged = _merge(target, patch)
    before, after = _weigh(target, None)[0], _weigh(merged, None)[0]
    if after > max(caps.result_bytes, before):
        _too_large(caps)
    return merged


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


class _Guard:
    """Knows how large the document is, and is asked before each operation. Its sum is never below the truth: the name
    of a member is added with it and not taken off when it goes, and what a move replaces stays counted (it may contain
    what is moved)."""

    def __init__(self, document: Any, caps: Caps) -> None:
        self.caps = caps
        self.size = _weigh(document, None)[0]
        self.most = max(caps.result_bytes, self.size)
        self.left = self.most * _PASSES

    def admit(self, document: Any, operation: dict[str, Any]) -> None:
        """Declined (422) when the document would grow beyond its cap, or the patch has been made to work too hard: a
        large value that is copied and removed and copied again is work, too."""
        op = operation["op"]
        if op == "test":
            return
        path = _steps(operation["path"], "")
        if op == "remove":
            self.size -= self._weighed(find(document, path))[0]
            return
        source = _steps(operation["from"], "") if _NEEDS[op] == "from" else None
        value = operation["value"] if source is None else find(document, source)
        if value is _MISSING:
            return  # which the library will say
        growth = len(encode_basestring(path[-1] if path else "").encode()) + 2
        if op != "move" or source is None or len(path) > len(source):
            weight, height = self._weighed(value)
            if len(path) + height > self.caps.nesting:
                raise Declined("patch-too-large", f"The result would be nested deeper than {self.caps.nesting} levels.")
            if op != "move":
                growth += weight
        if op == "replace" or (op != "move" and _overwrites(document, path)):
            growth -= self._weighed(find(document, path))[0]
        if growth > 0 and self.size + growth > self.most:
            _too_large(self.caps)
        self.size += growth

    def _weighed(self, value: Any) -> tuple[int, int]:
        if value is _MISSING:
            return 0, 0
        weight, height = _weigh(value, None, self.left)
        self.left -= weight
        if self.left < 0:
            raise Declined("patch-too-large", "The operations move too much data about.")
        return weight, height


def _overwrites(document: Any, path: Sequence[str]) -> bool:
    """Whether adding there replaces what is there: in an object, and at the root. In an array it makes room."""
    return not path or isinstance(find(document, path[:-1]), dict)


def _too_large(caps: Caps) -> NoReturn:
    raise Declined("patch-too-large", f"The result would take more than {caps.result_bytes} bytes.")


def find(document: Any, path: Sequence[str]) -> Any:
    """What a pointer's parts lead to; a value of no JSON type when that is nothing."""
    for step in path:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and _INDEX.fullmatch(step) and int(step) < len(document):
            document = document[int(step)]
        else:
            return _MISSING
    return document


def _weigh(value: Any, nesting: int | None, stop: int | None = None) -> tuple[int, int]:
    """Its bytes as `Caps.result_bytes` counts them, and how many arrays and objects lie in each other. It ends early
    once the bytes are beyond `stop`. ValueError beyond `nesting`, and (UnicodeEncodeError) for what UTF-8 does not
    have."""
    size = height = 0
    waiting: list[tuple[Any, int]] = [(value, 1)]
    while waiting and (stop is None or size <= stop):
        value, level = waiting.pop()
        if isinstance(value, str):
            size += len(encode_basestring(value).encode())
        elif isinstance(value, dict | list):
            height = max(height, level)
            if nesting is not None and height > nesting:
                raise ValueError("nested too deep")
            size += 16 + len(value)
            if isinstance(value, dict):
                size += sum(len(encode_basestring(name).encode()) + 1 for name in value)
                waiting += ((part, level + 1) for part in value.values())
            else:
                waiting += ((part, level + 1) for part in value)
        else:
            size += 5 if isinstance(value, bool) or value is None else len(repr(value))
    return size, height
