"""Jobs under a limit: whose turn it is, and the claim of those who may start. `core/admission.py` decides."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ..core.admission import BYTES, Books, InLine, Line, admit
from ..core.job import Job
from ..core.limits import Rule, buckets_of
from ..core.options import SECOND, SUSPECT
from ..core.shares import Accounts
from ..ports import Look, Seen, Statement, Verb, Want
from . import rows
from .exchange import by_weight
from .shared import SharedVerbs

LEAST, PAGE = 16, 100  # lanes looked at in one go: the first time, and when those were not enough
PAGES = 6  # such looks in one claim
GRACE = 60 * SECOND  # µs: how far a clock may be set back without a rate being forgotten


class LimitVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def declare(self, rules: Sequence[Rule]) -> Verb[None]:
        yield Statement(self.sql["limits.declare"], {"rules": rows.dumps(rules)}, rows.nothing)

    def limited_queues(self) -> Verb[list[str]]:
        found: list[str] = yield Statement(self.sql["limits.queues"], {}, rows.column)
        return found

    def forget_rates(self, limit: int, now: int) -> Verb[int]:
        gone: int = yield Statement(self.sql["limits.forget"], {"before": now - GRACE, "limit": limit}, rows.value)
        return gone


class Teller(Protocol):
    """What the dialects do differently."""

    sql: Mapping[str, str]

    def books(self, queue: str, tasks: str, lanes: Sequence[str], heads: int) -> Verb[tuple[list[Line], Books]]:
        """Of these lanes the first `heads` jobs each, and what is known of their buckets, now."""
        ...

    def take(self, ids: Sequence[str], tats: Mapping[str, int]) -> Verb[tuple[list[Job], bool]]:
        """Claim these jobs, in any order, as far as they are still ready; and is the worker alive?"""
        ...


class Claimed(NamedTuple):
    jobs: list[Job]
    seen: Seen
    alive: bool


class Claim:
    """One claim of jobs under a limit, in one transaction."""

    def __init__(self, teller: Teller, want: Want, look: Look) -> None:
        self._teller, self._want, self._look = teller, want, look
        self._cursors = dict(look.cursors)
        self._again: list[int] = []
        self._busy = self._starved = False
        self._alive = True
        self._left = BYTES
        self._undeclared: frozenset[str] = frozenset()

    def run(self, waiting: Collection[str], accounts: Accounts) -> Verb[Claimed]:
        """`waiting`: the queues with such jobs."""
        room = self._look.room
        served = tuple(one for one in self._want.queues if one[0] in waiting)
        want = self._want._replace(queues=served, limit=room, free=self._look.free)
        jobs, more = yield from by_weight(want, self._queue, accounts)
        again = min(self._again, default=None)
        return Claimed(jobs, Seen(self._cursors, again, more, self._starved, self._busy, self._undeclared), self._alive)

    def _queue(self, queue: str, limit: int, free: int, suspect: bool) -> Verb[tuple[list[Job], bool]]:
        """At most `limit` jobs of one queue, from the lane after the one whose turn was the last and once around."""
        start = after = self._cursors.get(queue, "")
        past, taken = 0, list[Job]()
        for page in range(PAGES):
            if not self._alive or self._left <= 0:
                return taken, True
            room = limit - len(taken)
            size = PAGE if page else min(PAGE, max(LEAST, 2 * room))
            params = {"queue": queue, "after": after, "until": start, "past": past, "limit": size}
            found: tuple[str, str, int]
            [found] = yield Statement(self._teller.sql["limits.scan"], params, rows.plain)
            lanes, locked, past = json.loads(found[0]), frozenset(json.loads(found[1])), found[2]
            mine = [lane for lane in lanes if locked.isdisjoint(buckets_of(lane))] if locked else lanes
            self._busy = self._busy or len(mine) < len(lanes)
            if mine:
                jobs, more, suspect = yield from self._admit(queue, mine, room, free - len(taken), suspect)
                taken += jobs
                if more:
                    return taken, True
            if len(lanes) < size:
                return taken, False
            after = lanes[-1]
        self._busy = True  # there are more lanes than that
        if not taken:
            self._cursors[queue] = after  # the next claim goes on here
        return taken, bool(taken)

    def _admit(
        self, queue: str, lanes: Sequence[str], room: int, free: int, suspect: bool
    ) -> Verb[tuple[list[Job], bool, bool]]:
        heads = min(room, -(-room // len(lanes)) + 1)
        lines, books = yield from self._teller.books(queue, self._want.tasks, lanes, heads)
        said = admit(lines, books, room, free=free, suspect=suspect, most=self._left)
        self._starved = self._starved or said.starved
        self._undeclared |= said.undeclared
        if said.again_at is not None:
            self._again.append(said.again_at)
        if said.cursor is not None:
            self._cursors[queue] = said.cursor
        if not said.ids:
            return [], said.more, suspect
        jobs, self._alive = yield from self._teller.take(said.ids, said.tats)
        places = {id: place for place, id in enumerate(said.ids)}
        jobs.sort(key=lambda job: places[job.id])
        self._left -= sum(len(job.args) for job in jobs)
        return jobs, said.more, suspect and not said.suspect


def lines_of(found: Sequence[tuple[str, Sequence[Any]]], heads: int) -> list[Line]:
    """Of (lane, [[id, size, crashes, once], …])."""
    return [Line(lane, [*map(InLine._make, jobs)], len(jobs) >= heads) for lane, jobs in found if jobs]


def without(want: Want, taken: Sequence[Job]) -> Want:
    """What is still wanted after these have come. A worker holds at most one suspect, of whatever kind."""
    return want._replace(
        limit=want.limit - len(taken),
        free=max(0, want.free - len(taken)),
        suspect=want.suspect and not any(job.crashes >= SUSPECT for job in taken),
    )
