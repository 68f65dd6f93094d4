"""Secrets under pydantic: offpath's own `Secret[T]`, and `SecretStr` and `SecretBytes`, which are to come back too."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

from pydantic import SecretBytes, SecretStr
from pydantic_core import CoreConfig, PydanticCustomError, SchemaSerializer, SchemaValidator, core_schema

from ..core.redact import MASK
from ..privacy.secret import Secret, bare, is_storing, read, written
from ..privacy.vault import Unsealable
from .guards import UNSTORABLE, Unfit

MARK = "offpath_secret"
_PYDANTIC = ("_serialize_secret_field",)
_BYTES = "$bytes"


def schema_of(annotation: Any) -> core_schema.CoreSchema:
    """Of `Secret[annotation]`. What is wrong with a value is told without the value."""

    @functools.cache
    def inner() -> Any:
        from . import typed

        return typed.shape(annotation, "Secret")

    def take(value: Any) -> Any:
        try:
            return Secret.of(inner().check(bare(value)))
        except Unfit:
            raise _wrong(annotation) from None

    def load(data: Any) -> Any:
        try:
            return Secret.of(inner().load(read(data)))
        except Unfit:
            raise _wrong(annotation) from None
        except Unsealable as error:
            raise PydanticCustomError("secret", "is a secret that cannot be read: {why}", {"why": str(error)}) from None

    def write(value: Any, info: Any) -> Any:
        if not is_storing():
            return MASK if info.mode == "json" else value
        try:
            return written(inner().dump(bare(value)).decode())
        except Unfit:
            raise ValueError(UNSTORABLE) from None

    def described(schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core_schema.any_schema()), **_simple(annotation), "format": "password"}

    return core_schema.json_or_python_schema(
        json_schema=core_schema.no_info_plain_validator_function(load),
        python_schema=core_schema.no_info_plain_validator_function(take),
        serialization=core_schema.plain_serializer_function_ser_schema(write, info_arg=True),
        metadata={"pydantic_js_functions": [described], MARK: True},
    )


def _simple(annotation: Any) -> dict[str, Any]:
    kinds = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {"type": kinds[annotation]} if annotation in (str, int, float, bool) else {}


def _wrong(annotation: Any) -> PydanticCustomError:
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
    return PydanticCustomError("secret", "is a Secret whose value must be {name}", {"name": name})


# -- pydantic's own: their schemas are looked for and given our way of writing and reading -----------------------------


def has_secrets(core: str) -> bool:
    """Whether a core schema, as text, has any."""
    return MARK in core or any(name in core for name in _PYDANTIC)


def both(schema: Any) -> tuple[SchemaValidator, SchemaSerializer]:
    """What reads and what writes, with pydantic's secrets kept."""
    kept = _kept(schema)
    reading = CoreConfig(val_json_bytes="base64")
    writing = CoreConfig(ser_json_bytes="base64", ser_json_inf_nan="constants")
    try:  # or the models in it would use what they were made with
        return (
            SchemaValidator(kept, reading, _use_prebuilt=False),
            SchemaSerializer(kept, writing, _use_prebuilt=False),
        )
    except TypeError:
        return SchemaValidator(kept, reading), SchemaSerializer(kept, writing)


def _kept(node: Any) -> Any:
    if isinstance(node, list):
        return [_kept(one) for one in node]
    if not isinstance(node, dict):
        return node
    said = node.get("serialization")
    if isinstance(said, dict) and getattr(said.get("function"), "__name__", "") in _PYDANTIC:
        whole: Any = {**node, "serialization": core_schema.plain_serializer_function_ser_schema(_write, info_arg=True)}
        return core_schema.no_info_before_validator_function(
            _read,
            whole,
            serialization=whole["serialization"],
        )
    return {name: _kept(one) for name, one in node.items()}


def _write(value: Any, info: Any) -> Any:
    if isinstance(value, SecretStr):
        text = json.dumps(value.get_secret_value(), ensure_ascii=False)
    elif isinstance(value, SecretBytes):
        text = json.dumps({_BYTES: base64.b64encode(value.get_secret_value()).decode()})
    else:
        return value
    if info.mode != "json":  # looked at for what no JSON can hold
        return value.get_secret_value()
    return written(text)


def _read(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    try:
        value = json.loads(read(data))
    except Unsealable as error:
        raise PydanticCustomError("secret", "is a secret that cannot be read: {why}", {"why": str(error)}) from None
    return base64.b64decode(value[_BYTES]) if isinstance(value, dict) and _BYTES in value else value
