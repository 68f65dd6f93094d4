"""The routes as OpenAPI objects: parameters and responses, from the table in `routes.py`, and what leads from one to
another."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, get_args

from ..core.events import TERMINAL, EventType
from .problems import MEDIA_TYPE, TYPES
from .routes import PARAMETER, Route
from .schema import Operation, OperationPage, ProblemDocument

Responses = dict[int | str, dict[str, Any]]

_ID = {"name": PARAMETER, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds until asking again is worth while",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_SNAPSHOT = "operation.snapshot"
EVENTS: dict[str, str] = {
    _SNAPSHOT: "The whole Operation: first on a fresh stream, and after a gap, then with `reset: true`."
} | {
    f"operation.{name}": "The whole Operation; the stream ends." if name in TERMINAL else "`sequence`, `at` and more."
    for name in get_args(EventType)
}
"""The names of the events on a stream, and what the data of each is (always JSON)."""

LINKS: dict[str, dict[str, Any]] = {
    name: {
        "operationId": target,
        "parameters": {PARAMETER: "$response.body#/id"},
        "description": text,
    }
    for name, target, text in (
        ("get", "get_operation", "Look at it"),
        ("result", "get_operation_result", "Its result alone"),
        ("events", "watch_operation", "Follow it"),
        ("cancel", "cancel_operation", "Ask it to stop"),
    )
}
"""From a 202 to what can be done with its operation (OAS 3.1.1, Link Object), by the names of `links` in its body, but
for `get`."""

_BODIES: dict[str, dict[str, Any]] = {
    "operation": {"model": Operation[Any]},
    "page": {"model": OperationPage},
    "result": {"content": {"application/json": {"schema": {}}}},
    "ticket": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["ticket", "expires_at", "url"],
                    "properties": {
                        "ticket": {"type": "string"},
                        "expires_at": {"type": "string", "format": "date-time"},
                        "url": {"type": "string", "format": "uri"},
                    },
                }
            }
        }
    },
    "events": {
        "content": {
            # What 3.2 calls `itemSchema` does not exist in a 3.1 document (DOC-06).
            "text/event-stream": {"schema": {"type": "string"}, "x-sse-events": EVENTS},
            "application/json": {"schema": {"type": "object"}},
        }
    },
}


def parameters(route: Route) -> Sequence[dict[str, Any]]:
    return (_ID, *route.parameters) if PARAMETER in route.path else route.parameters


def responses(route: Route) -> Responses:
    """What the route answers, and the problems every route may answer with. `model` is a pydantic model."""
    said: Responses = {}
    for status, text in route.answers.items():
        body = {} if status in (204, 304) else _BODIES.get(route.body, {})
        if route.gives is not None and status not in (204, 304):
            body = {"content": {"application/json": {"schema": route.gives}}}
        if route.body == "result" and status == 202:
            body = _BODIES["operation"]
        said[status] = {"description": text, **body}
        if route.body in ("operation", "result") and status != 204:
            said[status]["headers"] = _RETRY_AFTER
    refused: dict[int, list[str]] = {}
    for slug in (*route.refusals, *(() if route.open else ("unauthenticated",)), "unavailable"):
        refused.setdefault(TYPES[slug].status, []).append(TYPES[slug].title)
    said |= {status: problem("; ".join(titles)) for status, titles in sorted(refused.items())}
    said["default"] = problem("Anything else")
    return said


def key_parameter(ttl: float) -> dict[str, Any]:
    """The request field Idempotency-Key; `ttl` is how long an answer is remembered, seconds."""
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "A text in double quotes, a new UUID say. For "
        f"{f'{ttl / 3600:g} hours' if ttl >= 3600 else f'{ttl:g} seconds'} "
        "the same request with the same key is done once, and answered alike.",
        "schema": {"type": "string"},
        "example": '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
    }


def prefer_parameter() -> dict[str, Any]:
    """The request field Prefer of a route that accepts work."""
    return {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "description": "`respond-async`: 202 at once. `wait=N`: the result itself when it is ready within N seconds. "
        "`return=minimal`: no body in the 202. `handling=strict`: unknown members of the body are refused.",
        "schema": {"type": "string"},
    }


def keyed_responses() -> Responses:
    """The problems of a route whose requests may carry an Idempotency-Key."""
    return {
        400: problem("The request, or its Idempotency-Key, cannot be read"),
        409: problem("A request with the same Idempotency-Key is under way"),
        422: problem("The request is not valid, or its Idempotency-Key was used for another one"),
    }


def start_responses(*, keyed: bool = True) -> Responses:
    """Of a route that accepts work: the 202's headers, and the problems that `accept` may answer with. `keyed`: its
    requests may carry an Idempotency-Key."""
    headers = {
        "Location": _header("The operation's URL", required=True),
        "Retry-After": _header("Seconds until a poll is worth while", required=True, type="integer", minimum=1),
        "Content-Location": _header("The same URL, when the body is the operation as a GET shows it"),
        "Operation-Location": _header("The same URL, for Azure's clients"),
        "ETag": _header("The operation's version, when the body is the operation as a GET shows it"),
        "Cache-Control": _header("private, no-store", required=True),
        "Preference-Applied": _header("What of `Prefer` was honoured"),
        **(_REPLAYED if keyed else {}),
    }
    unkeyed: Responses = {400: problem("The request cannot be read"), 422: problem("The request is not valid")}
    return {
        202: {"description": "Accepted: the operation", "headers": headers, "links": LINKS},
        **(keyed_responses() if keyed else unkeyed),
        403: problem("Not permitted; nothing was started"),
        409: problem(f"An operation{', or a request,' if keyed else ''} with the same key is under way"),
        429: problem("Too much of yours is under way; nothing was started"),
        503: problem("Not available now; nothing was started"),
    }


def waited_response(*, keyed: bool = True, file: bool = False) -> dict[str, Any]:
    """The 200 of a route that accepts work, to `Prefer: wait=N` (RFC 7240 §4.3): JSON of any kind. `file`: the task
    makes the answer itself, of a media type of its own."""
    return {
        "description": "The result itself, ready within the N seconds of `Prefer: wait=N`",
        "headers": {
            "Preference-Applied": _header("`wait=N`, as it was honoured", required=True),
            "Cache-Control": _header("private, no-store", required=True),
            **(_REPLAYED if keyed else {}),
        },
        "content": {"*/*": {}} if file else {"application/json": {"schema": {}}},
    }


def _header(description: str, *, required: bool = False, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": schema or {"type": "string"}}


_REPLAYED = {"Idempotency-Replayed": _header("`?1`: an earlier request with the same key was answered so")}


def problem(description: str) -> dict[str, Any]:
    """One component for all of them, or a generated client knows one problem per route. It is in the document because
    an operation's `error` is one."""
    reference = {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": reference}}}


def problem_responses(*statuses: int) -> Responses:
    """For `responses=` of any route of an application that includes the operations' routes: it may answer with these
    statuses, and then with a problem."""
    return {status: problem(HTTPStatus(status).phrase) for status in statuses}
