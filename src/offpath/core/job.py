"""A job: one durable call of a task, as the live table holds it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from .policy import parted


class State(IntEnum):
    """The seven states. The number is what the database stores; live jobs have 0-3, history 4-6."""

    SCHEDULED = 0  # not before run_at (also backing off)
    WAITING = 1  # for other jobs of its flow
    READY = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELED = 6


LIVE = frozenset({State.SCHEDULED, State.WAITING, State.READY, State.RUNNING})
TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED})


class Job(NamedTuple):
    """One row of the live table. Times are µs since the epoch.

    fence     raised by every claim, never lowered; later writes must carry it
    attempt   1 + failures so far
    crashes   deliveries that ended in a dead worker; they spend no attempt
    once      at-most-once: a delivery that may have begun is never repeated
    watched   has an operation row and an event log
    options   JSON text of what this job overrides (see `core/options.py`), or None
    cancel_at, cancel_reason   when someone asked the running job to stop, and why; both or neither
    flow      the id of the flow it is part of
    waits     of its parents in that flow, how many have not ended yet
    lane      the line of its limits; None: no limit holds for it
    """

    id: str
    task: str
    version: int
    args: str
    queue: str
    priority: int
    state: State
    run_at: int
    deadline: int | None
    key: str | None
    attempt: int
    crashes: int
    fence: int
    worker: str | None
    cancel_at: int | None
    once: bool
    watched: bool
    owner: str | None
    options: str | None
    retry_of: str | None = None
    cancel_reason: str | None = None
    flow: str | None = None
    waits: int = 0
    lane: str | None = None


class Principal(NamedTuple):
    """Whose work a job is, as recorded when it was started: `id` of the caller, and their `tenant`."""

    id: str
    tenant: str = ""


def principal(job: Job) -> Principal | None:
    """None: it was started by nobody in particular."""
    return None if job.owner is None else Principal(job.owner, parted(job.options)[1])


class Finished(NamedTuple):
    """One row of history: a job that has ended. It stays as it ended."""

    id: str
    task: str
    version: int
    args: str | None
    queue: str
    priority: int
    state: State
    run_at: int
    key: str | None
    attempt: int
    crashes: int
    fence: int
    once: bool
    watched: bool
    owner: str | None
    options: str | None
    retry_of: str | None
    result: str | None
    error: str | None
    finished_at: int
    expires_at: int | None
    flow: str | None = None
    lane: str | None = None
