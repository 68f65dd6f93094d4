"""`moved_clock`: a day passes in no time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ..app import Offpath
from ..core.checks import number
from ..core.options import SECOND
from ..errors import ConfigurationError
from ..ports import Hint, Statement, Verb
from ..stores.sqlite import connection
from ..stores.sqlite.store import SqliteStore


@contextlib.contextmanager
def moved_clock(jobs: Offpath) -> Iterator[MovedClock]:
    """For as long as the block lasts, the time of these jobs can be moved on:

        with isolated(jobs), moved_clock(jobs) as clock:
            await remind.using(delay=timedelta(hours=24)).enqueue(user=1)
            assert await drain(jobs) == {"scheduled": 1}
            clock.advance(timedelta(hours=24))
            assert await drain(jobs) == {"succeeded": 1}

    It is the clock of the store and of the engine: delays, backoff, deadlines, schedules, retention. What is measured
    and not written down goes on as it did (timeouts, polls, the lease of a worker that lives: it does not die of a leap
    in time), and so does `time.time()`. ConfigurationError unless the jobs are on SQLite, as in `isolated`: a server
    has a clock of its own.
    """
    store = jobs.store
    if not isinstance(store, SqliteStore):
        raise ConfigurationError("moved_clock moves the clock of SQLite, and a server has its own: use isolated")
    if store.path in connection.ahead:
        raise ConfigurationError("moved_clock is on already")
    connection.ahead[store.path] = 0
    try:
        yield MovedClock(jobs, store.path)
    finally:
        del connection.ahead[store.path]


class MovedClock:
    """The clock of one database."""

    def __init__(self, jobs: Offpath, path: str) -> None:
        self._jobs, self._path = jobs, path

    def now(self) -> datetime:
        """What the jobs take for now, UTC."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self._jobs.store.now())

    def advance(self, by: timedelta | float) -> datetime:
        """Let so much time pass (seconds, or a timedelta), at once; gives the new time. What falls due is ready, and
        workers that are running are told. ConfigurationError for a step back."""
        seconds = number(
            by.total_seconds() if isinstance(by, timedelta) else by, 0, 10**10, "the seconds to move on by"
        )
        self._jobs.store.perform(self._leap(round(seconds * SECOND))).result()
        return self.now()

    def move_to(self, moment: datetime) -> datetime:
        """Let the time pass until then."""
        if moment.tzinfo is None:
            raise ConfigurationError(f"{moment!r} has no time zone: datetime(…, tzinfo=UTC)")
        return self.advance(moment - self.now())

    def _leap(self, by: int) -> Verb[None]:
        """In one transaction with the leases of those that live: nobody may find them run out in between."""
        sql = "update offpath_worker set expires_at = expires_at + :by where lapsed_at is null"
        yield Statement(sql, {"by": by}, lambda rows: None)
        connection.ahead[self._path] += by
        yield Hint("work")
