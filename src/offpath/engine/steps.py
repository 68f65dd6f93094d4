"""Where the steps of an attempt are remembered: see `tasks.steps.Notebook`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ..core.job import Job
from ..core.steps import Asked
from ..errors import StoreUnavailable
from ..observe import signal
from ..ports import Pending, Store
from ..privacy import Vault
from ..privacy.known import learn
from ..tasks import Ready
from .clock import Clock
from .outputs import PAUSES
from .progress import Written
from .threads import Threads


class Notes:
    """The notebook of one attempt. Every write carries the fence, so a late attempt remembers nothing."""

    def __init__(
        self,
        store: Store,
        worker: str,
        job: Job,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        threads: Threads,
        on_stale: Callable[[], None],
        told: Callable[[], str | None],
        vault: Vault | None = None,
    ) -> None:
        """`told`: why the attempt has been told to stop, if it has."""
        self._store, self._worker, self._job, self._loop, self._clock = store, worker, job, loop, clock
        self._threads, self._on_stale, self._told = threads, on_stale, told
        self.vault = vault
        self._kept: list[tuple[Asked, str]] | None = None

    def remembered(self) -> Pending[Sequence[Asked]]:
        if self._job.fence <= 1:  # its first delivery: there was nobody before us
            return Ready(())
        return self._store.read(self._store.verbs.remembered_steps(self._job.id))

    def recall(self, name: str) -> Pending[str | None]:
        return self._store.read(self._store.verbs.step_result(self._job.id, name))

    def remember(self, step: Asked, result: str) -> Pending[bool]:
        if self._kept is not None:
            self._kept.append((step, result))
            return Ready(True)
        return Written(asyncio.run_coroutine_threadsafe(self._write(step, result), self._loop))

    def keep(self) -> None:
        """Write nothing: the attempt's own transaction will, so that a step is remembered exactly when what it wrote
        there is committed."""
        self._kept = []

    def kept(self) -> list[tuple[Asked, str]]:
        return self._kept or []

    def learn(self, value: object) -> None:
        learn((self._job.id, self._job.fence), value)

    def begin(self, step: Asked) -> bool:
        return self._told() != "lost"

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        return await self._threads.run(call)

    def on_loop(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _write(self, step: Asked, result: str) -> bool:
        """The step has been done, so it is tried as long as the attempt may last."""
        job, verbs = self._job, self._store.verbs
        pause, last = PAUSES
        while True:
            try:
                written = await self._store.perform(
                    lambda: verbs.remember_steps(job.id, job.fence, self._worker, [(step, result)])
                )
                break
            except StoreUnavailable as error:
                signal("store.unavailable", error=f"step {step.name!r} of job {job.id}: {error}")
                if self._told() is not None:
                    raise
                await asyncio.sleep(self._clock.spread(pause))
                pause = min(2 * pause, last)
        if not written:
            self._on_stale()
        return written
