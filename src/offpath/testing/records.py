"""What has been enqueued: read from the database, so that a transaction that was rolled back left nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..app import Offpath
from ..core.job import Finished, Job, State
from ..errors import OffpathError
from ..ports import Found, JobFilter
from ..tasks import Task

PAGE = 500


@dataclass(frozen=True, slots=True)
class Recorded:
    """One enqueued job. `args` are typed as the task has them; of a task not known here they are plain JSON data."""

    id: str
    task: str
    args: dict[str, Any]
    state: str
    queue: str
    priority: int
    key: str | None


def enqueued(jobs: Offpath, task: Task[..., Any] | None = None) -> list[Recorded]:
    """Every job, live or finished, in the order of enqueueing; only those of `task` when it is given."""
    name = None if task is None else task.name
    rows = [one.job or one.finished for one in everything(jobs)]
    return [_recorded(jobs, row) for row in rows if row is not None and name in (None, row.task)]


def assert_enqueued(jobs: Offpath, task: Task[..., Any], /, **args: Any) -> Recorded:
    """The last enqueued job of `task` whose arguments include `args`; AssertionError tells what there was instead."""
    all_of_it = enqueued(jobs, task)
    for one in reversed(all_of_it):
        if _includes(one.args, args):
            return one
    wanted = f"{task.name}({_shown(args)})"
    if all_of_it:
        raise AssertionError(
            f"{wanted} was not enqueued, but\n" + "\n".join(f"  {o.task}({_shown(o.args)})" for o in all_of_it)
        )
    others = sorted({one.task for one in enqueued(jobs)})
    raise AssertionError(f"{wanted} was not enqueued; " + (f"only {', '.join(others)}" if others else "nothing was"))


def assert_not_enqueued(jobs: Offpath, task: Task[..., Any], /, **args: Any) -> None:
    """AssertionError when a job of `task` whose arguments include `args` has been enqueued."""
    for one in enqueued(jobs, task):
        if _includes(one.args, args):
            raise AssertionError(f"{one.task}({_shown(one.args)}) was enqueued, as job {one.id}")


def everything(jobs: Offpath) -> list[Found]:
    """All jobs, the oldest first: those that `run_inline` ran, or the rows of the database."""
    if jobs.desk.instead is not None:
        return jobs.desk.instead.all_found()
    store = jobs.store
    found: list[Found] = []
    after: str | None = None
    while True:
        page = store.read(store.verbs.list_jobs(JobFilter(), after, PAGE)).result()
        found += page
        if len(page) < PAGE:
            return sorted(found, key=_asked)
        last = page[-1].job or page[-1].finished
        after = last.id if last else None


def _asked(found: Found) -> tuple[str, int]:
    """When it was asked for: the millisecond is in the id, and within it the time to run goes up by microseconds."""
    row = found.job or found.finished
    return (row.id[:13], row.run_at) if row else ("", 0)


def _recorded(jobs: Offpath, row: Job | Finished) -> Recorded:
    task = jobs.registry.get(row.task)
    text = row.args or "{}"
    try:
        args: dict[str, Any] = task.decode(text) if task else json.loads(text)
    except OffpathError:
        args = json.loads(text)
    return Recorded(row.id, row.task, args, State(row.state).name.lower(), row.queue, row.priority, row.key)


def _includes(args: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(name in args and bool(args[name] == value) for name, value in wanted.items())


def _shown(args: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in args.items())
