"""`offpath jobs list|show|retry|cancel|delete`: look at jobs and change one. The rows are enough; no task is imported.

Without an id, `bulk.py` does it to all that the filters mean."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ..core.checks import whole
from ..core.ids import is_id
from ..errors import ConfigurationError
from ..ports import Found
from ..tasks import found, info_of
from . import bulk, filters, printing
from .target import opened, plain

COLUMNS = ("id", "task", "state", "queue", "attempt", "run_at")


def list_jobs(options: argparse.Namespace) -> int:
    """Print jobs, the newest first: a table, or with --json an array of objects."""
    limit = whole(options.limit, 1, 1_000_000, "--limit")
    if options.after is not None and not is_id(options.after):
        raise ConfigurationError(f"--after wants the id of a job, not {options.after!r}")
    which = filters.which(options)
    with opened(options) as jobs:
        rows = [plain(info) for info in jobs.list_sync(limit=limit, after=options.after, **which)]
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        printing.table(rows, COLUMNS, "no jobs")
    return 0


def show(options: argparse.Namespace) -> int:
    """Print everything about one job; its arguments and its result as shapes and lengths, or with --arguments all."""
    with opened(options) as jobs:
        seen = jobs.inspect_sync(options.id, arguments=options.values)
    data = plain(seen.info) | {
        "args": seen.arguments,
        "result": seen.result,
        "redacted": seen.redacted,
        "retried_as": seen.retried_as,
    }
    printing.record(data, options.json)
    return 0


def retry(options: argparse.Namespace) -> int:
    """Run a finished job again and print the new one. The old one stays as it ended.

    1 when a live job has its key: that one is printed (`existing`), and nothing was enqueued.
    """
    if options.id is None:
        return bulk.retry(options)
    filters.alone(options)
    with opened(options) as jobs:
        new = jobs.retry_sync(options.id, max_attempts=options.max_attempts)
        data = brief(found(new.id, jobs.desk.find(new.id).result())) | {"existing": new.existing}
    if options.json:
        print(json.dumps(data, ensure_ascii=False))
    elif not new.existing:
        print(f"{new.id} runs {data['task']} again")
    if not new.existing:
        return 0
    said = f"nothing was enqueued: the live job {new.id} has the key of {options.id}"
    print(f"offpath: {said}", file=sys.stderr)
    return 1


def cancel(options: argparse.Namespace) -> int:
    """Ask a job to stop and print it as it stands after that."""
    if options.id is None:
        return bulk.cancel(options)
    filters.alone(options)
    with opened(options) as jobs:
        data = brief(found(options.id, jobs.desk.stop(options.id, options.reason).result()))
    if options.json:
        print(json.dumps(data, ensure_ascii=False))
    elif data["canceling"]:
        print(f"{options.id} is running and has been asked to stop")
    else:
        print(f"{options.id} is {data['state']}")
    return 0


def delete(options: argparse.Namespace) -> int:
    """Erase a job that has ended: 1 when it has not."""
    if options.id is None:
        return bulk.delete(options)
    filters.alone(options)
    with opened(options) as jobs:
        jobs.delete_sync(options.id)
    print(json.dumps({"id": options.id, "deleted": True}) if options.json else f"{options.id} is erased")
    return 0


def brief(there: Found) -> dict[str, Any]:
    """A job as plain data: times as ISO 8601 text in UTC."""
    return plain(info_of(there))
