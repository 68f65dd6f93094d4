"""The one thread that writes. What gathered while it was committing shares the next transaction (group commit)."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from ...errors import OffpathError, StoreError, StoreUnavailable
from ...observe import meters, signal
from ...ports import Announce, Enqueued, Hint, NewJob, Verb
from ..pending import Result
from ..verbs import SqlVerbs
from . import connection as db
from .handle import Handle

MAX_GROUP = 2_000  # jobs in one transaction: bounds how long the others wait for its commit


class Item(NamedTuple):
    """Something to write: new jobs (they share one statement), or a verb."""

    result: Result[Any]
    jobs: Sequence[NewJob] | None
    verb: Verb[Any] | None


class Writer:
    """Opens its own connection lazily; `submit` may be called from any thread and returns at once."""

    def __init__(
        self,
        path: str,
        verbs: SqlVerbs,
        announce: Announce,
        open: Callable[[], sqlite3.Connection],
        clock: Callable[[], int],
    ) -> None:
        self._path = path
        self._verbs = verbs
        self._announce = announce
        self._clock = clock
        self._items: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._handle = Handle(open)
        self._guard = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="offpath-writer", daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> None:
        with self._guard:  # nothing may come after the None of `close`: nobody would ever answer it
            if not self._closed:
                self._items.put(item)
                return
        item.result.fail(StoreUnavailable("the store has been closed"))

    def close(self) -> None:
        """Write what was submitted, then stop."""
        with self._guard:
            if not self._closed:
                self._closed = True
                self._items.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            items: list[Item] = []
            size = 0
            item = self._items.get()
            while True:
                if item is None:
                    last = True
                    break
                items.append(item)
                size += len(item.jobs or ())
                if size >= MAX_GROUP:
                    break
                try:
                    item = self._items.get_nowait()
                except queue.Empty:
                    break
            if items:
                self._write(items)
            items.clear()
        self._handle.close()

    def _write(self, items: list[Item]) -> None:
        hints: dict[Hint, None] = {}
        began = time.perf_counter()
        try:
            with self._handle as connection:
                answers = self._transaction(connection, items, hints)
        except Exception as e:
            if meters.on is not None:
                meters.on.add("offpath_store_errors_total", ("write",))
            for item in items:
                item.result.fail(self._explain(e))
            Result.deliver(item.result for item in items)
            return
        if hints:  # before the callers wake up and want the interpreter's lock: others are waiting for work
            try:
                self._announce(list(hints))
            except Exception as e:  # a hint is never worth the thread that writes
                signal("transport.failed", transport="announce", error=e, exc_info=e)
        for item, answer in zip(items, answers, strict=True):
            if isinstance(answer, BaseException):
                item.result.fail(answer)
            else:
                item.result.set(answer)
        Result.deliver(item.result for item in items)
        if meters.on is not None:
            meters.on.took("offpath_commit_seconds", (), time.perf_counter() - began)
            meters.on.enqueued(
                (new.job.queue, new.job.task)
                for item, answer in zip(items, answers, strict=True)
                if item.jobs is not None and not isinstance(answer, BaseException)
                for new, said in zip(item.jobs, answer, strict=True)
                if not said.existing
            )

    def _explain(self, error: Exception) -> Exception:
        """An error of its own for each caller: one object raised in many tasks would collect all their tracebacks."""
        if isinstance(error, sqlite3.Error):
            said: Exception = db.explain(error, self._path)
        elif isinstance(error, StoreError):
            said = type(error)(*error.args)
        else:
            return error
        said.__cause__ = error
        return said

    def _transaction(self, c: sqlite3.Connection, items: list[Item], hints: dict[Hint, None]) -> list[Any]:
        """Everything in one transaction; what fails alone is undone alone."""
        jobs = [item.jobs for item in items if item.jobs is not None]
        verbs = [item.verb for item in items if item.verb is not None]
        if not verbs and (at_once := self._at_once(c, jobs, hints)) is not None:
            return at_once
        db.begin(c)
        try:
            # A savepoint costs two more turns with the interpreter's lock; by itself, a verb needs none.
            made = iter(self._enqueue(c, jobs, hints, alone=not verbs) if jobs else ())
            done = iter([self._attempt(c, verb, hints, alone=len(items) == 1) for verb in verbs])
            answers = [next(made) if item.jobs is not None else next(done) for item in items]
            if c.in_transaction:
                c.execute("commit")
            return answers
        except BaseException:
            if c.in_transaction:
                c.execute("rollback")
            raise

    def _at_once(
        self, c: sqlite3.Connection, groups: list[Sequence[NewJob]], hints: dict[Hint, None]
    ) -> list[list[Enqueued]] | None:
        """Jobs without keys are one statement, and that is a transaction by itself: one turn with the interpreter's
        lock, not three. None when it does not come to that, or is refused: nothing has been written then."""
        together = [new for group in groups for new in group]
        if any(new.job.key is not None for new in together):
            return None
        mine: list[Hint] = []
        try:
            made = db.in_turn(lambda: db.run(c, self._verbs.enqueue(together), mine.append, self._clock))
        except sqlite3.Error:
            return None
        hints.update(dict.fromkeys(mine))
        return _shared(groups, made)

    def _enqueue(
        self, c: sqlite3.Connection, groups: list[Sequence[NewJob]], hints: dict[Hint, None], *, alone: bool
    ) -> list[list[Enqueued] | BaseException]:
        """All callers' jobs in one statement; if that fails, each on its own, so that only the culprit hears of it."""
        together = [new for group in groups for new in group]
        answer = self._attempt(c, self._verbs.enqueue(together), hints, alone=alone)
        if isinstance(answer, BaseException):
            if len(groups) == 1:
                return [answer]
            if not c.in_transaction:
                db.begin(c)
            return [self._attempt(c, self._verbs.enqueue(group), hints, alone=False) for group in groups]
        return [*_shared(groups, answer)]

    def _attempt(self, c: sqlite3.Connection, verb: Verb[Any], hints: dict[Hint, None], *, alone: bool) -> Any:
        """The verb's answer, or the error that undid it: with the transaction when it is `alone` in it, else by itself.
        What undid the whole transaction of many is raised."""
        mine: list[Hint] = []
        if not alone:
            c.execute("savepoint one")
        try:
            answer = db.run(c, verb, mine.append, self._clock)
        except Exception as e:
            if not c.in_transaction:
                raise  # SQLite gave the transaction up by itself (disk full, I/O error)
            if alone:
                c.execute("rollback")
            else:
                c.execute("rollback to one")
                c.execute("release one")
            if isinstance(e, OffpathError):
                return e
            return db.explain(e, self._path) if isinstance(e, sqlite3.Error) else e
        if not alone:
            c.execute("release one")
        hints.update(dict.fromkeys(mine))
        return answer


def _shared(groups: list[Sequence[NewJob]], made: list[Enqueued]) -> list[list[Enqueued]]:
    """What was made together, to each caller its own."""
    rest = iter(made)
    return [list(islice(rest, len(group))) for group in groups]
