"""Jobs under a limit, as the worker sees them: when to look for them, how many to ask for, and whom to tell when one of
them has made room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..observe import signal
from ..ports import Announce, Hint, Look, Seen
from .clock import Clock

NEVER = float("inf")
SOON = 0.005  # s until what somebody else had at the moment is looked at again
EVERY = 0.02  # s between two hints that places are free
TOLD = 60.0  # s between two lines about the same limit


class Gate:
    """What one lane of slots asks of jobs under a limit.

    They are fetched ahead like all others, where handlers are so quick that this pays, but for those whose start is
    timed: they come only into a slot that is free. Where others are fetched ahead no slot ever is, so nothing is as
    long as such jobs wait (`starved`). As long as any wait, they have first say: in most of the room, or where there
    are enough of the others too, in half of it.

    wanted   whether to look at all: limits are declared, or jobs wait under one
    at       when the next look is due (`Clock.elapsed`)
    """

    def __init__(self, clock: Clock, wanted: Callable[[], bool]) -> None:
        self.at = NEVER
        self.starved = False
        self._clock, self._wanted = clock, wanted
        self._cursors: dict[str, str] = {}
        self._more = False  # the last look left some that could start
        self._unseen = True  # there was no room for a look the last time
        self._others = False  # there may be more jobs under no limit
        self._mine = False  # with room for one, every second turn is theirs
        self._told: dict[str, float] = {}

    def look(self, room: int, free: int) -> Look | None:
        if not self._wanted():
            return None
        self.at = NEVER
        if not (self._more or self.starved or self._unseen):
            return Look(room, free, self._cursors)
        self._mine = room > 1 or not self._mine
        if room > 1:  # the others are always asked for too, or nobody would know that there are many of them
            room = -(-room // 2) if self._others else room - max(1, room // 8)
        return Look(room, min(free, room), self._cursors, first=self._mine, eager=self._more)

    def seen(self, seen: Seen | None, others: bool) -> bool:
        """What the look has found; `others`: jobs under no limit, as many as were wanted. True: look again at once."""
        self._others, self._unseen = others, seen is None
        if seen is None:
            return False
        self._cursors, self._more, self.starved = dict(seen.cursors), seen.more, seen.starved
        now = self._clock.elapsed()
        if seen.again_at is not None:
            self.at = now + max(0.0, (seen.again_at - self._clock.now()) / 1e6)
        if seen.busy:
            self.at = min(self.at, now + self._clock.spread(SOON, 0.5))
        for name in seen.undeclared:
            if now >= self._told.get(name, 0.0):
                self._told[name] = now + TOLD
                signal("worker.undeclared", limit=name)
        return seen.more or seen.starved


class Freed:
    """Tells every worker that a job under a limit has ended: who may come next may be another's. Not once per job:
    at once, and then every 20 ms as long as more of them end."""

    def __init__(self, announce: Announce) -> None:
        self._announce = announce
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._again = False

    def __call__(self) -> None:
        if self._timer is None:
            self._tell()
        else:
            self._again = True

    def _tell(self) -> None:
        self._again = False
        self._timer = self._loop.call_later(EVERY, self._rested)
        self._announce([Hint("work")])

    def _rested(self) -> None:
        self._timer = None
        if self._again:
            self._tell()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
