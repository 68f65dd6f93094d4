"""Which ticks of a schedule become jobs, and what becomes of a schedule that is declared in code by several versions of
an application at once. Pure.

    due      the schedule's time has come: which ticks are run, and when is the next
    declare  a worker starts (or looks again) with a declaration
    job_of   a tick as a job
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

from .call import Call
from .checks import check_segment
from .events import Event
from .job import Job, State
from .lifecycle import new
from .options import SECOND, Queue

Overlap = Literal["skip", "queue", "allow", "replace"]

MAX_CATCH_UP = 1000
MAX_SCHEDULE_NAME = 200
GRACE = 60 * SECOND  # how late a tick may be that is not made up for
WINDOW = 2 * SECOND
_SIGN = "schedule:"
PAST = 20  # declarations that are remembered as older ones

After = Callable[[int], int | None]
"""The first tick strictly after a moment, µs."""


class ScheduleRow(NamedTuple):
    """A schedule as stored. Times are µs since the epoch.

    spec       JSON text of `Schedule`
    call       JSON text: what each tick enqueues (see `template`)
    declared   marks of its declarations in code, the one in force first; empty: it was put by API
    anchor     what an `every` counts from
    next_at    the next tick; None: there is none any more
    revision   raised by every change but that of firing
    last_tick, last_job, last_at   the newest tick that became a job, that job, and when
    skipped    ticks that found the job of an earlier one still there
    busy       that job is there now
    """

    name: str
    spec: str
    task: str
    call: str
    declared: tuple[str, ...]
    anchor: int
    next_at: int | None
    paused: bool
    revision: int
    last_tick: int | None
    last_job: str | None
    last_at: int | None
    skipped: int
    created_at: int
    updated_at: int
    busy: bool = False


class Due(NamedTuple):
    """The ticks to run now, in order, and the next one after them."""

    ticks: tuple[int, ...]
    next_at: int | None


def due(next_at: int, now: int, after: After, catch_up: int, late: int | None) -> Due:
    """What to do at `now` with a schedule whose next tick was to be at `next_at`.

    Of all ticks from `next_at` to now: the newest `catch_up` (at least one) that are not older than `late` µs.
    """
    if late is None and catch_up == 0:
        late = GRACE
    floor = next_at if late is None else max(next_at, now - late)
    most = max(1, catch_up)
    window = WINDOW
    while True:
        # From the near past to the far: after a year without workers nobody counts a year's ticks.
        since = max(floor, now - window)
        newest = [next_at] if next_at >= since else []  # even if the zone's rules have changed since it was reckoned
        tick = after(max(since - 1, next_at))
        while tick is not None and tick <= now:
            newest.append(tick)
            tick = after(tick)
        if since == floor or len(newest) >= most:
            return Due(tuple(newest[-most:]), tick)
        window *= 4


class Declared(NamedTuple):
    """A declaration in code: `mark` tells it from others of the same name."""

    name: str
    spec: str
    task: str
    call: str
    mark: str


def declared(name: str, spec: str, task: str, call: str, marked: str | None = None) -> Declared:
    """`marked`: what stands for `call` in its mark, when that is never written the same way twice."""
    said = hashlib.sha256("\0".join((name, spec, task, marked or call)).encode()).hexdigest()
    return Declared(name, spec, task, call, said[:16])


def sign(name: str, mark: str) -> str:
    """How a worker's row says that it declares this schedule so (beside the tasks it knows)."""
    return f"{_SIGN}{name}#{mark}"


def is_sign(known: str) -> bool:
    """Is what a worker's row knows a schedule, and no task?"""
    return known.startswith(_SIGN)


def declare(
    row: ScheduleRow | None,
    said: Declared,
    now: int,
    alive: Collection[str],
    first: int | None,
    *,
    same_time: bool,
    wake: bool,
) -> ScheduleRow:
    """The row after a worker with this declaration has looked at it.

    A declaration that the row has seen before is an older one as long as a worker lives that has the one in force:
    during a deploy the old ones yield. When the last of those has gone, it was a deploy backwards.

    alive      signs of the workers that live
    first      the first tick, when it is counted from now
    same_time  the row's ticks are those of the declaration
    wake       run at once, if no worker was there before
    """
    if row is None:
        return ScheduleRow(
            said.name,
            said.spec,
            said.task,
            said.call,
            (said.mark,),
            now,
            first,
            False,
            1,
            None,
            None,
            None,
            0,
            now,
            now,
        )
    if said.mark in row.declared[1:] and sign(row.name, row.declared[0]) in alive:
        return row
    if row.declared[:1] != (said.mark,):
        marks = (said.mark, *(mark for mark in row.declared if mark != said.mark))[:PAST]
        row = row._replace(
            spec=said.spec, task=said.task, call=said.call, declared=marks, revision=row.revision + 1, updated_at=now
        )
        if not same_time:
            row = row._replace(anchor=now, next_at=first)
    if wake and not any(one.startswith(sign(row.name, "")) for one in alive):
        row = row._replace(anchor=now, next_at=now)
    return row


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_schedule_name(value: object) -> str:
    return check_segment(value, "schedule name", MAX_SCHEDULE_NAME)


def key_of(name: str, overlap: Overlap, tick: int) -> str:
    """The key of a tick's job. The database knows each key of a task's live jobs once: with "skip" and "queue" all jobs
    of a schedule have the same one, so there are never two."""
    return f"schedule:{name}" if overlap in ("skip", "queue") else f"schedule:{name}:{tick}"


def template(call: Call, queue: Queue | None, lane: str | None = None) -> str:
    """What is kept of a call, as JSON text: any worker can make jobs of it, also one that does not know the task.
    `lane`: of its jobs, when they are under a limit."""
    job, _ = new(call, queue, 0, "")
    kept = job._replace(lane=lane)._asdict()
    for name in _OF_A_TICK:
        del kept[name]
    return json.dumps(kept, sort_keys=True)


_OF_A_TICK = ("id", "state", "run_at", "key")


def job_of(row: ScheduleRow, overlap: Overlap, tick: int, delay: int, now: int, id: str) -> tuple[Job, Event]:
    """The job of one tick, `delay` µs after it; what was a deadline after the enqueue is one after now."""
    kept: dict[str, Any] = json.loads(row.call)
    run_at = tick + delay
    kept["state"] = State.SCHEDULED if run_at > now else State.READY
    if kept.get("deadline") is not None:
        kept["deadline"] += max(now, run_at)
    kept["options"] = stamped(kept.get("options"), row.name, tick)
    known = {name: value for name, value in kept.items() if name in Job._fields}
    return Job(id=id, run_at=run_at, key=key_of(row.name, overlap, tick), **known), Event("queued", {})


def stamped(options: str | None, name: str, tick: int) -> str:
    """The options of a job that is one tick of a schedule."""
    return json.dumps({**(json.loads(options) if options else {}), "schedule": name, "tick": tick})


def tick_of(options: str | None) -> tuple[str, int] | None:
    """The schedule and the tick that a job is of (from its row's options), if it is."""
    if options is None or '"tick"' not in options:
        return None
    said = json.loads(options)
    name, tick = said.get("schedule"), said.get("tick")
    return (name, tick) if isinstance(name, str) and isinstance(tick, int) else None
