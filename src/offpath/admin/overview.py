"""How all of it stands, in one look; and what charts of the last hours are drawn from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..app.watching import loads
from ..core import stats
from ..core.alerts import lateness
from ..core.backlog import QueueLoad
from ..core.options import SECOND
from ..core.workers import WorkerInfo, info, running
from ..http.guard import lacks
from ..http.messages import Request, Response, json_response
from ..http.operations import dumps, moment
from ..http.service import Service
from ..ports import Verb
from ..ports.stats import Raised, Totals
from . import health
from .reading import asked
from .schemas import FLAG, NUMBER, TEXT, TIME, WHOLE, Schema, list_, maybe, object_, query
from .table import Row

if TYPE_CHECKING:
    from .facade import Admin

MOST = 5_000  # jobs that are counted, of each state
QUEUE = 100  # ready jobs of a queue that are counted here

Seen = tuple[Totals, list[QueueLoad], list[WorkerInfo], int, list[Raised]]


async def overview(admin: Admin, service: Service, request: Request) -> Response:
    asked(service, request, ())
    totals, queues, workers, held, raised = await service.store.read(_look(service))
    states = [worker.state for worker in workers]
    schedules, endpoints = totals.schedules, totals.endpoints
    ages = [queue.age for queue in queues if queue.age is not None]
    body = {
        "version": health.version(),
        "store": service.jobs.settings.url.partition(":")[0],
        "now": moment(totals.now),
        "writable": not lacks("admin.write", request.caller, service.needs),
        "totals": {
            "scheduled": _counted(totals.scheduled),
            "waiting": _counted(totals.waiting),
            "ready": _counted(totals.ready),
            "running": {"count": held, "more": False},
            "failed_outstanding": {"count": totals.outstanding, "more": totals.failed >= MOST},
        },
        "oldest_ready_seconds": max(ages, default=None),
        "backlog_seconds": max((queue.backlog_seconds for queue in queues), default=0.0),
        "workers": {name: states.count(name) for name in ("alive", "late", "lost")},
        "queues": {"count": len(queues), "paused": sum(queue.paused for queue in queues)},
        "schedules": {
            "count": schedules[0],
            "paused": schedules[1],
            "late": schedules[2],
            "next_at": moment(totals.tick),
        },
        "alerts": [health.alert(service, one) for one in raised],
        "endpoints": {"enabled": endpoints[0], "disabled": endpoints[1]},
    }
    return json_response(200, dumps(body))


def _look(service: Service) -> Verb[Seen]:
    verbs = service.store.verbs
    totals = yield from verbs.totals(MOST, lateness(service.jobs.registry.alerts))
    queues = yield from loads(verbs, service.jobs.queues.known(), None, QUEUE)
    now, rows = yield from verbs.workers()
    raised = yield from verbs.raised()
    return totals, queues, [info(row, now) for row in rows], sum(running(rows).values()), raised


def _counted(jobs: int) -> dict[str, Any]:
    return {"count": jobs, "more": jobs >= MOST}


async def charts(admin: Admin, service: Service, request: Request) -> Response:
    said = asked(service, request, ("window", "queue", "task"))
    window = said.get("window", "1h")
    if window not in stats.WINDOWS:
        service.refuse("invalid-parameter", f"window: is one of {', '.join(stats.WINDOWS)}")
    queue, task, now = said.get("queue"), said.get("task"), service.store.now()
    since, step = stats.begin(window, now)
    verbs = service.store.verbs

    def verb() -> Verb[tuple[list[stats.Line], list[stats.Sample]]]:
        lines = yield from verbs.ended(since, queue, task)
        return lines, [] if task is not None else (yield from verbs.samples(since, step, queue))

    lines, samples = await service.store.read(verb())
    found = await asyncio.to_thread(stats.points, since, step, now, lines, samples)
    body = {
        "step": step // SECOND,
        "from": moment(since),
        "points": [{**point._asdict(), "at": moment(point.at)} for point in found],
    }
    return json_response(200, dumps(body))


_COUNT = object_("*", count=WHOLE, more={**FLAG, "description": "There are at least so many."})
_SECONDS = maybe(NUMBER)
OVERVIEW = object_(
    "*",
    version=TEXT,
    store={"type": "string", "enum": ["sqlite", "postgresql"]},
    now=TIME,
    writable={**FLAG, "description": "You may change things."},
    totals=object_(
        "*",
        scheduled=_COUNT,
        waiting=_COUNT,
        ready=_COUNT,
        running={**_COUNT, "description": "What workers hold, as they last said; they say it every few seconds."},
        failed_outstanding={**_COUNT, "description": "Failed for good and not run again, of the newest 5,000."},
    ),
    oldest_ready_seconds=_SECONDS,
    backlog_seconds={**NUMBER, "description": "Of the queue that has the longest: until what is ready is started."},
    workers=object_("*", alive=WHOLE, late=WHOLE, lost=WHOLE),
    queues=object_("*", count=WHOLE, paused=WHOLE),
    schedules=object_(
        "*",
        count=WHOLE,
        paused=WHOLE,
        late=WHOLE,
        next_at={**maybe(TIME), "description": "The next tick of those that are neither paused nor due already."},
    ),
    alerts=list_(health.ALERT, "Those that ring."),
    endpoints=object_("*", enabled=WHOLE, disabled=WHOLE),
)
_POINT = object_(
    "*",
    at=TIME,
    succeeded=WHOLE,
    failed=WHOLE,
    canceled=WHOLE,
    retried={**WHOLE, "description": "Attempts that failed and come again."},
    wait_p50=_SECONDS,
    wait_p95=_SECONDS,
    run_p50=_SECONDS,
    run_p95=_SECONDS,
    oldest_ready=_SECONDS,
    ready=maybe(WHOLE),
    running=maybe(WHOLE),
)
_NAMED: dict[str, Schema] = {"step": {**WHOLE, "description": "Seconds."}, "from": TIME, "points": list_(_POINT)}
SERIES = {"type": "object", "properties": _NAMED, "required": list(_NAMED)}
ROWS = (
    Row(
        "admin_overview", "GET HEAD", "", overview, "How all of it stands",
        {200: "Counts go no further than 5,000."}, OVERVIEW, refusals=("invalid-parameter",),
    ),
    Row(
        "admin_stats", "GET HEAD", "/stats", charts, "What charts are drawn from",
        {200: "A point for each step. Durations are seconds; null: there was nothing to measure."},
        SERIES,
        refusals=("invalid-parameter",),
        parameters=(
            query("window", "How far back (default 1h).", type="string", enum=list(stats.WINDOWS)),
            query("queue", "Only what was in this queue."),
            query("task", "Only this task. How full it was is not known of tasks."),
        ),
    ),
)  # fmt: skip
