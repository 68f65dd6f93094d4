"""Schedules: when they run next, and run now, paused, resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..app.schedules import ScheduleInfo, behind, held_by
from ..core.alerts import lateness
from ..core.options import SECOND
from ..core.schedule import check_schedule_name
from ..errors import ConfigurationError, Conflict, NotFound
from ..http.messages import Request, Response, json_response
from ..http.operations import dumps
from ..http.reading import members
from ..http.service import Service
from .documents import iso
from .jobs import BLIND, DOCUMENT, document, find
from .reading import asked
from .schemas import BODIED, FLAG, ID, NUMBER, TEXT, TIME, WHOLE, list_, maybe, object_, takes
from .table import Row

if TYPE_CHECKING:
    from .facade import Admin

NEXT = 10  # runs that are told ahead


async def listed(admin: Admin, service: Service, request: Request) -> Response:
    asked(service, request, ())
    items = [_document(service, one) for one in await service.jobs.schedules.list()]
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
        **_document(service, one),
        "next_runs": [at.isoformat() for at in runs],
        **(await service.store.read(held_by(service.store.verbs, one)))._asdict(),
    }
    return json_response(200, dumps(shown))


def _document(service: Service, one: ScheduleInfo) -> dict[str, Any]:
    passed = behind(one, service.store.now())
    return {
        "name": one.name,
        "task": one.task,
        "queue": one.queue,
        "schedule": str(one.schedule),
        "overlap": one.schedule.overlap,
        "next_at": iso(one.next_at),
        "paused": one.paused,
        "late": passed is not None and passed * SECOND > lateness(service.jobs.registry.alerts),
        "behind_seconds": passed,
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
    late={**FLAG, "description": "It is behind by a minute, or by as much as an alert on late schedules allows."},
    behind_seconds={
        **maybe(NUMBER),
        "description": "By how much its time has passed, and nobody has fired it; null: it is on time, paused or over.",
    },
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
