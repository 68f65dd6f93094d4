"""What every worker looks after: the jobs of dead workers, deadlines, and how all of it is doing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..core import flow, health, lifecycle
from ..core.alerts import LISTED
from ..core.job import Job
from ..core.options import DAY, SECOND
from ..ports import Now, Round, Statement, Verb
from . import rows
from .shared import SharedVerbs

NOW = Now()


class UpkeepVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    def expire(self, worker: str, limit: int, round: Round | None = None) -> Verb[int]:
        held = yield from self._page("upkeep.held", {"worker": worker}, limit, round)
        yield from self._expire(held)
        if not held:
            yield Statement(self.sql["lease.gone"], {"worker": worker}, rows.nothing)  # unless it holds one after all
        return len(held)

    def orphans(self, limit: int, round: Round | None = None) -> Verb[int]:
        held = yield from self._page("upkeep.orphaned", {}, limit, round)
        yield from self._expire(held)
        return len(held)

    def _page(self, name: str, params: Mapping[str, Any], limit: int, round: Round | None) -> Verb[list[Job]]:
        """Up to `limit` jobs, without those that `round` skips."""
        more = len(round.skip) if round is not None else 0
        found: list[Job] = yield Statement(self.sql[name], {**params, "limit": limit + more}, rows.jobs)
        if round is not None:
            found = [job for job in found if job.id not in round.skip][:limit]
            round.taken = [job.id for job in found]
        if flows := {job.flow for job in found if job.flow is not None}:
            # Whoever holds a flow may be waiting for one of these rows: he is not waited for. The next page has them.
            held = yield from self.try_flows(flows)
            found = [job for job in found if job.flow is None or job.flow in held]
        return found

    def _expire(self, held: Sequence[Job]) -> Verb[None]:
        if held:
            now = yield NOW
            yield from self.apply([(job, lifecycle.expire(job, self.kept(job), now)) for job in held], now)

    def overdue(self, limit: int, round: Round | None = None) -> Verb[int]:
        now = yield NOW
        late = yield from self._page("upkeep.overdue", {"now": now}, limit, round)
        changes = [(job, change) for job in late if (change := lifecycle.overdue(job, self.kept(job), now))]
        yield from self.apply(changes, now)
        return len(changes)

    def counts(self) -> Verb[list[tuple[str, str, int, int, int, int]]]:
        found: list[tuple[str, str, int, int, int, int]] = yield Statement(self.sql["upkeep.counts"], {}, rows.plain)
        return found

    def queues(self) -> Verb[list[str]]:
        found: list[str] = yield Statement(self.sql["upkeep.queues"], {}, rows.column)
        return found

    def known_tasks(self) -> Verb[set[str]]:
        lists: list[str] = yield Statement(self.sql["lease.known"], {}, rows.column)
        return {str(name) for names in lists for name in json.loads(names)}

    def next_due(self) -> Verb[int | None]:
        due: int | None = yield Statement(self.sql["upkeep.next_due"], {}, rows.value)
        return due

    def survey(self, after: str, limit: int) -> Verb[tuple[list[health.Part], str | None]]:
        params = {"after": after, "limit": limit}
        found: list[Any] = yield Statement(self.sql["doctor.part"], params, rows.plain)
        parts = [health.Part(*row[:8]) for row in found]
        whole = sum(part.jobs for part in parts) < limit
        return parts, None if whole else max(row[8] for row in found)

    def vitals(self, parts: Sequence[health.Part], *, whole: bool = True) -> Verb[health.Vitals]:
        now = yield NOW
        workers: list[tuple[str, str, int, int | None]] = yield Statement(self.sql["doctor.workers"], {}, rows.plain)
        recent = {"since": now - DAY, "limit": health.MOST, "flow": flow.TASK}
        failed: list[tuple[str, int, int]] = yield Statement(self.sql["doctor.failed"], recent, rows.plain)
        late = {"before": now - health.LATE * SECOND, "limit": LISTED}
        overdue: list[str] = yield Statement(self.sql["alert.late"], late, rows.column)
        paused = yield from self.paused()
        holds = Counter[str]()
        for part in parts:
            if part.worker is not None:
                holds[part.worker] += part.jobs
        return health.Vitals(
            at=now,
            workers=[health.WorkerRow(*worker, holds[worker[0]]) for worker in workers],
            known=(yield from self.known_tasks()),
            counts=health.counted(parts),
            orphans=sum(part.jobs for part in parts if not part.there),
            failed=[(task, left) for task, left, _ in failed if left],
            outbox=(yield from self.backlog()),
            looked=None if whole else sum(part.jobs for part in parts),
            again=sum(again for _, _, again in failed),
            paused={row.name: row.reason for row in paused},
            overdue=overdue,
        )
