"""`offpath queues list|show|pause|resume|drain`."""

from __future__ import annotations

import argparse
from typing import Any

from ..app import Offpath
from ..core.backlog import QueueLoad
from ..core.queues import QueueInfo
from . import filters, printing
from .target import opened, plain

COLUMNS = ("name", "paused", "ready", "scheduled", "waiting", "running", "age", "rate", "backlog", "reason")


def list_queues(options: argparse.Namespace) -> int:
    """Every queue that is declared, has live jobs or is paused. `rate`: attempts that ended in a second, over the last
    minutes; `backlog`: seconds until what is ready has been started, at that rate."""
    with opened(options) as jobs:
        loads = {load.name: load for load in jobs.queues.loads_sync()}
        rows = [_data(info, loads.get(info.name)) for info in jobs.queues.list_sync()]
    if options.json:
        printing.as_json(rows)
    else:
        people = [row | {name: printing.age(row[name]) for name in ("age", "backlog")} for row in rows]
        printing.table(people, COLUMNS, "no queues")
    return 0


def show(options: argparse.Namespace) -> int:
    """How one queue stands. A name that nobody has heard of is an empty queue, and said to be so."""
    with opened(options) as jobs:
        info = jobs.queues.get_sync(options.name)
        _warn(options, jobs, info)
        printing.record(_data(info, jobs.queues.load_sync(options.name)), options.json)
    return 0


def pause(options: argparse.Namespace) -> int:
    with opened(options) as jobs:
        return _print(options, jobs, jobs.queues.pause_sync(options.name, reason=options.reason), "is paused")


def resume(options: argparse.Namespace) -> int:
    with opened(options) as jobs:
        was = jobs.queues.get_sync(options.name).paused
        said = "goes on" if was else "was not paused"
        return _print(options, jobs, jobs.queues.resume_sync(options.name), said)


def drain(options: argparse.Namespace) -> int:
    """1 when the time is up and something still runs; it stays paused."""
    timeout = None if options.timeout is None else filters.duration(options.timeout, "--timeout")
    with opened(options) as jobs:
        info = jobs.queues.drain_sync(options.name, reason=options.reason, timeout=timeout)
        return _print(options, jobs, info, "is paused")


def _data(info: QueueInfo, load: QueueLoad | None) -> dict[str, Any]:
    """Counts are exact, as far as they are of jobs; the load is as dashboard and `top` tell it."""
    rate, backlog = (0.0, 0.0) if load is None else (load.rate, load.backlog_seconds)
    return plain(info) | {"rate": round(rate, 2), "backlog": round(backlog, 1)}


def _warn(options: argparse.Namespace, jobs: Offpath, info: QueueInfo) -> None:
    """Any name will do, since a queue may be new; so a mistyped one does too."""
    if info.ready or info.scheduled or info.waiting or info.running or jobs.queues.knows(info.name):
        return
    if options.app:
        printing.say(f"no live job or task has queue {info.name} yet")
    else:
        printing.say(f"no live job has queue {info.name} yet; whether a task has, --app would tell")


def _print(options: argparse.Namespace, jobs: Offpath, info: QueueInfo, said: str) -> int:
    _warn(options, jobs, info)
    if options.json:
        printing.as_json(plain(info))
    else:
        counts = {"running": info.running, "ready": info.ready, "scheduled": info.scheduled, "waiting": info.waiting}
        there = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing in it"
        print(f"{printing.cell(info.name)} {said}: {there}")
    return 0
