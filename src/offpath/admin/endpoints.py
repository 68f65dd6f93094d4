"""Webhook endpoints, whoever they belong to. Their secrets are shown nowhere; what is done to one is done by the same
functions as when its owner does it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core import redact
from ..core.deliveries import OPERATOR
from ..core.ids import is_id
from ..http.messages import Caller, Request, Response, json_response
from ..http.operations import dumps, moment
from ..http.service import Service
from ..ports.webhooks import EndpointRow
from ..webhooks.known import webhooks_of
from .reading import asked, begin, paged
from .schemas import (
    BODIED,
    FLAG,
    ID,
    NUMBER,
    PAGED,
    PAGING,
    TEXT,
    TIME,
    WHOLE,
    list_,
    maybe,
    object_,
    page,
    query,
    takes,
)
from .table import Row

if TYPE_CHECKING:
    from ..webhooks.facade import Webhooks
    from .facade import Admin


async def listed(admin: Admin, service: Service, request: Request) -> Response:
    """Newest first, by pages."""
    said = asked(service, request, ("tenant", "enabled", "limit", "cursor"))
    enabled, tenant = said.get("enabled"), said.get("tenant")
    if enabled not in (None, "true", "false"):
        service.refuse("invalid-parameter", "enabled: must be true or false")
    bound = ("admin endpoints", repr(tenant), repr(enabled))
    after, limit = begin(service, said, bound)
    which = None if enabled is None else enabled == "true"
    rows = await service.store.read(service.store.verbs.all_endpoints(tenant, which, after, limit + 1))
    last = rows[limit - 1].id if len(rows) > limit else None
    return json_response(200, paged(service, [_document(service, row) for row in rows[:limit]], last, bound))


async def get(admin: Admin, service: Service, request: Request) -> Response:
    asked(service, request, ())
    return json_response(200, dumps(_document(service, await _row(service, request))))


async def attempts(admin: Admin, service: Service, request: Request) -> Response:
    from ..webhooks.handlers import tried

    row = await _row(service, request)
    said = asked(service, request, ("limit", "cursor"))
    bound = ("admin endpoint attempts", row.id)
    after, limit = begin(service, said, bound)
    rows = await service.store.read(service.store.verbs.attempts(row.id, None, after, limit + 1))
    last = rows[limit - 1].id if len(rows) > limit else None
    return json_response(200, paged(service, [tried(one) for one in rows[:limit]], last, bound))


async def enable(admin: Admin, service: Service, request: Request) -> Response:
    from ..webhooks import handlers

    return await _switched(service, request, handlers.enable)


async def disable(admin: Admin, service: Service, request: Request) -> Response:
    from ..webhooks import handlers

    return await _switched(service, request, partial(handlers.disable, who=OPERATOR))


async def test(admin: Admin, service: Service, request: Request) -> Response:
    from ..webhooks import handlers

    webhooks, own, _ = await _owned(service, request)
    return await handlers.test(webhooks, service, own)


async def resend(admin: Admin, service: Service, request: Request) -> Response:
    from ..webhooks import handlers

    webhooks, own, _ = await _owned(service, request)
    return await handlers.resend(webhooks, service, own)


async def _switched(
    service: Service, request: Request, switch: Callable[[Webhooks, Service, Request], Awaitable[Response]]
) -> Response:
    webhooks, own, row = await _owned(service, request)
    await switch(webhooks, service, own)
    after = await service.store.read(service.store.verbs.any_endpoint(row.id))
    if after is None:
        service.refuse("no-endpoint")
    return json_response(200, dumps(_document(service, after)))


async def _owned(service: Service, request: Request) -> tuple[Webhooks, Request, EndpointRow]:
    """What sends here, the request as its owner would have sent it, and the endpoint."""
    asked(service, request, ())
    row = await _row(service, request)
    webhooks = webhooks_of(service.jobs)
    if webhooks is None:
        service.refuse("no-webhooks")
    return webhooks, replace(request, caller=Caller(row.owner, row.tenant)), row


async def _row(service: Service, request: Request) -> EndpointRow:
    id = request.params["endpoint_id"]
    row = await service.store.read(service.store.verbs.any_endpoint(id)) if is_id(id) else None
    if row is None:
        service.refuse("no-endpoint")
    return row


def _document(service: Service, row: EndpointRow) -> dict[str, Any]:
    """What its owner sees of it, and who that is."""
    webhooks = webhooks_of(service.jobs)
    names = None if webhooks is None or row.headers is None else sorted(json.loads(webhooks.vault.open(row.headers)))
    return {
        "id": row.id,
        "tenant": row.tenant,
        "owner": row.owner,
        "url": redact.place(row.url),
        "description": row.description,
        "events": json.loads(row.events),
        "headers": names or [],
        "enabled": row.enabled,
        "reason": row.reason,
        "failing_since": moment(row.failing_since),
        "not_before": moment(row.not_before),
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


ENDPOINT = object_(
    "*",
    id=ID,
    tenant=TEXT,
    owner=TEXT,
    url=TEXT,
    description=TEXT,
    events=list_(TEXT),
    headers=list_(TEXT, "The names of those that its owner wants sent; their values are not shown."),
    enabled=FLAG,
    reason={**maybe(TEXT), "description": "Why it is disabled."},
    failing_since={**maybe(TIME), "description": "The first failure after the last success."},
    not_before={**maybe(TIME), "description": "The receiver has asked for a pause until then."},
    created_at=TIME,
    updated_at=TIME,
)
_ATTEMPT = object_(
    "*",
    id=ID,
    delivery=ID,
    webhook_id=TEXT,
    event=TEXT,
    operation=maybe(ID),
    number=WHOLE,
    at=TIME,
    status=maybe(WHOLE),
    latency_ms=NUMBER,
    error=maybe(TEXT),
    snippet={**TEXT, "description": "At most 1 KiB of what was answered."},
    state={
        "type": "string",
        "enum": ["pending", "delivered", "failed", "canceled"],
        "description": "How its delivery stands; what came of the attempt is its `status`, or its `error`.",
    },
)
_AGAIN = object_("", delivery=TEXT, operation=TEXT, since=TIME) | {"minProperties": 1, "maxProperties": 1}
_ONE = "/endpoints/{endpoint_id}"
_REFUSES = ("no-endpoint", "invalid-parameter")
_DOES = (*_REFUSES, "no-webhooks")
_BLIND = ("id", "enabled")
ROWS = (
    Row(
        "admin_list_endpoints", "GET HEAD", "/endpoints", listed, "All webhook endpoints, newest first",
        {200: "A page."}, page(ENDPOINT), refusals=PAGED,
        parameters=(
            query("tenant", "Only of this tenant."), query("enabled", "Only those.", type="boolean"), *PAGING,
        ),
    ),
    Row(
        "admin_get_endpoint", "GET HEAD", _ONE, get, "Look at a webhook endpoint",
        {200: "Without its secrets."}, ENDPOINT, refusals=_REFUSES,
    ),
    Row(
        "admin_list_endpoint_attempts", "GET HEAD", _ONE + "/attempts", attempts,
        "What became of each attempt to send to it", {200: "A page, newest first."}, page(_ATTEMPT),
        refusals=("no-endpoint", *PAGED), parameters=PAGING,
    ),
    Row(
        "admin_enable_endpoint", "POST", _ONE + "/enable", enable, "Send to an endpoint again",
        {200: "As it is now."}, ENDPOINT, refusals=_DOES, blind=_BLIND,
    ),
    Row(
        "admin_disable_endpoint", "POST", _ONE + "/disable", disable, "Send nothing to an endpoint",
        {200: "As it is now; what was queued for it is stopped, and its owner is told."}, ENDPOINT, refusals=_DOES,
        blind=_BLIND,
    ),
    Row(
        "admin_test_endpoint", "POST", _ONE + "/test", test, "Send a test to an endpoint",
        {202: "It is on its way."}, object_("*", delivery=ID, webhook_id=TEXT),
        refusals=(*_DOES, "endpoint-disabled"),
    ),
    Row(
        "admin_resend", "POST", _ONE + "/resend", resend, "Send again: one delivery, an operation's, or what failed",
        {202: "The deliveries that are sent again; 1,000 at most."},
        object_("*", deliveries=list_(ID), more=FLAG), takes(_AGAIN, required=True),
        (*_DOES, "endpoint-disabled", *BODIED),
    ),
)  # fmt: skip
