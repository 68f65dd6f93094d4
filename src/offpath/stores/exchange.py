"""What the stores share of settle and claim: who gets how much, and how far a lease is extended on the way."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from ..core.job import Job
from ..core.options import SECOND, SUSPECT
from ..core.shares import Accounts, Weighted, divide, kept
from ..ports import Verb, Want

Take = Callable[[str, int, int, bool], Verb[tuple[list[Job], bool]]]
"""queue, at most so many, so many of them may be delicate, may a suspect be among them → jobs, and "there is more"."""


def by_weight(want: Want, take: Take, accounts: Accounts) -> Verb[tuple[list[Job], bool]]:
    """By what each queue is owed, and what one does not have is for the others; and whether any of them has more."""
    taken: list[Job] = []
    suspect = want.suspect
    owed = {name: accounts.owed.get(name, 0.0) for name, _ in want.queues}
    busy, heard = accounts.busy, dict[str, bool]()
    asking: Weighted = want.queues
    while asking and len(taken) < want.limit:
        done = set[str]()
        for queue, share in divide(asking, owed, want.limit - len(taken), busy):
            if done and queue in busy:
                break  # what the others did not have is divided first
            got, more = yield from take(queue, share, max(0, want.free - len(taken)), suspect)
            suspect = suspect and not any(job.crashes >= SUSPECT for job in got)
            taken += got
            owed[queue] -= len(got)
            heard[queue] = more
            if not more or len(got) < share:
                done.add(queue)  # and if it has more, then not now
        asking = [one for one in asking if one[0] not in done]
    hungry = [one for one in want.queues if heard.get(one[0], True)]
    accounts.owed = kept(hungry, owed, want.limit)
    accounts.busy = frozenset(name for name, _ in hungry if heard.get(name, name in busy))
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


class Desk:
    """What this process knows of one worker of its own. `accounts`: by its tasks, and whether under a limit."""

    def __init__(self, extension: Extension | None = None) -> None:
        self.extension = extension
        self.accounts = defaultdict[tuple[str, bool], Accounts](Accounts)
