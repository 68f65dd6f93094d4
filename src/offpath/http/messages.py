"""The small Request and Response the handlers speak, and what is read out of a request. No framework, no I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .idempotency import Verbatim
from .problems import MEDIA_TYPE, dump

NO_STORE = ("Cache-Control", "private, no-store")


class Caller(NamedTuple):
    """Who is asking; an operation belongs to the caller that started it, by `id` and `tenant`.

    permissions  what they may do, in the application's own words; None: it does not say. Looked at only for what
                 `Operations(permissions=…)` names.
    """

    id: str
    tenant: str = ""
    permissions: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the routes.

    params   values from the path, `operation_id` among them
    query    in order, repeated names kept
    headers  lower-case name → its lines
    base     absolute URL of the collection of operations, as this client reaches it
    body     reads it, at most as much as the routes take
    """

    method: str
    params: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, Sequence[str]]
    caller: Caller
    base: str
    body: Callable[[], Awaitable[bytes]]

    @property
    def id(self) -> str:
        return self.params["operation_id"]

    def header(self, name: str) -> str | None:
        """The lines of a field that is no list, if it was sent: the first."""
        lines = self.headers.get(name)
        return lines[0] if lines else None


@dataclass(frozen=True, slots=True)
class Response:
    """One answer: a body, or something that takes time and is to be given up when the client leaves.

    held    makes the real answer later (a held poll)
    stream  makes the body piece by piece (server-sent events)
    leave   gives back what the answer holds while it is under way; called once, however it ends
    """

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    held: Callable[[], Awaitable[Response]] | None = field(default=None)
    stream: Callable[[], AsyncIterator[bytes]] | None = field(default=None)
    leave: Callable[[], None] | None = field(default=None)


class Refused(Exception):
    """Raised inside the handlers: the answer is this problem."""

    def __init__(self, document: Mapping[str, Any], *headers: tuple[str, str]) -> None:
        super().__init__(document["title"])
        self.document = document
        self.headers = headers


class Declined(Exception):
    """The same by the slug of `problems.TYPES`, for code that does not know under which base the types are."""

    def __init__(self, slug: str, detail: str | None = None, **more: Any) -> None:
        super().__init__(detail or slug)
        self.slug = slug
        self.detail = detail
        self.more = more


class Replayed(Exception):
    """Leaves a handler whose request had been answered before: the answer is this one, and nothing of what the handler
    has done in its transaction may stay."""

    def __init__(self, answer: Verbatim) -> None:
        super().__init__("this request was answered before; let the exception pass")
        self.answer = answer

    @property
    def response(self) -> Response:
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.answer.replay]
        return Response(self.answer.status, fields, self.answer.body)


def json_response(status: int, text: str, *headers: tuple[str, str]) -> Response:
    return Response(status, [("Content-Type", "application/json"), NO_STORE, *headers], text.encode())


def problem_response(document: Mapping[str, Any], *headers: tuple[str, str]) -> Response:
    """The problem with its own status; never cached."""
    return Response(document["status"], [("Content-Type", MEDIA_TYPE), NO_STORE, *headers], dump(document))
