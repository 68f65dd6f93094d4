"""Many jobs at once: page after page, each a transaction of its own, until there is nothing more to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from ..core.audit import Act
from ..core.bulk import END, Reached
from ..core.selection import JobFilter
from ..errors import LeaseLost, OffpathError, SchemaError, StoreUnavailable
from ..observe import signal
from ..ports import Maker, Page, Pending, Round, Store, Verb
from .acting import actor, noted
from .driving import Rest, Steps, Told, drive, drive_sync

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


class Turn(Protocol):
    """The verb of one page."""

    def __call__(self, after: str | None, limit: int, round: Round) -> Verb[Page]: ...


Again = Callable[[Sequence[str], Round], Verb[Page]]
"""The same for jobs by id: those that a page has found locked."""


class Log(Protocol):
    """What is written beside the pages, each in the transaction of what it tells of."""

    @property
    def skip(self) -> Collection[str]:
        """Jobs that are not meant, whatever the filter says."""
        ...

    def reached(self) -> Reached | None:
        """How far an earlier attempt has come."""
        ...

    def page(self, reached: Reached, *, first: bool) -> Verb[None]:
        """`reached`: with this page; `first`: it is the first that has changed anything."""
        ...

    def ended(self, tally: Tally) -> Maker[None] | None: ...


class Deed:
    """The audit log's: that it began, and how it ended; neither, when nothing was changed. Who is acting is whoever
    acts when it is asked for."""

    skip: Collection[str] = ()

    def __init__(self, store: Callable[[], Store], action: str, said: Mapping[str, Any]) -> None:
        self._store, self._action, self._said, self._actor = store, action, said, actor()

    def reached(self) -> Reached | None:
        return None

    def page(self, reached: Reached, *, first: bool) -> Verb[None]:
        if first and self._actor is not None:
            act = Act(self._actor.id, self._action, "", self._said, self._actor.tenant)
            yield from noted(self._store(), act)

    def ended(self, tally: Tally) -> Maker[None] | None:
        if self._actor is None or not tally.done:
            return None
        data = {**self._said, "done": tally.done, "skipped": tally.skipped}
        act = Act(self._actor.id, f"{self._action}.ended", "", data, self._actor.tenant)
        return lambda: self._store().verbs.note([act])


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
        log: Log,
        page: int = PAGE,
    ) -> None:
        self._store, self._where, self._turn = store, where, turn
        self._progress, self._page, self._log = progress, page, log

    def logged(self, log: Log) -> Bulk:
        """The same, with another log."""
        return Bulk(self._store, self._where, self._turn, self._progress, log, self._page)

    def __await__(self) -> Generator[Any, None, Tally]:
        return self._all().__await__()

    def meant(self) -> JobFilter:
        """Which jobs, as of now."""
        return self._where()

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
        async for tally in drive(self._steps()):
            if self._progress is not None:
                self._progress(tally)
            yield tally

    def run(self) -> Tally:
        """All of it, blocking."""
        tally = Tally(0, 0, 0)
        for tally in drive_sync(self._steps()):
            if self._progress is not None:
                self._progress(tally)
        return tally

    def _steps(self) -> Steps[Tally]:
        """What to wait for, and what there is to tell."""
        store, where, log = self._store(), self._where(), self._log
        turn, again = self._turn(store, where)
        before = log.reached()
        if before is None:
            before = Reached(0, 0, (yield store.read(store.verbs.count_jobs(where, log.skip))), None)
        tally, after, locked = Tally(*before[:3]), before.after, list(before.locked)
        round, size = Round(), self._page
        round.skip.update(log.skip)
        while True:
            round.taken = []
            try:
                page: Page = yield store.perform(self._logged(partial(turn, after, size, round), tally, locked))
            except (StoreUnavailable, SchemaError, LeaseLost):
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
            yield Told(tally)
            if page.last is None:
                break
            after, size = page.last, min(2 * size, self._page)
        if locked and again is not None:
            tally, locked = yield from self._insist(store, again, tally, locked)
        tally = tally._replace(skipped=tally.skipped + len(locked))
        if (end := log.ended(tally)) is not None:
            yield store.perform(end)
        if locked:
            yield Told(tally)

    def _logged(
        self,
        make: Maker[Page],
        tally: Tally,
        locked: Sequence[str],
    ) -> Maker[Page]:
        """A page, and what the log writes with it."""

        def verb() -> Verb[Page]:
            page = yield from make()
            done, skipped = tally.done + page.done, tally.skipped + page.skipped
            reached = Reached(done, skipped, tally.of, page.last or END, (*locked, *page.locked))
            yield from self._log.page(reached, first=not tally.done and page.done > 0)
            return page

        return verb

    def _insist(
        self, store: Store, again: Again, tally: Tally, locked: list[str]
    ) -> Generator[Pending[Any] | Told[Tally], Any, tuple[Tally, list[str]]]:
        """With those that were locked: mostly somebody was just about to settle them."""
        for rest in RESTS:
            yield Rest(rest)
            still: list[str] = []
            for begin in range(0, len(locked), self._page):
                these, others = locked[begin : begin + self._page], locked[begin + self._page :]
                make = self._logged(partial(again, these, Round()), tally, (*still, *others))
                page: Page = yield store.perform(make)
                still += page.locked
                tally = tally._replace(done=tally.done + page.done, skipped=tally.skipped + page.skipped)
            locked = still
            if not locked:
                yield Told(tally)
                break
        return tally, locked
