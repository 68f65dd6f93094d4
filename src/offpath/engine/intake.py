"""What one lane of a worker claims: how much at a time, and when."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.job import Job
from .clock import Clock
from .limits import Gate
from .slots import Lane

QUICK = 0.025  # s: an exchange during which quick handlers ran dry was too small
MOST = 1_200  # jobs here at once, unless there are more slots


class Intake:
    """What one lane claims: how much at a time, and when."""

    def __init__(self, lane: Lane, tasks: str, clock: Clock, poll: float) -> None:
        self.lane, self.tasks = lane, tasks
        self.gate: Gate | None = None
        self.hint = True
        self.target = lane.count
        self._clock, self._poll = clock, poll
        self._poll_at = 0.0
        self._fed = self._moved = self._waiting = 0

    def room(self, now: float, *, sending: bool, behind: int) -> int:
        """How many jobs to ask for now; 0 = do not ask. With something to send anyway, asking costs little. Outcomes
        that are `behind`, too many for the next exchange, take the room of as many jobs: the store is to catch up."""
        lane = self.lane
        gate = self.gate
        if not lane.open or not (self.hint or now >= self._poll_at or (gate is not None and now >= gate.at)):
            return 0
        target = lane.count if gate is not None and gate.starved else self.target
        room = target - lane.load - behind
        return room if room > 0 and (sending or 2 * room >= target or lane.free) else 0

    def wakes_at(self) -> float:
        """When to poll (`Clock.elapsed`)."""
        lane = self.lane
        if not lane.open or self.target <= lane.load:
            return float("inf")
        return self._poll_at if self.gate is None else min(self._poll_at, self.gate.at)

    def asked(self, now: float) -> None:
        self.hint = False
        self._poll_at = now + self._clock.spread(self._poll, 0.1) * 0.9

    def got(self, jobs: Sequence[Job], full: bool, settled: int, took: float) -> None:
        """Adapt to what came: more at a time while quick handlers run dry, less when there is not so much to do."""
        lane = self.lane
        if full:
            self.hint = True
            dry = not lane.queue and lane.free
            if dry and took < QUICK and (lane.batches.waiting or 4 * settled >= lane.count):
                self.target = min(2 * self.target, max(MOST, lane.count))
        else:
            self.target = max(self.target // 2, lane.count)
        self._fed += len(jobs)
        lane.feed(jobs)

    def stagnant(self) -> list[Job]:
        """Once a second: what would have to wait longer than a second for a slot. Other workers may be idle.

        What came this very moment waits for nothing but its turn of the loop: with a slot to spare only a job that was
        here the last time counts."""
        lane = self.lane
        waiting = len(lane.queue)
        started = self._fed - waiting
        moved, self._moved = started - self._moved, started
        stuck = lane.crowded or self._waiting > moved
        back = lane.take_back(keep=max(0, moved)) if stuck and waiting > moved else []
        self._waiting = len(lane.queue)
        if back:
            self._fed -= len(back)
            self.target = lane.count
        return back

    def returned(self, queues: frozenset[str]) -> list[Job]:
        """What has not started of these queues, to be given back."""
        back = self.lane.take_back_of(queues)
        self._fed -= len(back)
        return back
