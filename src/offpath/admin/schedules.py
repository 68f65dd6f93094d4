"""Schedules: when they run next, and run now, paused, resumed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..app.schedules import ScheduleInfo
from ..core.options import SECOND
from ..core.schedule import GRACE, check_schedule_name
from ..errors import ConfigurationError, Conflict, NotFound
from ..http.messages import Request, Response, json_response
from ..http.operations import dumps
from ..http.reading import members
from ..http.service import Service
from ..ports import Verb
from .documents import iso
from .jobs import BLIND, DOCUMENT, document, find
from .reading import asked
from .schemas import BODIED, FLAG, ID, TEXT, TIME, WHOLE, list_, maybe, object_, takes
from .table import Row

if TYPE_CHECKING:
    from .facade import Admin

NEXT = 10  # runs that are told ahead


async def listed(admin: Admin, service: Service, request: Request) -> Response:
    asked(service, request, ())
    now = service.store.now()
    items = [_document(one, now) for one in await service.jobs.schedules.list()]
    return json_response(200, dumps({"items": items}))


async def get(admin: Admin, service: Service, request: Request) -> Response:
    return await _shown(service, _name(service, request))


async def run(admin: Admin, service: Service, request: Request) -> Response:
    name = _name(service, request)
    await members(service, request, "", optional=True)
    try:
        made = await service.jobs.schedules.run_now(name)
    except NotFound:
        service.refuse("no-schedule")
    except Conflict as error:
        service.refuse("job-conflict", str(error))
    shown = await document(admin, service, request, await find(service, made.id))
    return json_response(200 if made.existing else 202, dumps(shown), ("Location", shown["url"]))


async def pause(admin: Admin, service: Service, request: Request) -> Response:
    name = _name(service, request)
    await members(service, request, "", optional=True)
    try:
        await service.jobs.schedules.pause(name)
    except NotFound:
        service.refuse("no-schedule")
    return await _shown(service, name)


async def resume(admin: Admin, service: Service, request: Request) -> Response:
    name = _name(service, request)
    await members(service, request, "", optional=True)
    try:
        await service.jobs.schedules.resume(name)
    except NotFound:
        service.refuse("no-schedule")
    return await _shown(service, name)


def _name(service: Service, request: Request) -> str:
    asked(service, request, ())
    try:
        return check_schedule_name(request.params["name"])
    except ConfigurationError:
        service.refuse("no-schedule")


async def _shown(service: Service, name: str) -> Response:
    schedules = service.jobs.schedules
    try:
        one, runs = await schedules.get(name), await schedules.explain(name, NEXT)
    except NotFound:
        service.refuse("no-schedule")
    shown = {
        **_document(one, service.store.now()),
        "next_runs": [at.isoformat() for at in runs],
        **await service.store.read(_held_by(service, one)),
    }
    return json_response(200, dumps(shown))


def _held_by(service: Service, one: ScheduleInfo) -> Verb[dict[str, Any]]:
    """What may hold it up: its queue is paused; its last job still lives, where only one may."""
    paused = yield from service.store.verbs.paused()
    alone = one.schedule.overlap in ("skip", "queue")
    last = (yield from service.store.verbs.find(one.last_job)) if one.last_job is not None and alone else None
    return {
        "queue_paused": any(row.name == one.queue for row in paused),
        "waits_for": one.last_job if last is not None and last.job is not None else None,
    }


def _document(one: ScheduleInfo, now: int) -> dict[str, Any]:
    grace = timedelta(microseconds=GRACE)
    return {
        "name": one.name,
        "task": one.task,
        "queue": one.queue,
        "schedule": str(one.schedule),
        "overlap": one.schedule.overlap,
        "next_at": iso(one.next_at),
        "paused": one.paused,
        "late": not one.paused and one.next_at is not None and (one.next_at + grace).timestamp() * SECOND < now,
        "declared": one.declared,
        "last_tick": iso(one.last_tick),
        "last_job": one.last_job,
        "last_at": iso(one.last_at),
        "skipped": one.skipped,
        "created_at": iso(one.created_at),
        "updated_at": iso(one.updated_at),
    }


SCHEDULE = object_(
    "*",
    name=TEXT,
    task=TEXT,
    queue={**TEXT, "description": "Where its jobs go."},
    schedule={**TEXT, "description": "When, in words."},
    overlap=TEXT,
    next_at={**maybe(TIME), "description": "Its next tick; null: there is none any more."},
    paused=FLAG,
    late={**FLAG, "description": "Its time came a minute ago or more, and nobody has fired it."},
    declared={**FLAG, "description": "In code, rather than put by API."},
    last_tick=maybe(TIME),
    last_job=maybe(ID),
    last_at=maybe(TIME),
    skipped={**WHOLE, "description": "Ticks that found the job of an earlier one still there."},
    created_at=TIME,
    updated_at=TIME,
)
ONE = object_(
    "*",
    **SCHEDULE["properties"],
    next_runs=list_(TIME, "From now on, in its own time zone, as if it were not paused. What was missed is not there."),
    queue_paused={**FLAG, "description": "Its queue is paused: what it enqueues waits there."},
    waits_for={**maybe(ID), "description": "Its last job, which lives still, and beside which there may be no other."},
)
_PATH = "/schedules/{name}"
_REFUSES = ("no-schedule", "invalid-parameter")
_BLIND = ("name", "paused")
ROWS = (
    Row(
        "admin_list_schedules", "GET HEAD", "/schedules", listed, "All schedules", {200: "By name."},
        object_("items", items=list_(SCHEDULE)), refusals=("invalid-parameter",),
    ),
    Row(
        "admin_get_schedule", "GET HEAD", _PATH, get, "Look at a schedule", {200: "With its next runs."}, ONE,
        refusals=_REFUSES,
    ),
    Row(
        "admin_run_schedule", "POST", _PATH + "/run", run, "Run its job now, besides its ticks",
        {200: "It allows one job at a time: the one that is there.", 202: "The new job; `Location` is its URL."},
        DOCUMENT, takes(object_()), (*_REFUSES, "job-conflict", *BODIED), blind=BLIND,
    ),
    Row(
        "admin_pause_schedule", "POST", _PATH + "/pause", pause, "Let no tick become a job", {200: "As it is now."},
        ONE, takes(object_()), (*_REFUSES, *BODIED), blind=_BLIND,
    ),
    Row(
        "admin_resume_schedule", "POST", _PATH + "/resume", resume, "Go on with the next tick", {200: "As it is now."},
        ONE, takes(object_()), (*_REFUSES, *BODIED), blind=_BLIND,
    ),
)  # fmt: skip
