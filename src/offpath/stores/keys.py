"""Verbs of keys with a rule (debounce, throttle, latest): what is there is read, `core/keys.py` says where each call
goes, and that is written.

A row that takes new arguments is written only if it is still in the state that it was read in; otherwise it has been
claimed, or freed, or has ended, and the call is arranged again. Rows that run are neither written nor locked: whoever
has them ends them without waiting for a caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.change import Change
from ..core.events import Event
from ..core.job import Job, State
from ..core.keys import Arranged, Key, Seat, Standing, Write, arrange
from ..errors import StoreUnavailable
from ..ports import Enqueued, Hint, NewJob, Now, Round, Statement, Verb
from . import rows
from .shared import SharedVerbs

PATIENCE = 10  # times a call is arranged anew, because what it found had changed
MOST_LOCKS = 1_000  # jobs of one call whose keys are locked without need: PostgreSQL has room for some thousand locks

_REPLACED = (Event("requeued", {"reason": "replaced"}),)


class KeyVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def enqueue_by_rule(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]:
        """`enqueue`, when some have a rule for their key. All keys are locked first, in their order."""
        few = len(jobs) <= MOST_LOCKS  # `enqueue.insert` locks the others itself, unless they are too many
        keyed = [(new.job.task, new.job.key) for new in jobs if new.rule is not None or (few and new.job.key)]
        yield Statement(self.sql["keys.lock"], {"keys": rows.dumps(keyed)}, rows.nothing)
        plain = [n for n, new in enumerate(jobs) if new.rule is None]
        ruled = [n for n, new in enumerate(jobs) if new.rule is not None]
        answers: dict[int, Enqueued] = {}
        if plain:
            answers.update(zip(plain, (yield from self.enqueue([jobs[n] for n in plain])), strict=True))
        for _ in range(PATIENCE):
            done = yield from self._arranged([jobs[n] for n in ruled])
            answers.update((n, Enqueued(id, id != jobs[n].job.id)) for n, id in zip(ruled, done, strict=True) if id)
            ruled = [n for n, id in zip(ruled, done, strict=True) if id is None]
            if not ruled:
                break
        else:
            key = jobs[ruled[0]].job.key
            raise StoreUnavailable(f"the key {key!r} changes hands too fast: try again")
        yield Hint("work", tuple({new.job.queue for new in jobs if new.rule is not None}))
        return [answers[n] for n in range(len(jobs))]

    def _arranged(self, jobs: Sequence[NewJob]) -> Verb[list[str | None]]:
        """The job that each call has become; None: what it was to become has changed meanwhile."""
        calls = [(new.job, new.rule) for new in jobs if new.rule is not None]
        keys = list(dict.fromkeys((job.task, job.key) for job, _ in calls))
        there = yield Statement(self.sql["keys.look"], {"keys": rows.dumps(keys)}, _standings)
        now: int = yield Now()
        plan = arrange(calls, there, now)
        lost = yield from self._written(jobs, plan, now)
        written = {(one.job.task, one.job.key) for one in plan.writes if one.job.id not in lost}
        if windows := [(*key, at) for key, at in sorted(plan.free_at.items()) if key in written]:
            yield Statement(self.sql["keys.window"], {"rows": rows.dumps(windows)}, rows.nothing)
        return [None if id in lost else id for id in plan.ids]

    def _written(self, jobs: Sequence[NewJob], plan: Arranged, now: int) -> Verb[frozenset[str]]:
        """Write it; the ids of what could not be."""
        lost: set[str] = set()
        if replaced := [write for write in plan.writes if write.seat is not None]:
            held: list[str] = yield Statement(
                self.sql["keys.replace"], {"rows": rows.dumps([_replaced(one) for one in replaced])}, rows.column
            )
            lost |= {one.job.id for one in replaced} - set(held)
            if begun := [one.job.id for one in replaced if one.seat and one.seat.fence and one.job.id not in lost]:
                # What an attempt remembers is of the old arguments.
                yield Statement(self.sql["bulk.steps"], {"ids": rows.dumps(begun)}, rows.nothing)
            told = [_told(one) for one in replaced if one.seat and one.seat.watched and one.job.id not in lost]
            if told:
                yield from self.tell(told, now)
        if heads := [one for one in plan.writes if one.seat is None and not one.behind]:
            yield from self._insert([jobs[one.call]._replace(job=one.job) for one in heads])
            holders = rows.dumps([(one.job.id, one.job.task, one.job.key) for one in heads])
            present = yield Statement(self.sql["enqueue.present"], {"keys": holders}, dict)
            lost |= {one.job.id for one in heads if present[one.job.id] != one.job.id}
        if behind := [one for one in plan.writes if one.seat is None and one.behind]:
            # A key has one holder: they go in without it, and are put behind that one then.
            yield from self._insert([jobs[one.call]._replace(job=one.job._replace(key=None)) for one in behind])
            seats = rows.dumps([(one.job.id, one.job.key) for one in behind])
            sat: list[str] = yield Statement(self.sql["keys.behind"], {"rows": seats}, rows.column)
            lost |= {one.job.id for one in behind} - set(sat)
            # The holder may have ended since it was seen, and not have seen what is behind it.
            yield Statement(self.sql["keys.free"], {"ids": rows.dumps([one.job.id for one in behind])}, rows.value)
        return frozenset(lost)

    def free_keys(self, limit: int, round: Round | None = None) -> Verb[int]:
        more = len(round.skip) if round is not None else 0
        found: list[str] = yield Statement(self.sql["keys.stranded"], {"limit": limit + more}, rows.column)
        if round is not None:
            found = [id for id in found if id not in round.skip][:limit]
            round.taken = found
        if not found:
            return 0
        freed: int = yield Statement(self.sql["keys.free"], {"ids": rows.dumps(found)}, rows.value)
        if freed:
            yield Hint("work")
        return freed

    def forget_windows(self, now: int, limit: int) -> Verb[int]:
        gone: int = yield Statement(self.sql["keys.forget"], {"now": now, "limit": limit}, rows.value)
        return gone


def _standings(found: list[Any]) -> dict[Key, Standing]:
    standings: dict[Key, Standing] = {}
    for task, key, id_, state, fence, run_at, behind, watched, free_at in found:
        standing = standings.get((task, key), Standing(free_at=free_at or 0))
        if id_ is not None:
            seat = Seat(id_, State(state), fence, run_at, bool(behind), bool(watched))
            standing = standing._replace(behind=seat) if behind else standing._replace(holder=seat)
        standings[task, key] = standing
    return standings


def _replaced(write: Write) -> tuple[Any, ...]:
    """A row of `keys.replace`: the seat as it was read, then what it becomes."""
    seat, job = write.seat, write.job
    assert seat is not None  # noqa: S101
    return (
        seat.id, int(seat.state), job.version, job.args, job.queue, job.priority,
        int(job.state), job.run_at, job.deadline, int(job.once), job.owner, job.options, job.lane, int(write.behind),
    )  # fmt: skip


def _told(write: Write) -> Change:
    job: Job = write.job
    assert write.seat is not None  # noqa: S101
    return Change(job.id, write.seat.fence, False, job.state, job.run_at, 1, 0, events=_REPLACED)
