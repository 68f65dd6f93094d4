"""What is wrong with a home of jobs, and what to do about it: decided from its rows alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from . import bulk
from .alerts import LISTED
from .job import State
from .options import SECOND
from .outbox import QUEUE as OUTBOX
from .schedule import is_sign

WORST = 5  # queues that are named, of those in which jobs are overdue
LATE, TOO_LATE = 60, 600  # s after its time that a job is overdue; that somebody should hear of it
MOST = 10_000
SHOWN = 5  # names of a list for people

START = "start one: `offpath --app module:attr worker`"
UPKEEP = "any living worker takes them back within a minute; if none is alive, start one"


class WorkerRow(NamedTuple):
    """A worker as stored: until when it is believed alive and when the verdict was written on it (µs), and how many
    running jobs it holds."""

    id: str
    label: str
    expires_at: int
    lapsed_at: int | None
    holds: int


class Part(NamedTuple):
    """Live jobs that are alike: how many, the oldest run_at (µs), of those that run who holds them, and whether that
    worker has a row (0: no)."""

    queue: str
    task: str
    state: int
    jobs: int
    oldest: int
    version: int
    worker: str | None
    there: int


class Vitals(NamedTuple):
    """How a home of jobs is doing `at` a time (µs, the store's clock).

    known    what workers without a verdict may claim, as "task@version"
    counts   (queue, task, state, how many, oldest run_at, version) of all live jobs
    orphans  running jobs whose worker has no row at all
    failed   (task, how many) of what failed in the last 24 hours and was not run again, the most first; a flow is
             counted as its part that failed; changes of many jobs are among them
    again    how many failed in that time and were run again; of both together no more than MOST are counted
    paused   queues from which nothing is claimed, each with the reason
    overdue  schedules that are not paused and further behind their time than LATE, the latest first
    outbox   how many events wait to be published, and since when the oldest does (µs)
    looked   None: all live jobs were looked at; else how many, the oldest
    """

    at: int
    workers: list[WorkerRow]
    known: set[str]
    counts: list[tuple[str, str, int, int, int, int]]
    orphans: int
    failed: list[tuple[str, int]]
    outbox: tuple[int, int | None] = (0, None)
    looked: int | None = None
    again: int = 0
    paused: Mapping[str, str] = MappingProxyType({})
    overdue: Sequence[str] = ()


class Check(NamedTuple):
    """Something that was looked at: what was found, in a sentence, and what to do about it (None: nothing)."""

    check: str
    state: Literal["ok", "warning", "problem"]
    detail: str
    remedy: str | None = None


def counted(parts: Sequence[Part]) -> list[tuple[str, str, int, int, int, int]]:
    """As `Vitals.counts` has them, whoever holds them."""
    by: dict[tuple[str, str, int, int], tuple[int, int]] = {}
    for part in parts:
        key = part.queue, part.task, part.state, part.version
        jobs, oldest = by.get(key, (0, part.oldest))
        by[key] = jobs + part.jobs, min(oldest, part.oldest)
    return [(queue, task, state, *by[queue, task, state, version], version) for queue, task, state, version in by]


def judge(vitals: Vitals, lease: float = 15.0) -> Iterator[Check]:
    """What the rows say. `lease`: how long a worker's is, seconds."""
    if vitals.looked is not None:
        detail = f"there are more than the {vitals.looked:,} that were looked at here, the oldest"
        yield Check("jobs", "ok", detail, "`offpath doctor` looks at all of them")
    yield from _workers(vitals)
    yield from _renewals(vitals, round(lease * SECOND))
    yield from _waiting(vitals)
    yield from _schedules(vitals)
    yield from _unknown(vitals)
    yield _orphans(vitals)
    yield _failed(vitals)
    yield from _changes(vitals)
    yield from _outbox(vitals)


def _workers(vitals: Vitals) -> Iterator[Check]:
    judged = [worker for worker in vitals.workers if worker.lapsed_at is not None]
    late = [worker for worker in vitals.workers if worker.lapsed_at is None and worker.expires_at <= vitals.at]
    alive = len(vitals.workers) - len(judged) - len(late)
    live = sum(jobs for _, _, _, jobs, _, _ in vitals.counts)
    if alive:
        known = few(sorted(name for name in vitals.known if not is_sign(name))) or "no task"
        yield Check("workers", "ok", f"{_count(alive, 'worker')} alive, for {known}")
    elif live:
        many = _count(live, "job") if vitals.looked is None else f"more than {live:,} jobs"
        yield Check("workers", "problem", f"no worker is alive, and {many} not ended", START)
    elif vitals.overdue:
        yield Check("workers", "problem", "no worker is alive: there is no job, and no schedule makes one", START)
    else:
        yield Check("workers", "warning", "no worker is alive; there is no job either", START)
    if late:
        detail = f"the lease of {few([worker.label for worker in late])} has run out, and nobody has judged it yet"
        remedy = "a living worker does within seconds; look whether its process hangs or its database is far"
        yield Check("workers", "warning", detail, remedy)
    if held := sum(worker.holds for worker in judged):
        names = few([worker.label for worker in judged if worker.holds])
        yield Check("workers", "warning", f"{_count(held, 'job')} held by dead workers: {names}", UPKEEP)


def _renewals(vitals: Vitals, lease: int) -> Iterator[Check]:
    """A lease is renewed when a third of it has passed: who has less than a third left has missed two renewals."""
    left = [
        (worker.expires_at - vitals.at, worker.label)
        for worker in vitals.workers
        if worker.lapsed_at is None and worker.expires_at > vitals.at
    ]
    near = sorted(one for one in left if one[0] < lease // 3)
    if near:
        names, soonest = few([label for _, label in near]), near[0][0] / SECOND
        detail = f"the lease of {names} is about to lapse, the next in {soonest:.1f} s: its jobs will go to others"
        remedy = "look whether its process gets CPU time and can reach the database"
        yield Check("leases", "warning", detail, remedy)
    elif left:
        yield Check("leases", "ok", "every living worker renews its lease in time")


def _waiting(vitals: Vitals) -> Iterator[Check]:
    """Ready, or scheduled for a time that has come."""
    oldest: dict[str, int] = {}
    for queue, _, state, _, run_at, _ in vitals.counts:
        if state in (State.READY, State.SCHEDULED) and run_at <= vitals.at:
            oldest[queue] = min(run_at, oldest.get(queue, run_at))
    ages = {queue: (vitals.at - since) // SECOND for queue, since in oldest.items()}
    late = sorted(((age, queue) for queue, age in ages.items() if age >= LATE), reverse=True)
    for age, queue in late[:WORST]:
        detail = f"the oldest job that is due in queue {queue} has waited for {age:,} s"
        remedy = f"see that a worker serves {queue} (`offpath workers list`), or add workers"
        if queue in vitals.paused:
            detail += f": it is paused{f', {reason!r}' if (reason := vitals.paused[queue]) else ''}"
            remedy = f"let it go on when what it is paused for is over: `offpath queues resume {_word(queue)}`"
        yield Check("waiting", "problem" if age >= TOO_LATE else "warning", detail, remedy)
    if len(late) > WORST:
        age = late[WORST][0]
        detail = f"so is what is due in {len(late) - WORST:,} more queues, for up to {age:,} s"
        remedy = "`offpath queues list` has them all; add workers"
        yield Check("waiting", "problem" if age >= TOO_LATE else "warning", detail, remedy)
    if not late:
        longest = max(ages.values(), default=None)
        said = "no job is due" if longest is None else f"no job that is due has waited for more than {longest + 1} s"
        yield Check("waiting", "ok", said)


def _schedules(vitals: Vitals) -> Iterator[Check]:
    """Who is in time is told nothing."""
    if not vitals.overdue:
        return
    count = len(vitals.overdue)
    many = f"{'at least ' if count >= LISTED else ''}{_count(count, 'schedule')}"
    detail = f"{many} should have fired more than {LATE} s ago: {few(vitals.overdue)}"
    remedy = f"see what holds it up: `offpath schedules show {_word(vitals.overdue[0])}`"
    if all(worker.lapsed_at is not None or worker.expires_at <= vitals.at for worker in vitals.workers):
        remedy = "a worker whose code declares it fires it; " + START
    yield Check("schedules", "warning", detail, remedy)


def _unknown(vitals: Vitals) -> Iterator[Check]:
    """Jobs that nobody can run: of a task that was renamed, or of a version that no worker has any more (or yet)."""
    if not vitals.known:
        return  # that there is no worker has been said
    found: dict[str, tuple[int, bool]] = {}
    for _, task, state, jobs, _, version in vitals.counts:
        name = f"{task}@{version}"
        if state != State.RUNNING and name not in vitals.known:
            before, ready = found.get(name, (0, False))
            found[name] = (before + jobs, ready or state == State.READY)
    for name, (jobs, ready) in sorted(found.items()):
        detail = f"{_count(jobs, 'job')} of {name}, which no worker knows"
        task = name.rpartition("@")[0]
        which = f"jobs cancel --task {task}"
        if any(other.rpartition("@")[0] == task for other in vitals.known):  # which would cancel the good ones, too
            which = f"jobs list --task {task}`, `offpath jobs cancel ID"
        remedy = f"start a worker that has that task in that version, or cancel them: `offpath {which}`"
        yield Check("tasks", "problem" if ready else "warning", detail, remedy)
    if not found:
        yield Check("tasks", "ok", "every job is of a task and version that a worker knows")


def _orphans(vitals: Vitals) -> Check:
    if not vitals.orphans:
        return Check("orphans", "ok", "every running job has its worker")
    detail = f"{_count(vitals.orphans, 'running job')} of workers that are not registered any more"
    return Check("orphans", "warning", detail, UPKEEP)


def _failed(vitals: Vitals) -> Check:
    """The dead letters."""
    failed = [(task, jobs) for task, jobs in vitals.failed if task != bulk.TASK]
    total = sum(jobs for _, jobs in failed)
    if not total:
        if not vitals.again:
            return Check("failed", "ok", "no job failed in the last 24 hours")
        looked = " that were looked at" if vitals.again >= MOST else ""
        many = _count(vitals.again, "job") + looked
        again = "was run again" if vitals.again == 1 else "all were run again"
        return Check("failed", "ok", f"{many} failed in the last 24 hours, and {again}")
    many = f"at least {total:,} jobs" if total + vitals.again >= MOST else _count(total, "job")
    tasks = few([f"{task} {jobs:,}" for task, jobs in failed])
    detail = f"{many} failed in the last 24 hours: {tasks}; not run again since"
    see = "see why: `offpath jobs list --state failed --outstanding`, `offpath jobs show ID`"
    remedy = f"{see}; then `offpath jobs retry --task NAME`"
    return Check("failed", "warning", detail, remedy)


def _changes(vitals: Vitals) -> Iterator[Check]:
    """Changes of many jobs that failed: they are never run again."""
    count = sum(jobs for task, jobs in vitals.failed if task == bulk.TASK)
    if not count:
        return
    detail = f"{_count(count, 'change')} of many jobs failed in the last 24 hours"
    see = f"see which and why: `offpath jobs list --state failed --task {bulk.TASK}`, `offpath jobs show ID`"
    remedy = f"{see}; ask for it anew, from its page or by `jobs:bulk`; then `offpath jobs delete ID`"
    yield Check("changes", "warning", detail, remedy)


def _outbox(vitals: Vitals) -> Iterator[Check]:
    """Who publishes nothing is told nothing."""
    count, since = vitals.outbox
    if since is None:
        return
    age = (vitals.at - since) // SECOND
    waits = "waits" if count == 1 else "wait"
    detail = f"{_count(count, 'event')} {waits} to be published, the oldest for {age:,} s"
    if age < LATE:
        yield Check("outbox", "ok", detail)
        return
    remedy = f"see whether the broker can be reached (the log says broker.failed), and a worker serves {OUTBOX}"
    yield Check("outbox", "problem" if age >= TOO_LATE else "warning", detail, remedy)


def _word(name: str) -> str:
    """As a shell takes it."""
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", name):
        return name
    return "'" + name.replace("'", "'\\''") + "'"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def few(names: Sequence[str]) -> str:
    """The first of them, for people."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
