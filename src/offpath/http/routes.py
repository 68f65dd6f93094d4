"""The table of routes: one row each, from which frameworks mount them and the OpenAPI description is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from . import graph, handlers
from .handlers import FILTERS
from .messages import Request, Response
from .operations import STATUSES
from .service import Service

Handler = Callable[[Service, Request], Awaitable[Response]]
COLLECTION = "/operations"
EVENTS = COLLECTION + "/{operation_id}/events"
TICKETS = EVENTS + "/ticket"
PARAMETER = "operation_id"


class Route(NamedTuple):
    """methods: as in `GET HEAD`; answers: status → what it means, its body being `body`'s; refusals: problem types.

    body        "operation", "page", "result", "events", "ticket" or "" for none
    parameters  OpenAPI parameter objects besides the id
    shown       False: works, but the description leaves it out
    open        for everybody: nobody is asked who is asking
    takes       OpenAPI request body
    gives       JSON schema of what a 2xx carries, where `body` has no word for it
    """

    name: str
    methods: str
    path: str
    handler: Handler
    doc: str
    body: str
    answers: Mapping[int, str]
    refusals: tuple[str, ...]
    parameters: tuple[dict[str, Any], ...] = ()
    shown: bool = True
    open: bool = False
    takes: Mapping[str, Any] | None = None
    gives: Mapping[str, Any] | None = None


def _query(name: str, doc: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": doc, "schema": schema or {"type": "string"}}


def _header(name: str, doc: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": doc, "schema": {"type": "string"}}


_LIMIT = _query("limit", "How many at most; 0 or absent: 20; above 100: 100.", type="integer", minimum=0)
_CURSOR = _query("cursor", "`next_cursor` of the page before, with the same filters.")
_FILTERS = (
    _query(
        "status",
        "One or more of these; repeat it, or separate by commas.",
        type="array",
        items={"type": "string", "enum": list(STATUSES)},
    ),
    _query("kind", "The kind of work."),
    _query("label", "The label given at the start."),
    _query("created_after", "Later than this moment.", type="string", format="date-time"),
    _query("created_before", "Earlier than this moment.", type="string", format="date-time"),
    _LIMIT,
    _CURSOR,
)
if tuple(parameter["name"] for parameter in _FILTERS) != FILTERS:
    raise AssertionError("the description and the handler know different filters")

_SEEN = ("not-found", "gone", "token-in-url", "forbidden")
_UNSAFE = (*_SEEN, "foreign-origin")
_CANCEL = "Cancel an operation"
_CANCEL_ANSWERS = {200: "It had ended, or has ended now.", 202: "Running work has been asked to stop."}

ROUTES: tuple[Route, ...] = (
    Route(
        "list_operations",
        "GET HEAD",
        COLLECTION,
        handlers.list_operations,
        "List your operations, newest first",
        "page",
        {200: "A page; `Link` and `next_cursor` name the next one."},
        ("invalid-parameter", "invalid-cursor", "token-in-url", "forbidden"),
        _FILTERS,
    ),
    Route(
        "cancel_operation_verb",
        "POST",
        COLLECTION + "/{operation_id}:cancel",
        handlers.cancel_operation,
        _CANCEL,
        "operation",
        _CANCEL_ANSWERS,
        (*_UNSAFE, "malformed-body", "invalid-arguments"),
        shown=False,
    ),
    Route(
        "get_operation",
        "GET HEAD",
        COLLECTION + "/{operation_id}",
        handlers.get_operation,
        "Look at an operation",
        "operation",
        {200: "As it stands, a failed one too.", 304: "It is as `If-None-Match` says."},
        (*_SEEN, "malformed-precondition", "precondition-failed", "polled-too-fast", "too-many-waiting"),
        (
            _header("If-None-Match", "The `ETag` last seen."),
            _header("Prefer", "`wait=N`: hold the answer until it has ended, or for N seconds."),
        ),
    ),
    Route(
        "delete_operation",
        "DELETE",
        COLLECTION + "/{operation_id}",
        handlers.delete_operation,
        "Erase a finished operation, its input and its result",
        "",
        {204: "Erased."},
        (*_UNSAFE, "not-finished", "malformed-precondition", "precondition-failed"),
        (_header("If-Match", "The `ETag` last seen: only what you know is erased."),),
    ),
    Route(
        "cancel_operation",
        "POST",
        COLLECTION + "/{operation_id}/cancel",
        handlers.cancel_operation,
        _CANCEL,
        "operation",
        _CANCEL_ANSWERS,
        (*_UNSAFE, "malformed-body", "invalid-arguments"),
    ),
    Route(
        "get_operation_result",
        "GET HEAD",
        COLLECTION + "/{operation_id}/result",
        handlers.get_result,
        "The result alone",
        "result",
        {200: "The result.", 202: "Not yet: the operation as it stands.", 204: "It succeeded; no result is kept."},
        (*_SEEN, "polled-too-fast", "no-result"),
    ),
    Route(
        "get_operation_graph",
        "GET HEAD",
        COLLECTION + "/{operation_id}/graph",
        handlers.get_graph,
        "The parts of an operation that is a flow, and what waits for what",
        "",
        {200: "Its parts and the edges between them; of one that is no flow, itself alone."},
        _SEEN,
        gives=graph.SCHEMA,
    ),
    Route(
        "watch_operation",
        "GET HEAD",
        EVENTS,
        handlers.get_events,
        "Follow an operation (server-sent events)",
        "events",
        {200: "Its events.", 204: "It has ended and you have seen the end: do not come again."},
        (
            *_UNSAFE,  # an EventSource of another origin sends its cookies too
            *("invalid-parameter", "invalid-cursor", "too-many-streams", "too-many-waiting", "ticket-refused"),
        ),
        (
            _header("Last-Event-ID", "Go on after this event."),
            _query("last_event_id", "The same, for clients that cannot set the header; the header wins."),
            _query("ticket", "Opens the stream once, instead of any other authentication."),
            _LIMIT,
            _CURSOR,
        ),
    ),
    Route(
        "create_operation_ticket",
        "POST",
        TICKETS,
        handlers.issue_ticket,
        "A ticket that opens the events once",
        "ticket",
        {200: "Append it to the events' URL, or take `url` as it is; before `expires_at`."},
        _UNSAFE,
    ),
)


def allow(routes: Iterable[Route]) -> Mapping[str, str]:
    """By path: what the `Allow` of a 405 says. Frameworks tend to name the methods of one row only."""
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).extend(route.methods.split())
    return {path: ", ".join(said) for path, said in methods.items()}


def heads(routes: Iterable[Route]) -> tuple[str, ...]:
    """What their paths begin with, up to the first parameter."""
    fixed = [route.path.partition("/{")[0].partition(":")[0] for route in routes]
    return tuple(path for path in dict.fromkeys(fixed) if not any(path.startswith(f"{other}/") for other in fixed))


def beyond(routes: Iterable[Route]) -> tuple[str, ...]:
    """Everything below a collection, to be mounted last and answered by `asgi.Nowhere`: frameworks would redirect a
    path with a slash too many or too few, to whatever Host was sent."""
    return tuple(f"{head}/{{rest:path}}" for head in heads(routes))
