"""Group commit: callers' jobs that gather while one group is being written share the next statement and its commit."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from ...errors import StoreError, StoreUnavailable
from ...observe import meters
from ...ports import Enqueued, Hint, NewJob, Statement, Verb
from .. import rows
from ..keys import MOST_LOCKS
from ..pending import Result
from . import faults
from .pool import Pool
from .session import Session, explained
from .verbs import PostgresVerbs

SPLIT = 32  # callers that are worth a group of their own
MAX_GROUP = 1_000  # jobs in one statement: bounds how long the others wait for its commit
PATIENCE = 10.0  # seconds for which a group whose commit was not answered is asked for again
_FAILED: tuple[type[Exception], ...] = (*faults.DRIVER, StoreUnavailable)


class Answer(Protocol):
    """Where what came of an item is put; `deliver` then wakes whoever waits."""

    @property
    def done(self) -> bool:
        """Whether it is there, or nobody waits for it any more."""
        ...

    def set(self, value: list[Enqueued]) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class Item(NamedTuple):
    """`again`: its jobs were on their way when the group's task was cancelled, and may have arrived."""

    result: Answer
    jobs: Sequence[NewJob]
    again: bool = False


class Committer:
    """Lives on one event loop, the store's own or an application's; `add` is called there."""

    def __init__(
        self,
        pool: Pool,
        others: Pool,
        verbs: PostgresVerbs,
        announce: Callable[[Sequence[Hint]], None],
        spawn: Callable[[Any], asyncio.Task[Any]],
        deliver: Callable[[Iterable[Any]], None] = Result.deliver,
        lines: int = 1,
    ) -> None:
        """`pool` is the committer's own; on `others` it writes what must not hold up the rest. `lines`: groups on their
        way at once, where many callers gather."""
        self._deliver, self._lines = deliver, lines
        self._pool, self._others, self._verbs = pool, others, verbs
        self._announce, self._spawn = announce, spawn
        self._waiting: deque[Item] = deque()
        self._busy = 0  # lines
        self._flying = 0  # items

    def add(self, item: Item) -> None:
        self._waiting.append(item)
        self._go()

    def _go(self) -> None:
        """A group alone on its way leaves one side idle: its callers while the server works, the server while they do.
        Two take turns; but small ones cost more than that saves."""
        if self._waiting and (not self._busy or (self._busy < self._lines and len(self._waiting) >= SPLIT)):
            self._busy += 1
            group: list[Item] = []
            self._spawn(self._run(group)).add_done_callback(functools.partial(self._ran, group))

    async def _run(self, group: list[Item]) -> None:
        group += self._take()
        self._go()
        if group:  # the other line may have taken all there was
            await self._write(group, self._pool)

    def _ran(self, group: list[Item], task: asyncio.Task[None]) -> None:
        """A turn of the loop later: whoever has called since gets into the next group.

        An application cancels whatever tasks it finds on its loop, ours among them, and still waits for its answers.
        """
        self._busy -= 1
        self._flying -= len(group)
        left = [item for item in group if not item.result.done]
        if task.cancelled():
            self._waiting.extendleft(item._replace(again=True) for item in reversed(left))
        elif (error := task.exception()) is not None:
            self._fail(left, error)
        self._go()

    def _take(self) -> list[Item]:
        most = max(SPLIT, math.ceil((len(self._waiting) + self._flying) / self._lines))
        items: list[Item] = []
        size = 0
        while self._waiting and size < MAX_GROUP and len(items) < most:
            items.append(self._waiting.popleft())
            size += len(items[-1].jobs)
        self._flying += len(items)
        return items

    async def _write(self, items: list[Item], pool: Pool, *, patient: bool = False) -> None:
        """All of them together; if that fails, each by itself, so that only the culprit hears of it."""
        jobs = [new for item in items for new in item.jobs]
        began = time.perf_counter()
        try:
            sent = any([item.again for item in items])  # noqa: C419 (a list is quicker)
            answer, hints, left = await self._insert(jobs, pool, patient=patient, sent=sent)
        except Exception as e:
            said = explained(e, pool.address)
            if len(items) > 1 and not isinstance(said, StoreUnavailable):
                for item in items:
                    await self._write([item], pool, patient=patient)
                return
            if meters.on is not None:
                meters.on.add("offpath_store_errors_total", ("write",))
            self._fail(items, said)
            return
        if left:
            # Their keys wait for somebody's open transaction. They wait too, but not the others with them.
            late = [item for item in items if any(new.job.id in left for new in item.jobs)]
            items = [item for item in items if item not in late]
            for item in late:
                self._spawn(self._write([item], self._others, patient=True))
            if items:
                await self._write(items, pool)
            return
        if hints:
            self._announce(hints)
        rest = iter(answer)
        for item in items:
            item.result.set(list(islice(rest, len(item.jobs))))
        self._deliver(item.result for item in items)
        if meters.on is not None:
            meters.on.took("offpath_commit_seconds", (), time.perf_counter() - began)
            made = zip(jobs, answer, strict=True)
            meters.on.enqueued((new.job.queue, new.job.task) for new, one in made if not one.existing)

    def _fail(self, items: list[Item], said: BaseException) -> None:
        for item in items:
            # One object raised in many tasks would collect all their tracebacks.
            error = type(said)(*said.args) if isinstance(said, StoreError) else said
            error.__cause__ = said.__cause__
            item.result.fail(error)
        self._deliver(item.result for item in items)

    # ── one group ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _insert(
        self, jobs: Sequence[NewJob], pool: Pool, *, patient: bool, sent: bool
    ) -> tuple[list[Enqueued], list[Hint], frozenset[str]]:
        """What was answered, the hints, and instead of both the ids of jobs whose keys are busy (never when `patient`).

        An answer that was lost is asked for again: the same ids, so that nothing is doubled.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        tries, pause = faults.AGAIN, 0.05
        while True:
            try:
                async with pool.lend() as session:
                    again, sent = sent, True
                    return await self._once(session, jobs, again=again, patient=patient)
            except _FAILED as e:
                tries -= 1
                if faults.sqlstate(e) in faults.REPEATED and tries:
                    continue
                unknown = sent and (faults.lost(e) or isinstance(e, StoreUnavailable))
                if not unknown or loop.time() > until:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)

    async def _once(
        self, session: Session, jobs: Sequence[NewJob], *, again: bool, patient: bool
    ) -> tuple[list[Enqueued], list[Hint], frozenset[str]]:
        hints: dict[Hint, None] = {}
        keyed = [new.job for new in jobs if new.job.key is not None]

        async def drive(verb: Verb[Any]) -> Any:
            return await session.drive(verb, lambda hint: hints.setdefault(hint, None))

        if not keyed and not again:
            async with session.alone():
                return await drive(self._verbs.enqueue(jobs)), list(hints), frozenset()
        async with session.transaction():
            if keyed and not patient and len(jobs) <= MOST_LOCKS:
                keys = rows.dumps([(job.id, job.task, job.key) for job in keyed])
                busy = await session.execute(Statement(self._verbs.sql["enqueue.busy"], {"keys": keys}, rows.column))
                if busy:
                    return [], [], frozenset(busy)
            answer = await drive(self._verbs.enqueue_again(jobs) if again else self._verbs.enqueue(jobs))
        return answer, list(hints), frozenset()
