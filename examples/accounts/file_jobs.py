"""The jobs about uploaded files. What computes runs in a process, and this module is what such a process imports."""

from pathlib import Path

import anyio.to_thread
from pydantic import BaseModel

from offpath import Context, Problem
from offpath.errors import NotFound

from . import files
from .settings import settings
from .tasks import BRISK, jobs

ENDED = ("succeeded", "failed", "canceled")


class FileFacts(BaseModel):
    """What was found in an uploaded file. `entropy`: bits per byte."""

    name: str
    bytes: int
    lines: int
    words: int
    distinct: int
    entropy: float
    sha256: str
    common: list[str]


@jobs.task(queue="low", retry=BRISK, timeout=300, executor="process", memory="512MiB")
def analyze_file(ctx: Context, name: str, size: int, sha256: str) -> FileFacts:
    """The job does not carry the file: it lies under the job's id, put there before the job was committed."""
    file = files.path(settings().data_dir, ctx.job)
    if not file.exists():
        raise Problem(status=410, title="The file is gone")
    found = files.facts(file, lambda done: ctx.progress(done, of=size, unit="bytes"))
    if found.sha256 != sha256:
        raise Problem(status=500, title="The file is not what was sent")
    return FileFacts(name=name, **vars(found))


@jobs.task(queue="low")
async def purge_files() -> int:
    """Delete the files that nobody needs any more: uploads whose job has ended or whose request never came to an end,
    reports and exports whose operation has been erased or has expired, drafts of attempts that died. How many."""
    count = 0
    for file in await anyio.to_thread.run_sync(files.old, settings().data_dir):
        if not await _needed(file):
            await anyio.to_thread.run_sync(lambda gone: gone.unlink(missing_ok=True), file)
            count += 1
    return count


async def _needed(file: Path) -> bool:
    """A finished report is needed for as long as its operation is there; what goes into a job, or is not finished, for
    as long as that job lives."""
    upload, draft = file.parent.name == files.UPLOADS, file.suffix == ".part"
    if upload and draft:
        return False
    try:
        state = (await (await jobs.get(file.name.partition(".")[0])).info()).state
    except NotFound:
        return False
    return state not in ENDED or not (upload or draft)
