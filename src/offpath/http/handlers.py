"""What each route does: (service, request) → response. A refusal is raised as `Refused`, other errors are faults."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlencode

from ..core import redact
from ..core.events import TERMINAL
from ..errors import Conflict
from ..ports import EventRow, OperationFilter, OperationRow, Ticket
from . import graph, operations, sse, tickets
from .conditional import Conditions
from .guard import Action, lacks, refusal
from .messages import NO_STORE, Caller, Refused, Request, Response, json_response
from .operations import STATUSES, done, etag
from .prefer import parse
from .problems import plain
from .reading import limit_of, moment_of, open_cursor, query_of, reason_of
from .service import Service, Tied

FILTERS = ("status", "kind", "label", "created_after", "created_before", "limit", "cursor")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ZERO = re.compile(r"q\s*=\s*0(\.0*)?")  # "not acceptable", RFC 9110 section 12.4.2
_VARY = ("Vary", "Prefer")


# ── one operation ────────────────────────────────────────────────────────────────────────────────────────────────────


async def get_operation(service: Service, request: Request) -> Response:
    """200 whatever its status; 304 for `If-None-Match`; with `Prefer: wait` held until it ends or changes."""
    quota = service.polled(request.caller)
    row = await _mine(service, request)
    if "if-match" in request.headers:
        Conditions(request.headers).unmodified(etag(row))
    known = request.headers.get("if-none-match", ())
    unchanged = bool(known) and operations.matches(known, etag(row))
    seconds = parse(request.headers.get("prefer", ())).wait(service.wait)
    if seconds is None:
        return _operation(service, request, row, unchanged, *quota)
    if done(row) or (known and not unchanged) or (leave := service.seat(request.caller)) is None:
        return _operation(service, request, row, unchanged, ("Preference-Applied", "wait"), *quota)

    async def held() -> Response:
        def enough(page: list[EventRow]) -> bool:
            return bool(known) or any(event.type in TERMINAL for event in page)

        async def events(after: int, limit: int) -> list[EventRow]:
            return await service.events(row.id, after, limit)

        await sse.until(service.watcher, row.id, row.seq, seconds, service.poll, events, enough)
        if not await service.trusts(request.caller):
            service.refuse("not-found")
        now = await _mine(service, request)
        same = bool(known) and operations.matches(known, etag(now))
        return _operation(service, request, now, same, ("Preference-Applied", "wait"), *quota)

    return Response(200, held=held, leave=leave)


def _operation(
    service: Service, request: Request, row: OperationRow, unchanged: bool, *more: tuple[str, str]
) -> Response:
    headers = [("ETag", etag(row)), _VARY, *more]
    if not done(row):
        headers.append(service.retry_after(row))
    if unchanged:
        return Response(304, [NO_STORE, *headers])
    if service.redirect and operations.status(row) == "succeeded":
        return Response(303, [("Location", f"{request.base}/{row.id}/result"), NO_STORE, *headers])
    return json_response(200, service.document(row, request.base), *headers)


async def delete_operation(service: Service, request: Request) -> Response:
    """Erases a finished operation with its input and result. Never cancels: 409 while it is live."""
    row = await _mine(service, request, "delete")
    if not done(row):
        service.refuse("not-finished")
    Conditions(request.headers).check(etag(row))  # what has ended does not change any more
    try:
        erased = await service.store.perform(lambda: service.store.verbs.delete(row.id))
    except Conflict:
        service.refuse("not-finished")
    if not erased:
        service.refuse("not-found")
    return Response(204, [NO_STORE])


async def cancel_operation(service: Service, request: Request) -> Response:
    """Idempotent: 202 when running work was asked to stop, else 200 with the operation as it is or now became."""
    row = await _mine(service, request, "cancel")
    reason = await reason_of(service, request)
    if not done(row):
        await service.store.perform(lambda: service.store.verbs.cancel(row.id, reason))
        row = await _mine(service, request, "cancel")
    headers = [("ETag", etag(row))] if done(row) else [("ETag", etag(row)), service.retry_after(row)]
    return json_response(200 if done(row) else 202, service.document(row, request.base), *headers)


async def get_result(service: Service, request: Request) -> Response:
    """The result alone: 200, or 204 when none is kept; 202 with the operation while it is live; 409 when it has none
    because it failed or was canceled (never 5xx: that would say "ask again")."""
    quota = service.polled(request.caller)
    row = await _mine(service, request)
    document = service.document(row, request.base, with_result=False)
    match operations.status(row):
        case "succeeded":
            return result_of(service, row, ("ETag", etag(row)), *quota)
        case "failed" | "canceled":
            error = json.loads(document)["error"]
            service.refuse("no-result", None, *quota, operation_error=error)
        case _:
            location = ("Content-Location", f"{request.base}/{row.id}")
            return json_response(202, document, service.retry_after(row), location, *quota)


def result_of(service: Service, row: OperationRow, *headers: tuple[str, str]) -> Response:
    """The result of a succeeded operation as an answer; `headers` for those that the task did not make itself."""
    if row.result is None:
        return Response(204, [NO_STORE, *headers])
    if (reply := service.reply(row)) is not None:
        kind = () if reply.status == 204 else (("Content-Type", reply.media_type),)
        return Response(reply.status, [*kind, NO_STORE, *reply.headers.items()], reply.body)
    return json_response(200, redact.masked(row.result), *headers)


async def get_graph(service: Service, request: Request) -> Response:
    """The parts of a flow and what waits for what; of any other operation, itself alone."""
    row = await _mine(service, request)
    rows = await service.store.read(service.store.verbs.flow(row.id))
    return json_response(200, operations.dumps(graph.document(row, rows)))


async def get_events(service: Service, request: Request) -> Response:
    """The log as server-sent events, resumed after `Last-Event-ID`; as JSON to whoever accepts only that."""
    row = await _mine(service, request)
    return await follow(service, request, row, Tied(service, row.id, request.caller, request.base))


async def follow(service: Service, request: Request, row: OperationRow, tied: sse.Source) -> Response:
    """The log of this operation, to a caller who may see it."""
    query = query_of(service, request, ("last_event_id", "cursor", "limit", tickets.PARAMETER))
    limit_of(service, query.get("limit"))  # a stream has no pages; what is wrong is said all the same
    after = sse.last_event_id(request.header("last-event-id"), query.get("last_event_id"))
    match _wanted(request.headers.get("accept", ())):
        case "json":
            return await _log(service, request, row, after or 0, query)
        case None:
            raise Refused(plain(406, "this is an event stream (text/event-stream), or a list (application/json)"))
        case "stream":
            pass
    if after == row.seq and done(row):
        return Response(204, [NO_STORE])  # tells an EventSource not to come again
    leave = service.seat(request.caller)
    if leave is None:
        service.refuse("too-many-streams", None, service.soon(5))
    headers = [
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("X-Accel-Buffering", "no"),  # nginx: pass each event on as it comes
        ("Vary", "Accept"),
    ]
    return Response(
        200,
        headers,
        stream=lambda: sse.stream(
            tied, row.id, after, heartbeat=service.heartbeat, poll=service.poll, u=service.random()
        ),
        leave=leave,
    )


async def issue_ticket(service: Service, request: Request) -> Response:
    """What opens the events of this operation once, without any other word about who is asking."""
    row = await _mine(service, request)
    text = tickets.ticket(os.urandom(tickets.BYTES))
    made = Ticket(tickets.hashed(text) or "", row.id, row.tenant, row.owner)
    until = await service.store.perform(lambda: service.store.verbs.issue_ticket(made, service.ticket))
    url = f"{request.base}/{row.id}/events?{tickets.PARAMETER}={text}"
    body = {"ticket": text, "expires_at": operations.moment(until), "url": url}
    return json_response(200, operations.dumps(body))


async def get_events_by_ticket(service: Service, request: Request) -> Response:
    """The same log for whoever has a ticket, which this uses up. Nobody has asked who is asking."""
    given = [value for name, value in request.query if name == tickets.PARAMETER]
    hash = tickets.hashed(given[0]) if len(given) == 1 else None
    if hash is None or _UUID.fullmatch(request.id) is None:
        service.refuse("ticket-refused")
    if request.method == "HEAD":
        service.refuse("ticket-refused", "A ticket is for one GET.")  # and would be used up by a look at the headers
    used = await service.store.perform(lambda: service.store.verbs.take_ticket(hash, request.id))
    if used is None:
        service.refuse("ticket-refused")
    held = frozenset(service.needs[action] for action in ("read",) if action in service.needs)  # looked at when issued
    return await get_events(service, replace(request, caller=Caller(used.owner, used.tenant, held)))


async def _log(service: Service, request: Request, row: OperationRow, after: int, query: dict[str, str]) -> Response:
    bound = ("events", row.id, request.caller.tenant, request.caller.id)
    if "cursor" in query:
        after = open_cursor(service, query["cursor"], bound)
    limit = limit_of(service, query.get("limit"))
    page = await service.events(row.id, after, limit + 1)
    body: dict[str, Any] = {
        "items": [
            {"id": event.seq, "event": sse.name(event), "data": sse.data(event, service.problems)}
            for event in page[:limit]
        ]
    }
    if len(page) > limit:
        body["next_cursor"] = service.cursors.seal(page[limit - 1].seq, bound)
    return json_response(200, operations.dumps(body), ("Vary", "Accept"))


# ── many ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def list_operations(service: Service, request: Request) -> Response:
    """The caller's operations, newest first, by pages; the last page has no `next_cursor`."""
    if lacks("read", request.caller, service.needs):
        service.refuse("forbidden")
    query = query_of(service, request, FILTERS)
    limit = limit_of(service, query.get("limit"))
    statuses = tuple(sorted({word for name, value in request.query if name == "status" for word in value.split(",")}))
    if unknown := [word for word in statuses if word not in STATUSES]:
        service.refuse("invalid-parameter", f"status: {unknown[0]!r} is none of {', '.join(STATUSES)}")
    where = OperationFilter(
        request.caller.tenant,
        request.caller.id,
        statuses,
        query.get("kind"),
        query.get("label"),
        moment_of(service, query, "created_after"),
        moment_of(service, query, "created_before"),
    )
    bound = ("operations", *(repr(part) for part in where))
    after = _id(open_cursor(service, query["cursor"], bound)) if "cursor" in query else None
    rows = await service.store.read(service.store.verbs.list_operations(where, after, limit + 1))
    mine = [row for row in rows[:limit] if refusal("read", request.caller, row, service.needs) is None]
    shown = ",".join(service.document(row, request.base, with_result=False) for row in mine)
    if len(rows) <= limit:
        return json_response(200, f'{{"items":[{shown}]}}')
    cursor = service.cursors.seal(int(rows[limit - 1].id.replace("-", ""), 16), bound)
    kept = [(name, value) for name, value in request.query if name != "cursor"]
    link = ("Link", f'<{request.base}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"')
    return json_response(200, f'{{"items":[{shown}],"next_cursor":"{cursor}"}}', link)


async def _mine(service: Service, request: Request, action: Action = "read") -> OperationRow:
    if _UUID.fullmatch(request.id) is None:
        service.refuse("not-found")
    return await service.demand(request.id, request.caller, action)


def _wanted(accept: Sequence[str]) -> Literal["stream", "json"] | None:
    """A stream for everyone who takes one, but for who names JSON and leaves event streams to a wildcard; None for
    who takes neither."""
    kinds = set()
    for element in ",".join(accept).lower().split(","):
        kind, *parameters = (part.strip() for part in element.split(";"))
        if kind and not any(_ZERO.fullmatch(parameter) for parameter in parameters):
            kinds.add(kind)
    if "text/event-stream" in kinds or not any(accept):
        return "stream"
    if "application/json" in kinds:
        return "json"
    if kinds & {"*/*", "text/*"}:
        return "stream"
    return "json" if "application/*" in kinds else None


def _id(mark: int) -> str:
    text = f"{mark:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
