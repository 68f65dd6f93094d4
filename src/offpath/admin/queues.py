"""Queues, and the limits that hold for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..app.queues import MAX_REASON
from ..app.watching import MOST, Part, loads
from ..core.backlog import QueueLoad
from ..core.checks import check_name, check_segment
from ..core.limits import WITHIN, Rule, buckets_of
from ..core.options import SECOND
from ..errors import ConfigurationError
from ..http.messages import Request, Response, json_response
from ..http.operations import dumps
from ..http.reading import limit_of, members, open_name, wrong
from ..http.service import Service
from .documents import iso
from .reading import asked, flag_of
from .schemas import BODIED, FLAG, NUMBER, PAGED, TEXT, TIME, WHOLE, list_, maybe, object_, page, query, takes
from .table import Row

if TYPE_CHECKING:
    from .facade import Admin

USUAL, LONGEST = 100, 500  # queues of a page
FULLEST = 20  # buckets of a limit that are named


async def listed(admin: Admin, service: Service, request: Request) -> Response:
    """By name, by pages."""
    query = asked(service, request, ("paused", "limit", "cursor"))
    paused = flag_of(service, query, "paused") if "paused" in query else None
    limit, bound = limit_of(service, query.get("limit"), USUAL, LONGEST), ("admin queues", f"paused={paused}")
    after = open_name(service, query["cursor"], bound) if "cursor" in query else ""
    verbs = service.store.verbs
    part = Part(after, limit + 1, paused)
    found = await service.store.read(loads(verbs, service.jobs.queues.known(), None, MOST, part))
    body: dict[str, Any] = {"items": [_document(service, one) for one in found[:limit]]}
    if len(found) > limit:
        body["next_cursor"] = service.cursors.seal_text(found[limit - 1].name, bound)
    return json_response(200, dumps(body))


async def get(admin: Admin, service: Service, request: Request) -> Response:
    return await _shown(service, _name(service, request))


async def backlog(admin: Admin, service: Service, request: Request) -> Response:
    one = await service.jobs.queues.load(_name(service, request))
    body = {"queue": one.name, "backlog_seconds": one.backlog_seconds, "ready": one.ready, "rate": one.rate}
    return json_response(200, dumps(body))


async def pause(admin: Admin, service: Service, request: Request) -> Response:
    name = _name(service, request)
    body = await members(service, request, "reason", optional=True)
    reason = body.get("reason")
    if reason not in (None, ""):
        try:
            check_name(reason, "reason", MAX_REASON)
        except ConfigurationError as error:
            wrong(service, "reason", str(error))
    await service.jobs.queues.pause(name, reason=reason or "")
    return await _shown(service, name)


async def resume(admin: Admin, service: Service, request: Request) -> Response:
    name = _name(service, request)
    await members(service, request, "", optional=True)
    await service.jobs.queues.resume(name)
    return await _shown(service, name)


def _name(service: Service, request: Request) -> str:
    """A queue needs no declaration, so whatever can be a name is one."""
    asked(service, request, ())
    try:
        return check_segment(request.params["name"], "queue")
    except ConfigurationError as error:
        service.refuse("no-queue-name", str(error))


async def _shown(service: Service, name: str) -> Response:
    shown = _document(service, await service.jobs.queues.load(name))
    filled = shown["ready"] or shown["running"] or shown["scheduled"] or shown["waiting"]
    return json_response(200, dumps({**shown, "known": bool(filled) or service.jobs.queues.knows(name)}))


def _document(service: Service, one: QueueLoad) -> dict[str, Any]:
    declared = service.jobs.registry.queues.get(one.name)
    return {
        "name": one.name,
        "paused": one.paused,
        "reason": one.reason,
        "paused_at": iso(one.paused_at),
        "ready": one.ready,
        "running": one.running,
        "scheduled": one.scheduled,
        "waiting": one.waiting,
        "more": one.more,
        "age": one.age,
        "rate": one.rate,
        "backlog_seconds": one.backlog_seconds,
        "declared": declared is not None,
        "limits": [] if declared is None else [_said(limit) for limit in declared.under],
    }


def _said(limit: Any) -> str:
    """For people: `4 at once`, `10 in 1 s, each tenant_id`."""
    parts = [] if limit.concurrency is None else [f"{limit.concurrency} at once"]
    if limit.rate is not None:
        parts.append(f"{limit.rate} in {limit.period:g} s" + (f", {limit.burst} at a time" if limit.burst > 1 else ""))
    per = "" if limit.per is None else f", each {limit.per if isinstance(limit.per, str) else limit.name}"
    return " and ".join(parts) + per


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def limits(admin: Admin, service: Service, request: Request) -> Response:
    asked(service, request, ())
    rules, lanes = await service.store.read(service.store.verbs.limits())
    declared = service.jobs.registry.limits
    full: dict[str, int] = {}
    for lane, jobs in lanes:
        for bucket in buckets_of(lane):
            full[bucket] = full.get(bucket, 0) + jobs
    return json_response(200, dumps({"items": [_limit(rule, declared.whose(rule.name), full) for rule in rules]}))


def _limit(rule: Rule, whose: tuple[str, str] | None, full: dict[str, int]) -> dict[str, Any]:
    mine = {bucket: jobs for bucket, jobs in full.items() if bucket.partition(WITHIN)[0] == rule.name}
    fullest = sorted(mine.items(), key=lambda one: (-one[1], one[0]))[:FULLEST]
    kind, name = whose or _guessed(rule.name)
    spacing = None if rule.spacing is None else rule.spacing / SECOND
    said = [] if rule.concurrency is None else [f"{rule.concurrency} at once"]
    if spacing is not None:
        said.append(f"one every {spacing:g} s" + (f", {rule.burst} at a time" if rule.burst > 1 else ""))
    return {
        "name": rule.name,
        "queue": name if kind == "queue" else None,
        "task": name if kind == "task" else None,
        "describe": " and ".join(said),
        "concurrency": rule.concurrency,
        "spacing": spacing,
        "burst": rule.burst,
        "running": sum(mine.values()),
        "used": fullest[0][1] if fullest else 0,
        "capacity": rule.concurrency,
        "buckets": [{"value": bucket.partition(WITHIN)[2] or None, "running": jobs} for bucket, jobs in fullest],
    }


def _guessed(rule: str) -> tuple[str, str]:
    """Whose a limit is that this process has not declared. Of `queue:a/b` nobody can tell whether it is that of queue
    a/b or, per b, that of queue a."""
    kind, _, name = rule.partition(":")
    return ("", "") if any(mark in name for mark in "/#…") else (kind, name)


QUEUE = object_(
    "*",
    name=TEXT,
    paused={**FLAG, "description": "Workers claim nothing from it."},
    reason=TEXT,
    paused_at=maybe(TIME),
    ready=WHOLE,
    running={**WHOLE, "description": "What workers hold, as they last said."},
    scheduled=WHOLE,
    waiting=WHOLE,
    more={**FLAG, "description": "One of the counts is cut off: there are at least so many."},
    age={**maybe(NUMBER), "description": "Seconds that the oldest ready job has waited."},
    rate={**NUMBER, "description": "Attempts that ended in a second, over the last minutes."},
    backlog_seconds={
        **NUMBER,
        "description": "Until what is ready has been started, at that rate; where nothing ended lately, the age.",
    },
    declared=FLAG,
    limits=list_(TEXT, "That were declared for it, in words."),
)
ONE = object_(
    "*",
    **QUEUE["properties"],
    known={**FLAG, "description": "It is declared, or a task's here, or has live jobs. false: a new one, or mistyped."},
)
_LIMIT = object_(
    "*",
    name=TEXT,
    queue={**maybe(TEXT), "description": "Whose it is, if it is one queue's. null also where that cannot be told."},
    task={**maybe(TEXT), "description": "Whose it is, if it is one task's. null also where that cannot be told."},
    describe={**TEXT, "description": "What it allows, in words."},
    concurrency=maybe(WHOLE),
    spacing={**maybe(NUMBER), "description": "Seconds between two starts."},
    burst=WHOLE,
    running={**WHOLE, "description": "Jobs under it that run now."},
    used={**WHOLE, "description": "Of them, those in its fullest bucket."},
    capacity={**maybe(WHOLE), "description": "How many a bucket holds."},
    buckets=list_(
        object_("*", value={**maybe(TEXT), "description": "Of the argument that it is per, as JSON."}, running=WHOLE),
        "The fullest.",
    ),
)
_ONE = "/queues/{name}"
_REFUSES = ("no-queue-name", "invalid-parameter")
_BLIND = ("name", "paused")
ROWS = (
    Row(
        "admin_list_queues", "GET HEAD", "/queues", listed, "All queues: how full they are, and how fast",
        {200: "A page, by name. Counts go no further than 20,000, and less far on a long page."},
        page(QUEUE), refusals=PAGED,
        parameters=(
            query("paused", "Only those that are paused; or that are not.", type="boolean"),
            query("limit", "How many at most; 0 or absent: 100; above 500: 500.", type="integer", minimum=0),
            query("cursor", "`next_cursor` of the page before, with the same filter."),
        ),
    ),
    Row(
        "admin_get_queue", "GET HEAD", _ONE, get, "Look at a queue",
        {200: "As it stands; a queue of which nobody has heard is empty. Counts go no further than 100,000."}, ONE,
        refusals=_REFUSES,
    ),
    Row(
        "admin_get_backlog", "GET HEAD", _ONE + "/backlog", backlog, "A figure to scale workers by",
        {200: "For KEDA's metrics-api scaler: `valueLocation: backlog_seconds`. A paused queue has none."},
        object_("*", queue=TEXT, backlog_seconds=NUMBER, ready=WHOLE, rate=NUMBER), refusals=_REFUSES,
    ),
    Row(
        "admin_pause_queue", "POST", _ONE + "/pause", pause, "Claim nothing more from a queue",
        {200: "As it stands now. What runs goes on."}, ONE,
        takes(object_(reason=maybe({**TEXT, "maxLength": MAX_REASON, "description": "For whoever asks why."}))),
        (*_REFUSES, *BODIED), blind=_BLIND,
    ),
    Row(
        "admin_resume_queue", "POST", _ONE + "/resume", resume, "Claim from a queue again",
        {200: "As it stands now."}, ONE, takes(object_()), (*_REFUSES, *BODIED),
        blind=_BLIND,
    ),
    Row(
        "admin_list_limits", "GET HEAD", "/limits", limits, "Every limit that was declared, and how full it is",
        {200: "By name."}, object_("items", items=list_(_LIMIT)), refusals=("invalid-parameter",),
    ),
)  # fmt: skip
