"""Workers: who they are, what they serve, what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.workers import WorkerInfo
from ..http.messages import Request, Response, json_response
from ..http.operations import dumps
from ..http.service import Service
from .documents import iso
from .reading import asked
from .schemas import TEXT, TIME, WHOLE, list_, maybe, object_
from .table import Row

if TYPE_CHECKING:
    from .facade import Admin

_ORDER = ("alive", "late", "lost")


async def listed(admin: Admin, service: Service, request: Request) -> Response:
    """Those that live first."""
    asked(service, request, ())
    found = await service.jobs.workers()
    found.sort(key=lambda one: (_ORDER.index(one.state), one.label, one.id))
    return json_response(200, dumps({"items": [_document(one) for one in found]}))


def _document(one: WorkerInfo) -> dict[str, Any]:
    return {
        "id": one.id,
        "label": one.label,
        "state": one.state,
        "host": one.host,
        "pid": one.pid,
        "started_at": iso(one.started_at),
        "renewed_at": iso(one.renewed_at),
        "queues": None if one.queues is None else list(one.queues),
        "tasks": list(one.tasks),
        "concurrency": one.concurrency,
        "running": sum(one.running.values()),
        "held": dict(one.running),
        "version": one.version,
    }


_WORKER = object_(
    "*",
    id={**TEXT, "description": "A process that was judged dead and goes on has a new one."},
    label={**TEXT, "description": "Host and pid."},
    state={
        "type": "string",
        "enum": list(_ORDER),
        "description": "late: its lease has run out; lost: it was judged dead, and its jobs are taken from it.",
    },
    host=maybe(TEXT),
    pid=maybe(WHOLE),
    started_at=maybe(TIME),
    renewed_at={**maybe(TIME), "description": "Its last sign of life."},
    queues={"type": ["array", "null"], "items": TEXT, "description": "null: all."},
    tasks=list_(TEXT),
    concurrency=maybe(WHOLE),
    running={**WHOLE, "description": "Jobs that it holds, as it last said; it says so every few seconds."},
    held={"type": "object", "additionalProperties": WHOLE, "description": "The same by queue."},
    version={**maybe(TEXT), "description": "Of offpath; null: it is too old to say."},
)
ROWS = (
    Row(
        "admin_list_workers", "GET HEAD", "/workers", listed, "All workers, those that live first",
        {200: "All that are registered."}, object_("items", items=list_(_WORKER)), refusals=("invalid-parameter",),
    ),
)  # fmt: skip
