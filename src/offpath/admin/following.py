"""What goes on in a job: its events as they come, and its flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..http import graph
from ..http.guard import lacks
from ..http.handlers import follow
from ..http.messages import Request, Response, json_response
from ..http.operations import dumps
from ..http.service import Service, Tied
from ..ports import OperationRow
from . import documents
from .jobs import ONE, find
from .reading import asked, job_id
from .schemas import PAGED, PAGING, query
from .table import Row

if TYPE_CHECKING:
    from .facade import Admin


class Watching(Tied):
    """A job for somebody who may see all of them: but not what it gave."""

    async def row(self) -> OperationRow | None:
        if lacks("admin.read", self._caller, self._service.needs):
            return None
        return await self._service.store.read(self._service.store.verbs.operation(self._id))

    def document(self, row: OperationRow, **more: Any) -> str:
        return super().document(row, with_result=False, **more)


async def events(admin: Admin, service: Service, request: Request) -> Response:
    """As of operations. Only what was started over HTTP keeps a log."""
    id = job_id(service, request)
    found = await find(service, id)
    row = await service.store.read(service.store.verbs.operation(id)) if documents.row_of(found).watched else None
    if row is None:
        service.refuse("not-watched")
    return await follow(service, request, row, Watching(service, id, request.caller, request.base))


async def flow(admin: Admin, service: Service, request: Request) -> Response:
    asked(service, request, ())
    found = await find(service, job_id(service, request))
    row = documents.row_of(found)
    rows = await service.store.read(service.store.verbs.flow(row.id))
    return json_response(200, dumps(documents.graph(found, rows)))


ROWS = (
    Row(
        "admin_watch_job", "GET HEAD", ONE + "/events", events, "Follow a job (server-sent events)",
        {200: "Its events.", 204: "It has ended and you have seen the end: do not come again."},
        body="events",
        refusals=("no-job", "not-watched", *PAGED, "too-many-streams", "too-many-waiting"),
        parameters=(
            {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"},
             "description": "Go on after this event."},
            query("last_event_id", "The same, for clients that cannot set the header; the header wins."),
            *PAGING,
        ),
    ),
    Row(
        "admin_get_job_graph", "GET HEAD", ONE + "/graph", flow,
        "The parts of a job that is a flow, and what waits for what",
        {200: "Its parts and the edges between them; of one that is no flow, itself alone."},
        graph.SCHEMA, refusals=("no-job", "invalid-parameter"),
    ),
)  # fmt: skip
