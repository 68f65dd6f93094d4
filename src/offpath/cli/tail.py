"""`offpath tail`: what happens in all processes, as it happens. What is news is decided in `following.py`.

Hints wake it up where they are carried (a job enqueued, an operation that moved); an end of a job that nobody watches
makes no hint, so it looks every POLL seconds in any case. Looking at what runs reads the whole live table, and takes at
most a tenth of the time.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ..app import Offpath
from ..core.ids import at_moment, is_id
from ..core.options import SECOND
from ..errors import ConfigurationError, StoreUnavailable
from ..ports import Verb
from . import filters, printing
from .following import LAP, LONG_EVERY, LONG_LAP, STATE, Happened, Seen, text
from .onejob import OneJob
from .target import opened

R = TypeVar("R")

POLL = 0.5  # s
SOONEST = 0.05  # s between two looks, however many hints come
SHARE = 10  # a look at what runs is followed by so many times its length without one
PAGE = 1_000
RUNNING = 20_000  # jobs that run at once, of which one is told
AWAY = (1.0, 15.0)  # s between two looks for a database that is away, first and longest


def run(options: argparse.Namespace) -> int:
    """Until it is interrupted; with --job until that job has ended."""
    since = 0.0 if options.since is None else filters.duration(options.since, "--since")
    if options.job is not None and (options.queue or options.task):
        raise ConfigurationError("--job names one job; --queue and --task cannot go with it")
    with opened(options) as jobs:
        begin = jobs.store.now() - round(since * SECOND)
        job = None if options.job is None else filters.one(jobs, options.job)
        if job is not None and not is_id(job):
            raise ConfigurationError(f"--job wants the id of a job, not {options.job!r}")
        watcher: Watcher | OneJob = (
            Watcher(jobs, begin, options.queue, options.task, alone=bool(options.state))
            if job is None
            else OneJob(jobs, job, 0 if options.since is None else begin)
        )
        _follow(jobs, watcher, _printer(options))
    return 0


def _printer(options: argparse.Namespace) -> Callable[[Happened], None]:
    wanted = frozenset(options.state)

    def show(one: Happened) -> None:
        if wanted and (STATE.get(one.data["event"]) or one.data.get("state")) not in wanted:
            return
        print(printing.dumps(one.data) if options.json else printing.line(text(one.data)), flush=True)

    return show


def _follow(jobs: Offpath, watcher: Watcher | OneJob, show: Callable[[Happened], None]) -> None:
    hinted = threading.Event()
    away = 0.0
    deaf = jobs.desk.listen(lambda hint: hinted.set())
    try:
        while True:
            hinted.clear()
            try:
                for one in sorted(watcher.look(), key=lambda happened: happened.order):
                    show(one)
                away = 0.0
            except StoreUnavailable as error:
                if not away:
                    printing.say(f"{error}; it goes on when the database is back")
                away = min(max(AWAY[0], 2 * away), AWAY[1])
                time.sleep(away)
            if watcher.over:
                return
            time.sleep(SOONEST)
            hinted.wait(POLL)
    finally:
        deaf()


class Watcher:
    """All jobs, or those of a queue or a task; `alone`: neither deliveries nor alerts are asked for."""

    over = False

    def __init__(self, jobs: Offpath, begin: int, queue: str | None, task: str | None, *, alone: bool = False) -> None:
        self._store = jobs.store
        self._which = (queue, task)
        self._alone = alone or queue is not None or task is not None
        self._seen = Seen(begin)
        self._looks = 0
        self._next_scan = 0.0

    def _read(self, verb: Verb[R]) -> R:
        return self._store.read(verb).result()

    def look(self) -> list[Happened]:
        """What is new, in no order."""
        verbs, seen, now = self._store.verbs, self._seen, self._store.now()
        lap = LONG_LAP if self._looks % LONG_EVERY == 0 else LAP
        self._looks += 1
        told: list[Happened] = []
        for rows in self._pages(
            _id_of(seen.born.since(now, lap)), lambda after: verbs.arrived(after, PAGE, *self._which)
        ):
            told += seen.arrived(rows)
        scanned = time.monotonic() >= self._next_scan
        if scanned:
            began = time.monotonic()
            told += seen.running(self._read(verbs.now_running(RUNNING, *self._which)), now)
            self._next_scan = time.monotonic() + SHARE * (time.monotonic() - began)
        for ends in self._timed(seen.ends.since(now, lap), verbs.ended_since, lambda row: (row.finished_at, row.id)):
            told += seen.ended(ends)
        for tries in self._timed(seen.attempts.since(now, lap), verbs.tried, lambda row: (row.ended_at, row.job)):
            told += seen.tried(tries)
        if seen.lost:
            told += seen.ended(self._read(verbs.ended_of(list(seen.lost))))
            told += seen.back(self._read(verbs.live_of(list(seen.lost))), now)
        if not self._alone:
            for sendings in self._pages(_id_of(seen.sendings.since(now, lap)), lambda after: verbs.sent(after, PAGE)):
                told += seen.sent(sendings)
            ringing = {row.name for row in self._read(verbs.raised())}
            told += seen.alerted(self._read(verbs.alerts()), ringing, now)
        return told

    def _pages(self, after: str, verb: Callable[[str], Verb[list[Any]]]) -> Iterator[list[Any]]:
        while True:
            rows = self._read(verb(after))
            yield rows
            if len(rows) < PAGE:
                return
            after = rows[-1].id

    def _timed(
        self, since: int, verb: Callable[..., Verb[list[Any]]], mark: Callable[[Any], tuple[int, str]]
    ) -> Iterator[list[Any]]:
        after = ""
        while True:
            rows = self._read(verb(since, after, PAGE, *self._which))
            yield rows
            if len(rows) < PAGE:
                return
            since, after = mark(rows[-1])


def _id_of(at: int) -> str:
    """Ids made before that moment are smaller."""
    return at_moment(max(0, at), "0000-0000-000000000000")
