"""How much is too much: seats for what stays open, quotas of polls, full queues, and how they look on the wire.

The decisions are pure; `Seats`, `Windows` and `Shares` are counters in the process that asks them, each behind a lock
and each bounded, since callers may be many.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from ..ports import Pressure
from .messages import Caller

Key = tuple[str, str]  # tenant and id of a caller
CALLERS = 10_000  # whose counts are remembered at once


def key(caller: Caller) -> Key:
    return caller.tenant, caller.id


# ── streams and held polls ───────────────────────────────────────────────────────────────────────────────────────────


class Seats:
    """Requests that wait here now: of everybody, and of each caller."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: Counter[Key] = Counter()
        self._all = 0

    @property
    def taken(self) -> int:
        return self._all

    def take(self, caller: Caller, each: int, everybody: int) -> Callable[[], None] | str:
        """A function that gives the seat back, to be called once; or the word "caller" or "all": whose seats are
        full."""
        mine = key(caller)
        with self._lock:
            if self._of[mine] >= each:
                return "caller"
            if self._all >= everybody:
                if not self._of[mine]:
                    del self._of[mine]
                return "all"
            self._of[mine] += 1
            self._all += 1
        return lambda: self._leave(mine)

    def _leave(self, mine: Key) -> None:
        with self._lock:
            self._all -= 1
            self._of[mine] -= 1
            if not self._of[mine]:
                del self._of[mine]


# ── polls ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Quota(NamedTuple):
    """At most `most` in any one window of `seconds` that begins with the first."""

    most: int
    seconds: int


class Left(NamedTuple):
    """What remains of a quota: how many, and seconds until it is whole again."""

    more: int
    seconds: int
    refused: bool


class Windows:
    """One quota for each caller."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._lock = threading.Lock()
        self._open: dict[Key, tuple[float, int]] = {}  # caller → when the window began, how many since

    def count(self, caller: Caller, now: float) -> Left:
        """One more, at the moment `now` (seconds of any clock that does not go back)."""
        mine = key(caller)
        most, seconds = self.quota
        with self._lock:
            began, used = self._open.get(mine, (now, 0))
            if now >= began + seconds:
                began, used = now, 0
            if mine not in self._open and len(self._open) >= CALLERS:
                self._forget(now)
            self._open[mine] = (began, min(used + 1, most + 1))
        return Left(max(0, most - used - 1), min(seconds, max(1, math.ceil(began + seconds - now))), used >= most)

    def _forget(self, now: float) -> None:
        """The windows that have ended; if none has, all of them: counting anew is better than growing."""
        self._open = {one: had for one, had in self._open.items() if now < had[0] + self.quota.seconds}
        if len(self._open) >= CALLERS:
            self._open.clear()


def rate_limit(name: str, quota: Quota, left: Left) -> list[tuple[str, str]]:
    """The RateLimit fields (draft-ietf-httpapi-ratelimit-headers): lists of one String with parameters (RFC 9651)."""
    return [
        ("RateLimit-Policy", f'"{name}";q={quota.most};w={quota.seconds}'),
        ("RateLimit", f'"{name}";r={left.more};t={left.seconds}'),
    ]


# ── queues ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Bounds(NamedTuple):
    """When a queue is too full to take more; None: never.

    depth       ready jobs in it
    age         of the oldest of them, seconds
    per_tenant  operations of one tenant among those that are first in line
    """

    depth: int | None = None
    age: float | None = None
    per_tenant: int | None = None

    def any(self) -> bool:
        return self != Bounds()


def full(seen: Pressure, tenant: str, bounds: Bounds) -> str | None:
    """The type of the problem with which a start is refused; None: it is not. A tenant that has its share is told of
    that first: others may still start."""
    if bounds.per_tenant is not None and seen.tenants.get(tenant, 0) >= bounds.per_tenant:
        return "quota-exceeded"
    if bounds.depth is not None and seen.depth >= bounds.depth:
        return "overloaded"
    if bounds.age is not None and seen.age >= bounds.age:
        return "overloaded"
    return None


def come_again(seen: Pressure) -> float:
    """Seconds after which a refused start may be worth another try: the time the head of the queue has waited is the
    best guess at how long it takes to move; 1 to 60."""
    return min(60.0, max(1.0, seen.age))


# ── live operations of one caller ────────────────────────────────────────────────────────────────────────────────────

GRAIN = 20  # so many times an unsuspicious caller is counted on its way to the cap
KNOWN = 5.0  # s for which a count is believed once more than half of the cap is used: others may start meanwhile


class Shares:
    """How many more each caller may start before the store has to be asked again.

    Counting for every start would cost each of them a query. So a caller far from the cap may start a twentieth of it
    between two counts; one that is near gets what is left, for a few seconds. Among several processes, and among
    starts that are under way at the same moment, the cap can be passed by a few: it keeps one caller from filling the
    tables, it is no lock.
    """

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self._grain = cap // GRAIN
        self._lock = threading.Lock()
        self._left: dict[Key, list[float]] = {}  # how many more, and until when
        self._started: dict[Key, int] = {}  # of callers that are being counted

    def use(self, caller: Caller, now: float) -> bool:
        """Take one of the shares handed out. False: count first. `now`: seconds of a clock that does not go back.

        Every start comes by here, so there is no lock: two threads may take the same share, which is a start too many.
        """
        mine = caller.tenant, caller.id
        share = self._left.get(mine)
        if share is None:
            with self._lock:
                share = self._hand_out(mine, self._grain, math.inf)
        if share[0] <= 0 or now >= share[1]:
            return False
        share[0] -= 1
        if mine in self._started:
            self._started[mine] += 1
        return True

    def begin(self, caller: Caller) -> int:
        """Before the store is asked: what to give to `counted`."""
        with self._lock:
            if len(self._started) >= CALLERS:
                self._started.clear()
            return self._started.setdefault(key(caller), 0)

    def counted(self, caller: Caller, live: int, began: int, now: float) -> bool:
        """The store has answered: hand out what is left, less what was started meanwhile, and take one. False: none."""
        mine = key(caller)
        with self._lock:
            started = self._started.get(mine, began)
            left = self.cap - live - (started - began)
            if left <= 0:
                self._hand_out(mine, 0, now)
                return False
            self._started[mine] = started + 1
            if left > self.cap // 2:
                self._hand_out(mine, max(0, self._grain - 1), math.inf)
            else:
                self._hand_out(mine, left - 1, now + KNOWN)
            return True

    def _hand_out(self, mine: Key, left: int, until: float) -> list[float]:
        if mine not in self._left and len(self._left) >= CALLERS:
            self._left.clear()
        share = self._left[mine] = [left, until]
        return share
