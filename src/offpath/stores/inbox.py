"""Verbs of the inbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.inbox import TASK
from ..core.job import State
from ..core.options import SECOND
from ..ports import Hint, NewJob, Now, Round, Statement, Verb
from ..ports.inbox import Entry, Letter
from . import rows
from .shared import SharedVerbs

NOW = Now()
LOOK = 3600 * SECOND  # until it is looked whether the job of a letter is still there
AGAIN = 60 * SECOND  # at least, before the next look


class InboxVerbs(SharedVerbs):
    """A part of `SqlVerbs`."""

    def take(self, entries: Sequence[Entry], seconds: float) -> Verb[list[bool]]:
        now: int = yield NOW
        named = [(e.task, e.source, e.id, e.new.job.id) for e in entries if e.id is not None]
        fresh: set[str] = set()
        if named:
            params = {"rows": rows.dumps(named), "now": now, "until": now + round(seconds * SECOND)}
            fresh = set((yield Statement(self.sql["inbox.know"], params, rows.column)))
        taken = [entry.id is None or entry.new.job.id in fresh for entry in entries]
        new = [entry for entry, this in zip(entries, taken, strict=True) if this]
        if any(entry.line is not None for entry in new):
            yield from self._in_line(new)
        elif new:
            yield from self.enqueue([entry.new for entry in new])
        for entry in new:
            if entry.letter is not None:
                letter = {**entry.letter._asdict(), "look_at": now + LOOK}
                yield Statement(self.sql["inbox.keep"], letter, rows.nothing)
        return taken

    def _in_line(self, entries: Sequence[Entry]) -> Verb[None]:
        """Insert them: whoever has somebody before him waits until that one's end."""
        lines = {"lines": rows.dumps(sorted({e.line for e in entries if e.line is not None}))}
        yield Statement(self.sql["inbox.hold"], lines, rows.nothing)
        ends: dict[str, int | None] = yield Statement(self.sql["inbox.ends"], lines, dict)
        jobs: list[NewJob] = []
        places: list[tuple[str, str, int]] = []
        for new, line in [(entry.new, entry.line) for entry in entries]:
            if line is None:
                jobs.append(new)
                continue
            end = ends[line]
            waits = end is not None
            jobs.append(new._replace(job=new.job._replace(state=State.WAITING)) if waits else new)
            ends[line] = place = 1 if end is None else end + 1
            places.append((new.job.id, line, place))
        yield from self.enqueue(jobs)
        yield Statement(self.sql["inbox.stand"], {"rows": rows.dumps(places)}, rows.nothing)

    def depth(self, queue: str, limit: int) -> Verb[int]:
        found: int = yield Statement(self.sql["inbox.depth"], {"queue": queue, "limit": limit}, rows.value)
        return found

    def letter(self, id: str) -> Verb[Letter | None]:
        found: list[Any] = yield Statement(self.sql["inbox.letter"], {"id": id}, rows.plain)
        return Letter(*found[0]) if found else None

    def reread(self, id: str, job: str, entries: Sequence[Entry], seconds: float) -> Verb[list[bool]]:
        yield Statement(self.sql["inbox.read"], {"id": id, "job": job}, rows.nothing)
        return (yield from self.take(entries, seconds)) if entries else []

    def free_lines(self, limit: int, round: Round | None = None) -> Verb[int]:
        page = {"after": round.after if round is not None else "", "limit": limit}
        seen: list[tuple[str, str | None]] = yield Statement(self.sql["inbox.stranded"], page, rows.plain)
        found = [id for _, id in seen if id is not None]
        if round is not None:
            found = round.taken = [id for id in found if id not in round.skip]
            round.next = seen[-1][0] if len(seen) >= limit else ""
        if not found:
            return 0
        freed: int = yield Statement(self.sql["inbox.free"], {"ids": rows.dumps(found)}, rows.value)
        if freed:
            yield Hint("work")
        return freed

    def forget_received(self, now: int, limit: int) -> Verb[int]:
        """Part of `prune`."""
        gone: int = yield Statement(self.sql["inbox.forget"], {"now": now, "limit": limit}, rows.value)
        return gone

    def forget_letters(self, now: int, limit: int) -> Verb[int]:
        """Part of `prune`: as steps are forgotten (see `StepVerbs.forget_steps`). How many were looked at."""
        page = {"now": now, "limit": limit}
        lose = {**page, "task": TASK}
        next_look = {"later": now + LOOK, "soonest": now + AGAIN}
        if "inbox.spare" not in self.sql:  # one statement does both
            looked: int = yield Statement(self.sql["inbox.lose"], {**lose, **next_look}, rows.value)
            return looked
        gone: int = yield Statement(self.sql["inbox.lose"], lose, rows.value)
        kept: int = yield Statement(self.sql["inbox.spare"], {**page, **next_look}, rows.value)
        return max(gone, kept)
