"""`offpath queues list|show|pause|resume|drain`."""

from __future__ import annotations

import argparse

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
        printing.as_json(rows)
    else:
        printing.table([row | {"age": printing.age(row["age"])} for row in rows], COLUMNS, "no queues")
    return 0


def show(options: argparse.Namespace) -> int:
    """How one queue stands. A name that nobody has heard of is an empty queue, and said to be so."""
    with opened(options) as jobs:
        _warn(jobs, options.name)
        printing.record(plain(jobs.queues.get_sync(options.name)), options.json)
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
        printing.say(f"there is no job in queue {name} and nothing declares it")


def _print(options: argparse.Namespace, info: QueueInfo) -> int:
    if options.json:
        printing.as_json(plain(info))
    else:
        state = "paused" if info.paused else "not paused"
        counts = {"running": info.running, "ready": info.ready, "scheduled": info.scheduled, "waiting": info.waiting}
        there = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing in it"
        print(f"{printing.cell(info.name)} is {state}: {there}")
    return 0
