"""Every verb but the hot one, as generators over one dialect's SQL: shared by all stores and all kinds of connection.

A verb reads rows, lets `core/lifecycle.py` decide, and writes the change; it runs inside one transaction. Dialects
differ in the text of the statements (where a row must be locked, the SQL that reads it locks it), not here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core import lifecycle, selection
from ..core.change import Change
from ..core.job import Job, State
from ..core.retention import Retention, Terms
from ..errors import Conflict, NotFound, StoreUnavailable
from ..ports import (
    WHATEVER,
    Enqueued,
    EventRow,
    Found,
    Hint,
    JobFilter,
    NewJob,
    Now,
    OperationFilter,
    OperationRow,
    Round,
    Statement,
    Verb,
    Verdict,
)
from . import rows
from .alerts import AlertVerbs
from .attempts import AttemptVerbs
from .audit import AuditVerbs
from .bulk import BulkVerbs
from .endpoints import WebhookVerbs
from .flows import FlowVerbs
from .guards import GuardVerbs
from .inbox import InboxVerbs
from .keys import KeyVerbs
from .limits import LimitVerbs
from .memory import StepVerbs
from .outbox import OutboxVerbs
from .owners import OwnerVerbs
from .pruning import PruneVerbs
from .queues import QueueVerbs
from .recent import RecentVerbs
from .remembered import RememberedVerbs
from .schedules import ScheduleVerbs
from .stats import StatVerbs
from .upkeep import UpkeepVerbs

NOW = Now()
Asked = dict[str, tuple[int | None, str | None]]

PATIENCE = 10  # times a key is tried for that is free when looked at and taken when asked for


class SqlVerbs(
    KeyVerbs,
    RememberedVerbs,
    GuardVerbs,
    StepVerbs,
    WebhookVerbs,
    QueueVerbs,
    AlertVerbs,
    BulkVerbs,
    PruneVerbs,
    ScheduleVerbs,
    LimitVerbs,
    FlowVerbs,
    OutboxVerbs,
    InboxVerbs,
    AttemptVerbs,
    RecentVerbs,
    StatVerbs,
    UpkeepVerbs,
    AuditVerbs,
    OwnerVerbs,
):
    """`sql`: the dialect's statements by name (see `statements.load`); `terms`: for what ends outside a worker."""

    def __init__(self, sql: Mapping[str, str], retention: Retention | Terms) -> None:
        self.sql = sql
        self.terms = retention if isinstance(retention, Terms) else Terms(retention)
        self.retention = self.terms.base

    # ── callers ──────────────────────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]:
        if any(new.rule is not None for new in jobs):
            return (yield from self.enqueue_by_rule(jobs))
        yield from self._insert(jobs)
        answer = [Enqueued(new.job.id, False) for new in jobs]
        if any(new.job.key is not None for new in jobs):
            answer = yield from self._resolve_keys(jobs)
        fresh = [new for new, said in zip(jobs, answer, strict=True) if not said.existing]
        queues = tuple({new.job.queue for new in fresh})
        if queues:
            yield Hint("work", queues)
        return answer

    def _insert(self, jobs: Sequence[NewJob]) -> Verb[None]:
        insert = self.sql["enqueue.insert"]
        params: dict[str, Any] = {"rows": rows.new_rows(jobs)}
        if ":now" in insert:  # a server's text asks its own clock: one way there and back less
            params["now"] = yield NOW
        yield Statement(insert, params, rows.nothing)

    def _resolve_keys(self, jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]:
        """Who holds the key of each keyed job: itself, or the live job that was there before."""
        keyed = [new for new in jobs if new.job.key is not None]
        holders: dict[str, str | None] = {}
        for _ in range(PATIENCE):
            keys = rows.dumps([(new.job.id, new.job.task, new.job.key) for new in keyed])
            holders |= yield Statement(self.sql["enqueue.present"], {"keys": keys}, dict)
            keyed = [new for new in keyed if holders[new.job.id] is None]
            if not keyed:
                break
            # Whoever was in the way has ended between the two statements.
            yield from self._insert(keyed)
        else:
            raise StoreUnavailable(f"the key {keyed[0].job.key!r} changes hands too fast: try again")
        return [
            Enqueued(holder, holder != new.job.id)
            for new in jobs
            for holder in (holders.get(new.job.id) or new.job.id,)
        ]

    def find(self, id: str) -> Verb[Found | None]:
        live = yield Statement(self.sql["find.live"], {"id": id}, rows.jobs)
        if live:
            return Found(live[0], None)
        ended = yield Statement(self.sql["find.finished"], {"id": id}, rows.histories)
        return Found(None, ended[0]) if ended else None

    def list_jobs(self, where: JobFilter, after: str | None, limit: int) -> Verb[list[Found]]:
        return (yield from self._list(where, after, None, limit))

    def walk(self, where: JobFilter, after: str | None, limit: int, most: int) -> Verb[tuple[list[Found], str | None]]:
        floor = yield from self.floor(where, after, most)
        return (yield from self._list(where, after, floor, limit)), floor

    def _list(self, where: JobFilter, after: str | None, floor: str | None, limit: int) -> Verb[list[Found]]:
        live, ended = selection.parted(where)
        page: list[Found] = []
        if live:
            params = {**self.meant(where, live, after, limit), "floor": floor}
            found = yield Statement(self.sql["list_jobs.live"], params, rows.jobs)
            page += [Found(job, None) for job in found]
        if ended:
            name = "failed" if ended == (State.FAILED,) else "finished"
            params = {**self.meant(where, ended, after, limit), "floor": floor}
            found = yield Statement(self.sql[f"list_jobs.{name}"], params, rows.histories)
            seen = {job.id for job in found}  # it may have ended between the two statements
            page = [one for one in page if one.job and one.job.id not in seen] + [Found(None, job) for job in found]
        page.sort(key=_id, reverse=True)
        return page[:limit]

    def cancel(self, id: str, reason: str) -> Verb[Found | None]:
        found = yield from self.find(id)
        flow = found.job.flow if found is not None and found.job is not None else None
        flows = (yield from self.hold_flows([flow])) if flow is not None else {}  # before any of its parts
        held = yield Statement(self.sql["find.held"], {"id": id}, rows.jobs)
        found = Found(held[0], None) if held else (yield from self.find(id))
        if found is None or found.job is None:
            return found
        now = yield NOW
        if flow is not None:
            if flow == id:
                yield from self.cancel_flow(flows[id], reason, now)
                return (yield from self.find(id))
            if (yield from self.idle(found.job)):
                raise Conflict(f"job {id} waits for a failure in flow {flow} and ends with it: cancel the flow")
        change = lifecycle.cancel(found.job, reason, self.kept(found.job), now)
        if change is not None:
            yield from self.apply([(found.job, change)], now)
            if change.state is State.RUNNING:
                yield Hint("cancel", (id,))
        return (yield from self.find(id))

    def retry(
        self, id: str, new_id: str, max_attempts: int | None = None, seen: str | None = WHATEVER
    ) -> Verb[Enqueued]:
        found = yield from self.find(id)
        if found is None:
            raise NotFound(f"no job {id}")
        if found.finished is None:
            raise Conflict(f"job {id} has not ended; only what has ended is run again")
        now = yield NOW
        new = yield from self.again(found.finished, now, new_id, max_attempts)
        if seen != WHATEVER:
            there: list[str | None] = yield Statement(self.sql["again.seen"], {"id": id}, rows.column)
            if not there:
                raise NotFound(f"no job {id}")
            if there[0] not in (None, seen):
                raise Conflict(f"job {id} was run again already, as {there[0]}")
        made = yield from self.enqueue([new])
        if not made[0].existing:
            yield from self.mark([(id, new_id)])
        return made[0]

    def delete(self, id: str) -> Verb[bool]:
        found = yield from self.find(id)
        if found is not None and found.job is not None:
            raise Conflict(f"job {id} has not ended; cancel it first")
        operation = yield from self.operation(id)
        erase = [f"{part}.erase" for part in ("step", "flow", "inbox", "outbox", "attempt")]
        for part in ("delete.history", "delete.operation", "delete.events", *erase):
            yield Statement(self.sql[part], {"id": id}, rows.nothing)
        return found is not None or operation is not None

    # ── operations ───────────────────────────────────────────────────────────────────────────────────────────────

    def operation(self, id: str) -> Verb[OperationRow | None]:
        found = yield Statement(self.sql["operation.get"], {"id": id}, rows.operations)
        return found[0] if found else None

    def list_operations(self, where: OperationFilter, after: str | None, limit: int) -> Verb[list[OperationRow]]:
        params = {
            "tenant": where.tenant,
            "owner": where.owner,
            "statuses": rows.dumps(where.statuses) if where.statuses else None,
            "kind": where.kind,
            "label": where.label,
            "created_after": where.created_after,
            "created_before": where.created_before,
            "after": after,
            "limit": limit,
        }
        page: list[OperationRow] = yield Statement(self.sql["operation.list"], params, rows.operations)
        return page

    def events(self, id: str, after: int, limit: int) -> Verb[list[EventRow]]:
        params = {"id": id, "after": after, "limit": limit}
        page: list[EventRow] = yield Statement(self.sql["operation.events"], params, rows.events)
        return page

    # ── the attempt that runs a job ──────────────────────────────────────────────────────────────────────────────

    def progress(self, id: str, fence: int, worker: str, progress: str) -> Verb[bool]:
        guard = {"id": id, "fence": fence, "worker": worker}
        if not (yield Statement(self.sql["progress.guard"], guard, rows.value)):
            return False
        now = yield NOW
        params = {"id": id, "progress": progress, "now": now}
        yield Statement(self.sql["progress.write"], params, rows.nothing)
        yield Statement(self.sql["progress.event"], params, rows.nothing)
        yield Hint("event", (id,))
        return True

    def settle_one(self, worker: str, change: Change) -> Verb[tuple[Verdict, int | None, str | None]]:
        if change.flow is not None:
            held = yield from self.try_flows([change.flow])
            if not held:
                return "changed", change.cancel_at if change.seen_cancel else None, change.cancel_reason
        while True:
            (verdict,), asked = yield from self.refused(worker, [change])
            if verdict != "applied":
                return verdict, *asked.get(change.id, (None, None))
            now = yield NOW
            if (yield from self.finish([change], now, worker)):
                yield from self.remove([change])
                if change.answer:
                    yield from self.answer([change], now)
                if change.record is not None:
                    yield from self.record_attempts([change], now)
                if change.events:
                    yield from self.tell([change], now)
                if change.flow is not None:
                    yield from self.advance([change], now)
                return "applied", None, None
            # SQLite begins with the first write: what was read before it has changed. From now on it cannot.

    def snapshot(self) -> Verb[bool]:
        yield from ()
        return False  # where one writes at a time, nothing is written beside it

    def refused(self, worker: str, changes: Sequence[Change]) -> Verb[tuple[list[Verdict], Asked]]:
        """The verdict on each change; where rows can be locked, those of the changes that may be applied are now."""
        params: dict[str, Any] = {"rows": rows.change_rows(changes), "worker": worker}
        refused: list[list[Any]] = json.loads((yield Statement(self.sql["settle.refused"], params, rows.value)))
        verdicts: list[Verdict] = ["applied"] * len(changes)
        asked: Asked = {}
        for index, ours, at, reason in refused:
            verdicts[index] = "changed" if ours else "stale"
            if ours:
                asked[changes[index].id] = (at, reason)
        return verdicts, asked

    def canceling(self, worker: str) -> Verb[list[tuple[str, int, int, str]]]:
        asked: list[tuple[str, int, int, str]] = yield Statement(self.sql["canceling"], {"worker": worker}, rows.plain)
        return asked

    # ── upkeep ───────────────────────────────────────────────────────────────────────────────────────────────────

    def prune(self, limit: int, round: Round | None = None) -> Verb[int]:
        if jobs := (yield from self.prune_jobs(limit, round)):
            return jobs
        now = yield NOW
        most = yield from self.forget_deliveries(limit, now)
        most = max(most, (yield from self.forget_rates(limit, now)))
        for forget in (
            self.forget_answers,
            self.forget_tickets,
            self.forget_windows,
            self.forget_steps,
            self.forget_edges,
            self.forget_received,
            self.forget_letters,
            self.forget_events,
            self.forget_attempts,
            self.forget_acts,
        ):
            most = max(most, (yield from forget(now, limit)))
        return most

    # ── writing what was decided ─────────────────────────────────────────────────────────────────────────────────

    def apply(self, changes: Sequence[tuple[Job, Change]], now: int) -> Verb[None]:
        """Write changes whose guard has been checked (or whose rows were read) in this transaction."""
        yield from self.write([change for _, change in changes], now)
        ready = tuple({job.queue for job, change in changes if change.state is State.READY})
        if ready:
            yield Hint("work", ready)

    def write(self, changes: Sequence[Change], now: int) -> Verb[None]:
        yield from self.put(changes, now)
        if any([change.flow is not None for change in changes]):  # noqa: C419 (a list is quicker than a generator)
            parts = [change for change in changes if change.flow is not None and change.state > State.RUNNING]
            if parts:
                yield from self.advance(parts, now)

    def put(self, changes: Sequence[Change], now: int) -> Verb[None]:
        """`write` without what follows for other jobs of the same flows."""
        ended = [change for change in changes if change.state > State.RUNNING]
        back = [change for change in changes if change.state <= State.RUNNING]
        if ended:
            yield from self.finish(ended, now, None)
            yield from self.remove(ended)
            yield from self.answer(ended, now)
        if back:
            yield Statement(self.sql["settle.back"], {"rows": rows.change_rows(back)}, rows.nothing)
        if any([change.record is not None for change in changes]):  # noqa: C419 (a list is quicker than a generator)
            yield from self.record_attempts(changes, now)
        if told := [change for change in changes if change.events]:
            yield from self.tell(told, now)

    def finish(self, changes: Sequence[Change], now: int, worker: str | None) -> Verb[int]:
        """Copy to history what has ended and passes the guard; how many did."""
        params = {"rows": rows.change_rows(changes), "now": now, "worker": worker}
        passed: int = yield Statement(self.sql["settle.finish"], params, rows.value)
        return passed

    def remove(self, changes: Sequence[Change]) -> Verb[None]:
        """Take from the live table what `finish` has copied."""
        yield Statement(self.sql["settle.remove"], {"ids": rows.dumps([c.id for c in changes])}, rows.nothing)

    def tell(self, changes: Sequence[Change], now: int) -> Verb[None]:
        """Events, numbered per operation; one round for the first event of each change, one for the second, …"""
        heard: int | None = None
        for n in range(max(len(change.events) for change in changes)):
            lines = [
                (c.id, int(c.state), c.cancel_at, c.expires_at, c.events[n].type, rows.dumps(c.events[n].data))
                for c in changes
                if n < len(c.events)
            ]
            params = {"rows": rows.dumps(lines), "now": now}
            operations, events = self.telling(len(lines))
            yield Statement(self.sql[operations], params, rows.nothing)
            heard = yield Statement(self.sql[events], params, rows.value)  # may say that nobody hears of it
        yield from self.announce(changes, now, bool(heard))
        yield Hint("event", tuple(change.id for change in changes))

    def telling(self, count: int) -> tuple[str, str]:
        """The statements for so many lines."""
        return "settle.operations", "settle.events"


def _id(found: Found) -> str:
    one: Any = found.job or found.finished
    return str(one.id)
