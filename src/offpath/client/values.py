"""A result as the type that was asked for, and progress as a value. Pydantic does the work where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import MissingExtraError
from .errors import UnexpectedAnswer
from .flows import Value

_PLAIN = (dict, list, str, int, float, bool, bytes, type(None))
"""What JSON is made of, and bytes: asked for by these names, a result needs no pydantic."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is, as far as it said: `percent` is 0 to 100."""

    percent: float | None = None
    current: float | None = None
    total: float | None = None
    unit: str | None = None
    message: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Progress | None:
        said = document.get("progress")
        if not isinstance(said, Mapping):
            return None
        return cls(*map(said.get, ("percent", "current", "total", "unit", "message")))


Reader = Callable[[Value], Any]


def reader(wanted: Any) -> Reader:
    """From a result to a value of type `wanted`; None: as it came. MissingExtraError for a type that only pydantic can
    make, where it is not installed."""
    if wanted is None:
        return _as_it_came
    if wanted in _PLAIN:
        return lambda value: _plain(value, wanted)
    validate = _validator(wanted)
    return lambda value: _typed(value, wanted, validate)


def _as_it_came(value: Value) -> Any:
    return value.data


def _plain(value: Value, wanted: type[Any]) -> Any:
    data = value.data
    if wanted is float and type(data) is int:
        return float(data)
    if type(data) is not wanted:
        raise UnexpectedAnswer(f"the result is {_named(value)}, not {wanted.__name__}")
    return data


def _typed(value: Value, wanted: Any, validate: Callable[[Any], Any]) -> Any:
    if value.raw:
        raise UnexpectedAnswer(f"the result is bytes, not JSON for {wanted!r}: ask with result=bytes")
    try:
        return validate(value.data)
    except ValueError as error:  # pydantic's is one
        raise UnexpectedAnswer(f"the result does not fit {wanted!r}: {error}") from error


@lru_cache(maxsize=256)
def _validator(wanted: Any) -> Callable[[Any], Any]:
    try:
        from pydantic import TypeAdapter
    except ImportError:
        raise MissingExtraError(f"the result type {wanted!r}", "http") from None
    return TypeAdapter(wanted).validate_python


def _named(value: Value) -> str:
    return "null" if value.data is None else type(value.data).__name__
