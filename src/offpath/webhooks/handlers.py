"""What each route of webhooks does: (webhooks, service, request) → response. Everything is the caller's own: what is
somebody else's is answered like what is not there."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..app.acting import Said, recorded
from ..core import deliveries
from ..core.checks import MAX_NAME
from ..core.ids import is_id, uuid7
from ..core.options import moment as micros
from ..errors import ConfigurationError, Conflict
from ..http.guard import lacks
from ..http.messages import NO_STORE, Request, Response, json_response
from ..http.operations import dumps, moment
from ..http.reading import MERGE, limit_of, members, open_cursor, query_of, wrong
from ..http.service import Service
from ..ports import Verb
from ..ports.webhooks import Again, AttemptRow, Change, EndpointRow, NewDelivery
from . import rotation
from .guard import Blocked
from .reading import events_of, headers_of, secret_of, text_of
from .signing import new_secret

if TYPE_CHECKING:
    from .facade import Webhooks

AT_ONCE = 1_000  # deliveries that one request sends again
DEFAULT_SECRET = "webhooks.default-secret"  # noqa: S105 - the permission, unless the application names another


# ── endpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def create(webhooks: Webhooks, service: Service, request: Request) -> Response:
    body = await members(service, request, "url events description headers secret", optional=False)
    now, caller = webhooks.store.now(), request.caller
    secret = secret_of(service, body) or new_secret()
    headers = headers_of(service, body)
    row = EndpointRow(
        id=uuid7(now, os.urandom(10)),
        tenant=caller.tenant,
        owner=caller.id,
        url=await _url(webhooks, service, body.get("url")),
        description=text_of(service, body, "description", MAX_NAME),
        events=events_of(service, body),
        secrets=rotation.sealed(secret, webhooks.vault),
        headers=None if headers is None else webhooks.vault.seal(headers),
        enabled=True,
        reason=None,
        failing_since=None,
        not_before=None,
        width=webhooks.width,
        created_at=now,
        updated_at=now,
    )
    if not await webhooks.store.perform(lambda: webhooks.store.verbs.add_endpoint(row, webhooks.most)):
        service.refuse("too-many-endpoints", f"{webhooks.most} at most")
    location = ("Location", f"{_base(request)}/{row.id}")
    return json_response(201, dumps({**_shown(webhooks, row), "secret": secret}), location)


async def listed(webhooks: Webhooks, service: Service, request: Request) -> Response:
    caller = request.caller
    after, limit, bound = _page(service, request, "endpoints")
    rows = await webhooks.store.read(webhooks.store.verbs.endpoints(caller.tenant, caller.id, after, limit + 1))
    items = [_shown(webhooks, row) for row in rows[:limit]]
    return _paged(service, items, [row.id for row in rows], limit, bound)


async def get(webhooks: Webhooks, service: Service, request: Request) -> Response:
    return json_response(200, dumps(_shown(webhooks, await _mine(webhooks, service, request))))


async def change(webhooks: Webhooks, service: Service, request: Request) -> Response:
    await _mine(webhooks, service, request)
    body = await members(service, request, "url events description headers", optional=False, types=MERGE)
    given: dict[str, Any] = {}
    if "url" in body:
        given["url"] = await _url(webhooks, service, body["url"])
    if "events" in body:
        given["events"] = events_of(service, body)
    if "description" in body:
        given["description"] = text_of(service, body, "description", MAX_NAME)
    if "headers" in body:
        headers = headers_of(service, body)
        given["headers"] = None if headers is None else webhooks.vault.seal(headers)
    row = await _changed(webhooks, service, request, lambda row, now: row._replace(**given, updated_at=now))
    return json_response(200, dumps(_shown(webhooks, row)))


async def delete(webhooks: Webhooks, service: Service, request: Request) -> Response:
    caller, id, store = request.caller, request.params["endpoint_id"], webhooks.store
    drop = recorded(
        store,
        lambda: store.verbs.drop_endpoint(id, caller.tenant, caller.id),
        "endpoint.delete",
        id,
        lambda there: {} if there else None,
    )
    if not await store.perform(drop):
        service.refuse("no-endpoint")
    return Response(204, [NO_STORE])


async def rotate(webhooks: Webhooks, service: Service, request: Request) -> Response:
    await _mine(webhooks, service, request)
    body = await members(service, request, "secret", optional=True)
    secret = secret_of(service, body) or new_secret()

    def turn(row: EndpointRow, now: int) -> EndpointRow:
        new = rotation.rotated(row.secrets, secret, webhooks.vault, now, webhooks.overlap)
        return row._replace(secrets=new, updated_at=now)

    row = await _changed(webhooks, service, request, turn, "endpoint.rotate")
    return json_response(200, dumps({**_shown(webhooks, row), "secret": secret}))


async def enable(webhooks: Webhooks, service: Service, request: Request) -> Response:
    def on(row: EndpointRow, now: int) -> EndpointRow:
        fresh = row._replace(enabled=True, reason=None, failing_since=None, not_before=None, width=webhooks.width)
        return row if row.enabled else fresh._replace(updated_at=now)

    return json_response(
        200, dumps(_shown(webhooks, await _changed(webhooks, service, request, on, "endpoint.enable")))
    )


async def disable(webhooks: Webhooks, service: Service, request: Request, who: str = deliveries.OWNER) -> Response:
    """`who` has asked for it: its owner reads so."""

    def off(row: EndpointRow, now: int) -> EndpointRow:
        return row._replace(enabled=False, reason=deliveries.by_hand(who), updated_at=now) if row.enabled else row

    return json_response(
        200, dumps(_shown(webhooks, await _changed(webhooks, service, request, off, "endpoint.disable")))
    )


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test(webhooks: Webhooks, service: Service, request: Request) -> Response:
    row = await _mine(webhooks, service, request)
    if not row.enabled:
        service.refuse("endpoint-disabled", row.reason)
    now = webhooks.store.now()
    body = dumps({"endpoint": row.id, "message": "This is a test."})
    new = NewDelivery(uuid7(now, os.urandom(10)), row.id, None, deliveries.TEST, 0, body)
    store, sent = webhooks.store, {"delivery": new.id}
    await store.perform(recorded(store, lambda: store.verbs.send([new]), "endpoint.test", row.id, lambda _: sent))
    return json_response(202, dumps({"delivery": new.id, "webhook_id": new.id}))


async def resend(webhooks: Webhooks, service: Service, request: Request) -> Response:
    await _mine(webhooks, service, request)
    body = await members(service, request, "delivery operation since", optional=False)
    if len(body) != 1:
        wrong(service, "", "says one of delivery, operation, since")
    ((name, value),) = body.items()
    if not isinstance(value, str):
        wrong(service, name, "must be text")
    match name:
        case "since":
            which = Again(since=_time(service, value))
        case "delivery":
            which = Again(delivery=value)
        case _:
            which = Again(operation=value)
    caller, id, verbs = request.caller, request.params["endpoint_id"], webhooks.store.verbs
    try:
        again = recorded(
            webhooks.store,
            lambda: verbs.send_again(id, caller.tenant, caller.id, which, AT_ONCE),
            "endpoint.resend",
            id,
            lambda sent: {name: value, "deliveries": len(sent)} if sent else None,
        )
        sent = await webhooks.store.perform(again)
    except Conflict:
        service.refuse("endpoint-disabled")
    if sent is None:
        service.refuse("no-endpoint")
    return json_response(202, dumps({"deliveries": sent, "more": len(sent) == AT_ONCE}))


async def attempts(webhooks: Webhooks, service: Service, request: Request) -> Response:
    row = await _mine(webhooks, service, request)
    after, limit, bound = _page(service, request, f"attempts {row.id}")
    rows = await webhooks.store.read(webhooks.store.verbs.attempts(row.id, None, after, limit + 1))
    return _paged(service, [tried(one) for one in rows[:limit]], [one.id for one in rows], limit, bound)


async def callback_attempts(webhooks: Webhooks, service: Service, request: Request) -> Response:
    if not is_id(request.id):
        service.refuse("not-found")
    row = await service.demand(request.id, request.caller, "read")
    after, limit, bound = _page(service, request, f"callback {row.id}")
    rows = await webhooks.store.read(webhooks.store.verbs.attempts(None, row.id, after, limit + 1))
    return _paged(service, [tried(one) for one in rows[:limit]], [one.id for one in rows], limit, bound)


# ── keys and the default secret ──────────────────────────────────────────────────────────────────────────────────────


async def keys(webhooks: Webhooks, service: Service, request: Request) -> Response:
    headers = [("Content-Type", "application/json"), ("Cache-Control", "public, max-age=300")]
    return Response(200, headers, dumps({"keys": webhooks.public_keys}).encode())


async def default_secret(webhooks: Webhooks, service: Service, request: Request) -> Response:
    """Whoever has it can sign what everybody in the tenant takes for ours, so it takes a permission of its own."""
    if lacks("default_secret", request.caller, {"default_secret": DEFAULT_SECRET, **service.needs}):
        service.refuse("forbidden")
    body = await members(service, request, "rotate", optional=True)
    again = body.get("rotate", False)
    if not isinstance(again, bool):
        wrong(service, "rotate", "must be true or false")
    tenant = request.caller.tenant
    if webhooks.terms.default_secret(tenant) is not None:
        service.refuse("secret-shown", "It is part of this application's settings.")
    fresh, vault = new_secret(), webhooks.vault

    def made(text: str | None, now: int) -> str:
        if text is None:
            return rotation.sealed(fresh, vault)
        return rotation.rotated(text, fresh, vault, now, webhooks.overlap) if again else text

    verbs = webhooks.store.verbs
    text = await webhooks.store.perform(lambda: verbs.show_signer(tenant, made, again))
    if text is None:
        service.refuse("secret-shown")
    return json_response(201, dumps({"secret": rotation.current(text, vault, webhooks.store.now())[0]}))


# ── what they share ──────────────────────────────────────────────────────────────────────────────────────────────────


async def _mine(webhooks: Webhooks, service: Service, request: Request) -> EndpointRow:
    caller, id = request.caller, request.params["endpoint_id"]
    row = await webhooks.store.read(webhooks.store.verbs.endpoint(id, caller.tenant, caller.id))
    if row is None:
        service.refuse("no-endpoint")
    return row


async def _changed(
    webhooks: Webhooks, service: Service, request: Request, change: Change, action: str | None = None
) -> EndpointRow:
    """`action`: what the audit log calls it."""
    caller, id, store = request.caller, request.params["endpoint_id"], webhooks.store
    seen: list[EndpointRow] = []

    def noticed(row: EndpointRow, now: int) -> EndpointRow:
        seen[:] = [row]
        return change(row, now)

    def make() -> Verb[EndpointRow | None]:
        return store.verbs.change_endpoint(id, caller.tenant, caller.id, noticed)

    def says(row: EndpointRow | None) -> Said | None:
        return None if row is None or [row] == seen else {}

    row = await store.perform(make if action is None else recorded(store, make, action, id, says))
    if row is None:
        service.refuse("no-endpoint")
    return row


async def _url(webhooks: Webhooks, service: Service, url: object) -> str:
    if not isinstance(url, str):
        wrong(service, "url", "must be a URL, as text")
    try:
        await webhooks.check(url)
    except Blocked as error:
        wrong(service, "url", str(error))
    return url


def _time(service: Service, text: str) -> int:
    try:
        return micros(datetime.fromisoformat(text), "since")
    except (ValueError, ConfigurationError, OverflowError):
        wrong(service, "since", "must be a time with its offset, as in 2026-11-21T09:00:00Z")


def _shown(webhooks: Webhooks, row: EndpointRow) -> dict[str, Any]:
    """An endpoint as its owner sees it. Its secrets and the values of its headers stay where they are."""
    return {
        "id": row.id,
        "url": row.url,
        "description": row.description,
        "events": json.loads(row.events),
        "headers": [] if row.headers is None else sorted(json.loads(webhooks.vault.open(row.headers))),
        "enabled": row.enabled,
        "reason": row.reason,
        "failing_since": moment(row.failing_since),
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


def tried(row: AttemptRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "delivery": row.delivery,
        "webhook_id": row.message,
        "event": row.event,
        "operation": row.operation,
        "number": row.number,
        "at": moment(row.at),
        "status": row.status,
        "latency_ms": row.latency / 1000,
        "error": row.error,
        "snippet": row.snippet,
        "state": row.state.name.lower(),
    }


def _base(request: Request) -> str:
    return request.base.removesuffix("/operations") + "/webhooks/endpoints"


def _page(service: Service, request: Request, what: str) -> tuple[str | None, int, tuple[str, ...]]:
    query = query_of(service, request, ("limit", "cursor"))
    bound = ("webhooks", what, request.caller.tenant, request.caller.id)
    if "cursor" not in query:
        return None, limit_of(service, query.get("limit")), bound
    text = f"{open_cursor(service, query['cursor'], bound):032x}"
    after = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return after, limit_of(service, query.get("limit")), bound


def _paged(
    service: Service, items: list[dict[str, Any]], ids: list[str], limit: int, bound: tuple[str, ...]
) -> Response:
    body: dict[str, Any] = {"items": items}
    if len(ids) > limit:
        body["next_cursor"] = service.cursors.seal(int(ids[limit - 1].replace("-", ""), 16), bound)
    return json_response(200, dumps(body))
