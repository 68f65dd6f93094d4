"""The verbs of how things go. What the numbers mean is decided in `core/stats.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.limits import Rule
from ..core.schedule import GRACE
from ..core.stats import APART, FRESH, HOUR, MINUTE, RECENT, ROLLED, Line, Sample, as_text, from_text, with_totals
from ..core.workers import WorkerRow, watched
from ..ports import Now, Statement, Verb
from ..ports.stats import Depth, Raised, Totals
from . import rows
from .shared import SharedVerbs

LEVELS = (("first", APART, MINUTE, "+"), ("first_minute", FRESH, ROLLED, ""), ("first_five", RECENT, HOUR, "-"))
"""What is added up: the statement that finds the first of it, how old it is by then, to what length, and what stands in
the place of a process from then on."""


class StatVerbs(SharedVerbs):
    """See `verbs.SqlVerbs`, which has these among its own."""

    # ── what workers write ───────────────────────────────────────────────────────────────────────────────────────

    def count_ended(self, source: str, lines: Sequence[Line]) -> Verb[None]:
        texts = rows.dumps([(*line[:9], as_text(line.wait), as_text(line.run)) for line in lines])
        yield Statement(self.sql["stat.count"], {"worker": source, "rows": texts}, rows.nothing)

    def describe_worker(self, worker: str, about: str, load: str) -> Verb[None]:
        params = {"worker": worker, "about": about, "load": load}
        yield Statement(self.sql["stat.describe"], params, rows.nothing)

    def take_sample(self, at: int, seen: Sequence[tuple[str, int, int, int | None]]) -> Verb[None]:
        ages = [oldest for _, _, _, oldest in seen if oldest is not None]
        total = ("", sum(row[1] for row in seen), sum(row[2] for row in seen), max(ages, default=None))
        told = rows.dumps([total, *seen])
        yield Statement(self.sql["stat.sample"], {"at": at, "rows": told}, rows.nothing)

    def roll_stats(self, now: int) -> Verb[int]:
        for name, age, length, source in LEVELS:
            until = (now - age) // length * length
            first: int | None = yield Statement(self.sql[f"stat.{name}"], {"until": until}, rows.value)
            if first is None:
                continue
            since = first // length * length
            span = {"since": since, "until": since + length}
            taken: list[Line] = yield Statement(self.sql["stat.take"], span, _lines)
            if taken:  # (else another worker was quicker)
                yield from self.count_ended(source, with_totals(taken, length))
            return len(taken)
        return 0

    def forget_stats(self, before: int, limit: int) -> Verb[int]:
        page = {"before": before, "limit": limit}
        counts: int = yield Statement(self.sql["stat.forget"], page, rows.value)
        samples: int = yield Statement(self.sql["stat.forget_samples"], page, rows.value)
        return max(counts, samples)

    # ── what people read ─────────────────────────────────────────────────────────────────────────────────────────

    def ended(self, since: int, queue: str | None, task: str | None) -> Verb[list[Line]]:
        params = {"since": since, "queue": queue, "task": task}
        name = "stat.ended" if task is not None else "stat.ended_all"
        found: list[Line] = yield Statement(self.sql[name], params, _lines)
        return found

    def samples(self, since: int, step: int, queue: str | None) -> Verb[list[Sample]]:
        params = {"since": since, "step": step, "queue": queue}
        found: list[tuple[Any, ...]] = yield Statement(self.sql["stat.samples"], params, rows.plain)
        return [Sample(*row) for row in found]

    def recent(self, since: int) -> Verb[Mapping[str, tuple[int, int]]]:
        found: list[tuple[str, int, int]] = yield Statement(self.sql["stat.recent"], {"since": since}, rows.plain)
        return {queue: (ended, first) for queue, ended, first in found if ended}

    def sampled(self, since: int) -> Verb[Mapping[str, int]]:
        found: list[tuple[str, int, int]] = yield Statement(self.sql["stat.sampled"], {"since": since}, rows.plain)
        return {queue: ready for queue, ready, _ in found}

    def workers(self) -> Verb[tuple[int, list[WorkerRow]]]:
        now: int = yield Now()
        found: list[tuple[Any, ...]] = yield Statement(self.sql["stat.workers"], {}, rows.plain)
        return now, [WorkerRow(*row) for row in found]

    def filled(self) -> Verb[set[str]]:
        later: list[str] = yield Statement(self.sql["stat.filled"], {}, rows.column)
        return {*later, *(yield from self.queues())}

    def depths(self, queues: Sequence[str], limit: int) -> Verb[list[Depth]]:
        params = {"queues": rows.dumps(list(queues)), "limit": limit}
        found: list[tuple[str, int, int, int]] = yield Statement(self.sql["stat.depths"], params, rows.plain)
        full = rows.dumps([queue for queue, ready, *_ in found if ready])
        heads: list[tuple[str, int | None]] = yield Statement(
            self.sql["pressure.oldest_of_each"], {"queues": full}, rows.plain
        )
        oldest = dict(heads)
        return [Depth(*counted, oldest.get(counted[0])) for counted in found]

    def totals(self, limit: int, late: int = GRACE) -> Verb[Totals]:
        now: int = yield Now()
        page = {"limit": limit}
        jobs: list[tuple[int, int, int]] = yield Statement(self.sql["stat.totals"], page, rows.plain)
        failed: list[tuple[int, int]] = yield Statement(self.sql["stat.failed"], page, rows.plain)
        due = {"late": now - late, "now": now}
        planned: list[tuple[int, int, int, int | None]] = yield Statement(self.sql["stat.schedules"], due, rows.plain)
        endpoints: list[tuple[int, int]] = yield Statement(self.sql["stat.endpoints"], page, rows.plain)
        (looked, outstanding) = failed[0]
        return Totals(now, *jobs[0], outstanding, looked, planned[0][:3], endpoints[0], planned[0][3])

    def limits(self) -> Verb[tuple[list[Rule], list[tuple[str, int]]]]:
        rules: list[tuple[Any, ...]] = yield Statement(self.sql["stat.limits"], {}, rows.plain)
        lanes: list[tuple[str, int]] = yield Statement(self.sql["stat.lanes"], {}, rows.plain)
        return [Rule(*rule) for rule in rules], lanes

    def raised(self) -> Verb[list[Raised]]:
        found: list[tuple[str, int, int]] = yield Statement(self.sql["stat.raised"], {}, rows.plain)
        if not found:
            return []
        _, workers = yield from self.workers()
        names = watched(workers)
        return [Raised(*row) for row in found if names is None or row[0] in names]


def _lines(found: list[Any]) -> list[Line]:
    return [Line._make((*row[:9], from_text(row[9]), from_text(row[10]))) for row in found]
