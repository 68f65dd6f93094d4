"""Which offset a consumer may commit: the one after the last message before which all have been accepted. Pure.

A commit in Kafka says "all before this": whoever commits what it has accepted just now gives up what it was handed
before and has not accepted yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class _Partition:
    """Offsets grow, but not by one: compaction and transactions leave gaps. So what counts is what was handed out."""

    __slots__ = ("accepted", "committed", "handed", "next")

    def __init__(self) -> None:
        self.handed: deque[int] = deque()  # and not yet behind `next`
        self.accepted: set[int] = set()  # of those
        self.next: int | None = None  # what may be committed
        self.committed: int | None = None


class Offsets:
    """The bookkeeping of one consumer, by partition."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}

    def handed(self, partition: int, offset: int) -> None:
        """This message is being worked on. One that has been handed out before comes again: what came after it will,
        too."""
        kept = self._partitions.setdefault(partition, _Partition())
        if kept.handed and offset <= kept.handed[-1]:
            self._cut(kept, offset)
        kept.handed.append(offset)

    def accept(self, partition: int, offset: int) -> None:
        """It is done. Passed over when it was not handed out, or forgotten since."""
        kept = self._partitions.get(partition)
        if kept is None or not kept.handed or not kept.handed[0] <= offset <= kept.handed[-1]:
            return
        kept.accepted.add(offset)
        while kept.handed and kept.handed[0] in kept.accepted:
            first = kept.handed.popleft()
            kept.accepted.discard(first)
            kept.next = first + 1

    def rewind(self, received: Iterable[tuple[int, int]]) -> dict[int, int]:
        """These are given back: from which offset each of their partitions must be read again. What was handed out
        after that comes again as well."""
        lowest: dict[int, int] = {}
        for partition, offset in received:
            kept = self._partitions.get(partition)
            if kept is not None and offset in kept.handed:
                lowest[partition] = min(offset, lowest.get(partition, offset))
        for partition, offset in lowest.items():
            self._cut(self._partitions[partition], offset)
        return lowest

    def ready(self) -> dict[int, int]:
        """What may be committed, and has not been: partition → offset of the first message still wanted."""
        return {
            partition: kept.next
            for partition, kept in self._partitions.items()
            if kept.next is not None and kept.next != kept.committed
        }

    def committed(self, partition: int, offset: int) -> None:
        """The broker has this one."""
        kept = self._partitions.get(partition)
        if kept is not None:
            kept.committed = offset

    def forget(self, partition: int) -> None:
        """The partition is somebody else's now."""
        self._partitions.pop(partition, None)

    @staticmethod
    def _cut(kept: _Partition, offset: int) -> None:
        while kept.handed and kept.handed[-1] >= offset:
            kept.accepted.discard(kept.handed.pop())
