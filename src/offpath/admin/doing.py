"""What is done to jobs: one, or many by a job of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..app import bulkjob
from ..app.bulk import Bulk
from ..core.bulk import ACTIONS
from ..core.checks import check_name
from ..core.ids import is_id
from ..core.job import Principal
from ..core.retry import check_max_attempts
from ..core.selection import JobFilter
from ..errors import ConfigurationError, Conflict, NotFound
from ..http.messages import NO_STORE, Request, Response, json_response
from ..http.operations import dumps
from ..http.reading import members, wrong
from ..http.service import Service
from ..ports import WHATEVER, Found
from . import documents
from .jobs import BLIND, DOCUMENT, ONE, STRIDE, document, find
from .reading import asked, filters, job_id
from .schemas import BODIED, FILTER, FLAG, ID, JOB, TEXT, WHOLE, list_, maybe, object_, takes
from .table import Row

if TYPE_CHECKING:
    from .facade import Admin

CANCELED = "requested by an administrator"
MOST = 100_000  # jobs that a preview counts
BUDGET = 0.08  # s that it counts for
SAMPLE = 5


# ── one ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def retry(admin: Admin, service: Service, request: Request) -> Response:
    id = _named(service, request)
    body = await members(service, request, "max_attempts retried_as", optional=True)
    most, seen = _max_attempts(service, body), body.get("retried_as", WHATEVER)
    if "retried_as" in body and seen is not None and not (isinstance(seen, str) and is_id(seen)):
        wrong(service, "retried_as", "must be the id of a job, or null")
    found = await find(service, id)
    if found.finished is None:
        service.refuse("job-live")
    try:
        made = await service.jobs.desk.retry(id, most, seen)
    except NotFound:
        service.refuse("no-job")
    except (Conflict, ConfigurationError) as error:
        service.refuse("job-conflict", str(error))
    if made.existing:
        service.refuse("job-conflict", f"Job {made.id}, which has not ended, has its key.")
    return await _shown(admin, service, request, made.id, 202)


async def cancel(admin: Admin, service: Service, request: Request) -> Response:
    """Idempotent: 202 when running work was asked to stop, else 200 with the job as it is or now became."""
    id = _named(service, request)
    body = await members(service, request, "reason", optional=True)
    reason = _reason(service, body)
    await find(service, id)
    try:
        after = await service.jobs.cancel(id, reason or CANCELED)
    except NotFound:
        service.refuse("no-job")
    except Conflict as error:
        service.refuse("job-conflict", str(error))
    return await _shown(admin, service, request, id, 202 if after.finished_at is None else 200, new=False)


async def delete(admin: Admin, service: Service, request: Request) -> Response:
    id = _named(service, request)
    try:
        await service.jobs.delete(id)
    except NotFound:
        service.refuse("no-job")
    except Conflict:
        service.refuse("job-live")
    return Response(204, [NO_STORE])


def _named(service: Service, request: Request) -> str:
    asked(service, request, ())
    return job_id(service, request)


async def _shown(
    admin: Admin, service: Service, request: Request, id: str, status: int, *, new: bool = True
) -> Response:
    shown = await document(admin, service, request, await find(service, id))
    location = (("Location", shown["url"]),) if new else ()
    return json_response(status, dumps(shown), *location)


def _reason(service: Service, body: dict[str, Any]) -> str | None:
    if body.get("reason") is None:
        return None
    try:
        return check_name(body["reason"], "reason")
    except ConfigurationError as error:
        wrong(service, "reason", str(error))


def _max_attempts(service: Service, body: dict[str, Any]) -> int | None:
    if body.get("max_attempts") is None:
        return None
    try:
        return check_max_attempts(body["max_attempts"])
    except ConfigurationError as error:
        wrong(service, "max_attempts", str(error))


# ── many ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def preview(admin: Admin, service: Service, request: Request) -> Response:
    """How many there are, and some of them. Nothing is done."""
    asked(service, request, ())
    body = await members(service, request, "action filter reason max_attempts", optional=False)
    where = _meant(service, body).meant()
    count, more, sample = await _count(service, where)
    shown = [documents.job(one) for one in sample]
    return json_response(200, dumps({"count": count, "more": more, "sample": shown}))


async def bulk(admin: Admin, service: Service, request: Request) -> Response:
    """A job of ours does it: the answer is that job."""
    asked(service, request, ())
    body = await members(service, request, "action filter reason max_attempts", optional=False)
    _meant(service, body)
    by = Principal(request.caller.id, request.caller.tenant)
    reason = _reason(service, body)
    if reason is None and body["action"] == "cancel":
        reason = CANCELED
    try:
        made = await bulkjob.begin(
            service.jobs.desk, by, body["action"], filters(service, body), reason, _max_attempts(service, body)
        )
    except ConfigurationError as error:
        wrong(service, "", str(error))
    return await _shown(admin, service, request, made.id, 202)


def _meant(service: Service, body: dict[str, Any]) -> Bulk:
    action = body.get("action")
    if action not in ACTIONS:
        wrong(service, "action", f"is one of {', '.join(ACTIONS)}")
    reason, most, which = _reason(service, body), _max_attempts(service, body), filters(service, body)
    try:
        return bulkjob.bulk(service.jobs.desk, action, which, reason, most)
    except ConfigurationError as error:
        wrong(service, "filter", str(error))


async def _count(service: Service, where: JobFilter) -> tuple[int, bool, list[Found]]:
    """How many, as far as the time goes; whether there may be more; and the newest of them."""
    store, began = service.store, service.clock()
    count, after = 0, None
    sample: list[Found] = []
    while True:
        stride, before = min(STRIDE, MOST // 4), after
        found, after = await store.read(store.verbs.count_walk(where, before, stride))
        count += found
        if found and len(sample) < SAMPLE:  # they are in the stretch that has just been counted
            newest, _ = await store.read(store.verbs.walk(where, before, SAMPLE - len(sample), stride))
            sample += newest
        if count > MOST:
            return MOST, True, sample
        if after is None or service.clock() - began >= BUDGET:
            return max(count, len(sample)), after is not None, sample


_MANY = object_(
    "action filter",
    action={"type": "string", "enum": list(ACTIONS)},
    filter=FILTER,
    reason={**maybe(TEXT), "description": "Of a cancel."},
    max_attempts={**maybe(WHOLE), "minimum": 1, "description": "Of a retry; default: as many as before."},
)
ROWS = (
    Row(
        "admin_retry_job", "POST", ONE + "/retry", retry, "Run a finished job again, as a new one",
        {202: "The new job; `Location` is its URL."}, DOCUMENT,
        takes(
            object_(
                max_attempts={**maybe(WHOLE), "minimum": 1, "description": "Default: as many as before."},
                retried_as={
                    **maybe(ID),
                    "description": "As it was seen: 409 when the job has been run again since. Absent: whatever it is.",
                },
            )
        ),
        ("no-job", "job-live", "job-conflict", "invalid-parameter", *BODIED), blind=BLIND,
    ),
    Row(
        "admin_cancel_job", "POST", ONE + "/cancel", cancel, "Ask a job to stop",
        {200: "It had ended, or has ended now.", 202: "It runs, and has been asked to stop."}, DOCUMENT,
        takes(object_(reason=maybe(TEXT))), ("no-job", "job-conflict", "invalid-parameter", *BODIED), blind=BLIND,
    ),
    Row(
        "admin_delete_job", "DELETE", ONE, delete, "Erase a job that has ended, its arguments and its result",
        {204: "Erased."}, refusals=("no-job", "job-live", "invalid-parameter"),
    ),
    Row(
        "admin_preview_jobs", "POST", "/jobs:preview", preview, "Count the jobs that a filter means; nothing is done",
        {200: "How many; `more`: at least so many, not all were counted."},
        object_("*", count=WHOLE, more=FLAG, sample=list_(JOB, "The newest of them.")),
        takes(_MANY, required=True), ("invalid-parameter", *BODIED), action="admin.read",
    ),
    Row(
        "admin_change_jobs", "POST", "/jobs:bulk", bulk, "Do something to all jobs that a filter means",
        {202: "The job that does it, page by page; `Location` is its URL. Cancel it to stop there."}, DOCUMENT,
        takes(_MANY, required=True), ("invalid-parameter", *BODIED), blind=BLIND,
    ),
)  # fmt: skip
