"""The gate before a start: may this caller, is the queue too full, has the caller too much under way?

`Gate.admit` answers None at once for nearly every start. Otherwise it gives something to wait for, as a store's verbs
do: `await` it, or `.result()` in a plain function. Refused is raised from either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, NoReturn

from ..ports import Pressure, Store, Verb
from .guard import Needs, lacks
from .limits import Bounds, Shares, come_again, full
from .messages import Caller, Refused
from .operations import spread
from .problems import Problems

LOOK = 1.0  # s: how often the store is asked about one queue, at most
QUEUES = 1_000  # whose figures are remembered
FIRST_IN_LINE = 10_000  # jobs of a queue that are looked at for whose they are

Steps = Generator[Verb[Any], Any, None]


class Look:
    """Verbs to read before a start is let through: await it, or block for it with `.result()`."""

    def __init__(self, steps: Steps, store: Store) -> None:
        self._steps, self._store = steps, store

    def __await__(self) -> Generator[Any, None, None]:
        answer: Any = None
        while (verb := self._next(answer)) is not None:
            answer = yield from self._store.read(verb).__await__()

    def result(self) -> None:
        answer: Any = None
        while (verb := self._next(answer)) is not None:
            answer = self._store.read(verb).result()

    def _next(self, answer: Any) -> Verb[Any] | None:
        try:
            return self._steps.send(answer)
        except StopIteration:
            return None


class Gate:
    """needs      permissions (see `guard.Needs`)
    max_live   operations of one caller that have not ended; None: any number
    bounds     of each queue
    """

    def __init__(
        self,
        needs: Needs,
        max_live: int | None,
        bounds: Bounds,
        problems: Problems,
        random: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.needs, self.bounds, self.clock = needs, bounds, clock
        self.shares = None if max_live is None else Shares(max_live)
        self._problems, self._random = problems, random
        self._queues: dict[str, tuple[float, Pressure | None]] = {}  # when it was last asked, and the answer
        self._looks = bounds.any()
        self._lock = threading.Lock()

    def admit(self, caller: Caller, queue: str, store: Store) -> Look | None:
        """None: go on. Refused: with 403, 429 or 503, and nothing has been stored."""
        if self.needs and lacks("start", caller, self.needs):
            raise Refused(self._problems.problem("forbidden"))
        now = self.clock()
        look = False
        if self._looks:
            look = self._stale(queue, now)
            if not look:
                self._judge(queue, caller)
        count = self.shares is not None and not self.shares.use(caller, now)
        if not look and not count:
            return None
        return Look(self._steps(store, caller, queue, look, count), store)

    def _steps(self, store: Store, caller: Caller, queue: str, look: bool, count: bool) -> Steps:
        if look:
            tenants = 0 if self.bounds.per_tenant is None else FIRST_IN_LINE
            seen: Pressure = yield store.verbs.pressure(queue, self.bounds.depth or 1, tenants)
            at, _ = self._queues.get(queue, (self.clock(), None))
            self._queues[queue] = (at, seen)
            self._judge(queue, caller)
        if count and self.shares is not None:
            began = self.shares.begin(caller)
            live: int = yield store.verbs.live_operations(caller.tenant, caller.id, self.shares.cap)
            if not self.shares.counted(caller, live, began, self.clock()):
                self._refuse("too-many-live", 1.0)

    def _stale(self, queue: str, now: float) -> bool:
        """Is it this start that asks again? The others meanwhile go by the figures there are."""
        with self._lock:
            at, seen = self._queues.get(queue, (-LOOK, None))
            if now - at < LOOK:
                return False
            if len(self._queues) >= QUEUES:
                self._queues.clear()
            self._queues[queue] = (now, seen)
            return True

    def _judge(self, queue: str, caller: Caller) -> None:
        _, seen = self._queues.get(queue, (0.0, None))
        if seen is not None and (slug := full(seen, caller.tenant, self.bounds)) is not None:
            self._refuse(slug, come_again(seen))

    def _refuse(self, slug: str, seconds: float) -> NoReturn:
        wait = str(spread(seconds, self._random()))
        raise Refused(self._problems.problem(slug), ("Retry-After", wait))
