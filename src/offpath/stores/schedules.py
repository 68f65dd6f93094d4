"""The verbs of schedules. A part of `SqlVerbs`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ..core.schedule import ScheduleRow
from ..errors import StoreUnavailable
from ..ports import Enqueued, NewJob, Now, Statement, Verb
from ..ports.schedules import Change, Fired, Firing
from . import rows
from .shared import SharedVerbs

NOW = Now()
PATIENCE = 10  # times that somebody else may insert or delete what we are about to


class ScheduleVerbs(SharedVerbs):
    """See `ports.schedules.ScheduleVerbs`."""

    def schedule(self, name: str) -> Verb[ScheduleRow | None]:
        found: list[ScheduleRow] = yield Statement(self.sql["schedule.one"], {"name": name}, _schedules)
        return found[0] if found else None

    def schedules(self, after: str, limit: int) -> Verb[list[ScheduleRow]]:
        page: list[ScheduleRow] = yield Statement(
            self.sql["schedule.list"], {"after": after, "limit": limit}, _schedules
        )
        return page

    def due_schedules(self, names: Sequence[str], limit: int) -> Verb[tuple[int, list[ScheduleRow], int | None]]:
        now = yield NOW
        params: dict[str, Any] = {"names": rows.dumps(list(names)), "now": now}
        found: list[ScheduleRow] = yield Statement(self.sql["schedule.due"], {**params, "limit": limit}, _schedules)
        soonest: int | None = yield Statement(self.sql["schedule.next"], params, rows.value)
        return now, found, soonest

    def fire(self, firings: Sequence[Firing]) -> Verb[list[Fired]]:
        fires = rows.dumps([(one.name, one.revision, one.was) for one in firings])
        ours = set((yield Statement(self.sql["schedule.claim"], {"fires": fires}, rows.column)))
        chosen = [one for one in firings if one.name in ours]
        if not chosen:
            return []
        for one in chosen:
            if one.replaces is not None and one.jobs:
                yield from self.cancel(one.replaces, f"replaced by the next run of schedule {one.name}")
        answers = iter((yield from self.enqueue([job for one in chosen for job in one.jobs])))
        fired: list[Fired] = []
        lines: list[tuple[str, int | None, int | None, str | None, int]] = []
        for one in chosen:
            made = [(tick, said) for tick, said in zip(one.ticks, answers, strict=False)]
            fresh = [(tick, said.id) for tick, said in made if not said.existing]
            skipped = len(made) - len(fresh)
            if skipped and one.overlap == "queue":
                continue  # it waits: the row stays as it is
            tick, job = fresh[-1] if fresh else (None, None)
            lines.append((one.name, one.next_at, tick, job, skipped))
            fired.append(Fired(one.name, tuple(id for _, id in fresh), skipped))
        yield from self._advance(lines)
        return fired

    def _advance(self, lines: Sequence[tuple[str, int | None, int | None, str | None, int]]) -> Verb[None]:
        now = yield NOW
        yield Statement(self.sql["schedule.advance"], {"fired": rows.dumps(lines), "now": now}, rows.nothing)

    def change_schedule(self, name: str, change: Change) -> Verb[ScheduleRow | None]:
        for _ in range(PATIENCE):
            found: list[ScheduleRow] = yield Statement(self.sql["schedule.held"], {"name": name}, _schedules)
            now = yield NOW
            known: list[str] = yield Statement(self.sql["schedule.alive"], {"now": now}, rows.column)
            alive = {str(one) for tasks in known for one in json.loads(tasks)}
            old = found[0] if found else None
            new = change(old, now, alive)
            if new is None:
                if old is not None:
                    yield Statement(self.sql["schedule.delete"], {"name": name}, rows.nothing)
                return None
            if old is not None:
                if new != old:
                    yield Statement(self.sql["schedule.write"], _columns(new), rows.nothing)
                return new
            if (yield Statement(self.sql["schedule.insert"], _columns(new), rows.value)):
                return new
            # Somebody else has put one of this name between the two statements.
        raise StoreUnavailable(f"schedule {name!r} comes and goes too fast: try again")

    def run_schedule(self, name: str, make: Callable[[ScheduleRow, int], NewJob]) -> Verb[Enqueued | None]:
        found: list[ScheduleRow] = yield Statement(self.sql["schedule.held"], {"name": name}, _schedules)
        if not found:
            return None
        row, now = found[0], (yield NOW)
        new = make(row, now)
        if json.loads(row.spec).get("overlap") == "replace" and row.last_job is not None:
            yield from self.cancel(row.last_job, f"replaced by another run of schedule {name}")
        [said] = yield from self.enqueue([new])
        if not said.existing:
            yield from self._advance([(name, row.next_at, None, said.id, 0)])
        return said


def _schedules(found: list[Any]) -> list[ScheduleRow]:
    return [_schedule(row) for row in found]


def _schedule(row: Sequence[Any]) -> ScheduleRow:
    """A row of `schedule.one`: its columns are those of the table, and `busy`."""
    (name, spec, task, call, _, declared, anchor, next_at, paused, revision, last_tick, last_job, last_at, skipped,
     created_at, updated_at, busy) = row  # fmt: skip
    return ScheduleRow(name, spec, task, call, tuple(json.loads(declared)), anchor, next_at, bool(paused), revision,
                       last_tick, last_job, last_at, skipped, created_at, updated_at, bool(busy))  # fmt: skip


def _columns(row: ScheduleRow) -> dict[str, Any]:
    params = row._asdict()
    del params["busy"]
    return params | {
        "declared": rows.dumps(row.declared),
        "paused": int(row.paused),
        "overlap": json.loads(row.spec).get("overlap", "skip"),
    }
