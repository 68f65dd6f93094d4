"""What an attempt says before its end: progress, events of its own, and the steps it has done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from ..core.job import Job
from ..ports import Pending, Store, Verb
from ..privacy import Vault
from .clock import Clock
from .outputs import Emitter
from .progress import Reporter, Written
from .slot import Stop
from .steps import Notes
from .threads import Threads


class Voice:
    """All of one attempt's, on the loop it runs on. What most attempts never use is made when it is used."""

    __slots__ = ("_emitter", "_held", "_kept", "_notes", "_parts", "_vault", "progress")

    def __init__(
        self,
        store: Store,
        worker: str,
        job: Job,
        clock: Clock,
        threads: Threads,
        on_stale: Callable[[], None],
        told: Callable[[], Stop | None],
        vault: Vault | None = None,
    ) -> None:
        """`on_stale`: called when the store refuses; `told`: why the attempt has been told to stop, if it has."""
        loop = asyncio.get_running_loop()
        self.progress = Reporter(store, worker, job, loop, clock, on_stale)
        self._parts = store, worker, job, loop, clock, threads, on_stale, told
        self._vault = vault
        self._emitter: Emitter | None = None
        self._notes: Notes | None = None
        self._held = self._kept = False

    @property
    def spoken(self) -> bool:
        """There is more to close than progress."""
        return self._emitter is not None

    def emit(self, line: str) -> Pending[bool]:
        """The sink of `ctx.events`. (`Events` calls it one at a time.)"""
        if self._emitter is None:
            store, worker, job, loop, clock, _, on_stale, told = self._parts
            self._emitter = Emitter(store, worker, job, loop, clock, on_stale, told)
            if self._held:
                self._emitter.hold()
        return self._emitter(line)

    def notebook(self) -> Notes:
        """Of `ctx.step`. (`Context` asks once.)"""
        if self._notes is None:
            self._notes = Notes(*self._parts, self._vault)
            if self._kept:
                self._notes.keep()
        return self._notes

    def own(self, *, hold: bool) -> None:
        """The attempt begins a transaction of its own, which carries its steps; and with `hold` everything else too:
        where there is one writer at a time, which that may be any moment, and where it could not settle the job any
        more once others have written its lines."""
        self._kept, self._held = True, hold
        if hold:
            self.progress.hold()

    def held(self) -> Iterator[Verb[bool]]:
        """What the transaction is to carry, before it settles the job; a late attempt is refused there as here."""
        store, worker, job, *_ = self._parts
        verbs = store.verbs
        if self._notes is not None and (steps := self._notes.kept()):
            yield verbs.remember_steps(job.id, job.fence, worker, steps)
        if self._held and self._emitter is not None and (lines := self._emitter.held()):
            yield verbs.emit(job.id, job.fence, worker, lines)
        if self._held and (line := self.progress.latest) is not None:
            yield verbs.progress(job.id, job.fence, worker, line)

    async def close(self) -> None:
        """The attempt has ended: write the rest now, before the job is settled."""
        if self._emitter is not None:
            await self._emitter.close()
        await self.progress.close()

    def last(self) -> Pending[None]:
        """`close`, from any thread."""
        return Written(asyncio.run_coroutine_threadsafe(self.close(), self._parts[3]))

    def forget(self) -> None:
        """The transaction has carried what there was."""
        self.progress.forget()
        if self._emitter is not None:
            self._emitter.forget()
