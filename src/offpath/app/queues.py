"""`jobs.queues`: pause, resume and drain a queue, and see how each stands."""

from __future__ import annotations

import asyncio
import builtins
import time
from collections.abc import Iterator

from ..core import bulk
from ..core.backlog import QueueLoad
from ..core.checks import check_name, check_segment
from ..core.queues import QueueInfo, stand
from ..errors import ConfigurationError, ResultTimeout
from ..ports import Pending, Verb
from .acting import recorded
from .desk import Counter
from .then import Then
from .watching import loads

FIRST_LOOK, LAST_LOOK = 0.02, 1.0  # s between two looks at a queue that drains
MAX_REASON = 1_000
OURS = "offpath."  # as our own queues begin, which every worker serves
ONE = 100_000  # jobs of one queue that are counted

Standing = list[QueueInfo]


class QueueBoard:
    """The queues of an application. What is paused stays so, for all workers, until it is resumed: it is a row.

    While a queue is paused, workers claim nothing from it. Jobs may still be enqueued, and wait; those that run go on;
    those that a worker had fetched ahead go back, unspent. A pause is felt at once where hints are carried, and else
    within `poll`. A queue needs no declaration, so any name will do, also before its first job.
    """

    def __init__(self, desk: Counter) -> None:
        self._desk = desk

    async def pause(self, name: str, *, reason: str = "") -> QueueInfo:
        """Claim nothing more from it. Paused already: it has a new reason from now on.

        A claim that begins after this has returned takes nothing; `drain` waits for what was taken before.
        """
        await self._pause(name, reason)
        return await self.get(name)

    def pause_sync(self, name: str, *, reason: str = "") -> QueueInfo:
        """The same, blocking."""
        self._pause(name, reason).result()
        return self.get_sync(name)

    async def resume(self, name: str) -> QueueInfo:
        """Claim from it again, in the old order. It was not paused: nothing happens."""
        await self._resume(name)
        return await self.get(name)

    def resume_sync(self, name: str) -> QueueInfo:
        """The same, blocking."""
        self._resume(name).result()
        return self.get_sync(name)

    async def drain(self, name: str, *, reason: str = "draining", timeout: float | None = None) -> QueueInfo:
        """Pause it and wait until nothing of it runs any more, at most `timeout` seconds (None = for ever).

        What waits in it stays (`jobs.cancel_many(queue=…)` is for that), and so does the pause: also when the time is
        up, which is a ResultTimeout.
        """
        looks = _Looks(name, timeout)
        await self._pause(name, reason, "queue.drain")
        for pause in looks:
            info = await self.get(name)
            if not info.running:
                return info
            looks.running = info.running
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    def drain_sync(self, name: str, *, reason: str = "draining", timeout: float | None = None) -> QueueInfo:
        """The same, blocking."""
        looks = _Looks(name, timeout)
        self._pause(name, reason, "queue.drain").result()
        for pause in looks:
            info = self.get_sync(name)
            if not info.running:
                return info
            looks.running = info.running
            time.sleep(pause)
        raise AssertionError("unreachable")

    async def get(self, name: str) -> QueueInfo:
        """How it stands; one that nobody has heard of is empty. Counts its live jobs."""
        check_name(name, "queue")
        counts, paused, now = await self._desk.store.read(self._desk.store.verbs.standing(name))
        return stand([name], counts, paused, now)[0]

    def get_sync(self, name: str) -> QueueInfo:
        """The same, blocking."""
        check_name(name, "queue")
        counts, paused, now = self._desk.store.read(self._desk.store.verbs.standing(name)).result()
        return stand([name], counts, paused, now)[0]

    def known(self) -> set[str]:
        """The queues that are declared, or where tasks go by default."""
        registry = self._desk.registry
        tasks = (registry.get(name) for name in registry.names() if name != bulk.TASK)  # that is ours, not theirs
        return set(registry.queues).union(task.options.queue for task in tasks if task is not None)

    def knows(self, name: str) -> bool:
        """Whether it is one of those, or of ours."""
        return name.startswith(OURS) or name in self.known()

    async def list(self) -> Standing:
        """All that are declared or have live jobs or a pause, by name. Counts all live jobs."""
        counts, paused, now = await self._desk.store.read(self._desk.store.verbs.standing(None))
        return stand(self.known(), counts, paused, now)

    def list_sync(self) -> Standing:
        """The same, blocking."""
        counts, paused, now = self._desk.store.read(self._desk.store.verbs.standing(None)).result()
        return stand(self.known(), counts, paused, now)

    async def loads(self) -> builtins.list[QueueLoad]:
        """How full each queue is and how fast it is worked off: quick, since no count goes beyond 20,000, nor
        all of one state together beyond 100,000."""
        store = self._desk.store
        return await store.read(loads(store.verbs, self.known()))

    def loads_sync(self) -> builtins.list[QueueLoad]:
        """The same, blocking."""
        store = self._desk.store
        return store.read(loads(store.verbs, self.known())).result()

    async def load(self, name: str) -> QueueLoad:
        """The same of one queue, counted up to 100,000."""
        check_name(name, "queue")
        store = self._desk.store
        [found] = await store.read(loads(store.verbs, (), name, ONE))
        return found

    def load_sync(self, name: str) -> QueueLoad:
        """The same, blocking."""
        check_name(name, "queue")
        store = self._desk.store
        [found] = store.read(loads(store.verbs, (), name, ONE)).result()
        return found

    def _pause(self, name: str, reason: str, action: str = "queue.pause") -> Pending[None]:
        check_segment(name, "queue")
        if reason:
            check_name(reason, "reason", MAX_REASON)
        store = self._desk.store
        made = recorded(store, lambda: store.verbs.pause(name, reason), action, name, lambda _: {"reason": reason})
        return store.perform(made)

    def _resume(self, name: str) -> Pending[None]:
        check_name(name, "queue")
        store = self._desk.store

        def verb() -> Verb[bool]:
            paused = yield from store.verbs.paused()
            yield from store.verbs.resume(name)
            return any(row.name == name for row in paused)

        done = recorded(store, verb, "queue.resume", name, lambda was: {} if was else None)
        return Then(store.perform(done), lambda _: None)


class _Looks:
    """The seconds between one look and the next, less and less often; ResultTimeout when there is no time for one."""

    def __init__(self, name: str, timeout: float | None) -> None:
        if timeout is not None and not timeout >= 0:
            raise ConfigurationError(f"timeout must be 0 seconds or more, not {timeout!r}")
        self._name, self._timeout = name, timeout
        self.running = 0

    def __iter__(self) -> Iterator[float]:
        began, pause = time.monotonic(), FIRST_LOOK
        last = False
        while True:
            left = None if self._timeout is None else began + self._timeout - time.monotonic()
            if last:
                raise ResultTimeout(
                    f"{self.running} jobs of queue {self._name!r} have not ended within {self._timeout:g} s; they go "
                    "on, and it stays paused"
                )
            last = left is not None and left <= pause
            yield max(0.0, left) if last and left is not None else pause
            pause = min(1.5 * pause, LAST_LOOK)
