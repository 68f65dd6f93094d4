"""Verbs of the outbox, and of the answers that jobs give when they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import answers, lifecycle
from ..core.change import Change
from ..core.job import Finished, Job, State
from ..core.options import SECOND
from ..core.outbox import QUEUE
from ..ports import Enqueued, Hint, NewJob, Now, Statement, Verb
from ..ports.outbox import Line, NewEvent, OutboxRow, Own
from . import rows
from .shared import SharedVerbs

NOW = Now()
LOOK = 3600 * SECOND  # until it is looked whether the job of an event that is aside is still there
AGAIN = 60 * SECOND  # at least, before the next look


class OutboxVerbs(SharedVerbs):
    """See `ports.outbox.OutboxVerbs`."""

    # ── callers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def publish(self, events: Sequence[NewEvent]) -> Verb[list[Enqueued]]:
        now: int = yield NOW
        texts = [
            (e.id, e.new.job.id, e.shard, e.key, e.address, e.subject, int(e.direct), int(e.plain), e.message)
            for e in events
        ]
        yield Statement(self.sql["outbox.insert"], {"rows": rows.dumps(texts), "now": now}, rows.nothing)
        yield from self._insert([event.new for event in events])
        yield Hint("work", tuple({event.new.job.queue for event in events}))
        return [Enqueued(event.new.job.id, False) for event in events]

    # ── the job that publishes ───────────────────────────────────────────────────────────────────────────────────

    def line(self, shard: int, job: str, limit: int) -> Verb[Line]:
        own: list[tuple[int, int, str | None]] = yield Statement(self.sql["outbox.own"], {"job": job}, rows.plain)
        found: list[OutboxRow] = yield Statement(self.sql["outbox.line"], {"shard": shard, "limit": limit}, _events)
        return Line(found, Own(own[0][0], bool(own[0][1]), own[0][2]) if own else None)

    def confirmed(self, sent: Sequence[OutboxRow]) -> Verb[int]:
        seqs = {"seqs": rows.dumps([row.seq for row in sent])}
        gone: int = yield Statement(self.sql["outbox.delete"], seqs, rows.value)
        ids = {"ids": rows.dumps([row.job for row in sent])}
        waiting: list[Job] = yield Statement(self.sql["outbox.waiting"], ids, rows.jobs)
        if waiting:
            now: int = yield NOW
            yield from self.apply([(job, lifecycle.replaced(job, self.kept(job), now)) for job in waiting], now)
        return gone

    def put_aside(self, found: Sequence[tuple[OutboxRow, str | None]]) -> Verb[None]:
        now: int = yield NOW
        texts = rows.dumps([(row.seq, error) for row, error in found])
        yield Statement(self.sql["outbox.aside"], {"rows": texts, "look_at": now + LOOK}, rows.nothing)
        if ids := [row.job for row, _ in found if row.live]:
            yield Statement(self.sql["outbox.wake"], {"ids": rows.dumps(ids), "now": now}, rows.nothing)
            yield Hint("work", (QUEUE,))

    def take_back(self, event: str, shard: int, job: str) -> Verb[bool]:
        params = {"event": event, "shard": shard, "job": job}
        return bool((yield Statement(self.sql["outbox.take_back"], params, rows.value)))

    def in_outbox(self, event: str, shard: int) -> Verb[bool]:
        found: list[Any] = yield Statement(self.sql["outbox.there"], {"event": event, "shard": shard}, rows.plain)
        return bool(found)

    def backlog(self) -> Verb[tuple[int, int | None]]:
        [(count, oldest)] = yield Statement(self.sql["outbox.backlog"], {}, rows.plain)
        return count, oldest

    def forget_events(self, now: int, limit: int) -> Verb[int]:
        """Part of `prune`: those whose job has been forgotten, nobody can ask for them again. How many were looked
        at."""
        page = {"now": now, "limit": limit}
        next_look = {"later": now + LOOK, "soonest": now + AGAIN}
        if "outbox.spare" not in self.sql:  # one statement does both
            looked: int = yield Statement(self.sql["outbox.lose"], {**page, **next_look}, rows.value)
            return looked
        gone: int = yield Statement(self.sql["outbox.lose"], page, rows.value)
        kept: int = yield Statement(self.sql["outbox.spare"], {**page, **next_look}, rows.value)
        return max(gone, kept)

    # ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, changes: Sequence[Change], now: int) -> Verb[None]:
        """These changes, which have been written, ended jobs whose end somebody wants to be told of."""
        ids = [change.id for change in changes if change.answer and change.state > State.RUNNING]
        if not ids:
            return
        ended: list[Finished] = yield Statement(self.sql["outbox.ended"], {"ids": rows.dumps(ids)}, rows.histories)
        made = [NewJob(*one, None) for old in ended if (one := answers.job(old, now)) is not None]
        if made:
            yield from self._insert(made)
            yield Hint("work", (QUEUE,))


def _events(found: list[Any]) -> list[OutboxRow]:
    return [
        OutboxRow(seq, id, job, key, address, subject, bool(direct), bool(plain), message, bool(live))
        for seq, id, job, key, address, subject, direct, plain, message, live in found
    ]
