"""The claim of jobs under a limit, a part of the exchange and its transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.admission import Books, Line
from ...core.job import Job, State
from ...core.limits import Rule, buckets_of, rule_name
from ...core.shares import Accounts
from ...ports import Look, Seen, Statement, Verb, Want
from .. import rows
from ..limits import Claim, Claimed, lines_of

_RUNNING = State.RUNNING


class SqliteTeller:
    """See `limits.Teller`. `now` is the exchange's."""

    def __init__(self, sql: Mapping[str, str], worker: str, now: int) -> None:
        self.sql, self._worker, self._now = sql, worker, now

    def books(self, queue: str, tasks: str, lanes: Sequence[str], heads: int) -> Verb[tuple[list[Line], Books]]:
        sql = self.sql
        params = {"queue": queue, "tasks": tasks, "lanes": rows.dumps(lanes), "heads": heads}
        found = json.loads((yield Statement(sql["limits.heads"], params, rows.value)))
        buckets = sorted({name for lane in lanes for name in buckets_of(lane)})
        rules = sorted({rule_name(name) for name in buckets})
        runs: dict[str, int] = json.loads((yield Statement(sql["limits.runs"], {}, rows.value)))
        tats: dict[str, int] = yield Statement(sql["limits.rates"], {"buckets": rows.dumps(buckets)}, dict)
        known: list[Any] = yield Statement(sql["limits.rules"], {"rules": rows.dumps(rules)}, rows.plain)
        return lines_of(found, heads), Books(self._now, runs, tats, {row[0]: Rule(*row) for row in known})

    def take(self, ids: Sequence[str], tats: Mapping[str, int]) -> Verb[tuple[list[Job], bool]]:
        sql = self.sql
        found = json.loads((yield Statement(sql["limits.take"], {"ids": rows.dumps(ids)}, rows.value)))
        marked = rows.dumps([row[0] for row in found])
        yield Statement(sql["claim.mark"], {"rows": marked, "worker": self._worker}, rows.nothing)
        if tats:
            yield Statement(sql["limits.use"], {"tats": rows.dumps(tats)}, rows.nothing)
        return [claimed(row, self._worker) for row in found], True


def claim_limited(
    sql: Mapping[str, str], worker: str, want: Want, look: Look, now: int, accounts: Accounts
) -> Verb[Claimed]:
    """The worker is known to be alive."""
    waiting: list[str] = yield Statement(sql["limits.queues"], {}, rows.column)
    if not waiting:
        return Claimed([], Seen(look.cursors), True)
    return (yield from Claim(SqliteTeller(sql, worker, now), want, look).run(waiting, accounts))


def claimed(row: list[Any], worker: str) -> Job:
    (_, id_, task, version, args, queue, priority, run_at, deadline, key, attempt, crashes, fence, once, watched, owner,
     options, retry_of, flow, lane) = row  # fmt: skip
    return Job(id_, task, version, args, queue, priority, _RUNNING, run_at, deadline, key, attempt, crashes,
               fence + 1, worker, None, bool(once), bool(watched), owner, options, retry_of, None, flow, 0,
               lane)  # fmt: skip
