"""Many jobs at once: page after page, each a transaction of its own, until there is nothing more to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from ..core.selection import JobFilter
from ..errors import OffpathError, SchemaError, StoreUnavailable
from ..observe import signal
from ..ports import Page, Pending, Round, Store, Verb

PAGE = 500
MOST_BAD = 500  # jobs that the store will not have: if there are more, it is not the jobs' fault
RESTS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # s before each new try with what somebody else has locked


class Tally(NamedTuple):
    """How far it has come.

    done     changed as asked, so far
    skipped  not any more what was meant (ended, started or deleted meanwhile), or could not be had
    of       how many there were at the beginning; others may have come or gone since
    """

    done: int
    skipped: int
    of: int


Progress = Callable[[Tally], object]
"""Called after each page; when it raises, the rest is left as it is."""


class Rest(NamedTuple):
    """Nothing to do for so long."""

    seconds: float


class Turn(Protocol):
    """The verb of one page."""

    def __call__(self, after: str | None, limit: int, round: Round) -> Verb[Page]: ...


Again = Callable[[Sequence[str], Round], Verb[Page]]
"""The same for jobs by id: those that a page has found locked."""


class Bulk:
    """Something that is done to many jobs. It begins when it is awaited, and gives a `Tally`:

        tally = await jobs.cancel_many(queue="mail", progress=print)

    or page by page; whoever leaves the loop stops it there:

        async for tally in jobs.cancel_many(queue="mail"): …

    A page is one transaction. What has been done stays done, also if this process is killed; the same call again goes
    on with what is left. Workers go on meanwhile: a job that ends before its page comes is skipped.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        where: Callable[[], JobFilter],
        turn: Callable[[Store, JobFilter], tuple[Turn, Again | None]],
        progress: Progress | None,
        page: int = PAGE,
    ) -> None:
        self._store, self._where, self._turn = store, where, turn
        self._progress, self._page = progress, page

    def __await__(self) -> Generator[Any, None, Tally]:
        return self._all().__await__()

    def count(self) -> int:
        """How many jobs are meant, as of now; blocking. Nothing is done."""
        store = self._store()
        return store.read(store.verbs.count_jobs(self._where())).result()

    async def _all(self) -> Tally:
        last = Tally(0, 0, 0)
        async for tally in self:
            last = tally
        return last

    async def __aiter__(self) -> AsyncIterator[Tally]:
        steps, answer = self._steps(), None
        while True:
            try:
                step = steps.send(answer) if not isinstance(answer, Exception) else steps.throw(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(step, Tally):
                if self._progress is not None:
                    self._progress(step)
                yield step
            elif isinstance(step, Rest):
                await asyncio.sleep(step.seconds)
            else:
                try:
                    answer = await step
                except OffpathError as error:
                    answer = error

    def run(self) -> Tally:
        """All of it, blocking."""
        steps, answer, tally = self._steps(), None, Tally(0, 0, 0)
        while True:
            try:
                step = steps.send(answer) if not isinstance(answer, Exception) else steps.throw(answer)
            except StopIteration:
                return tally
            answer = None
            if isinstance(step, Tally):
                tally = step
                if self._progress is not None:
                    self._progress(step)
            elif isinstance(step, Rest):
                time.sleep(step.seconds)
            else:
                try:
                    answer = step.result()
                except OffpathError as error:
                    answer = error

    def _steps(self) -> Generator[Pending[Any] | Tally | Rest, Any, None]:
        """What to wait for, and what there is to tell."""
        store, where = self._store(), self._where()
        turn, again = self._turn(store, where)
        tally = Tally(0, 0, (yield store.read(store.verbs.count_jobs(where))))
        round, size, after = Round(), self._page, None
        locked: list[str] = []
        while True:
            round.taken = []
            try:
                page: Page = yield store.perform(partial(turn, after, size, round))
            except (StoreUnavailable, SchemaError):
                raise
            except OffpathError as error:
                if not round.taken or len(round.skip) >= MOST_BAD:
                    raise
                if len(round.taken) > 1:  # which of them is it?
                    size = len(round.taken) // 2
                    continue
                round.skip.update(round.taken)
                signal("upkeep.skipped", duty="bulk", job=round.taken[0], error=f"{type(error).__name__}: {error}")
                tally = tally._replace(skipped=tally.skipped + 1)
                continue
            locked += page.locked
            tally = tally._replace(done=tally.done + page.done, skipped=tally.skipped + page.skipped)
            yield tally
            if page.last is None:
                break
            after, size = page.last, min(2 * size, self._page)
        if locked and again is not None:
            tally, locked = yield from self._insist(store, again, tally, locked)
        if locked:
            yield tally._replace(skipped=tally.skipped + len(locked))

    def _insist(
        self, store: Store, again: Again, tally: Tally, locked: list[str]
    ) -> Generator[Pending[Any] | Tally | Rest, Any, tuple[Tally, list[str]]]:
        """With those that were locked: mostly somebody was just about to settle them."""
        for rest in RESTS:
            yield Rest(rest)
            still: list[str] = []
            for begin in range(0, len(locked), self._page):
                these = locked[begin : begin + self._page]
                page: Page = yield store.perform(partial(again, these, Round()))
                still += page.locked
                tally = tally._replace(done=tally.done + page.done, skipped=tally.skipped + page.skipped)
            locked = still
            if not locked:
                yield tally
                break
        return tally, locked
