"""Whose turn it is among queues with weights. Pure.

Each queue has an account: what its weight has earned it of the jobs that came, less the jobs that it gave. The next job
comes from whoever is owed most, so that over time each has its share whether jobs are claimed one by one or by the
hundred. All accounts together are nought, and while all queues have work none is more than one job ahead of its share.
A queue that turned out to be empty starts anew: it saves nothing up, and owes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

Weighted = Sequence[tuple[str, int]]
"""(name, weight) of queues."""


class Accounts:
    """Of one worker, for the jobs that it can run.

    owed  by queue; nothing where it has been empty
    busy  those that had more to give when they were asked last
    """

    __slots__ = ("busy", "owed")

    def __init__(self) -> None:
        self.owed: dict[str, float] = {}
        self.busy: frozenset[str] = frozenset()


def balanced(queues: Weighted, owed: Mapping[str, float], jobs: int = 0) -> dict[str, float]:
    """What these queues are owed when `jobs` more are shared among them by weight: together just that many."""
    if not queues:
        return {}
    each = (jobs - sum([owed[name] for name, _ in queues])) / sum([weight for _, weight in queues])
    return {name: owed[name] + weight * each for name, weight in queues}


def kept(queues: Weighted, owed: Mapping[str, float], limit: int) -> dict[str, float]:
    """The accounts after a claim of at most `limit` jobs, for the next one. Of a queue that has work but could not give
    it (more would have been too large for one answer, say) no more is kept than one claim makes up for."""
    most = limit + len(queues)
    return {name: max(-most, min(most, due)) for name, due in balanced(queues, owed).items()}


def divide(queues: Weighted, owed: Mapping[str, float], jobs: int, busy: Container[str] = ()) -> list[tuple[str, int]]:
    """So many jobs from each of these queues, all that have a part of `jobs` now, in the order to ask them: first those
    that may well be empty, since what they do not give is for the others, then those that are owed most."""
    if len(queues) == 1:
        return [(queues[0][0], jobs)]
    due = balanced(queues, owed, jobs)
    parts = {name: max(0, int(due[name])) for name, _ in queues}
    left = jobs - sum(parts.values())
    if left > 0:
        order = sorted(queues, key=lambda one: (parts[one[0]] - due[one[0]], one[0] not in busy, -one[1]))
        for name, _ in order[:left]:
            parts[name] += 1
    while left < 0:  # somebody is far ahead, and the others wait for it
        name = min([name for name, part in parts.items() if part], key=lambda name: due[name] - parts[name])
        parts[name] -= 1
        left += 1
    asked = [one for one in queues if parts[one[0]]]
    asked.sort(key=lambda one: (one[0] in busy, -owed[one[0]], -one[1]))
    return [(name, parts[name]) for name, _ in asked]
