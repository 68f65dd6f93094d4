"""`offpath schedules list|show|explain|pause|resume|run|delete`: look at schedules and change them."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from ..app import Offpath
from ..app.schedules import ScheduleInfo, behind, held_by
from ..core.alerts import lateness
from ..core.checks import whole
from ..core.options import SECOND
from ..errors import NotFound
from .jobs import brief
from .printing import age, as_json, line, record, say, table
from .target import opened

UNWRITTEN = "not written down yet"
COLUMNS = ("name", "when", "next_at", "state", "behind", "task", "last_at")


def list_schedules(options: argparse.Namespace) -> int:
    """Print all schedules by name: a table, or with --json an array of objects."""
    with opened(options) as jobs:
        rows = [plain(jobs, found) for found in jobs.schedules.list().result()]
    people = rows if options.json else [_spoken(row) for row in rows]
    columns = COLUMNS if any(row["behind"] for row in people) else [name for name in COLUMNS if name != "behind"]
    table(people, columns, "no schedules", to_json=options.json)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print everything about one schedule; `queue_paused` and `waits_for` (its last job, which has not ended, and it
    may have one at a time) are what may hold it up."""
    with opened(options) as jobs:
        try:
            found = jobs.schedules.get(options.name).result()
        except NotFound:
            if options.name not in jobs.registry.schedules:
                raise
            data = _unwritten(jobs, options.name)
        else:
            held = jobs.store.read(held_by(jobs.store.verbs, found)).result()
            data = plain(jobs, found) | held._asdict()
    record(data if options.json else _spoken(data), options.json)
    return 0


def explain(options: argparse.Namespace) -> int:
    """Print when it runs next: in its own time zone and in UTC."""
    runs = whole(options.runs, 1, 10_000, "--runs")
    with opened(options) as jobs:
        ticks = jobs.schedules.explain(options.name, runs).result()
        try:
            found = jobs.schedules.get(options.name).result()
            schedule, state = found.schedule, _state(jobs, found)
        except NotFound:  # declared by the application, and no worker has been here yet
            schedule, state = jobs.registry.schedules[options.name][0], UNWRITTEN
    rows = [{"local": tick.isoformat(), "utc": _utc(tick)} for tick in ticks]
    if options.json:
        said = {"name": options.name, "when": str(schedule), "zone": schedule.zone, "state": state, "runs": rows}
        as_json(said)
        return 0
    print(line(f"{options.name}: {schedule}" + ("" if state == "active" else f" ({state})")))
    table([{schedule.zone: row["local"], "UTC": row["utc"]} for row in rows], None, "it never runs again")
    return 0


def pause(options: argparse.Namespace) -> int:
    """No tick becomes a job until it is resumed."""
    with opened(options) as jobs:
        found = jobs.schedules.pause(options.name).result()
        return _changed(jobs, options, found, "is paused")


def resume(options: argparse.Namespace) -> int:
    """Go on with the next tick from now."""
    with opened(options) as jobs:
        found = jobs.schedules.resume(options.name).result()
        return _changed(jobs, options, found, f"runs next at {_utc(found.next_at)}")


def run(options: argparse.Namespace) -> int:
    """Enqueue its job now and print it; 1 when the job of an earlier run is still there (that one is printed)."""
    with opened(options) as jobs:
        job = jobs.schedules.run_now(options.name).result()
        data = _job(jobs, job.id) | {"existing": job.existing}
    if options.json:
        as_json(data)
    elif not job.existing:
        print(line(f"{job.id} runs {options.name}"))
    if not job.existing:
        return 0
    say(f"nothing was enqueued: job {job.id} of {options.name} has not ended")
    return 1


def delete(options: argparse.Namespace) -> int:
    """Remove a schedule; its jobs stay."""
    with opened(options) as jobs:
        jobs.schedules.delete(options.name).result()
    if options.json:
        as_json({"name": options.name, "deleted": True})
    else:
        print(line(f"{options.name} is deleted"))
    return 0


def _changed(jobs: Offpath, options: argparse.Namespace, found: ScheduleInfo, text: str) -> int:
    if options.json:
        as_json(plain(jobs, found))
    else:
        print(line(f"{found.name} {text}"))
    return 0


def _job(jobs: Offpath, id: str) -> dict[str, Any]:
    found = jobs.desk.find(id).result()
    return {"id": id} if found is None else brief(found)


def plain(jobs: Offpath, found: ScheduleInfo) -> dict[str, Any]:
    """A schedule as plain data: times as ISO 8601 text in UTC; `spec` is the schedule as it is stored; `behind`:
    seconds by which its time has passed, and nobody has fired it."""
    passed = behind(found, jobs.store.now())
    return {
        "name": found.name,
        "when": str(found.schedule),
        "zone": found.schedule.zone,
        "task": found.task,
        "state": _state(jobs, found),
        "behind": None if passed is None else round(passed, 1),
        "next_at": _utc(found.next_at),
        "last_tick": _utc(found.last_tick),
        "last_at": _utc(found.last_at),
        "last_job": found.last_job,
        "skipped": found.skipped,
        "overlap": found.schedule.overlap,
        "catch_up": found.schedule.catch_up,
        "declared": found.declared,
        "spec": json.loads(found.schedule.as_json()),
        "created_at": _utc(found.created_at),
        "updated_at": _utc(found.updated_at),
    }


def _unwritten(jobs: Offpath, name: str) -> dict[str, Any]:
    """One that the application declares, and no worker has written down yet: what is known of it."""
    schedule, call = jobs.registry.schedules[name]
    first = next(iter(jobs.schedules.explain(name, 1).result()), None)
    return {
        "name": name,
        "when": str(schedule),
        "zone": schedule.zone,
        "task": call.task,
        "state": UNWRITTEN,
        "behind": None,
        "next_at": _utc(first),
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "declared": True,
        "spec": json.loads(schedule.as_json()),
    }


def _state(jobs: Offpath, found: ScheduleInfo) -> str:
    """late: behind by a minute, or by as much as an alert of the application allows. No worker is there, or none whose
    code declares it; or it queues."""
    if found.paused:
        return "paused"
    if found.next_at is None:
        return "over"
    passed = behind(found, jobs.store.now())
    return "late" if passed is not None and passed * SECOND > lateness(jobs.registry.alerts) else "active"


def _spoken(row: dict[str, Any]) -> dict[str, Any]:
    """The same for people; less than a second is not worth a word."""
    passed = row["behind"]
    return row | {"behind": None if passed is None or passed < 1 else age(passed)}


def _utc(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
