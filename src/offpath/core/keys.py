"""What a call does when its key is taken: debounce, throttle, only the latest. Pure.

A key has a holder, the live job that it belongs to, and at most one job behind it: with the same key, waiting until the
holder has ended. What has not begun takes the arguments of a later call; what runs is left alone, and what is asked for
meanwhile goes behind it. So of one key one job runs at a time, and the newest arguments are never lost.

    debounce   it runs when nobody has called for so long, or `max_wait` after the first call
    throttle   it runs at once, and not again before so long has passed; then with the newest arguments
    latest     it runs in its turn, with the newest arguments
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from .ids import moment_of
from .job import Job, State
from .options import CallOptions, after

Key = tuple[str, str]
"""task and key"""


class Rule(NamedTuple):
    """What `task.using(key=…, debounce=…)` asked for. Lengths are µs.

    length   of a debounce or a throttle
    longest  of a debounce: what it may come to from the first call on
    """

    kind: Literal["debounce", "throttle", "latest"]
    length: int = 0
    longest: int | None = None


def rule_of(using: CallOptions) -> Rule | None:
    """None: a key is taken or it is not."""
    if using.latest:
        return Rule("latest")
    if using.throttle is not None:
        return Rule("throttle", after(0, using.throttle))
    if using.debounce is not None:
        return Rule("debounce", after(0, using.debounce), None if using.max_wait is None else after(0, using.max_wait))
    return None


class Seat(NamedTuple):
    """A live row of a key, as the store has it (or will have it). `behind`: it waits for the holder's end."""

    id: str
    state: State
    fence: int
    run_at: int
    behind: bool
    watched: bool


class Standing(NamedTuple):
    """All that is known of a key. `free_at`: not before this moment, µs (of a throttle)."""

    holder: Seat | None = None
    behind: Seat | None = None
    free_at: int = 0


class Write(NamedTuple):
    """One row to write: `job` as it is to be, with the id that stands.

    seat    the row that takes the new arguments, as it was read; None: there is none, `job` is a new row
    behind  it waits for the holder's end
    call    the number of the call that a new row comes from: its operation and first event are that call's
    """

    job: Job
    seat: Seat | None
    behind: bool
    call: int


class Arranged(NamedTuple):
    """ids: of each call, the job that it has become; writes: in their order; free_at: by key, what changed."""

    ids: list[str]
    writes: list[Write]
    free_at: dict[Key, int]


def arrange(calls: Sequence[tuple[Job, Rule]], there: Mapping[Key, Standing], now: int) -> Arranged:
    """Where each call goes, one after the other: what an earlier one has written, a later one finds."""
    standings = dict(there)
    ids: list[str] = []
    writes: dict[str, Write] = {}
    free_at: dict[Key, int] = {}
    for n, (job, rule) in enumerate(calls):
        key = job.task, job.key or ""
        standing = standings.get(key, Standing())
        if (own := _own(job, standing)) is not None:  # the answer to this very call was lost, and it is made again
            ids.append(own)
            continue
        seat = _open(standing)
        at = _when(job, rule, seat, standing, now)
        if rule.kind == "throttle" and (seat is None or seat.fence):
            free_at[key] = at + rule.length
            standing = standing._replace(free_at=free_at[key])
        behind = standing.holder is not None and (seat is None or seat.behind)
        if seat is not None and seat.state is State.WAITING and not seat.behind:
            state, at = State.WAITING, seat.run_at  # for others of its flow: they say when
        elif behind:
            state = State.WAITING
        else:
            state = State.SCHEDULED if at > max(now, job.run_at if job.state is State.READY else 0) else State.READY
        id_ = job.id if seat is None else seat.id
        row = job._replace(id=id_, state=state, run_at=at)
        before = writes.get(id_)
        if before is None:
            writes[id_] = Write(row, seat, behind, n)
        else:  # an operation belongs to the call that it comes from
            row = row._replace(watched=before.job.watched)
            writes[id_] = before._replace(job=row, behind=behind)
        fence = 0 if seat is None else seat.fence
        took = Seat(id_, state, fence, at, behind, row.watched if seat is None else seat.watched)
        standings[key] = standing._replace(behind=took) if behind else standing._replace(holder=took, behind=None)
        ids.append(id_)
    return Arranged(ids, list(writes.values()), free_at)


def _own(job: Job, standing: Standing) -> str | None:
    """The row that this call has written before."""
    return next((s.id for s in (standing.holder, standing.behind) if s is not None and s.id == job.id), None)


def _open(standing: Standing) -> Seat | None:
    """The row that takes new arguments: the last in line that has not begun. One behind nobody has been passed over
    when the holder ended (its transaction was open then): it is the holder now."""
    if standing.behind is not None:
        return standing.behind
    holder = standing.holder
    return holder if holder is not None and holder.state is not State.RUNNING else None


def _when(job: Job, rule: Rule, seat: Seat | None, standing: Standing, now: int) -> int:
    """When it is to run. (`job.run_at` of a debounce is the end of the delay.)"""
    match rule.kind:
        case "debounce":
            if rule.longest is None:
                return job.run_at
            first = moment_of(job.id if seat is None else seat.id)
            return min(job.run_at, max(now, first + rule.longest))
        case "throttle":
            if seat is not None and not seat.fence:
                return seat.run_at
            return max(job.run_at, standing.free_at)
        case "latest":
            return job.run_at if seat is None else min(seat.run_at, job.run_at)
