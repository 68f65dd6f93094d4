"""Settle and claim in one transaction, an outcome per job: the hot verb."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.change import Change
from ...core.job import Job, State
from ...core.lifecycle import started
from ...core.options import MAX_CRASHES, SUSPECT
from ...ports import Exchanged, Hint, Seen, Statement, Verb, Verdict, Want
from .. import rows
from ..exchange import Desk, by_weight
from ..limits import without
from ..verbs import NOW, Asked, SqlVerbs
from .limits import claim_limited, claimed


def exchange(verbs: SqlVerbs, worker: str, changes: Sequence[Change], want: Want | None, desk: Desk) -> Verb[Exchanged]:
    """First what has ended is written, then new work is taken, so that a freed key or slot counts at once.

    The worker's lease is renewed on the way when it is time; among saturating writers a lone renewal waits long.
    """
    sql = verbs.sql
    extend = desk.extension.due() if desk.extension is not None else None
    now: int = yield NOW
    if extend is None:
        alive = bool((yield Statement(sql["claim.alive"], {"worker": worker}, rows.value)))
    else:
        params = {"worker": worker, "until": now + extend}
        alive = (yield Statement(sql["lease.renew"], params, rows.value)) == 1
    verdicts: list[Verdict] = []
    asked: Asked = {}
    if changes:
        verdicts, asked = yield from _settle(verbs, worker, changes, now)
    taken: list[Job] = []
    full = False
    seen: Seen | None = None
    if want is not None and want.limit > 0 and alive:
        yield Statement(sql["claim.promote"], {"now": now}, rows.nothing)

        taken, full, seen = yield from _claim(sql, worker, want, now, desk)
        watched = [
            Change(job.id, job.fence, False, State.RUNNING, 0, 0, 0, events=(started(job.attempt),))
            for job in taken
            if job.watched
        ]
        if watched:
            yield from verbs.tell(watched, now)
    return Exchanged(verdicts, taken, full, alive, asked, seen)


def _claim(
    sql: Mapping[str, str], worker: str, want: Want, now: int, desk: Desk
) -> Verb[tuple[list[Job], bool, Seen | None]]:
    """Jobs, and whether there may be more; those under a limit before the others, or after them in the room left."""
    look, seen, full = want.limited, None, True
    free, limited = desk.accounts[want.tasks, False], desk.accounts[want.tasks, True]
    taken: list[Job] = []

    def take(queue: str, limit: int, free: int, suspect: bool) -> Verb[tuple[list[Job], bool]]:
        return _take(sql, worker, want.tasks, queue, limit, free, suspect)

    if look is not None and look.first:
        found = yield from claim_limited(sql, worker, want, look, now, limited)
        taken, seen = found.jobs, found.seen
    rest = without(want, taken) if taken else want
    if rest.limit > 0:
        others, full = yield from by_weight(rest, take, free)
        taken = taken + others
    if look is not None and not look.first and look.room > len(taken):
        look = look._replace(room=look.room - len(taken), free=max(0, look.free - len(taken)))
        found = yield from claim_limited(sql, worker, without(want, taken), look, now, limited)
        taken, seen = taken + found.jobs, found.seen
    return taken, full, seen


def _settle(verbs: SqlVerbs, worker: str, changes: Sequence[Change], now: int) -> Verb[tuple[list[Verdict], Asked]]:
    """The hot path is two statements: every job of the batch has ended, is part of nothing, and passes its guard."""
    verdicts: list[Verdict] = ["applied"] * len(changes)
    asked: Asked = {}
    good = changes
    ended = all(change.state > State.RUNNING and change.flow is None for change in changes)
    if not ended or (yield from verbs.finish(changes, now, worker)) != len(changes):
        verdicts, asked = yield from verbs.refused(worker, changes)
        good = [change for change, verdict in zip(changes, verdicts, strict=True) if verdict == "applied"]
    if not ended:
        yield from verbs.write(good, now)
    elif good:
        yield from verbs.remove(good)
        yield from verbs.answer(good, now)
        if any([change.record is not None for change in good]):  # noqa: C419 (a list is quicker than a generator)
            yield from verbs.record_attempts(good, now)
        if told := [change for change in good if change.events]:
            yield from verbs.tell(told, now)
    if any(change.state is State.READY for change in good):
        # Given back (a worker that shuts down): another one may start it at once. A change does not know its queue, and
        # reading the rows for the sake of a hint would cost more than waking those who find nothing.
        yield Hint("work")
    return verdicts, asked


def _take(
    sql: Mapping[str, str], worker: str, tasks: str, queue: str, limit: int, free: int, suspect: bool
) -> Verb[tuple[list[Job], bool]]:
    """At most `limit` jobs of one queue: those that can start at once may be delicate (at-most-once, suspects), the
    rest, which will wait in this process for a while, may not."""
    first = min(limit, free)
    taken: list[Job] = []
    more = True
    for careful, doubtful, upto in ((True, suspect, first), (True, False, first), (False, False, limit)):
        if more and len(taken) < upto:  # the second only when suspects had to be left where they are
            params: dict[str, Any] = {
                "queue": queue,
                "tasks": tasks,
                "once": int(careful),
                "crashes": MAX_CRASHES if doubtful else SUSPECT - 1 if careful else 0,
                "limit": upto - len(taken),
            }
            found: list[list[Any]] = json.loads((yield Statement(sql["claim.take"], params, rows.value)))
            more = len(found) == params["limit"]
            kept = _one_suspect(found) if doubtful else found
            if kept:
                marked = rows.dumps([row[0] for row in kept])
                yield Statement(sql["claim.mark"], {"rows": marked, "worker": worker}, rows.nothing)
                taken += [claimed(row, worker) for row in kept]
    return taken, len(taken) == limit


_CRASHES = 11


def _one_suspect(found: list[list[Any]]) -> list[list[Any]]:
    """A worker holds at most one suspect: if it kills again, no other suspect is quarantined with it."""
    kept: list[list[Any]] = []
    seen = False
    for row in found:
        if row[_CRASHES] >= SUSPECT:
            if seen:
                continue
            seen = True
        kept.append(row)
    return kept
