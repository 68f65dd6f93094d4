"""What is wrong with a home of jobs, and what to do about it: decided from its rows alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from .job import State
from .options import SECOND

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


class Vitals(NamedTuple):
    """How a home of jobs is doing `at` a time (µs, the store's clock).

    known    what workers without a verdict may claim, as "task@version"
    counts   (queue, task, state, how many, oldest run_at, version) of all live jobs
    orphans  running jobs whose worker has no row at all
    failed   (task, how many) of what failed in the last 24 hours, the most first; no more than MOST are counted
    """

    at: int
    workers: list[WorkerRow]
    known: set[str]
    counts: list[tuple[str, str, int, int, int, int]]
    orphans: int
    failed: list[tuple[str, int]]


class Check(NamedTuple):
    """Something that was looked at: what was found, in a sentence, and what to do about it (None: nothing)."""

    check: str
    state: Literal["ok", "warning", "problem"]
    detail: str
    remedy: str | None = None


def judge(vitals: Vitals) -> Iterator[Check]:
    """What the rows say."""
    yield from _workers(vitals)
    yield from _waiting(vitals)
    yield from _unknown(vitals)
    yield _orphans(vitals)
    yield _failed(vitals)


def _workers(vitals: Vitals) -> Iterator[Check]:
    judged = [worker for worker in vitals.workers if worker.lapsed_at is not None]
    late = [worker for worker in vitals.workers if worker.lapsed_at is None and worker.expires_at <= vitals.at]
    alive = len(vitals.workers) - len(judged) - len(late)
    live = sum(jobs for _, _, _, jobs, _, _ in vitals.counts)
    if alive:
        known = few(sorted(vitals.known)) or "no task"
        yield Check("workers", "ok", f"{_count(alive, 'worker')} alive, for {known}")
    elif live:
        yield Check("workers", "problem", f"no worker is alive, and {_count(live, 'job')} not ended", START)
    else:
        yield Check("workers", "warning", "no worker is alive; there is no job either", START)
    if late:
        detail = f"the lease of {few([worker.label for worker in late])} has run out, and nobody has judged it yet"
        remedy = "a living worker does within seconds; look whether its process hangs or its database is far"
        yield Check("workers", "warning", detail, remedy)
    if held := sum(worker.holds for worker in judged):
        names = few([worker.label for worker in judged if worker.holds])
        yield Check("workers", "warning", f"{_count(held, 'job')} held by dead workers: {names}", UPKEEP)


def _waiting(vitals: Vitals) -> Iterator[Check]:
    """Ready, or scheduled for a time that has come."""
    oldest: dict[str, int] = {}
    for queue, _, state, _, run_at, _ in vitals.counts:
        if state in (State.READY, State.SCHEDULED) and run_at <= vitals.at:
            oldest[queue] = min(run_at, oldest.get(queue, run_at))
    ages = {queue: (vitals.at - since) // SECOND for queue, since in oldest.items()}
    late = sorted(((age, queue) for queue, age in ages.items() if age >= LATE), reverse=True)
    for age, queue in late:
        detail = f"the oldest job that is due in queue {queue} has waited for {age:,} s"
        remedy = f"see that a worker serves {queue}, and add workers or concurrency"
        yield Check("waiting", "problem" if age >= TOO_LATE else "warning", detail, remedy)
    if not late:
        longest = max(ages.values(), default=None)
        said = "no job is due" if longest is None else f"no job that is due has waited for more than {longest + 1} s"
        yield Check("waiting", "ok", said)


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
        remedy = "start a worker that has that task in that version, or cancel them: `offpath jobs cancel ID`"
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
    total = sum(jobs for _, jobs in vitals.failed)
    if not total:
        return Check("failed", "ok", "no job failed in the last 24 hours")
    many = f"at least {total:,} jobs" if total >= MOST else _count(total, "job")
    detail = f"{many} failed in the last 24 hours: {few([f'{task} {jobs:,}' for task, jobs in vitals.failed])}"
    return Check("failed", "warning", detail, "`offpath jobs list --state failed`, then `offpath jobs retry ID`")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def few(names: Sequence[str]) -> str:
    """The first of them, for people."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
