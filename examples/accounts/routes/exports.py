"""Exports: the caller's orders, or rows of their own, as a file; and a signed webhook when it is there."""

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse

from offpath.errors import ArgumentError, NotFound
from offpath.integrations.fastapi import Accepted

from .. import exports
from ..auth import CurrentUser
from ..operations import Accept, operations
from ..problems import documented
from ..schemas import Export, ExportPost
from ..settings import settings
from ..tasks import jobs, render_export

router = APIRouter(tags=["exports"], responses=documented(400, 401, 422, 500))
starts = APIRouter(route_class=operations.route)


@starts.post(
    "/api/exports",
    status_code=202,
    callbacks=operations.callback_docs("{$request.body#/webhookUrl}", Export, name="export_ended"),
)
async def start_export(body: ExportPost, accept: Accept, viewer: CurrentUser) -> Accepted[Export]:
    """A receiver that may not be called is refused here (422), and judged again before each attempt to call it."""
    try:
        start = accept.using(callback=body.webhook_url) if body.webhook_url is not None else accept
        return await start(
            render_export, user_id=viewer.id, format=body.format, data=body.data, site=settings().base_url
        )
    except ArgumentError as error:
        raise ArgumentError("webhookUrl" if error.argument == "callback" else error.argument, error.reason) from None


@router.get(
    "/api/exports/{id}/file",
    response_class=FileResponse,
    responses={
        200: {"description": "The export", "content": {"text/csv": {}, "application/json": {}}},
        **documented(404),
    },
)
async def export_file(id: str, viewer: CurrentUser) -> FileResponse:
    """What `result.url` names. Only whoever started the export is told that it exists."""
    try:
        info = await (await jobs.get(id)).info()
    except NotFound:
        info = None
    if info is None or info.task != render_export.name or info.owner != str(viewer.id) or info.state != "succeeded":
        raise HTTPException(404, "No such export.")
    for format, media_type in exports.MEDIA_TYPES.items():
        file = exports.path(settings().data_dir, id, format)
        if file.exists():
            headers = {"Cache-Control": "private, no-store"}
            return FileResponse(file, media_type=media_type, filename=f"export.{format}", headers=headers)
    raise HTTPException(404, "No such export.")


router.include_router(starts)
