"""Reports: long work behind a 202, and the file at its end."""

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

from offpath.errors import NotFound
from offpath.integrations.fastapi import Accepted

from .. import reports
from ..auth import CurrentUser
from ..operations import Accept, operations
from ..problems import documented
from ..schemas import Report, ReportPost
from ..settings import settings
from ..tasks import jobs, render_report

router = APIRouter(tags=["reports"], responses=documented(400, 401, 422, 500))
starts = APIRouter(route_class=operations.route)


@starts.post("/api/reports", status_code=202)
async def start_report(body: ReportPost, accept: Accept) -> Accepted[Report]:
    """The operation, with two members more for clients that know the classic paths; with `Prefer: wait=N` the report
    itself, when it is ready in time."""
    site = settings().base_url
    accepted = await accept(render_report, wanted=body, site=site)
    return accepted.adding(jobId=accepted.id, statusUrl=f"{site}/api/reports/{accepted.id}/status")


@router.get(
    "/api/reports/{id}/file",
    response_class=FileResponse,
    responses={200: {"description": "The report", "content": {"text/csv": {}}}, **documented(404)},
)
async def report_file(id: str, viewer: CurrentUser) -> FileResponse:
    """What `result.url` names. Only whoever started the report is told that it exists."""
    try:
        info = await (await jobs.get(id)).info()
    except NotFound:
        info = None
    if info is None or info.task != render_report.name or info.owner != str(viewer.id) or info.state != "succeeded":
        raise HTTPException(404, "No such report.")
    return FileResponse(
        reports.path(settings().data_dir, id),
        media_type="text/csv",
        filename="report.csv",
        headers={"Cache-Control": "private, no-store"},
    )


router.include_router(starts)
router.include_router(operations.view("/api/reports/{operation_id}/status", "The report as an operation", tags=()))
router.include_router(operations.view("/api/jobs/{operation_id}/progress", "The same, by another name", tags=()))
