"""Files: streamed to disk, and read by a job in a process of its own."""

import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request

from offpath.integrations.fastapi import Accepted

from .. import files
from ..auth import CurrentUser
from ..database import Session
from ..file_jobs import FileFacts, analyze_file
from ..operations import Accept, operations
from ..problems import documented
from ..settings import settings

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "title": "FilePost",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {"file": {"type": "string", "format": "binary", "description": "What to look into"}},
                }
            }
        },
    }
}

router = APIRouter(tags=["files"], responses=documented(400, 401, 413, 415, 422, 500))
starts = APIRouter(route_class=operations.route)


async def uploaded(request: Request, viewer: CurrentUser) -> AsyncIterator[files.Upload]:
    """The file that the request carries. It is looked at only once the caller is known, and what nobody has taken by
    the end is thrown away."""
    try:
        upload = await files.receive(request.headers.get("content-type", ""), request.stream(), settings().data_dir)
    except files.BadUpload as error:
        raise HTTPException(error.status, str(error)) from None
    try:
        yield upload
    finally:
        upload.path.unlink(missing_ok=True)


@starts.post("/api/files", status_code=202, openapi_extra=BODY)
async def start_analysis(
    # The order counts: the file passes by before `accept` wants to know what the Idempotency-Key stands for.
    upload: Annotated[files.Upload, Depends(uploaded)],
    accept: Accept,
) -> Accepted[FileFacts]:
    """Count what is in a file. The file lies under the job's id before the job is committed: no job is without its
    file, and a file without a job is purged."""
    async with Session.begin() as session:
        accepted = await accept.using(tx=session)(
            analyze_file, name=upload.name, size=upload.size, sha256=upload.sha256
        )
        os.rename(upload.path, files.path(settings().data_dir, accepted.id))
    return accepted


router.include_router(starts)
