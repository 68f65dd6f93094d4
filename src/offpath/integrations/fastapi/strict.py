"""`Prefer: handling=strict` (RFC 7240 section 4.4): members of the body that its model would ignore are refused."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

import pydantic
from fastapi import params
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

SUPPORTED = tuple(int(part) for part in pydantic.VERSION.split(".")[:2]) >= (2, 12)
"""Whether a validation can be told to be stricter than the model."""


async def refuse_unknown(request: Request) -> bool:
    """RequestValidationError (422) for members that nobody knows. False: it cannot be told, of a form say."""
    field: Any = getattr(request.scope.get("route"), "body_field", None)
    if not SUPPORTED or field is None or isinstance(field.field_info, params.Form):
        return False
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        return False  # FastAPI says so itself
    try:
        _adapter(field).validate_python(body, extra="forbid")
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        if any(one["type"] == "extra_forbidden" for one in found):
            raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found], body=body) from None
    return True


@lru_cache(maxsize=1024)
def _adapter(field: Any) -> TypeAdapter[Any]:
    info = field.field_info
    kind: Any = Annotated[info.annotation, info]
    return TypeAdapter(kind)
