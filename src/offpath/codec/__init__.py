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
from typing import Any, Literal, Never, NoReturn, Protocol

from ..errors import ArgumentError, MissingExtraError, ResultError
from ..privacy.secret import Keys, storing
from ..privacy.vault import Vault
from .guards import MAX_BYTES, MAX_DEPTH, Unfit, refuse

__all__ = ["MAX_BYTES", "Arguments", "Data", "Value", "Wraps", "schemas"]


class Shape(Protocol):
    """What both kinds can do; Unfit says why not. `secret`: there may be a Secret in it."""

    secret: bool

    def check(self, value: Any) -> Any: ...
    def dump(self, value: Any) -> bytes: ...
    def load(self, text: str) -> Any: ...


class Record(Shape, Protocol):
    """The shape of all arguments together."""

    def blame(self, values: Mapping[str, Any]) -> Unfit | None: ...


class Arguments:
    """The parameters of one task: (annotation, required) by name. ConfigurationError for a type that cannot travel."""

    def __init__(self, task: str, parameters: Mapping[str, tuple[Any, bool]], keys: Keys | None = None) -> None:
        self._task = task
        self._record: Record = _shapes().record(parameters, f"task {task}")
        self._dump: Callable[[Any], bytes] = self._record.dump
        self._load: Callable[[str], Any] = self._record.load
        self.secret = self._record.secret
        if self.secret:
            self._dump, self._load = _kept(self._record, keys)

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
        with storing(None):
            unfit = self._record.blame(values)
        return ArgumentError(unfit.name, unfit.reason) if unfit else ArgumentError("", reason)


class Wraps:
    """Of parameters (annotation and whether required, by name), those in which there are Secrets: plain values become
    what the function expects, without being written or read."""

    def __init__(self, task: str, parameters: Mapping[str, tuple[Any, bool]]) -> None:
        shapes = {
            name: _shapes().shape(annotation, f"task {task}: parameter {name!r}")
            for name, (annotation, _) in parameters.items()
        }
        self._shapes: dict[str, Shape] = {name: shape for name, shape in shapes.items() if shape.secret}

    def __call__(self, name: str, value: Any) -> Any:
        """The value of this parameter; ArgumentError when it does not fit."""
        shape = self._shapes.get(name)
        if shape is None:
            return value
        try:
            return shape.check(value)
        except Unfit as unfit:
            raise ArgumentError(name, unfit.reason) from None


class Value:
    """One result. `label` begins the messages ("task send_email"). Of `-> None` nothing but null is ever stored."""

    def __init__(self, label: str, annotation: Any, keys: Keys | None = None) -> None:
        self._label = label
        self._nothing = annotation in (None, NoneType, NoReturn, Never)
        self._shape: Shape = _shapes().shape(None if self._nothing else annotation, f"{label}: result")
        shape = self._shape
        self._dump: Callable[[Any], bytes] = shape.dump
        self._load: Callable[[str], Any] = shape.load
        self.secret = shape.secret
        if self.secret:
            self._dump, self._load = _kept(shape, keys)

    def encode(self, value: Any, vault: Vault | None = None) -> str:
        """JSON text; ResultError when it cannot be stored. `vault`: seals the secrets in it, if no keys were named."""
        if self._nothing:
            return "null"
        try:
            raw = self._dump(value) if vault is None else self._with(vault, value)
            reason = refuse(raw)
        except Unfit as unfit:
            raise ResultError(f"{self._label}: the result {_said(unfit)}") from unfit.__cause__
        if reason is not None:
            raise ResultError(f"{self._label}: the result {reason}")
        return raw.decode()

    def decode(self, text: str, vault: Vault | None = None) -> Any:
        """The value as its annotated type; ResultError when the stored one does not fit."""
        try:
            if vault is None:
                return self._load(text)
            with storing(vault):
                return self._shape.load(text)
        except Unfit as unfit:
            raise ResultError(f"{self._label}: the stored result {_said(unfit)}") from unfit.__cause__

    def _with(self, vault: Vault, value: Any) -> bytes:
        with storing(vault):
            return self._shape.dump(value)


class Data:
    """What a CloudEvent tells: of one type, in JSON that others read too (by alias, as its schema says).

    annotation  the type; of Any everything travels that has a JSON form
    """

    def __init__(self, label: str, annotation: Any) -> None:
        self.annotation = annotation
        self._shape: Shape = _shapes().shape(annotation, f"{label}: data", tolerant=True)

    def encode(self, value: Any) -> str:
        """JSON text; ArgumentError about `data` when it is not of the type or cannot be stored."""
        try:
            raw = self._shape.dump(value)
        except Unfit as unfit:
            raise self._wrong(unfit) from unfit.__cause__
        reason = refuse(raw)
        if reason is not None:
            raise ArgumentError("data", reason)
        return raw.decode()

    def decode(self, text: str) -> Any:
        """The value as its type; ArgumentError about `data` when it is not of it."""
        try:
            return self._shape.load(text)
        except Unfit as unfit:
            raise self._wrong(unfit) from unfit.__cause__

    def _wrong(self, unfit: Unfit) -> ArgumentError:
        return ArgumentError("data", f"{unfit.reason} (at {unfit.name})" if unfit.name else unfit.reason)


def schemas(
    wanted: Mapping[str, tuple[Data | Arguments, Literal["validation", "serialization"]]], place: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is read (validation) or written (serialization), as JSON Schemas by the same names; and the classes these
    refer to, by name: a reference begins with `place`. MissingExtraError without pydantic."""
    try:
        from . import typed
    except ImportError as e:
        raise MissingExtraError("A JSON Schema", "http") from e
    shapes: Any = {
        name: (one._shape if isinstance(one, Data) else one._record, mode) for name, (one, mode) in wanted.items()
    }
    return typed.schemas(shapes, place)


def _kept(shape: Shape, keys: Keys | None) -> tuple[Callable[[Any], bytes], Callable[[str], Any]]:
    """Writes and reads with the secrets in it: sealed, where there are keys."""

    def dump(value: Any) -> bytes:
        with storing(None if keys is None else keys()):
            return shape.dump(value)

    def load(text: str) -> Any:
        with storing(None if keys is None else keys()):
            return shape.load(text)

    return dump, load


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
