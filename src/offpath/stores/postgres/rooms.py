"""The store's thread and all its connections, which live and die together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg

from ...errors import ConfigurationError, StoreError, StoreUnavailable
from ...ports import Announce, Enqueued, Hint, Maker, NewJob, Verb
from ..pending import Result
from . import faults
from .address import Address
from .committer import Committer, Item
from .pool import Pool
from .session import Session, explained
from .thread import LoopThread
from .verbs import PostgresVerbs

R = TypeVar("R")

HOT = 4  # exchanges at a time: one for each worker of this process
HOT_LOCK_MS = 500  # nobody's lock holds up a whole batch: what is locked is left out then
OTHERS = 4  # of each other kind at a time: verbs that write, that read, enqueues whose keys are held
VERB_LOCK_MS = 1_500  # nobody waits long before he hears of a lock; but the server looks for deadlocks after 1 s


class Rooms:
    """`submit` may be called from any thread; the rest runs on the store's own."""

    def __init__(self, address: Address, verbs: PostgresVerbs, announce: Announce) -> None:
        self.thread = LoopThread("offpath-postgres")
        self._address = address
        self._announce = announce
        self._verbs = verbs
        self.settling = Pool(address, HOT, lock_ms=HOT_LOCK_MS)
        self.claiming = Pool(address, HOT, lock_ms=HOT_LOCK_MS)  # two pools: nobody waits for his second with his first
        # What may wait for somebody's lock holds up its like, and neither what only reads nor what waits for a key.
        self._writing = Pool(address, OTHERS, lock_ms=VERB_LOCK_MS, probe=True)
        self._reading = Pool(address, OTHERS, probe=True)
        self._commits = Pool(address, 1)
        self._keyed = Pool(address, OTHERS)
        self._committer = Committer(self._commits, self._keyed, verbs, announce, self.thread.spawn)
        self._guard = threading.Lock()
        self._waiting: list[Callable[[], object]] = []
        self._looking: asyncio.Task[object] | None = None
        self._closed = False

    def submit(self, start: Callable[[], object]) -> bool:
        """Call it on the store's thread; False once the store is closed. The thread is woken once for all that gathers
        before it comes."""
        with self._guard:  # nothing may come after `close`: nobody would ever answer it
            if self._closed:
                return False
            self._waiting.append(start)
            if len(self._waiting) == 1:
                self.thread.post(self._start)
        return True

    def _start(self) -> None:
        with self._guard:
            waiting, self._waiting = self._waiting, []
        for start in waiting:
            start()

    def close(self) -> None:
        """Finish what was submitted, then close."""
        with self._guard:
            self._closed = True
        self.thread.call(self._leave())
        self.thread.stop()

    async def _leave(self) -> None:
        self._start()
        await self.thread.settled()
        for pool in (self._commits, self._keyed, self.settling, self.claiming, self._writing, self._reading):
            await pool.close()

    # ── on the thread ────────────────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, result: Result[list[Enqueued]], jobs: Sequence[NewJob]) -> None:
        self._committer.add(Item(result, jobs))

    def once(
        self, look: Callable[[], Coroutine[Any, Any, object]], result: Result[R], start: Callable[[], object]
    ) -> None:
        """Start it when `look` has ended well; whoever comes meanwhile waits for the same one."""
        if self._looking is None or self._looking.done():
            self._looking = self.thread.spawn(look())
        self.thread.spawn(self._once(self._looking, result, start))

    async def _once(self, looking: asyncio.Task[object], result: Result[R], start: Callable[[], object]) -> None:
        await asyncio.wait({looking})
        if (error := looking.exception()) is None:
            start()
            return
        said = explained(error, self._address)
        if isinstance(said, ConfigurationError | StoreError):  # each has an error of his own to raise
            kind = StoreUnavailable if isinstance(said, ConfigurationError) else type(said)  # as in `pool.reach`
            said = kind(*said.args)
            said.__cause__ = error
        result.fail(said)
        Result.deliver([result])

    def answer(self, result: Result[R], work: Coroutine[Any, Any, R]) -> None:
        self.thread.spawn(self._answer(result, work))

    async def _answer(self, result: Result[R], work: Coroutine[Any, Any, R]) -> None:
        try:
            result.set(await work)
        except BaseException as e:
            if faults.no_partition(e):
                self._verbs.days = frozenset()  # the next one looks again
            result.fail(explained(e, self._address))
        Result.deliver([result])

    async def perform(self, verb: Verb[R] | Maker[R]) -> R:
        for more in reversed(range(faults.AGAIN if callable(verb) else 1)):
            hints: list[Hint] = []
            try:
                async with self._writing.lend() as session, session.transaction():
                    one = verb() if callable(verb) else verb
                    answer = await session.drive(one, hints.append)
            except asyncpg.PostgresError as e:
                if faults.sqlstate(e) == faults.LOCKED:
                    raise self._locked(e) from e
                if not more or faults.sqlstate(e) not in faults.REPEATED:
                    raise
                self._verbs.days = frozenset()  # what this one has made is rolled back with it
                continue
            if hints:
                self._announce(list(dict.fromkeys(hints)))
            return answer
        raise AssertionError("unreachable")

    def _locked(self, error: BaseException) -> StoreUnavailable:
        return StoreUnavailable(
            f"another open transaction on {self._address.shown} keeps locked what was to be changed: end it, and try "
            f"again ({error})"
        )

    async def read(self, verb: Verb[R]) -> R:
        async with self._reading.lend() as session:
            if session.pooled:
                async with session.transaction():
                    return await _drive(session, verb)
            return await _drive(session, verb)


async def _drive(session: Session, verb: Verb[R]) -> R:
    return await session.drive(verb, lambda hint: None)
