"""A batch: many jobs of one task whose arguments one call of the function takes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from ..errors import ResultError
from .checks import number, shown, whole
from .job import Job
from .options import SUSPECT
from .retry import Seconds

MAX_SIZE = 10_000
MAX_WAIT = 3600.0  # s: what waits is held by a worker, and nobody else can take it


class Batch(NamedTuple):
    """What `@jobs.batch(…)` was given.

    size  jobs at most
    wait  seconds at most from the first one on until the function is called; 0: with what is there
    """

    size: int
    wait: float


def batch(size: int, wait: Seconds) -> Batch:
    """ConfigurationError for what cannot be a batch."""
    if isinstance(wait, timedelta):
        wait = wait.total_seconds()
    return Batch(whole(size, 1, MAX_SIZE, "size"), number(wait, 0, MAX_WAIT, "wait (seconds)"))


def alone(job: Job) -> bool:
    """Its worker has died too often while it ran: one more, and it is quarantined. Not together with innocents."""
    return job.crashes >= SUSPECT


def answers(task: str, returned: object, count: int) -> Sequence[object]:
    """What the function said of each of `count` jobs: None of all of them, or a list with an entry for each.

    ResultError says what was returned instead: of which job it speaks is not known then, so it speaks of none.
    """
    if returned is None:
        return (None,) * count
    if not isinstance(returned, list | tuple):
        raise ResultError(
            f"task {task} takes batches and must return None, or a list with an entry for each job: a result or an "
            f"exception; it returned {shown(returned)}"
        )
    if len(returned) != count:
        raise ResultError(
            f"task {task} was given {count} jobs and returned {len(returned)} entries: return None, or a list with an "
            "entry for each job, in their order: a result or an exception"
        )
    return returned
