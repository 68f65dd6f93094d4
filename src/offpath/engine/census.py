"""Which queues a worker serves, and what waits in them."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.job import State
from ..ports import Store
from ..tasks import Registry
from .clock import Clock


class Census:
    """Looks around now and then. A worker that was given no queues serves all: those declared, those its tasks go
    to by default, and those that are found in the table.

    paused   of all queues, those that somebody has paused: they are not asked for work. The claim itself knows better
             (it looks at the row), so what is known here late or not at all costs a look, and starts nothing
    """

    def __init__(self, store: Store, registry: Registry, clock: Clock, named: Sequence[str] | None) -> None:
        self._store, self._registry, self._clock = store, registry, clock
        self._named = None if named is None else frozenset(named)
        self.limited = False  # jobs wait under a limit, as of the last look around
        found = set(named) if named is not None else set(registry.queues)
        if named is None:
            found |= {task.options.queue for name in registry.names() if (task := registry.get(name)) is not None}
        self._known = found
        self.paused: frozenset[str] = frozenset()
        self._set()

    def queues(self) -> tuple[tuple[str, int], ...]:
        """(name, weight) of the queues that are asked for work."""
        return self._queues

    async def refresh(self) -> bool:
        """Look for queues not heard of before, for those that were paused or resumed (True when there are any), and for
        jobs under a limit."""
        self.limited = bool(await self._store.read(self._store.verbs.limited_queues()))
        ready, resting = await self._store.read(self._store.verbs.served())
        before, self.paused = self.paused, frozenset(resting)
        new = set() if self._named is not None else set(ready) - self._known
        if not new and before == self.paused:
            return False
        self._known |= new
        self._set()
        return True

    async def empty(self) -> bool:
        """Nothing is running anywhere, and nothing is ready (or due) that this worker could run. What waits in a paused
        queue could be run by nobody."""
        _, resting = await self._store.read(self._store.verbs.served())
        now = self._clock.now()
        for queue, task, state, _, oldest, version in await self._store.read(self._store.verbs.counts()):
            if state == State.RUNNING:
                return False
            known = self._registry.knows(task, version) and (self._named is None or queue in self._named)
            able = known and queue not in resting
            if able and (state == State.READY or (state == State.SCHEDULED and oldest <= now)):
                return False
        return True

    def _set(self) -> None:
        declared = self._registry.queues
        self._queues = tuple(
            (name, declared[name].weight if name in declared else 1)
            for name in sorted(self._known)
            if name not in self.paused
        )
