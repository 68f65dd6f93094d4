"""Where the claims of one queue have ended, so that the next one does not walk there again.

The head of a busy queue's index is full of entries of jobs that have gone; vacuum removes them late, or not at all
while somebody keeps an old snapshot open. A claim that starts where the last one ended does not meet them. What it
cannot see (a transaction that committed late, a priority that is new) a sweep from the head finds, once a second, and
whenever a claim came back short.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...core.job import Job

SWEEP = 1.0  # s, at most, between two sweeps
CHEAP = 0.010  # s: sweeps that take no longer may follow every claim; others get a tenth of the time
MOST = 64  # priorities to keep apart


class Lanes:
    def __init__(self) -> None:
        self._since: dict[int, tuple[int, str]] = {}
        self._swept = self._after = float("-inf")
        self._took = 0.0
        self._short = False  # the last claim found less than it was asked for

    def known(self) -> list[tuple[int, int, str]]:
        """[priority, run_at, id] to claim from; nothing when it is time to sweep, or when there is so little to do that
        a sweep would follow anyway."""
        late = self._short or time.monotonic() >= self._swept + SWEEP
        if not self._since or (late and self.may_sweep()):
            return []
        return [(priority, *since) for priority, since in sorted(self._since.items())]

    def look_back(self) -> None:
        """Older jobs have become ready: sweep next time."""
        self._swept = float("-inf")

    def may_sweep(self) -> bool:
        return time.monotonic() >= self._after

    def claimed(self, jobs: Sequence[Job], full: bool) -> None:
        """By a claim that went on from `known`, or by a sweep; in order."""
        self._short = not full
        self._since.update((job.priority, (job.run_at, job.id)) for job in jobs)

    def swept(self, jobs: Sequence[Job], full: bool, began: float) -> None:
        """By a sweep that began at `began` (`time.monotonic`); in order. Where it ended is where to go on, even if that
        is before what was known: it has left older jobs there."""
        self._swept = time.monotonic()
        took = self._swept - began
        usual, self._took = min(took, self._took), took  # one slow sweep is an accident: a plan made, a busy machine
        self._after = self._swept + (0.0 if usual <= CHEAP else min(SWEEP, 9 * usual))
        if full and any((job.run_at, job.id) < self._since.get(job.priority, _NEW) for job in jobs):
            self.look_back()  # it has met what the claims had missed, and there may be more of that
        self.claimed(jobs, full)
        if len(self._since) > MOST:
            self._since.clear()


_NEW = (1 << 63, "")
