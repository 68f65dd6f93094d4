"""What every worker does for all of them; nobody is elected, and a duty done twice is done once.

Each duty stands alone: an error in one is a signal, and the others go on. Nothing here is in a hurry, except taking the
jobs of a dead worker from it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from ..core.job import State
from ..errors import SchemaError, StoreUnavailable
from ..observe import signal
from ..ports import Round, Store, Verb
from ..settings import DAY
from ..tasks import Registry
from . import alerts
from .clock import Clock
from .outage import Outage
from .stats import FLUSH, Book

PAGE = 500
PAGES = 20  # of lines in which somebody waits, looked at in one minute: the next ones are for the next
MOST_BAD = 500  # jobs that the store will not have: if there are more, it is not the jobs' fault
MINUTE = 60.0


class Upkeep:
    """Runs the duties of one worker until it is cancelled."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        every: float,
        book: Book | None = None,
        keep_stats: float = 7 * DAY,
    ) -> None:
        """`every`: seconds between two looks at what may be overdue; `keep_stats`: for which counts are kept, if any
        are written (`book`)."""
        self._book, self._keep_stats = book, keep_stats
        self._store, self._registry, self._clock, self._every = store, registry, clock, every
        self._lapsed: deque[str] = deque()
        self._stirred = asyncio.Event()
        self._outage = Outage()
        self._line = ""  # behind which the next look at lines begins

    def lapsed(self, workers: Iterable[str]) -> None:
        """These have a verdict: take their jobs from them, now. On the loop."""
        self._lapsed.extend(worker for worker in workers if worker not in self._lapsed)
        self._stirred.set()

    async def run(self) -> None:
        duties: tuple[tuple[str, float, Callable[[], Awaitable[None]]], ...] = (
            ("overdue", self._every, self._overdue),
            ("keys", self._every, self._keys),
            ("lines", MINUTE, self._lines),
            ("orphans", MINUTE, self._orphans),
            ("prune", MINUTE, self._prune),
            ("unknown", MINUTE, self.unknown),
            *((("counts", FLUSH, self._flush), ("stats", MINUTE, self._stats)) if self._book is not None else ()),
            ("forgotten alerts", MINUTE, self._forget_alerts),
            *((("alerts", self._every, self._alerts),) if self._registry.alerts else ()),
        )
        clock = self._clock
        # Not all at once at the start, and not in step with the other workers.
        due = {name: clock.elapsed() + clock.chance() * every for name, every, _ in duties}
        await self._alone("counts", self._flush)  # people should see at once who has come
        while True:
            await self._expire()
            for name, every, duty in duties:
                if clock.elapsed() >= due[name]:
                    due[name] = clock.elapsed() + clock.spread(every)
                    await self._alone(name, duty)
            await self._pause(min(due.values()) - clock.elapsed())

    async def _pause(self, seconds: float) -> None:
        self._stirred.clear()
        if self._lapsed:
            return
        timer = asyncio.get_running_loop().call_later(max(0.01, seconds), self._stirred.set)
        try:
            await self._stirred.wait()
        finally:
            timer.cancel()

    async def _alone(self, name: str, duty: Callable[[], Awaitable[None]]) -> None:
        try:
            await duty()
            self._outage.over()
        except Exception as error:
            if not self._outage.worth_telling(error, self._clock.elapsed()):
                return
            trace = None if isinstance(error, StoreUnavailable) else error  # an outage is no bug of ours
            signal("upkeep.failed", duty=name, error=f"{type(error).__name__}: {error}", exc_info=trace)

    # -- the duties --------------------------------------------------------------------------------------------------

    async def _expire(self) -> None:
        """The dead: page by page, and any worker may take over in the middle. The keeper names them again and again
        until their rows are gone, so an error here costs one interval."""
        while self._lapsed:
            worker = self._lapsed.popleft()

            async def take(worker: str = worker) -> None:
                verbs = self._store.verbs
                if jobs := await self._pages("expire", lambda page, round: verbs.expire(worker, page, round)):
                    signal("upkeep.recovered", dead=worker, jobs=jobs)

            await self._alone("expire", take)

    async def _orphans(self) -> None:
        if jobs := await self._pages("orphans", self._store.verbs.orphans):
            signal("upkeep.recovered", dead="", jobs=jobs)

    async def _overdue(self) -> None:
        if jobs := await self._pages("overdue", self._store.verbs.overdue):
            signal("upkeep.overdue", jobs=jobs)

    async def _keys(self) -> None:
        if jobs := await self._pages("keys", self._store.verbs.free_keys):
            signal("upkeep.freed", jobs=jobs)

    async def _lines(self) -> None:
        jobs, round = 0, Round()
        round.after = self._line
        try:
            jobs = await self._pages("lines", self._store.verbs.free_lines, round)
        finally:
            self._line = round.after
        if jobs:
            signal("upkeep.freed", jobs=jobs)

    async def _prune(self) -> None:
        if jobs := await self._pages("prune", self._store.verbs.prune):
            signal("upkeep.pruned", jobs=jobs)

    async def _flush(self) -> None:
        if self._book is not None:
            await self._book.flush()

    async def _stats(self) -> None:
        if self._book is not None:
            await self._book.tidy(self._keep_stats)

    async def _alerts(self) -> None:
        await alerts.look(self._store, self._registry, self._clock)

    async def _forget_alerts(self) -> None:
        await alerts.forget(self._store)

    async def unknown(self) -> None:
        """Jobs of a task, or a version, that no worker knows stay where they are; someone should hear of it."""
        waiting: Counter[tuple[str, int]] = Counter()
        counts = await self._store.read(self._store.verbs.counts())
        for _, task, state, jobs, _, version in counts:
            if state == State.READY and not self._registry.knows(task, version):
                waiting[task, version] += jobs
        known = await self._store.read(self._store.verbs.known_tasks()) if waiting else set()
        for (task, version), jobs in waiting.items():
            if f"{task}@{version}" in known:
                continue  # another worker's: it will come to them
            signal("worker.unknown", task=task, version=version, jobs=jobs)
        if self._book is not None:
            await self._book.sample(counts)  # since all of them have just been counted

    async def _pages(self, duty: str, verb: Callable[[int, Round], Verb[int]], round: Round | None = None) -> int:
        """Until a page finds nothing, and says of no next one; between two pages others may write.

        A page that the store will not have is done in smaller ones, until the job is found that it is about; that one
        is left out, for this time.
        """
        done, size, pages, round = 0, PAGE, 0, Round() if round is None else round
        while True:
            round.taken = []
            try:
                found = await self._store.perform(partial(verb, size, round))
            except (StoreUnavailable, SchemaError):
                raise
            except Exception as error:
                if not round.taken or len(round.skip) >= MOST_BAD:
                    raise
                if len(round.taken) > 1:
                    size = len(round.taken) // 2
                    continue
                round.skip.update(round.taken)
                signal("upkeep.skipped", duty=duty, job=round.taken[0], error=f"{type(error).__name__}: {error}")
                continue
            done, pages, round.after = done + found, pages + 1, round.next
            if pages >= PAGES if round.after else not found:
                return done
            size = min(2 * size, PAGE)
