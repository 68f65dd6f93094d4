"""Shapes by pydantic: whatever it can carry both ways. Imported only when pydantic is installed."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, NotRequired, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import CoreConfig, PydanticSerializationError, SchemaSerializer
from typing_extensions import TypedDict

from ..errors import ConfigurationError
from . import secrets
from .guards import SURROGATE, UNSTORABLE, Unfit, disguised, keys_lost, refuse

# base64: bytes of any value survive. constants: NaN is written as NaN, to be found and refused, where pydantic's
# default writes null and nobody ever hears of it.
_READING = ConfigDict(extra="forbid", val_json_bytes="base64")
_TOLERANT = ConfigDict(extra="ignore", val_json_bytes="base64")  # what others send may say more than it used to
_WRITING = CoreConfig(ser_json_bytes="base64", ser_json_inf_nan="constants")
_REPLACED = "\ufffd".encode()
_UNREADABLE = re.compile(r"'type': '(?:is-subclass|callable)'")  # core schemas that no JSON fits
_LOOSE = re.compile(r"'type': 'any'|_behavior': 'allow'")  # here a dict may hide whose keys nobody has checked
_DICT, _TEXT_DICT = "'type': 'dict'", "'type': 'dict', 'keys_schema': {'type': 'str'"
_INSTANCES = re.compile(r"'type': '(?:model|dataclass)'")
_WARNED = "Pydantic serializer warnings"
_EXPECTED = re.compile(r"Expected `([^`]+)`(?:[^\n]*\[field_name='(\w+)')?")
_make_record: Any = TypedDict  # called, not subclassed: that form takes any parameter name


class TypedShape:
    """One annotation: validated as FastAPI would (lax), written as JSON, read back as that type."""

    _root = False  # whether the outermost object is ours

    def __init__(self, adapter: TypeAdapter[Any], label: str) -> None:
        self._adapter = adapter
        self._by_alias = False
        schema = _schema(adapter, label)
        core = str(adapter.core_schema)
        if _UNREADABLE.search(core):
            raise ConfigurationError(f"{label}: it has no JSON form: classes and functions cannot be stored")
        self.secret = secrets.has_secrets(core)
        if "'_serialize_secret'" in core or "_serialize_secret " in core:
            raise ConfigurationError(
                f"{label}: pydantic's Secret[…] is written as asterisks and would not come back; take offpath's: "
                "from offpath.privacy import Secret"
            )
        self._loose = bool(_LOOSE.search(core)) or core.count(_DICT) > core.count(_TEXT_DICT)
        # Only inside a class with settings of its own can something be written that is not what was meant.
        self._nested = "$defs" in schema or (schema.get("type") == "object" and not self._root)
        # pydantic believes an instance, which may have been changed since, or constructed without a look at its fields.
        self._believes = self._root and bool(_INSTANCES.search(core))
        self._validate = adapter.validator.validate_python
        # Written by field name, or by alias where others read it too (a result over HTTP): both come back.
        self._read = functools.partial(adapter.validator.validate_json, by_alias=True, by_name=True)
        self._write = SchemaSerializer(adapter.core_schema, _WRITING).to_json
        if self.secret:
            reader, writer = secrets.both(adapter.core_schema)
            self._read = functools.partial(reader.validate_json, by_alias=True, by_name=True)
            self._write = writer.to_json

    def outward(self) -> TypedShape:
        """The same, written by alias, as OpenAPI describes it: unless an alias is for writing only and would not be
        understood when it is read back."""
        written, read = (set(_names(self._adapter.json_schema(mode=mode))) for mode in ("serialization", "validation"))
        computed = written - set(_names(self._adapter.json_schema(mode="serialization", by_alias=False)))
        self._by_alias = computed <= read
        return self

    def check(self, value: Any) -> Any:
        """The value as its type. Unfit."""
        try:
            return self._validate(value)
        except ValidationError as error:
            raise _unfit(error) from None
        except (UnicodeError, ValueError, TypeError, RecursionError, ArithmeticError) as error:
            raise Unfit(f"{type(error).__name__}: {error}") from error

    def dump(self, value: Any) -> bytes:
        """Unfit when the value is not of the type or cannot be written."""
        try:
            checked = self._validate(value)
            if self._nested:
                raw = self._write(checked, by_alias=self._by_alias, round_trip=True, warnings="error")
                suspect, believed = b"null" in raw or _REPLACED in raw, self._believes
            else:
                raw = self._write(checked, by_alias=self._by_alias, round_trip=True)
                suspect, believed = _REPLACED in raw, False
            loose = self._loose and raw.count(b"{") > self._root
            if suspect or loose:
                written = self._adapter.dump_python(checked, round_trip=True, warnings=False)
                reason = (disguised(written) if suspect else None) or (keys_lost(written, raw) if loose else None)
                if reason:
                    raise Unfit(reason)
            if believed:
                self._read(raw)
            return raw
        except ValidationError as error:
            raise _unfit(error) from None
        except PydanticSerializationError as error:
            raise self._unwritable(value, str(error)) from None
        except (UnicodeError, ValueError, TypeError, RecursionError, ArithmeticError) as error:
            raise Unfit(f"{type(error).__name__}: {error}") from error

    def _unwritable(self, value: Any, message: str) -> Unfit:
        """Why, as reading tells it, if what does not fit can be written at all."""
        if message.startswith(_WARNED):
            with suppress(PydanticSerializationError, UnicodeError, ValueError, TypeError, RecursionError):
                raw = self._write(self._validate(value), by_alias=self._by_alias, round_trip=True, warnings=False)
                try:
                    self._read(raw)
                except ValidationError as error:
                    return _unfit(error)
        return Unfit(_plain_words(message))

    def load(self, text: str) -> Any:
        """Unfit when the text is not JSON or not of the type."""
        try:
            return self._read(text)
        except ValidationError as error:
            raise _unfit(error) from None
        except (UnicodeError, ValueError, TypeError, RecursionError, ArithmeticError) as error:
            raise Unfit(f"{type(error).__name__}: {error}") from error


class TypedRecord(TypedShape):
    """All parameters of a task in one shape: one pass to check them and one to write them."""

    _root = True

    def __init__(self, fields: Mapping[str, tuple[Any, bool]], label: str) -> None:
        self._label = label
        self._fields = {name: annotation for name, (annotation, _) in fields.items()}
        wanted = {
            name: (_own(said) if required else NotRequired[_own(said)]) for name, (said, required) in fields.items()
        }
        record = _make_record("Arguments", wanted)
        record.__pydantic_config__ = _READING
        for name, annotation in self._fields.items():
            _adapter(annotation, f"{label}: parameter {name!r}")
        super().__init__(_adapter(record, label), label)

    def blame(self, values: Mapping[str, Any]) -> Unfit | None:
        """Which of the arguments cannot be stored, when all of them together could not."""
        sizes: dict[str, int] = {}
        for name, value in values.items():
            if name not in self._fields:  # a name that is no UTF-8 stops the dump before its check
                return Unfit("there is no such parameter", name)
            try:
                raw = TypedShape(_adapter(self._fields[name], self._label), self._label).dump(value)
            except Unfit as unfit:
                return Unfit(unfit.reason, name)
            reason = refuse(raw)
            if reason:
                return Unfit(reason, name)
            sizes[name] = len(raw)
        return None


def shape(annotation: Any, label: str, tolerant: bool = False) -> TypedShape:
    """ConfigurationError, beginning with `label`, when the annotation cannot be carried both ways. `tolerant`: members
    that a class without settings of its own does not know are passed over."""
    return TypedShape(_adapter(annotation, label, _TOLERANT if tolerant else _READING), label).outward()


def schemas(
    wanted: Mapping[str, tuple[TypedShape, JsonSchemaMode]], place: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """JSON Schemas of these shapes, by the same names, and of the classes they refer to, by name; `place` begins such a
    reference. A shape that is written by field name (see `outward`) is described so, its classes with a name of their
    own."""
    found: dict[str, Any] = {}
    classes: dict[str, Any] = {}
    for by_alias, mark in ((True, ""), (False, ".fields")):
        some: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
            (name, mode, shape._adapter)
            for name, (shape, mode) in wanted.items()
            if (shape._by_alias or shape._root) is by_alias
        ]
        if some:
            each, rest = TypeAdapter.json_schemas(
                some, by_alias=by_alias, ref_template=f"{place}{{model}}{mark}", schema_generator=_Schema
            )
            found |= {name: schema for (name, _), schema in each.items()}
            classes |= {f"{name}{mark}": schema for name, schema in rest.get("$defs", {}).items()}
    return found, classes


record = TypedRecord


class _Own:
    """pydantic takes a generic dataclass for one of its own making, whatever its class says of itself."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: Any) -> Any:
        return get_origin(source).__get_pydantic_core_schema__(source, handler)


def _own(annotation: Any) -> Any:
    """The annotation; of a generic class of ours (`CloudEvent[T]`), with a note of that."""
    if get_origin(annotation) is Annotated:
        return Annotated[(_own(get_args(annotation)[0]), *get_args(annotation)[1:])]
    return Annotated[annotation, _Own] if hasattr(get_origin(annotation), "__offpath_carrier__") else annotation


def _adapter(annotation: Any, label: str, config: ConfigDict = _READING) -> TypeAdapter[Any]:
    annotation = _own(annotation)
    try:
        try:
            return TypeAdapter(annotation, config=config)
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            return TypeAdapter(annotation)  # a class that has settings of its own
    except PydanticUserError as error:
        raise ConfigurationError(f"{label}: {_first_line(error)}") from None
    except NameError as error:
        raise ConfigurationError(f"{label}: {error}; its type must be importable at run time") from None


def _schema(adapter: TypeAdapter[Any], label: str) -> dict[str, Any]:
    try:
        return adapter.json_schema(schema_generator=_Schema)
    except PydanticInvalidForJsonSchema as error:
        raise ConfigurationError(f"{label}: it has no JSON form: {_first_line(error)}") from None
    except PydanticUserError as error:
        raise ConfigurationError(f"{label}: {_first_line(error)}") from None


def _names(schema: Any) -> Iterator[str]:
    """Every property name in a JSON Schema, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
        for part in schema.values():
            yield from _names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _names(part)


class _Schema(GenerateJsonSchema):
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}  # noqa: RUF012


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].rstrip(". ")


def _unfit(error: ValidationError) -> Unfit:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name, *inside = (str(part) for part in first["loc"]) if first["loc"] else ("",)
    reason = {"missing": "is missing", "extra_forbidden": "there is no such parameter"}.get(first["type"])
    if reason is None or inside:
        reason = first["msg"][:1].lower() + first["msg"][1:]
    return Unfit(f"{reason} (at {'.'.join(inside)})" if inside else reason, name)


def _plain_words(message: str) -> str:
    if message.startswith(_WARNED):
        found = _EXPECTED.search(message)
        where = f" (at {found[2]})" if found and found[2] else ""
        return f"holds what is not of its type: {found[1]} is expected{where}" if found else "does not fit its type"
    message = _first_line(Exception(message)).removeprefix("Error serializing to JSON: ")
    if "surrogates not allowed" in message:
        return SURROGATE
    if "depth exceeded" in message or "Circular reference" in message:
        return "is nested too deeply, or contains itself"
    if UNSTORABLE in message:
        return UNSTORABLE
    return message[:1].lower() + message[1:]
