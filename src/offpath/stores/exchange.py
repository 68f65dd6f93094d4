"""What the stores share of settle and claim: who gets how much, and how far a lease is extended on the way."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..core.job import Job
from ..core.options import SECOND, SUSPECT
from ..ports import Verb, Want

Take = Callable[[str, int, int, bool], Verb[tuple[list[Job], bool]]]
"""queue, at most so many, so many of them may be delicate, may a suspect be among them → jobs, and "there is more"."""


def by_weight(want: Want, take: Take) -> Verb[tuple[list[Job], bool]]:
    """By weight first, then what is left over to the queues that have more; and whether any of them still has."""
    taken: list[Job] = []
    suspect = want.suspect
    hungry = list(want.queues)
    while hungry and len(taken) < want.limit:
        room, weights = want.limit - len(taken), sum(weight for _, weight in hungry)
        before = len(taken)
        still: list[tuple[str, int]] = []
        for queue, weight in hungry:
            left = want.limit - len(taken)
            share = min(left, max(1, room * weight // weights))
            if share <= 0:
                still.append((queue, weight))
                continue
            got, more = yield from take(queue, share, max(0, want.free - len(taken)), suspect)
            suspect = suspect and not any(job.crashes >= SUSPECT for job in got)
            taken += got
            if more:
                still.append((queue, weight))
        hungry = still
        if len(taken) == before:
            break  # there is more, but not now
    return taken, bool(hungry)


class Extension:
    """How far an exchange extends a worker's lease, and how often it bothers: three times per renewal interval."""

    def __init__(self, seconds: float) -> None:
        self._length = round(seconds * SECOND)
        self._every = seconds / 9
        self._next = float("-inf")

    def due(self) -> int | None:
        """The length in µs when it is time to write it, else None."""
        at = time.monotonic()
        if at < self._next:
            return None
        self._next = at + self._every
        return self._length

    def again(self) -> None:
        """It could not be written: the next exchange tries."""
        self._next = float("-inf")
