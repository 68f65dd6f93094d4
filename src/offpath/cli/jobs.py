"""`offpath jobs list|show|retry|cancel`: look at jobs and change them. The rows are enough; no task is imported."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ..app import Offpath, places
from ..core.checks import whole
from ..core.ids import is_id
from ..core.job import State
from ..errors import ConfigurationError
from ..ports import Found, JobFilter
from ..tasks import found, info_of
from .target import application_or_database

PAGE = 500
COLUMNS = ("id", "task", "state", "queue", "attempt", "run_at")


def list_jobs(options: argparse.Namespace) -> int:
    """Print jobs, the newest first: a table, or with --json an array of objects."""
    limit = whole(options.limit, 1, 1_000_000, "--limit")
    if options.after is not None and not is_id(options.after):
        raise ConfigurationError(f"--after wants the id of a job, not {options.after!r}")
    where = JobFilter(tuple(State[name.upper()] for name in options.state), options.queue, options.task)
    rows: list[dict[str, Any]] = []
    after: str | None = options.after
    with _opened(options) as jobs:
        store = jobs.store
        while len(rows) < limit:
            page = store.read(store.verbs.list_jobs(where, after, min(PAGE, limit - len(rows)))).result()
            rows += [brief(one) for one in page]
            if len(page) < min(PAGE, limit):
                break
            after = rows[-1]["id"]
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        _table(rows)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print everything about one job, its arguments and its result included."""
    with _opened(options) as jobs:
        there = found(options.id, jobs.desk.find(options.id).result())
    row = there.finished or there.job
    data = brief(there) | {
        "args": _parsed(row.args) if row else None,
        "result": _parsed(there.finished.result) if there.finished else None,
    }
    _one(data, options.json)
    return 0


def retry(options: argparse.Namespace) -> int:
    """Run a finished job again and print the new one. The old one stays as it ended.

    1 when a live job has its key: that one is printed (`existing`), and nothing was enqueued.
    """
    with _opened(options) as jobs:
        new = jobs.retry_sync(options.id)
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
    with _opened(options) as jobs:
        data = brief(found(options.id, jobs.desk.stop(options.id, options.reason).result()))
    if options.json:
        print(json.dumps(data, ensure_ascii=False))
    elif data["canceling"]:
        print(f"{options.id} is running and has been asked to stop")
    else:
        print(f"{options.id} is {data['state']}")
    return 0


def brief(there: Found) -> dict[str, Any]:
    """A job as plain data: times as ISO 8601 text in UTC."""
    data = asdict(info_of(there))
    return {k: v.isoformat().replace("+00:00", "Z") if isinstance(v, datetime) else v for k, v in data.items()}


@contextlib.contextmanager
def _opened(options: argparse.Namespace) -> Iterator[Offpath]:
    jobs = application_or_database(options)
    if not places.exists(jobs.settings.url):  # a mistyped path must not become a new, empty database
        raise ConfigurationError(f"there is no database at {jobs.settings.url}")
    try:
        jobs.store.open()  # a database that cannot be used says so in one sentence, before anything else
        yield jobs
    finally:
        jobs.close()


def _parsed(text: str | None) -> Any:
    """Stored JSON as data; text that is none (it should not be there) as it is."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _one(data: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(data, ensure_ascii=False))
        return
    width = max(map(len, data))
    for name, value in data.items():
        print(f"{name:{width}}  {_cell(value)}")


def _table(rows: list[dict[str, Any]]) -> None:
    """Columns for people. On a terminal a long name is cut; a pipe gets all of it."""
    if not rows:
        print("no jobs", file=sys.stderr)
        return
    cells = [[_cell(row[name]) for name in COLUMNS] for row in rows]
    widths = [max(len(line[i]) for line in [list(COLUMNS), *cells]) for i in range(len(COLUMNS))]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in [list(COLUMNS), *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()[:edge])


def _cell(value: Any) -> str:
    """One value on one line, with nothing in it that a terminal would obey."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
