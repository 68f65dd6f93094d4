"""Shapes without pydantic: JSON's own types, containers of them, and the few standard ones with one obvious text.

What is written here reads the same under `typed.py`, so that a web process and a worker may differ in what they have
installed.
"""

from __future__ import annotations

import base64
import enum
import json
import types
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from uuid import UUID

from ..core.redact import MASK
from ..errors import MissingExtraError
from ..privacy.secret import Secret, bare, is_secret, is_storing, read, storing, written
from ..privacy.vault import Unsealable
from .guards import MAX_DEPTH, Unfit, plain_json, refuse


class Carrier(NamedTuple):
    """Two functions: value → plain data, plain data → value. Both raise Unfit."""

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


class PlainShape:
    """One annotation. MissingExtraError when only pydantic could carry it. `secret`: there may be a Secret in it."""

    def __init__(self, carrier: Carrier, secret: bool = False) -> None:
        self._carrier = carrier
        self.secret = secret

    def check(self, value: Any) -> Any:
        """The value as its type. Unfit."""
        with storing(None):
            return self._carrier.load(self._carrier.dump(value))

    def dump(self, value: Any) -> bytes:
        return plain_json(self._carrier.dump(value))

    def load(self, text: str) -> Any:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Unfit(f"not JSON: {error}") from None
        return self._carrier.load(data)


class PlainRecord(PlainShape):
    """All parameters of a task: (annotation, required) by name."""

    def __init__(self, fields: Mapping[str, tuple[Any, bool]], label: str) -> None:
        self._fields = {
            name: carrier(annotation, f"{label}: parameter {name!r}") for name, (annotation, _) in fields.items()
        }
        self._required = [name for name, (_, required) in fields.items() if required]
        super().__init__(
            Carrier(lambda values: self._each(values, 0), lambda data: self._each(data, 1)),
            any(_has_secret(annotation) for annotation, _ in fields.values()),
        )

    def _each(self, values: Any, way: int) -> dict[str, Any]:
        done: dict[str, Any] = {}
        if not isinstance(values, dict):
            raise Unfit(f"must be an object, not {type(values).__name__}")
        for name, value in values.items():
            if name not in self._fields:
                raise Unfit("there is no such parameter", name)
            try:
                done[name] = self._fields[name][way](value)
            except Unfit as unfit:
                raise Unfit(unfit.reason, name) from None
        for name in self._required:
            if name not in done:
                raise Unfit("is missing", name)
        return done

    def blame(self, values: Mapping[str, Any]) -> Unfit | None:
        """Which of the arguments cannot be stored, when all of them together could not."""
        for name, value in values.items():
            try:
                reason = refuse(plain_json(self._fields[name].dump(value)))
            except Unfit as unfit:
                return Unfit(unfit.reason, name)
            if reason:
                return Unfit(reason, name)
        return None


def shape(annotation: Any, label: str, tolerant: bool = False) -> PlainShape:
    return PlainShape(carrier(annotation, label), _has_secret(annotation))


def _has_secret(annotation: Any) -> bool:
    return is_secret(annotation) or any(_has_secret(one) for one in get_args(annotation))


def secret_carrier(annotation: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Of `Secret[annotation]`. What is wrong with a value is told without the value."""
    inner = carrier(annotation, "Secret")

    def dump(value: Any) -> Any:
        try:
            text = plain_json(inner.dump(bare(value))).decode()
        except Unfit:
            raise Unfit(f"is a Secret whose value must be {_named(annotation)}") from None
        return written(text) if is_storing() else MASK

    def load(data: Any) -> Any:
        try:
            return Secret.of(inner.load(json.loads(read(data))))
        except Unfit:
            raise Unfit(f"is a Secret whose value must be {_named(annotation)}") from None
        except Unsealable as error:
            raise Unfit(f"is a secret that cannot be read: {error}") from None

    return dump, load


def _named(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


record = PlainRecord


def carrier(annotation: Any, label: str) -> Carrier:
    """How values of this type travel."""
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return carrier(args[0], label)
    if origin in (Union, types.UnionType):
        return _union([carrier(arg, label) for arg in args])
    if origin is Literal:
        return _same(lambda value: any(value == a and type(value) is type(a) for a in args), f"one of {args}")
    if annotation is list or origin is list:
        return _items(list, carrier(args[0], label) if args else _ANY)
    if annotation is tuple or (origin is tuple and len(args) == 2 and args[1] is ...):
        return _items(tuple, carrier(args[0], label) if args else _ANY)
    if annotation is dict or (origin is dict and args[0] is str):
        return _dict(carrier(args[1], label) if args else _ANY)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return Carrier(lambda value: _through(annotation, value).value, lambda data: _through(annotation, data))
    own = getattr(origin or annotation, "__offpath_carrier__", None)
    if own is not None:
        return Carrier(*own(args))
    raise MissingExtraError(f"{label}: the type {annotation!r}", "http")


def _same(fits: Callable[[Any], bool], what: str, load: Callable[[Any], Any] | None = None) -> Carrier:
    def check(value: Any) -> Any:
        if not fits(value):
            raise Unfit(f"must be {what}, not {type(value).__name__}")
        return value if load is None else load(value)

    return Carrier(check, check)


def _any(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if depth > MAX_DEPTH:
        raise Unfit(f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, list | tuple):
        return [_any(v, depth + 1) for v in value]
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: _any(v, depth + 1) for k, v in value.items()}
    raise Unfit(f"JSON has no form for {type(value).__name__}")


def _text(kind: type, write: Callable[[Any], str], read: Callable[[str], Any]) -> Carrier:
    def dump(value: Any) -> str:
        if not isinstance(value, kind):
            raise Unfit(f"must be {kind.__name__}, not {type(value).__name__}")
        return write(value)

    def load(data: Any) -> Any:
        if not isinstance(data, str):
            raise Unfit(f"must be the text of a {kind.__name__}, not {type(data).__name__}")
        return _through(read, data)

    return Carrier(dump, load)


def _through(read: Callable[[Any], Any], data: Any) -> Any:
    try:
        return read(data)
    except (ValueError, ArithmeticError) as error:
        raise Unfit(str(error) or type(error).__name__) from None


def _union(members: list[Carrier]) -> Carrier:
    def first(way: int, value: Any) -> Any:
        reasons: list[str] = []
        for member in members:
            try:
                return member[way](value)
            except Unfit as unfit:
                reasons.append(unfit.reason)
        raise Unfit(" or ".join(reasons))

    return Carrier(lambda value: first(0, value), lambda data: first(1, data))


def _items(kind: type, item: Carrier) -> Carrier:
    def each(value: Any, way: int) -> list[Any]:
        expected: type = list if way else kind
        if not isinstance(value, expected):
            raise Unfit(f"must be a {kind.__name__}, not {type(value).__name__}")
        members: Any = value
        return [item[way](v) for v in members]

    return Carrier(lambda value: each(value, 0), lambda data: kind(each(data, 1)))


def _dict(item: Carrier) -> Carrier:
    def each(value: Any, way: int) -> dict[str, Any]:
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise Unfit(f"must be a dict with text keys, not {type(value).__name__}")
        return {k: item[way](v) for k, v in value.items()}

    return Carrier(lambda value: each(value, 0), lambda data: each(data, 1))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_ANY = Carrier(_any, lambda data: data)
_NONE = _same(lambda value: value is None, "None")
_SIMPLE: dict[Any, Carrier] = {
    Any: _ANY,
    object: _ANY,
    None: _NONE,
    types.NoneType: _NONE,
    str: _same(lambda value: isinstance(value, str), "str"),
    bool: _same(lambda value: isinstance(value, bool), "bool"),
    int: _same(lambda value: isinstance(value, int) and not isinstance(value, bool), "int"),
    float: _same(_is_number, "float", float),
    datetime: _text(datetime, datetime.isoformat, datetime.fromisoformat),
    date: _text(date, date.isoformat, date.fromisoformat),
    UUID: _text(UUID, str, UUID),
    Decimal: _text(Decimal, str, Decimal),
    bytes: _text(bytes, lambda value: base64.urlsafe_b64encode(value).decode(), base64.urlsafe_b64decode),
}
