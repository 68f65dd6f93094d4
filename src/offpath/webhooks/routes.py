"""The routes of webhooks: rows for the table of `http/routes.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.deliveries import EVENTS
from ..http.guard import lacks
from ..http.messages import Request, Response
from ..http.routes import Handler, Route
from ..http.service import Service
from . import handlers

if TYPE_CHECKING:
    from .facade import Webhooks

ENDPOINTS = "/webhooks/endpoints"
ONE = ENDPOINTS + "/{endpoint_id}"

Handle = Callable[["Webhooks", Service, Request], Awaitable[Response]]

_TEXT: dict[str, Any] = {"type": "string"}
_TIME: dict[str, Any] = {"type": ["string", "null"], "format": "date-time"}
_MAYBE: dict[str, Any] = {"type": ["string", "null"]}
_EVENTS: dict[str, Any] = {"type": "array", "items": {"type": "string", "enum": list(EVENTS)}, "minItems": 1}
_HEADERS: dict[str, Any] = {"type": "object", "additionalProperties": _TEXT}


def _object(required: str, /, **properties: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": properties}
    return made | ({"required": required.split()} if required else {})


_ENDPOINT = _object(
    "id url description events headers enabled reason failing_since created_at updated_at",
    id=_TEXT,
    url=_TEXT,
    description=_TEXT,
    events={"type": "array", "items": _TEXT},
    headers={"type": "array", "items": _TEXT, "description": "Their names; the values are not shown again."},
    enabled={"type": "boolean"},
    reason={**_MAYBE, "description": "Why it is disabled."},
    failing_since=_TIME,
    created_at=_TIME,
    updated_at=_TIME,
    secret={**_TEXT, "description": "`whsec_…`: only in the answer that made it."},
)
_ATTEMPT = _object(
    "id delivery webhook_id event operation number at status latency_ms error snippet state",
    id=_TEXT,
    delivery=_TEXT,
    webhook_id=_TEXT,
    event=_TEXT,
    operation=_MAYBE,
    number={"type": "integer"},
    at=_TIME,
    status={"type": ["integer", "null"]},
    latency_ms={"type": "number"},
    error=_MAYBE,
    snippet={**_TEXT, "description": "At most 1 KiB of what was answered."},
    state={"type": "string", "enum": ["pending", "delivered", "failed", "canceled"]},
)
_SENT = _object("deliveries more", deliveries={"type": "array", "items": _TEXT}, more={"type": "boolean"})
_TESTED = _object("delivery webhook_id", delivery=_TEXT, webhook_id=_TEXT)
_KEYS = _object("keys", keys={"type": "array", "items": _TEXT})
_SECRET = _object("secret", secret=_TEXT)
_NEW = _object(
    "url", url=_TEXT, events=_EVENTS, description=_TEXT, headers=_HEADERS, secret={**_TEXT, "description": "`whsec_…`"}
)
_PATCH = _object("", url=_TEXT, events=_EVENTS, description=_TEXT, headers={**_HEADERS, "type": ["object", "null"]})
_ROTATE = _object("", secret={**_TEXT, "description": "`whsec_…`: one of your own."})
_AGAIN = _object(
    "", delivery=_TEXT, operation=_TEXT, since={"type": "string", "format": "date-time"}
) | {"minProperties": 1, "maxProperties": 1}  # fmt: skip
_SHOW = _object("", rotate={"type": "boolean"})


def _page(item: Mapping[str, Any]) -> dict[str, Any]:
    return _object("items", items={"type": "array", "items": item}, next_cursor=_TEXT)


def _takes(schema: Mapping[str, Any], required: bool = False) -> dict[str, Any]:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _query(name: str, doc: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": doc, "schema": schema}


_PAGING = (
    _query("limit", "How many at most; 0 or absent: 20; above 100: 100.", type="integer", minimum=0),
    _query("cursor", "`next_cursor` of the page before.", type="string"),
)


async def _permitted(handle: Handler, service: Service, request: Request) -> Response:
    """What it takes besides ownership, where the application says that it takes something."""
    if lacks("webhooks", request.caller, service.needs):
        service.refuse("forbidden")
    return await handle(service, request)


_ID = {"name": "endpoint_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_BODY = ("malformed-body", "invalid-arguments")
_CURSOR = ("invalid-parameter", "invalid-cursor")


def routes(webhooks: Webhooks) -> tuple[Route, ...]:
    """One row each, bound to what the application has said."""

    def row(
        name: str,
        methods: str,
        path: str,
        handle: Handle,
        doc: str,
        answers: Mapping[int, str],
        refusals: tuple[str, ...] = (),
        gives: Mapping[str, Any] | None = None,
        takes: Mapping[str, Any] | None = None,
        paged: bool = False,
        open: bool = False,
    ) -> Route:
        parameters = _PAGING if paged else ()
        if "{endpoint_id}" in path:
            refusals, parameters = ("no-endpoint", *refusals), (_ID, *parameters)
        bound: Handler = partial(handle, webhooks)
        if not open:
            bound, refusals = partial(_permitted, bound), (*refusals, "forbidden")
        return Route(
            name, methods, path, bound, doc, "", answers, refusals, parameters, open=open, takes=takes, gives=gives
        )

    h = handlers
    return (
        row(
            "create_endpoint", "POST", ENDPOINTS, h.create, "Have webhooks sent to a URL of yours",
            {201: "It stands; this answer alone has its secret."}, (*_BODY, "too-many-endpoints"), _ENDPOINT,
            _takes(_NEW, True),
        ),
        row(
            "list_endpoints", "GET HEAD", ENDPOINTS, h.listed, "List your endpoints, newest first", {200: "A page."},
            _CURSOR, _page(_ENDPOINT), paged=True,
        ),
        row("get_endpoint", "GET HEAD", ONE, h.get, "Look at an endpoint", {200: "As it stands."}, gives=_ENDPOINT),
        row(
            "change_endpoint", "PATCH", ONE, h.change, "Change an endpoint", {200: "As it stands now."}, _BODY,
            _ENDPOINT, _takes(_PATCH, True),
        ),
        row("delete_endpoint", "DELETE", ONE, h.delete, "Delete an endpoint and its deliveries", {204: "Gone."}),
        row(
            "rotate_endpoint", "POST", ONE + "/rotate", h.rotate, "Give an endpoint a new secret",
            {200: "This answer alone has it; the old one signs as well for a while."}, _BODY, _ENDPOINT,
            _takes(_ROTATE),
        ),
        row(
            "enable_endpoint", "POST", ONE + "/enable", h.enable, "Send to it (again)", {200: "As it stands now."},
            gives=_ENDPOINT,
        ),
        row(
            "disable_endpoint", "POST", ONE + "/disable", h.disable, "Send nothing to it, nor what is queued",
            {200: "As it stands now."}, gives=_ENDPOINT,
        ),
        row(
            "test_endpoint", "POST", ONE + "/test", h.test, "Send it an `endpoint.test`", {202: "On its way."},
            ("endpoint-disabled",), _TESTED,
        ),
        row(
            "list_attempts", "GET HEAD", ONE + "/attempts", h.attempts, "What became of each attempt, newest first",
            {200: "A page."}, _CURSOR, _page(_ATTEMPT), paged=True,
        ),
        row(
            "resend_deliveries", "POST", ONE + "/resend", h.resend,
            "Send again: one delivery, those of an operation, or all since a time that were not delivered",
            {202: "Those on their way again; `more`: there are others, ask again."}, (*_BODY, "endpoint-disabled"),
            _SENT, _takes(_AGAIN, True),
        ),
        row(
            "list_callback_attempts", "GET HEAD", "/webhooks/callbacks/{operation_id}/attempts", h.callback_attempts,
            "What became of each attempt at an operation's callback URL", {200: "A page."},
            ("not-found", "gone", *_CURSOR), _page(_ATTEMPT), paged=True,
        ),
        row(
            "list_webhook_keys", "GET HEAD", "/webhooks/keys", h.keys, "The public keys (v1a), newest first",
            {200: "`whpk_…`"}, gives=_KEYS, open=True,
        ),
        row(
            "show_default_secret", "POST", "/webhooks/default-secret", h.default_secret,
            "The secret that signs what goes to callback URLs, once", {201: "This answer alone has it."},
            (*_BODY, "secret-shown"), _SECRET, _takes(_SHOW),
        ),
    )  # fmt: skip
