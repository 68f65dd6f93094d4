"""`offpath queues list|pause|resume|drain`."""

from __future__ import annotations

import argparse
import json
import sys

from ..app import Offpath
from ..core.queues import QueueInfo
from . import filters, printing
from .target import opened, plain

COLUMNS = ("name", "paused", "ready", "scheduled", "waiting", "running", "age", "reason")


def list_queues(options: argparse.Namespace) -> int:
    """Every queue that is declared, has live jobs or is paused."""
    with opened(options) as jobs:
        rows = [plain(info) for info in jobs.queues.list_sync()]
    if options.json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        people = [row | {"age": None if row["age"] is None else f"{row['age']:.0f} s"} for row in rows]
        printing.table(people, COLUMNS, "no queues")
    return 0


def pause(options: argparse.Namespace) -> int:
    with opened(options) as jobs:
        _warn(jobs, options.name)
        return _print(options, jobs.queues.pause_sync(options.name, reason=options.reason))


def resume(options: argparse.Namespace) -> int:
    with opened(options) as jobs:
        return _print(options, jobs.queues.resume_sync(options.name))


def drain(options: argparse.Namespace) -> int:
    """1 when the time is up and something still runs; it stays paused."""
    timeout = None if options.timeout is None else filters.duration(options.timeout, "--timeout")
    with opened(options) as jobs:
        _warn(jobs, options.name)
        return _print(options, jobs.queues.drain_sync(options.name, reason=options.reason, timeout=timeout))


def _warn(jobs: Offpath, name: str) -> None:
    """Any name will do, so a mistyped one does too."""
    there = {info.name for info in jobs.queues.list_sync()}
    if name not in there:
        print(f"offpath: there is no job in queue {printing.cell(name)} and nothing declares it", file=sys.stderr)


def _print(options: argparse.Namespace, info: QueueInfo) -> int:
    if options.json:
        print(json.dumps(plain(info), ensure_ascii=False))
    else:
        state = "paused" if info.paused else "not paused"
        waits = info.ready + info.scheduled + info.waiting
        print(f"{printing.cell(info.name)} is {state}: {info.running} running, {waits} waiting")
    return 0
