"""What is written when something happens to a job: the only thing a store is ever asked to apply.

`fence` and `seen_cancel` are the guard: the row must still look the way it did when the decision was made (and, for
an attempt's own word, belong to its worker), else nothing is written and the answer is stale or changed.
"""

from __future__ import annotations

from typing import NamedTuple

from .attempts import Record
from .events import Event
from .job import State


class Change(NamedTuple):
    """The next form of one job's row.

    id, fence     which job, and as of which claim
    seen_cancel   whether the decision knew of a cancel request
    state         the state it moves to; 4-6 move the row to history
    run_at        when it may run again, µs (unchanged states keep theirs)
    attempt, crashes   the new counts
    result, error  JSON text, for terminal states
    cancel_at, cancel_reason   when a cancel was first asked for, and why; None as long as nobody has
    expires_at    when history forgets it, µs; None = kept until someone deletes it
    events        lines for the log, written only when the job is watched
    callback      it ends a job with a callback URL, which is to be told
    flow          the flow that the job is part of
    answer        it ends a job whose end somebody asked to be told of (`reply_to`)
    record        what is remembered of the attempt that this ends; None: it succeeded, or there was none to speak of
    """

    id: str
    fence: int
    seen_cancel: bool
    state: State
    run_at: int
    attempt: int
    crashes: int
    result: str | None = None
    error: str | None = None
    cancel_at: int | None = None
    expires_at: int | None = None
    events: tuple[Event, ...] = ()
    cancel_reason: str | None = None
    callback: bool = False
    flow: str | None = None
    answer: bool = False
    record: Record | None = None
