"""The model of a store: a dict of jobs, moved by `core/lifecycle.py`, and what was told of each."""

from __future__ import annotations

from typing import Any

from ...core.change import Change
from ...core.job import Finished, Job, State
from ...core.options import SECOND, SUSPECT
from .kit import now

NEAR = 60 * SECOND
"""How far the clocks of model and store may be apart; all times that matter to a decision are further away."""


class Model:
    """What must stand in the store, by id: live jobs, ended ones, and the words each operation told."""

    def __init__(self) -> None:
        self.live: dict[str, Job] = {}
        self.ended: dict[str, Finished] = {}
        self.told: dict[str, list[str]] = {}
        self.forgotten: set[str] = set()  # tombstones

    def add(self, job: Job, first: str) -> None:
        self.live[job.id] = job
        if job.watched:
            self.told[job.id] = [first]

    def apply(self, change: Change) -> None:
        job = self.live[change.id]
        if job.watched:
            self.told[job.id] += [event.type for event in change.events]
        moved = job._replace(
            state=change.state,
            run_at=change.run_at,
            attempt=change.attempt,
            crashes=change.crashes,
            cancel_at=change.cancel_at,
            cancel_reason=change.cancel_reason,
            worker=job.worker if change.state is State.RUNNING else None,
        )
        if change.state <= State.RUNNING:
            self.live[job.id] = moved
            return
        del self.live[job.id]
        shared = {name: value for name, value in moved._asdict().items() if name in Finished._fields}
        self.ended[job.id] = Finished(
            **shared, result=change.result, error=change.error, finished_at=now(), expires_at=change.expires_at
        )

    def ready(self, at: int) -> list[Job]:
        """What a claim may give, in its order; what is due becomes ready on the way."""
        for job in self.live.values():
            if job.state is State.SCHEDULED and job.run_at <= at:
                self.live[job.id] = job._replace(state=State.READY)
        found = [job for job in self.live.values() if job.state is State.READY and job.task == "mail"]
        return sorted(found, key=lambda job: (job.priority, job.run_at, job.id))

    def claimable(self, at: int, limit: int, free: int, suspect: bool) -> list[Job]:
        """The rule of `ports.Want`, one job at a time."""
        taken: list[Job] = []
        queue = self.ready(at)
        for job in list(queue):
            if len(taken) < min(limit, free) and (job.crashes < SUSPECT or suspect):
                suspect = suspect and job.crashes < SUSPECT
                taken.append(job)
                queue.remove(job)
        plain = [job for job in queue if not job.once and job.crashes == 0]
        return taken + plain[: max(0, limit - len(taken))]


def close_to(mine: Any, theirs: Any, times: tuple[str, ...]) -> Any:
    """`theirs`, when it is what the model expects but for the moment at which the store looked at its clock."""
    for name in times:
        expected, found = getattr(mine, name), getattr(theirs, name)
        assert (expected is None) == (found is None), name
        assert expected is None or abs(expected - found) < NEAR, name
    assert mine._replace(**{name: getattr(theirs, name) for name in times}) == theirs
    return theirs
