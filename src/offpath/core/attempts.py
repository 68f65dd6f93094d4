"""What is remembered of an attempt that did not succeed. Pure.

A job that succeeds at once leaves nothing here. Those that come again without a failure (a snooze, a stop of the
worker) leave nothing either: they may be as many as they like, and the job has not suffered.
"""

from __future__ import annotations

import json
from typing import Literal, NamedTuple, get_args

from .job import Job
from .outcome import Canceled, Errored, Interrupted, Outcome

Ended = Literal["errored", "timeout", "crashed", "canceled", "interrupted"]
"""errored      it failed
timeout      it ran longer than it may
crashed      its worker died
canceled     it ended because someone had asked the job to stop, or said so itself
interrupted  an at-most-once job that was stopped after it had begun: there is no other attempt"""
ENDED: tuple[Ended, ...] = get_args(Ended)

KEPT = 100  # of one job, the newest: a job may be tried thousands of times


class Record(NamedTuple):
    """What a change says of the attempt that it ends; the fence and the job are the change's own.

    attempt     its number
    worker      the id of its worker
    started_at  µs; None: nobody who lives knows
    error       the stored error, JSON text (see `outcome.py`)
    """

    attempt: int
    worker: str | None
    ended: Ended
    started_at: int | None
    error: str | None


class AttemptRow(NamedTuple):
    """An attempt as it is remembered. Times are µs; `label` is what people know its worker by: host and pid."""

    attempt: int
    fence: int
    worker: str | None
    label: str | None
    started_at: int | None
    ended_at: int
    ended: str
    error: str | None


def record(job: Job, outcome: Outcome, began: int | None) -> Record | None:
    """What is to be remembered of the attempt of a running job that ended so; None: nothing."""
    said = outcome.error if isinstance(outcome, Errored) else None
    if job.cancel_at is not None:
        unbegun = isinstance(outcome, Interrupted) and not outcome.begun
        return None if unbegun else Record(job.attempt, job.worker, "canceled", began, said)
    match outcome:
        case Errored():
            late = json.loads(outcome.error).get("kind") == "timeout"
            return Record(job.attempt, job.worker, "timeout" if late else "errored", began, said)
        case Canceled():
            return Record(job.attempt, job.worker, "canceled", began, None)
        case Interrupted(_, True) if job.once:
            return Record(job.attempt, job.worker, "interrupted", began, None)
        case _:
            return None


def crash(job: Job) -> Record:
    """Of a job that is taken from a dead worker."""
    return Record(job.attempt, job.worker, "crashed", None, None)
