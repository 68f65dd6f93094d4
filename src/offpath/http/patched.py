"""A PATCH request, from its media type to the new, valid document. What is valid is for pydantic to say.

    patching = Patching(Organization, read_only=("/id", "/version"))
    patch = await patching.receive(scope, request.body)     what was sent
    after = patch.apply(before)                             an Organization, or a problem

No framework here; `offpath.integrations` has the dependencies.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from ..errors import ConfigurationError
from .conditional import equal
from .describe import Responses, problem
from .faults import listed
from .messages import Declined, Refused
from .patch import JSON_PATCH, MERGE_PATCH, Caps, apply, find, library, load, merge, operations
from .problems import plain, pointer

JSON = "application/json"
_LISTED = 100  # errors, of one document

T = TypeVar("T")


class Patching(Generic[T]):
    """How documents of a kind are patched.

    kind        their type: a pydantic model, a dataclass, a TypedDict. Documents are what it is as JSON (by alias)
    read_only   JSON Pointers to what a patch must leave as it is (422)
    json_patch  takes `application/json-patch+json`; MissingExtraError without the extra `patch`
    merge_patch takes `application/merge-patch+json`
    bare        a JSON patch of one operation may come without its array
    plain_json  `application/json` is taken for a JSON patch too. RFC 5789 knows no such meaning: for clients that
                cannot say better
    caps        what one patch may ask for
    """

    def __init__(
        self,
        kind: type[T],
        *,
        read_only: Collection[str] = (),
        json_patch: bool = True,
        merge_patch: bool = True,
        bare: bool = False,
        plain_json: bool = False,
        caps: Caps | None = None,
    ) -> None:
        if isinstance(read_only, str) or any(not where.startswith("/") for where in read_only):
            raise ConfigurationError(f"read_only takes JSON Pointers, as in ('/id', '/version'), not {read_only!r}")
        if (bare or plain_json) and not json_patch:
            raise ConfigurationError("bare and plain_json are about JSON patches, which json_patch=False excludes")
        if json_patch:
            library()
        offered = {JSON_PATCH: json_patch, MERGE_PATCH: merge_patch, JSON: plain_json}
        self.media_types = tuple(media for media, taken in offered.items() if taken)
        if not self.media_types:
            raise ConfigurationError("a Patching takes JSON patches, merge patches or both")
        self.accept_patch = ", ".join(self.media_types)
        self.read_only = tuple(read_only)
        self.bare = bare
        self.caps = caps or Caps()
        self.adapter: TypeAdapter[T] = TypeAdapter(kind)
        for where in self.read_only:  # misspelled, it would protect nothing
            if (first := _parts(where)[0]) not in self._members(first):
                raise ConfigurationError(f"read_only: a {kind.__name__} has no member {first!r}")

    def _members(self, otherwise: str) -> Collection[str]:
        """The names of the members of a document, for kinds whose JSON Schema says them."""
        try:
            schema = self.adapter.json_schema(by_alias=True, mode="serialization")
        except PydanticInvalidForJsonSchema:
            schema = {}
        while "$ref" in schema:  # of a kind that contains itself
            schema = {**schema.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {}), "$defs": schema["$defs"]}
        members: Collection[str] = schema.get("properties", (otherwise,))
        return members

    async def receive(self, scope: Mapping[str, Any], read: Callable[[], Awaitable[bytes]]) -> Patch[T]:
        """The patch in an ASGI request, not looked into yet; `read` gives the body.

        Refused: 415 with `Accept-Patch` for a media type that is not taken (RFC 5789 §2.2) and for a content coding,
        413 beyond the cap, before the body is read if its length was declared.
        """
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        sent = headers.get(b"content-type", [])
        media = sent[0].partition(";")[0].strip().lower() if len(sent) == 1 else ""
        if media not in self.media_types:
            detail = f"A patch is sent as {' or '.join(self.media_types)}."
            raise Refused(plain(415, detail), ("Accept-Patch", self.accept_patch))
        if any(coding.strip().lower() not in ("", "identity") for coding in headers.get(b"content-encoding", ())):
            raise Refused(plain(415, "A patch is sent without a content coding."), ("Accept-Encoding", "identity"))
        (declared, *_) = headers.get(b"content-length", [""])
        if declared.isascii() and declared.isdigit():
            self._refuse_long(int(declared[:18]))
        body = await read()
        self._refuse_long(len(body))
        return Patch(self, media, body)

    def _refuse_long(self, size: int) -> None:
        if size > self.caps.patch_bytes:
            raise Refused(plain(413, f"A patch takes at most {self.caps.patch_bytes} bytes here."))

    @property
    def openapi_extra(self) -> dict[str, Any]:
        """For `openapi_extra=` of the route: the body and its media types."""
        return {
            "requestBody": {"required": True, "content": {media: self._schema(media) for media in self.media_types}}
        }

    def _schema(self, media: str) -> dict[str, Any]:
        if media == MERGE_PATCH:
            return {"schema": {"type": "object", "description": "RFC 7396: members to set; null removes one"}}
        if media != JSON_PATCH:  # the same; said once, because generators of clients stumble over equal schemas
            return {"schema": {"description": f"As {JSON_PATCH}"}}
        many = {"type": "array", "items": OPERATION, "maxItems": self.caps.operations}
        return {"schema": {"oneOf": [many, OPERATION]} if self.bare else many}

    @property
    def responses(self) -> Responses:
        """For `responses=` of the route: what a patch may be answered with."""
        accept = {"Accept-Patch": {"description": "The media types that are taken", "schema": {"type": "string"}}}
        return {
            400: problem("The patch or a precondition cannot be read"),
            409: problem("The patch does not apply; nothing was changed"),
            412: problem("The version is another one; nothing was changed"),
            413: problem("The patch is too large"),
            415: {**problem("A media type that is not taken"), "headers": accept},
            422: problem("The patched document is not valid; nothing was changed"),
            428: problem("`If-Match` is required"),
        }


@dataclass(frozen=True, slots=True)
class Patch(Generic[T]):
    """One patch, as it was sent: `media_type` and `body`. It is read when it is applied, after the preconditions."""

    patching: Patching[T]
    media_type: str
    body: bytes

    def apply(self, current: T) -> T:
        """The document after the patch: all of it or nothing, `current` stays as it is.

        Declined: 400 for what is no patch, 409 when it does not apply, 422 when it asks for too much or its result is
        not a valid document (`errors` says where).
        """
        patching, caps = self.patching, self.patching.caps
        before = patching.adapter.dump_python(current, mode="json", by_alias=True)
        sent = load(self.body, caps)
        if self.media_type == MERGE_PATCH:
            after = merge(before, sent, caps)
        else:
            after = apply(before, operations(sent, caps, bare=patching.bare), caps)
        errors = [
            {"detail": "cannot be changed", "pointer": pointer(*_parts(where))}
            for where in patching.read_only
            if not equal(find(before, _parts(where)), find(after, _parts(where)))
        ]
        try:
            made = patching.adapter.validate_json(json.dumps(after))
        except ValidationError as error:
            said = error.errors(include_url=False, include_context=False, include_input=False)
            errors += listed([{**one, "loc": ("body", *one["loc"])} for one in said[:_LISTED]], after)
            raise _invalid(errors) from None
        shown = patching.adapter.dump_python(made, mode="json", by_alias=True)
        errors += ({"detail": "there is no such member", "pointer": pointer(*at)} for at in _lost(after, shown, ()))
        if errors:
            raise _invalid(errors)
        return made


def _invalid(errors: list[dict[str, str]]) -> Declined:
    return Declined("invalid-document", errors[0]["detail"] if len(errors) == 1 else None, errors=errors[:_LISTED])


def _parts(where: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in where.split("/")[1:]]


def _lost(after: Any, shown: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Members of the patched document that its type took no notice of: a patch must not succeed and do nothing."""
    if isinstance(after, dict) and isinstance(shown, dict):
        for name, value in after.items():
            if name in shown:
                yield from _lost(value, shown[name], (*path, name))
            else:
                yield (*path, name)
    elif isinstance(after, list) and isinstance(shown, list):
        for index, (one, other) in enumerate(zip(after, shown, strict=False)):  # a set may have become shorter
            yield from _lost(one, other, (*path, index))


_POINTER = {"type": "string", "format": "json-pointer"}


# One object without a title, not a choice of three: generators of clients make nothing of a choice inside of a choice,
# nor of a title that comes twice.
OPERATION: dict[str, Any] = {
    "description": "RFC 6902. `add`, `replace` and `test` need `value`; `move` and `copy` need `from`.",
    "type": "object",
    "required": ["op", "path"],
    "properties": {
        "op": {"type": "string", "enum": ["add", "remove", "replace", "move", "copy", "test"]},
        "path": _POINTER,
        "from": _POINTER,
        "value": {},
    },
}
