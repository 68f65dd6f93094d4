"""Jobs: lists of them, and one of them with all there is to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..app.acts import looking
from ..core.attempts import ENDED, KEPT
from ..core.selection import JobFilter
from ..http import operations
from ..http.guard import lacks
from ..http.messages import Request, Response, json_response
from ..http.operations import dumps
from ..http.service import Service
from ..ports import Found
from . import documents
from .reading import FILTERS, asked, begin, filter_of, flag_of, job_id, paged, which
from .schemas import (
    ANYTHING,
    ERROR,
    FLAG,
    ID,
    JOB,
    PAGED,
    PAGING,
    STATES,
    TEXT,
    TIME,
    WHOLE,
    list_,
    maybe,
    object_,
    page,
    query,
)
from .table import Row, demand

if TYPE_CHECKING:
    from .facade import Admin

EVENTS = 100  # of a job's log, that are part of its document
STRIDE = 5_000  # rows that one statement looks through
ALL = ("admin jobs",)  # what a cursor is bound to, where nothing is filtered
BUDGET = 0.08  # s that a list looks for what is rare


async def listed(admin: Admin, service: Service, request: Request) -> Response:
    """Newest first, by pages."""
    query = asked(service, request, (*FILTERS, "limit", "cursor"))
    said = which(service, query, (value for name, value in request.query if name == "state"))
    where = filter_of(service, said, service.store.now())
    bound = (*ALL, *(f"{name}={said[name]!r}" for name in sorted(said)))
    after, limit = begin(service, query, bound)
    found, last = await look(service, where, after, limit)
    return json_response(200, paged(service, [documents.job(one) for one in found], last, bound))


async def look(service: Service, where: JobFilter, after: str | None, limit: int) -> tuple[list[Found], str | None]:
    """The next `limit` jobs, and where the page after them begins (None: there is none). What is rare is not looked
    for longer than `BUDGET`: then there are fewer, and the next page goes on from there."""
    store, began = service.store, service.clock()
    found: list[Found] = []
    while True:
        page, after = await store.read(store.verbs.walk(where, after, limit + 1 - len(found), STRIDE))
        found += page
        if len(found) > limit:
            return found[:limit], documents.row_of(found[limit - 1]).id
        if after is None or service.clock() - began >= BUDGET:
            return found, after


async def get(admin: Admin, service: Service, request: Request) -> Response:
    query = asked(service, request, ("arguments",))
    shown = flag_of(service, query, "arguments")
    id = job_id(service, request)
    if shown:
        demand(service, request, "admin.arguments")
        await service.store.perform(looking(service.store, id))
    found = await find(service, id)
    return json_response(200, dumps(await document(admin, service, request, found, shown=shown)))


async def find(service: Service, id: str) -> Found:
    """Refused (404) when there is none."""
    found = await service.store.read(service.store.verbs.find(id))
    if found is None:
        service.refuse("no-job")
    return found


async def document(
    admin: Admin, service: Service, request: Request, found: Found, *, shown: bool = False
) -> dict[str, Any]:
    """One job with all there is to know of it."""
    store, row = service.store, documents.row_of(found)
    seen = await store.read(store.verbs.operation(row.id)) if row.watched else None
    skipped = 0 if seen is None else max(0, seen.seq - EVENTS)
    events = await store.read(store.verbs.events(row.id, skipped, EVENTS)) if row.watched else []
    flow = await store.read(store.verbs.flow(row.flow or row.id))
    trace = documents.trace(found)
    link = admin.trace_link(trace)
    return {
        **documents.job(found),
        **documents.called(found, shown=shown),
        "attempts": [documents.attempt(one) for one in await store.read(store.verbs.job_attempts(row.id, KEPT))],
        "events": [
            {"sequence": one.seq, "type": one.type, "at": operations.moment(one.at), "data": documents.event(one)}
            for one in events
        ],
        "events_before": events[0].seq - 1 if events else 0,
        "started_at": None if seen is None else operations.moment(seen.started_at),
        "progress": None if seen is None else documents.progress(seen),
        "options": documents.options(found),
        "trace": {"trace_id": trace} if link is None else {"trace_id": trace, "link": link},
        "operation": None if seen is None else documents.operation(seen, f"{request.base}/{row.id}"),
        "parts": None if flow is None else len(flow.nodes) - 1,
        "retried_as": await store.read(store.verbs.retried_as(row.id)),
        "schedule": documents.schedule(found),
        "no_retry": documents.why_not(found),
        "can": documents.can(found, write=not lacks("admin.write", request.caller, service.needs)),
        "url": admin.url(request, f"/jobs/{row.id}"),
    }


_FILTERS = (
    query(
        "state",
        "One or more of these; repeat it, or separate by commas.",
        type="array",
        items={"type": "string", "enum": list(STATES)},
    ),
    query("queue", "Its queue."),
    query("task", "Its task."),
    query("owner", "Whose it is, in every tenant."),
    query("key_prefix", "Its key begins so."),
    query("older_than", "Seconds: enqueued longer ago; of what has ended: ended longer ago.", type="number", minimum=0),
    query("error", "Ended with an error of this kind (`timeout`) or an exception of this class (`shop.CardDeclined`)."),
    query("outstanding", "true: ended, and not run again yet; no `offpath.bulk`, which never is.", type="boolean"),
)
if tuple(one["name"] for one in _FILTERS) != FILTERS:
    raise AssertionError("the description and the filters differ")

DOCUMENT = object_(
    " ".join((*JOB["properties"], "redacted arguments result attempts events events_before started_at progress"))
    + " options trace operation parts retried_as schedule no_retry can url",
    **JOB["properties"],
    redacted={**FLAG, "description": "`arguments` and `result` are shapes and lengths, no values."},
    arguments={**ANYTHING, "description": "By parameter; null: erased."},
    result={**ANYTHING, "description": "null: there is none, or it was not kept."},
    attempts=list_(
        object_(
            "*",
            attempt=WHOLE,
            worker=maybe(TEXT),
            label={**maybe(TEXT), "description": "Host and pid of the worker."},
            started_at=maybe(TIME),
            ended_at=maybe(TIME),
            outcome={"type": "string", "enum": list(ENDED)},
            error=ERROR,
        ),
        "Those that did not succeed, in their order; of many the newest.",
    ),
    events=list_(
        object_("*", sequence=WHOLE, type=TEXT, at=TIME, data={"type": "object"}), "Of a watched job, the newest 100."
    ),
    events_before={**WHOLE, "description": "How many there were before those. All of them: `/events`."},
    started_at={**maybe(TIME), "description": "Its first start. Only of a watched job; of others none is kept."},
    progress=maybe(object_()),
    options={"type": "object", "description": "What it says otherwise than its task."},
    trace=object_("trace_id", trace_id=TEXT, link={**TEXT, "format": "uri"}),
    operation=maybe(object_("*", status=TEXT, label=TEXT, url={**TEXT, "format": "uri"})),
    parts={**maybe(WHOLE), "description": "How many the flow has of which it is one, or which it is."},
    retried_as={**maybe(ID), "description": "What runs it again; of a flow: what runs a part of it again, alone."},
    schedule=maybe(object_("*", name=TEXT, tick=maybe(TIME))),
    no_retry={**maybe(TEXT), "description": "Why it cannot be run again, ended as it has; null: it can, or it lives."},
    can=object_("*", retry=FLAG, cancel=FLAG, delete=FLAG),
    url={**TEXT, "format": "uri"},
)

ONE = "/jobs/{job_id}"
BLIND = ("id", "state", "canceling", "url")
"""Of `DOCUMENT`, for who may change a job and not look at it."""
ROWS = (
    Row(
        "admin_list_jobs", "GET HEAD", "/jobs", listed, "List all jobs, newest first",
        {
            200: "A page. One with fewer than `limit`, or none, may still have a `next_cursor`: where the filter means "
            "few jobs, each page looks through a part of them."
        },
        page(JOB), refusals=PAGED, parameters=(*_FILTERS, *PAGING),
    ),
    Row(
        "admin_get_job", "GET HEAD", ONE, get, "Look at a job", {200: "As it stands."}, DOCUMENT,
        refusals=("no-job", "invalid-parameter"),
        parameters=(
            query("arguments", "true: its arguments and result as they are. The look is audited.", type="boolean"),
        ),
    ),
)  # fmt: skip
