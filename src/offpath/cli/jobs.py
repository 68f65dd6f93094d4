"""`offpath jobs list|show|attempts|raw|retry|cancel|delete`: look at jobs, change one. The rows are
enough; no task is imported.

Without an id, `bulk.py` does it to all that the filters mean."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from typing import Any

from ..core.checks import whole
from ..core.ids import is_id
from ..errors import ConfigurationError, Conflict
from ..ports import WHATEVER, Found
from ..tasks import found, info_of
from . import bulk, filters, listing, printing, timeline
from .target import opened, plain


def list_jobs(options: argparse.Namespace) -> int:
    """Print jobs, the newest first: a table, or with --json an array of objects."""
    limit = whole(options.limit, 1, 1_000_000, "--limit")
    if options.after is not None and not is_id(options.after):
        raise ConfigurationError(f"--after wants the id of a job, not {options.after!r}")
    which = filters.which(options)
    with opened(options) as jobs:
        rows = [plain(info) for info in jobs.list_sync(limit=limit, after=options.after, **which)]
        none = "" if rows or options.json else f"no jobs{listing.errors(jobs, which)}"
    listing.table(rows, none, to_json=options.json)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print everything about one job; its arguments and its result as shapes and lengths, or with --arguments all. The
    timeline is made of its attempts and, when it is watched, of its log."""
    with opened(options) as jobs:
        options.id = filters.one(jobs, options.id)
        seen = jobs.inspect_sync(options.id, arguments=options.values)
        there = found(options.id, jobs.desk.find(options.id).result())
        lines = timeline.lines(jobs, there)
        course = timeline.course(jobs, there)
    data = (
        plain(seen.info)
        | course
        | {
            "args": seen.arguments,
            "result": seen.result,
            "redacted": seen.redacted,
            "retried_as": seen.retried_as,
        }
    )
    if options.json:
        printing.as_json(data | {"timeline": lines})
        return 0
    error = data.pop("error") or {}
    printing.record(data | {"error": timeline.short(error or None)}, False)
    if error.get("traceback"):
        print()
        for one in str(error["traceback"]).splitlines():
            print(printing.line(one))
    print()
    printing.table(lines, timeline.COLUMNS, "nothing is remembered of it")
    return 0


def attempts(options: argparse.Namespace) -> int:
    """Print the attempts of a job that did not succeed, the earliest first."""
    with opened(options) as jobs:
        options.id = filters.one(jobs, options.id)
        found(options.id, jobs.desk.find(options.id).result())
        rows = timeline.attempts(jobs, options.id)
    columns = ("attempt", "ended_at", "outcome", "seconds", "worker", "error")
    if options.json:
        printing.as_json(rows)
        return 0
    people = [row | {"error": timeline.short(row["error"])} for row in rows]
    printing.table(people, columns, "no attempt of it has failed")
    return 0


def raw(options: argparse.Namespace) -> int:
    """Write the message for which a job of task offpath.receive stands, as it came: its body to standard output, byte
    for byte, or all of it as JSON, the body as base64."""
    with opened(options) as jobs:
        options.id = filters.one(jobs, options.id)
        letter = jobs.raw_sync(options.id)
    if options.json:
        address, shape, group = json.loads(letter.source)
        data = {
            "job": options.id,
            "task": letter.task or None,
            "broker": letter.kind,
            "source": {"address": address, "shape": shape, "group": group},
            "place": letter.place,
            "size": letter.size,
            "sha256": letter.digest,
            **json.loads(letter.message),
            "body": base64.b64encode(letter.body).decode(),
        }
        printing.as_json(data)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(letter.body)
        sys.stdout.buffer.flush()
    if letter.size > len(letter.body):
        printing.say(f"the first {len(letter.body):,} of {letter.size:,} bytes were kept")
    return 0


def retry(options: argparse.Namespace) -> int:
    """Run a finished job again and print the new one. The old one stays as it ended.

    1 when a live job has its key: that one is printed (`existing`), and nothing was enqueued; and, without --again,
    when it was run again already.
    """
    if options.id is None:
        if options.again:
            raise ConfigurationError("--again is for one job: of many, those are meant that were not run again yet")
        return bulk.retry(options)
    filters.alone(options)
    with opened(options) as jobs:
        options.id = filters.one(jobs, options.id)
        try:
            new = jobs.desk.retry(options.id, options.max_attempts, WHATEVER if options.again else None).result()
        except Conflict as error:
            before = jobs.store.read(jobs.store.verbs.retried_as(options.id)).result()
            if options.again or before is None or before not in str(error):
                raise
            raise Conflict(f"{error}; --again runs it once more") from None
        data = brief(found(new.id, jobs.desk.find(new.id).result())) | {"existing": new.existing}
    if options.json:
        printing.as_json(data)
    elif not new.existing:
        print(f"{new.id} runs {printing.cell(data['task'])} again")
    if not new.existing:
        return 0
    printing.say(f"nothing was enqueued: the live job {new.id} has the key of {options.id}")
    return 1


def cancel(options: argparse.Namespace) -> int:
    """Ask a job to stop and print it as it stands after that: 1 when it had ended by itself."""
    if options.id is None:
        return bulk.cancel(options)
    filters.alone(options)
    with opened(options) as jobs:
        options.id = filters.one(jobs, options.id)
        data = brief(found(options.id, jobs.desk.stop(options.id, options.reason).result()))
    over = data["state"] in ("succeeded", "failed")
    if options.json:
        printing.as_json(data)
    elif data["canceling"]:
        print(f"{options.id} is running and has been asked to stop")
    elif not over:
        print(f"{options.id} is {data['state']}")
    if not over:
        return 0
    printing.say(f"job {options.id} has {data['state']} already: there is nothing to stop")
    return 1


def delete(options: argparse.Namespace) -> int:
    """Erase a job that has ended: 1 when it has not."""
    if options.id is None:
        return bulk.delete(options)
    filters.alone(options)
    with opened(options) as jobs:
        options.id = filters.one(jobs, options.id)
        jobs.delete_sync(options.id)
    if options.json:
        printing.as_json({"id": options.id, "deleted": True})
    else:
        print(f"{options.id} is erased")
    return 0


def brief(there: Found) -> dict[str, Any]:
    """A job as plain data: times as ISO 8601 text in UTC."""
    return plain(info_of(there))
