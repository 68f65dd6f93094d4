"""Values ↔ JSON text: the arguments of a task, and its result.

A value is checked against its annotation, written as JSON and looked over for what no store may keep (`guards.py`).
With pydantic installed the types are whatever it can carry both ways (`typed.py`); without it they are JSON's own and
a few standard ones (`plain.py`), and any other asks for the extra. pydantic is imported when the first task is
registered, never by `import offpath`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import ModuleType, NoneType
from typing import Any, Never, NoReturn, Protocol

from ..errors import ArgumentError, ResultError
from .guards import MAX_BYTES, MAX_DEPTH, Unfit, refuse

__all__ = ["MAX_BYTES", "Arguments", "Value"]


class Shape(Protocol):
    """What both kinds can do; Unfit says why not."""

    def dump(self, value: Any) -> bytes: ...
    def load(self, text: str) -> Any: ...


class Record(Shape, Protocol):
    """The shape of all arguments together."""

    def blame(self, values: Mapping[str, Any]) -> Unfit | None: ...


class Arguments:
    """The parameters of one task: (annotation, required) by name. ConfigurationError for a type that cannot travel."""

    def __init__(self, task: str, parameters: Mapping[str, tuple[Any, bool]]) -> None:
        self._task = task
        self._record: Record = _shapes().record(parameters, f"task {task}")
        self._dump: Callable[[Any], bytes] = self._record.dump
        self._load: Callable[[str], Any] = self._record.load

    def encode(self, values: dict[str, Any]) -> str:
        """JSON text of an object; ArgumentError names the one that cannot be stored."""
        try:
            raw = self._dump(values)
        except Unfit as unfit:
            if unfit.name:
                raise ArgumentError(unfit.name, unfit.reason) from unfit.__cause__
            raise self._blame(values, unfit.reason) from unfit.__cause__
        reason = refuse(raw, MAX_DEPTH + 1)
        if reason is not None:
            raise self._blame(values, reason)
        return raw.decode()

    def decode(self, text: str) -> dict[str, Any]:
        """Typed keyword arguments; ArgumentError when the stored ones do not fit."""
        try:
            values: dict[str, Any] = self._load(text)
        except Unfit as unfit:
            raise ArgumentError(unfit.name, unfit.reason) from unfit.__cause__
        return values

    def _blame(self, values: Mapping[str, Any], reason: str) -> ArgumentError:
        unfit = self._record.blame(values)
        return ArgumentError(unfit.name, unfit.reason) if unfit else ArgumentError("", reason)


class Value:
    """One result. `label` begins the messages ("task send_email"). Of `-> None` nothing but null is ever stored."""

    def __init__(self, label: str, annotation: Any) -> None:
        self._label = label
        self._nothing = annotation in (None, NoneType, NoReturn, Never)
        self._shape: Shape = _shapes().shape(None if self._nothing else annotation, f"{label}: result")

    def encode(self, value: Any) -> str:
        """JSON text; ResultError when it cannot be stored."""
        if self._nothing:
            return "null"
        try:
            raw = self._shape.dump(value)
            reason = refuse(raw)
        except Unfit as unfit:
            raise ResultError(f"{self._label}: the result {_said(unfit)}") from unfit.__cause__
        if reason is not None:
            raise ResultError(f"{self._label}: the result {reason}")
        return raw.decode()

    def decode(self, text: str) -> Any:
        """The value as its annotated type; ResultError when the stored one does not fit."""
        try:
            return self._shape.load(text)
        except Unfit as unfit:
            raise ResultError(f"{self._label}: the stored result {_said(unfit)}") from unfit.__cause__


def _said(unfit: Unfit) -> str:
    verb = unfit.reason.split(" ", 1)[0] in ("contains", "is", "takes", "must")
    where = f" (at {unfit.name})" if unfit.name else ""
    return f"{unfit.reason if verb else 'cannot be stored: ' + unfit.reason}{where}"


@functools.cache
def _shapes() -> ModuleType:
    try:
        from . import typed as module
    except ImportError:
        from . import plain

        return plain
    return module
