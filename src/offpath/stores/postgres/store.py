"""The store on PostgreSQL: who runs which verb where. The SQL is in `sql/`, the decisions in `core/lifecycle.py`."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import asyncpg

from ...core.change import Change
from ...core.health import Check
from ...core.retention import Retention, Terms
from ...errors import SchemaError, StoreUnavailable
from ...observe import signal
from ...ports import Announce, Enqueued, Exchanged, Hint, Maker, NewJob, Pending, Verb, Want
from .. import borrow, migrate
from ..borrow.lookout import Lookout
from ..exchange import Extension
from ..pending import Result, failed
from ..statements import load
from . import clock, doctor, session
from . import schema as tables
from .address import check_schema, parse, qualify
from .annex import Annex
from .exchange import Exchange, PostgresDesk
from .faults import explain
from .lease import PostgresLease
from .rooms import Rooms
from .session import Session, explained
from .verbs import AHEAD, PostgresVerbs

R = TypeVar("R")
PACKAGE = "offpath.stores.postgres"
KEEP = Retention()
FEW = 3  # days of history ahead: time to say so, where this role may not make them


class PostgresStore:
    """See `ports.Store`. `url` is libpq's; the tables are in `schema`; `announce` is told, after commit, what may have
    changed. ConfigurationError for a URL or schema that cannot be one."""

    def __init__(
        self, url: str, *, announce: Announce, retention: Retention | Terms = KEEP, schema: str = "public"
    ) -> None:
        self.schema = check_schema(schema)
        self.address = parse(url)._replace(schema=schema)
        sql = {name: qualify(text, self.schema) for name, text in load(PACKAGE).items()}
        self.verbs = PostgresVerbs(sql, retention)
        self._announce = announce
        self._home: str | None = None
        self._clock = clock.ServerClock(self._look_at_clock)
        self._start_anew()
        self._closed = False

    def _start_anew(self) -> None:
        self._guard = threading.Lock()
        self._pid = os.getpid()
        self._rooms: Rooms | None = None
        self._desks: dict[str, PostgresDesk] = {}
        self._annexes: dict[asyncio.AbstractEventLoop, Annex] = {}
        self._lookout = Lookout(lambda ids: self.read(self.verbs.seen(ids)), self._tell)

    # ── opening, closing, the schema ─────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Also after `close`: an application may be started again in the same process."""
        self._alive()
        closed, unused = self._closed, self._rooms is None
        self._closed = False
        try:
            self._work(self._check)
        except BaseException:
            self._closed = closed
            if unused:  # whoever looks whether it is there does not take it from those who are at work
                self._leave()
            raise
        signal("store.opened", url=self.address.shown)

    @property
    def home(self) -> str:
        """The id of this home of jobs, by which a borrowed connection is known to lead to it."""
        home = self._home
        return self._work(self._check) if home is None else home

    async def _check(self) -> str:
        """An empty database is made ready at once, an older one is the operator's to migrate."""
        one = await session.connect(self.address)
        try:
            if not await tables.applied(one, self.schema):
                await self._bring_forward(one)
            migrate.demand(self.migrations(), await tables.applied(one, self.schema))
            self._home = home = await tables.home(one, self.verbs.sql["home"])
            await self._make_days(one)
            since = clock.awake()
            self._clock.seen(await one.clock(), since)
            return home
        finally:
            await one.close()

    async def _make_days(self, one: Session) -> None:
        """Whoever may only write rows gets by with the days that the owner of the tables has made."""
        now = await one.clock()
        try:
            async with one.transaction():
                await one.drive(self.verbs.find_days(), lambda hint: None)
                await one.drive(self.verbs.make_days(self.verbs.ahead(now, AHEAD)), lambda hint: None)
        except asyncpg.InsufficientPrivilegeError as e:
            left = self.verbs.left(now)
            if not left:
                raise
            if left < FEW:
                signal("store.short_of_days", url=self.address.shown, days=left, error=explain(e, self.address))

    def migrations(self) -> list[tuple[str, str]]:
        return tables.known(PACKAGE, self.schema)

    def migrate(self) -> list[str]:
        return self._work(self._migrate)

    async def _migrate(self) -> list[str]:
        one = await session.connect(self.address)
        try:
            return await self._bring_forward(one)
        finally:
            await one.close()

    async def _bring_forward(self, one: Session) -> list[str]:
        done = await tables.bring_forward(one, self.migrations(), self.schema, self.verbs)
        if done:
            signal("store.migrated", url=self.address.shown, migrations=",".join(done))
        return done

    def lacking(self) -> list[str]:
        return self._work(self._lacking)

    async def _lacking(self) -> list[str]:
        one = await session.connect(self.address)
        try:
            return [name for name, _ in migrate.missing(self.migrations(), await tables.applied(one, self.schema))]
        finally:
            await one.close()

    def doctor(self, long: float) -> list[Check]:
        return self._work(lambda: doctor.examine(self.address, self.schema, self.verbs, long))

    def _work(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """On the store's thread, waited for: the few things that are no verbs. What has been closed is opened again."""
        result: Result[R] = Result()
        while not self._hand(lambda rooms: rooms.answer(result, work())):
            continue
        return result.result()

    def _hand(self, start: Callable[[Rooms], object]) -> bool:
        """To the store's thread; False when somebody has closed it in this moment."""
        rooms = self._open_rooms()
        return rooms.submit(functools.partial(start, rooms))

    def close(self) -> None:
        self._alive()
        self._closed = True
        self._leave()

    def _leave(self) -> None:
        with self._guard:
            rooms, self._rooms = self._rooms, None
            annexes, self._annexes = self._annexes, {}
        for annex in annexes.values():
            annex.end()
        self._lookout.close()
        if rooms is not None:
            rooms.close()

    def _alive(self) -> None:
        """After a fork the parent's thread and connections are left alone, and made anew when they are needed."""
        if self._pid != os.getpid():
            signal("store.forked", pid=os.getpid())
            self._start_anew()

    def _open_rooms(self) -> Rooms:
        self._alive()
        rooms = self._rooms
        if rooms is None:
            with self._guard:
                if self._rooms is None:
                    self._rooms = Rooms(self.address, self.verbs, self._tell)
                rooms = self._rooms
        return rooms

    # ── verbs ────────────────────────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, jobs: Sequence[NewJob]) -> Pending[list[Enqueued]]:
        result: Result[list[Enqueued]] = Result()
        if not jobs:
            result.set([])
            return result
        return self._submit(result, lambda rooms: rooms.enqueue(result, list(jobs)))

    def enqueue_here(self, jobs: Sequence[NewJob]) -> Awaitable[list[Enqueued]]:
        self._alive()
        if self._annexes and jobs and not self._closed and self._home is not None:
            annex = self._annexes.get(asyncio.get_running_loop())
            if annex is not None and all([new.job.key is None for new in jobs]):  # noqa: C419 (a list is quicker)
                return annex.enqueue(jobs)
        return self.enqueue(jobs)

    async def move_in(self) -> None:
        self._alive()
        loop = asyncio.get_running_loop()
        for gone in [one for one in self._annexes if one.is_closed()]:  # without a farewell
            self._annexes.pop(gone).end()
        if loop not in self._annexes:
            self._annexes[loop] = Annex(self.address, self.verbs, self._tell)
        self._annexes[loop].guests += 1

    async def move_out(self) -> None:
        self._alive()
        loop = asyncio.get_running_loop()
        annex = self._annexes.get(loop)
        if annex is not None:
            annex.guests -= 1
            if not annex.guests:
                del self._annexes[loop]
                await annex.close()

    def perform(self, verb: Verb[R] | Maker[R]) -> Pending[R]:
        return self._answer(lambda rooms: rooms.perform(verb))

    def read(self, verb: Verb[R]) -> Pending[R]:
        return self._answer(lambda rooms: rooms.read(verb))

    def exchange(self, worker: str, changes: Sequence[Change], want: Want | None) -> Pending[Exchanged]:
        return self._answer(lambda rooms: self._exchange(rooms, worker, changes, want))

    async def _exchange(self, rooms: Rooms, worker: str, changes: Sequence[Change], want: Want | None) -> Exchanged:
        desk = self._desks.get(worker) or PostgresDesk()
        hints: dict[Hint, None] = {}
        try:
            async with AsyncExitStack() as lent:
                first = await lent.enter_async_context(rooms.settling.lend())
                second = await lent.enter_async_context(rooms.claiming.lend()) if changes and want else None
                one = Exchange(first, second, self.verbs, worker, desk, lambda hint: hints.setdefault(hint, None))
                answer = await one.run(changes, want)
        except Exception as e:
            said = explained(e, self.address)
            # A worker keeps its outcomes only while the store says that it is the store's fault.
            raise StoreUnavailable(str(said)) if isinstance(said, SchemaError) else said from e
        if hints:
            self._tell(list(hints))
        if not answer.alive:
            self._desks.pop(worker, None)  # dead for good: it starts again under another id
        return answer

    def released(self, worker: str, job: str) -> None:
        if (desk := self._desks.get(worker)) is not None:
            desk.held.discard(job)
            desk.locked.discard(job)

    def enqueue_on(self, tx: object, jobs: Sequence[NewJob]) -> Any:
        return self.run_on(tx, self.verbs.enqueue(jobs))

    def run_on(self, tx: object, verb: Verb[Any]) -> Any:
        if self._home is None and borrow.awaits(tx):
            return self._once_known(tx, verb)
        home = borrow.Home(
            "postgresql",
            self.home,
            self._tell,
            self.now,
            lambda e: explain(e, self.address),
            self.verbs.sql["home"],
            self._lookout.expect,
        )
        return borrow.run(tx, verb, home)

    async def _once_known(self, tx: object, verb: Verb[Any]) -> Any:
        """The first time we have to look where home is, which nobody's loop waits for."""
        result: Result[str] = Result()
        await self._submit(result, lambda rooms: rooms.answer(result, self._check()), seen=True)
        return await self.run_on(tx, verb)

    def _answer(self, work: Callable[[Rooms], Coroutine[Any, Any, R]]) -> Pending[R]:
        result: Result[R] = Result()
        return self._submit(result, lambda rooms: rooms.answer(result, work(rooms)))

    def _submit(self, result: Result[R], start: Callable[[Rooms], object], *, seen: bool = False) -> Pending[R]:
        """Hand it to the store's thread, unless the store has been closed. Where nobody has opened it, what comes first
        (`seen`: unless it does so itself) looks whether there are tables."""
        self._alive()
        while not self._closed:
            first = self._home is None and not seen
            if self._hand((lambda rooms: rooms.once(self._check, result, lambda: start(rooms))) if first else start):
                return result
        return failed(StoreUnavailable("the store has been closed"))

    def _tell(self, hints: Sequence[Hint]) -> None:
        try:
            self._announce(hints)
        except Exception as e:  # a hint is never worth what was written
            signal("transport.failed", transport="announce", error=e, exc_info=e)

    # ── leases and the clock ─────────────────────────────────────────────────────────────────────────────────────

    def lease(self) -> PostgresLease:
        return PostgresLease(self.address, self.verbs.sql, self._leased)

    def _leased(self, worker: str, seconds: float | None) -> None:
        """Remember how long this process's worker asks for, so that its exchanges renew it too."""
        if seconds is None:
            self._desks.pop(worker, None)
        else:
            self._desks[worker] = PostgresDesk(Extension(seconds))

    def now(self) -> int:
        return self._clock.now()

    def _look_at_clock(self) -> None:
        """On the store's thread; only by a process that is at work already."""
        rooms = self._rooms
        if rooms is not None and self._pid == os.getpid():
            rooms.submit(lambda: rooms.answer(Result(), self._see_clock(rooms)))

    async def _see_clock(self, rooms: Rooms) -> None:
        since = clock.awake()
        self._clock.seen(await rooms.read(clock.ask()), since)
