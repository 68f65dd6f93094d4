"""`offpath jobs cancel|retry|delete` without an id: to all that the filters mean, after asking."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from ..app import Offpath
from ..app.bulk import Bulk, Progress, Tally
from ..core.selection import Which
from ..errors import ConfigurationError
from . import filters
from .target import opened

BAR = 30  # characters
Make = Callable[[Offpath, Which, Progress | None], Bulk]


def cancel(options: argparse.Namespace) -> int:
    def make(jobs: Offpath, which: Which, progress: Progress | None) -> Bulk:
        return jobs.cancel_many(reason=options.reason, progress=progress, **which)

    return _do(options, "canceled", make)


def retry(options: argparse.Namespace) -> int:
    def make(jobs: Offpath, which: Which, progress: Progress | None) -> Bulk:
        return jobs.retry_many(max_attempts=options.max_attempts, progress=progress, **which)

    return _do(options, "run again", make)


def delete(options: argparse.Namespace) -> int:
    return _do(options, "erased", lambda jobs, which, progress: jobs.delete_many(progress=progress, **which))


def _do(options: argparse.Namespace, what: str, make: Make) -> int:
    """0 when it was done (or only counted), 1 when whoever was asked said no, 2 when nobody could be asked."""
    which = filters.which(options)
    if not which:
        raise ConfigurationError("say which: the id of a job, or filters such as --queue, --task or --state")
    with opened(options) as jobs:
        bulk = make(jobs, which, None)
        count = bulk.count()
        if options.dry_run:
            print(json.dumps({"of": count}) if options.json else f"{_jobs(count)} would be {what}")
            return 0
        if not options.yes and count and not _sure(f"{_jobs(count)} will be {what}"):
            return 1
        bar = sys.stderr.isatty()
        try:
            tally = make(jobs, which, _bar if bar else None).run()
        finally:
            if bar:
                print(file=sys.stderr)
    if options.json:
        print(json.dumps(tally._asdict()))
    else:
        print(f"{_jobs(tally.done)} {what}" + (f", {tally.skipped} skipped" if tally.skipped else ""))
    return 0


def _sure(what: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{what}: say --yes to do it, or --dry-run to count only")
    print(f"{what}. Sure? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _bar(tally: Tally) -> None:
    """Rewrites its line. Others may have come since they were counted, so it may be more than all of them."""
    seen = tally.done + tally.skipped
    full = BAR if not tally.of else min(BAR, BAR * seen // tally.of)
    print(f"\r[{'#' * full}{' ' * (BAR - full)}] {seen} of {tally.of}", end="", file=sys.stderr, flush=True)


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
