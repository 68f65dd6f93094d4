"""Which queues a worker serves, and what waits in them."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.job import State
from ..ports import Store
from ..tasks import Registry
from .clock import Clock


class Census:
    """Looks around now and then. A worker that was given no queues serves all: those declared, those its tasks go
    to by default, and those that are found in the table."""

    def __init__(self, store: Store, registry: Registry, clock: Clock, named: Sequence[str] | None) -> None:
        self._store, self._registry, self._clock = store, registry, clock
        self._named = None if named is None else frozenset(named)
        found = set(named) if named is not None else set(registry.queues)
        if named is None:
            found |= {task.options.queue for name in registry.names() if (task := registry.get(name)) is not None}
        self._set(found)

    def queues(self) -> tuple[tuple[str, int], ...]:
        """(name, weight) of the queues served."""
        return self._queues

    async def refresh(self) -> None:
        """Look for queues not heard of before."""
        if self._named is None:
            known = {name for name, _ in self._queues}
            if new := set(await self._store.read(self._store.verbs.queues())) - known:
                self._set(known | new)

    async def empty(self) -> bool:
        """Nothing is running anywhere, and nothing is ready (or due) that this worker could run."""
        now = self._clock.now()
        for queue, task, state, _, oldest, version in await self._store.read(self._store.verbs.counts()):
            if state == State.RUNNING:
                return False
            known = self._registry.knows(task, version) and (self._named is None or queue in self._named)
            if known and (state == State.READY or (state == State.SCHEDULED and oldest <= now)):
                return False
        return True

    def _set(self, names: set[str]) -> None:
        declared = self._registry.queues
        self._queues = tuple((n, declared[n].weight if n in declared else 1) for n in sorted(names))
