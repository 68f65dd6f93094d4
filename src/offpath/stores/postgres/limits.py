"""The claim of jobs under a limit: a transaction of its own, for what it counts must be younger than what it locks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ...core.admission import Books, Line
from ...core.job import Job
from ...core.limits import Rule, buckets_of, rule_name
from ...core.shares import Accounts
from ...ports import Hint, Look, Statement, Verb, Want
from .. import rows
from ..limits import Claim, Claimed, lines_of
from .session import Session

LOOK = 0.1  # s

Read = Callable[[list[Any]], list[Job]]


class PostgresTeller:
    """See `limits.Teller`. `read` makes jobs of claimed rows; `started` is the event's data for attempt 0."""

    def __init__(self, sql: Mapping[str, str], worker: str, started: str, read: Read) -> None:
        self.sql, self._worker, self._started, self._read = sql, worker, started, read
        self._now = 0

    def books(self, queue: str, tasks: str, lanes: Sequence[str], heads: int) -> Verb[tuple[list[Line], Books]]:
        buckets = sorted({name for lane in lanes for name in buckets_of(lane)})
        params = {
            "queue": queue,
            "tasks": tasks,
            "lanes": rows.dumps(lanes),
            "heads": heads,
            "buckets": rows.dumps(buckets),
            "rules": rows.dumps(sorted({rule_name(name) for name in buckets})),
        }
        lines: dict[str, Any] = {}
        runs: dict[str, int] = {}
        tats: dict[str, int] = {}
        rules: dict[str, Rule] = {}
        found: list[tuple[Any, ...]] = yield Statement(self.sql["limits.read"], params, rows.plain)
        for kind, name, jobs, number, spacing, burst in found:
            match kind:
                case "line":
                    lines[name] = json.loads(jobs)
                case "runs":
                    runs = json.loads(jobs)
                case "rate":
                    tats[name] = number
                case "rule":
                    rules[name] = Rule(name, number, spacing, burst)
                case _:
                    self._now = number
        books = Books(self._now, runs, tats, rules)
        return lines_of([(lane, lines[lane]) for lane in lanes if lane in lines], heads), books

    def take(self, ids: Sequence[str], tats: Mapping[str, int]) -> Verb[tuple[list[Job], bool]]:
        params = {
            "worker": self._worker,
            "ids": rows.dumps(ids),
            "tats": rows.dumps(tats),
            "started": self._started,
            "now": self._now,
        }
        found: list[Any] = yield Statement(self.sql["limits.take"], params, list)
        alive = bool(found.pop()[2])
        jobs = self._read(found)
        if watched := tuple(job.id for job in jobs if job.watched):
            yield Hint("event", watched)
        return jobs, alive


class Waiting:
    """The queues in which jobs wait under a limit: a look that most claims end with."""

    def __init__(self) -> None:
        self._queues: list[str] = []
        self._look_at = 0.0  # `time.monotonic`

    async def look(self, session: Session, sql: Mapping[str, str], *, eager: bool) -> list[str]:
        """`eager`: there were more than came the last time, so what was seen then is good for a while."""
        if not eager or time.monotonic() >= self._look_at:
            async with session.alone():
                self._queues = await session.execute(Statement(sql["limits.queues"], {}, rows.column))
            self._look_at = time.monotonic() + LOOK
        return self._queues


async def claim_limited(
    session: Session, teller: PostgresTeller, want: Want, look: Look, queues: Collection[str], accounts: Accounts
) -> tuple[Claimed, list[Hint]]:
    """What came, and the hints that may leave now."""
    hints: list[Hint] = []
    async with session.transaction():
        claimed = await session.drive(Claim(teller, want, look).run(queues, accounts), hints.append)
    return claimed, hints
