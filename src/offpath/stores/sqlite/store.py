"""The store on SQLite: who runs which verb where. The SQL is in `sql/`, the decisions in `core/lifecycle.py`."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from ...core.change import Change
from ...core.health import Check
from ...core.retention import Retention, Terms
from ...errors import ConfigurationError, StoreUnavailable
from ...observe import signal
from ...ports import Announce, Enqueued, Exchanged, Maker, NewJob, Pending, Verb, Want, locked_here
from .. import borrow, migrate
from ..exchange import Desk, Extension
from ..pending import Result, failed
from ..statements import load, migrations
from ..verbs import SqlVerbs
from . import connection as db
from . import doctor
from .exchange import exchange
from .handle import Handle
from .lease import SqliteLease
from .writer import Item, Writer

R = TypeVar("R")
PACKAGE = "offpath.stores.sqlite"
KEEP = Retention()
LOCKED = (
    "the task's own transaction holds the lock of this SQLite database, so whatever else is to be written would wait "
    "for its end: write in it (using(tx=…)), or before its first statement"
)

_abandoned: list[object] = []
"""What a fork left behind: threads that do not exist here, and locks they may have held. Never touched again."""

_warned = False  # of an old SQLite: once per process


class SqliteStore:
    """See `ports.Store`. `path` is the database file; `announce` is told, after commit, what may have changed."""

    def __init__(self, path: str, *, announce: Announce, retention: Retention | Terms = KEEP) -> None:
        self.path = os.path.abspath(path)
        self.verbs = SqlVerbs(load(PACKAGE), retention)
        self._announce = announce
        self._guard = threading.Lock()
        self._pid = os.getpid()
        self._writer: Writer | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._reader = Handle(self._open_reader)
        self._desks: dict[str, Desk] = {}
        self._closed = False

    # ── opening, closing, the schema ─────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Also after `close`: an application may be started again in the same process."""
        global _warned
        self._alive()
        created = not os.path.exists(self.path)
        with self._once(self._connect):
            self._closed = False
        if created:
            signal("store.created", url=f"sqlite:///{self.path}")
        if sqlite3.sqlite_version_info < db.SAFE_VERSION and not _warned:
            _warned = True
            wanted = ".".join(map(str, db.SAFE_VERSION))
            signal("store.old_sqlite", version=sqlite3.sqlite_version, wanted=wanted)
        signal("store.opened", url=f"sqlite:///{self.path}")

    @contextmanager
    def _once(self, connect: Callable[[], sqlite3.Connection]) -> Iterator[sqlite3.Connection]:
        handle = Handle(connect)
        try:
            with handle as connection:
                yield connection
        finally:
            handle.close()

    def _connect(self) -> sqlite3.Connection:
        """A connection to a database whose schema has been checked."""
        connection = db.connect(self.path)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check the schema; an empty database is made ready at once, an older one is the operator's to migrate."""
        applied = _applied(connection)
        if not applied:
            self._migrate(connection)
            applied = _applied(connection)
        migrate.demand(self.migrations(), applied)

    def migrations(self) -> list[tuple[str, str]]:
        return migrate.script(migrations(PACKAGE))

    def lacking(self) -> list[str]:
        known = self.migrations()
        if not os.path.exists(self.path):
            return [name for name, _ in known]
        with self._once(self._look) as connection:
            try:
                return [name for name, _ in migrate.missing(known, _applied(connection))]
            except sqlite3.Error as e:
                raise db.explain(e, self.path) from e

    def _look(self) -> sqlite3.Connection:
        """A connection that changes nothing, not even how the file is kept."""
        try:
            connection = sqlite3.connect(self.path, timeout=db.BUSY_SECONDS, check_same_thread=False)
            connection.execute("pragma query_only=on")
        except sqlite3.Error as e:
            raise db.explain(e, self.path) from e
        return connection

    def doctor(self, long: float) -> list[Check]:
        return doctor.examine(self.path, long)

    def migrate(self) -> list[str]:
        with self._once(lambda: db.connect(self.path)) as connection:
            return self._migrate(connection)

    def _migrate(self, connection: sqlite3.Connection) -> list[str]:
        try:
            db.begin(connection, patience=60)  # two at once: the second waits here, then finds nothing to do
            todo = migrate.missing(self.migrations(), _applied(connection))
            for _, text in todo:
                for statement in _split(text):
                    connection.execute(statement)
            connection.execute("commit")
            return [name for name, _ in todo]
        except sqlite3.Error as e:
            raise db.explain(e, self.path) from e
        finally:
            if connection.in_transaction:
                connection.execute("rollback")

    def close(self) -> None:
        self._alive()
        with self._guard:
            self._closed = True
            writer, readers = self._writer, self._readers
            self._writer = self._readers = None
        if writer is not None:
            writer.close()
        if readers is not None:
            readers.shutdown(wait=True)
        self._reader.close()

    def _alive(self) -> None:
        """After a fork the parent's threads are left alone and started anew; connections were closed before it."""
        if self._pid != os.getpid():
            signal("store.forked", pid=os.getpid())
            _abandoned.extend((self._writer, self._readers))
            self._writer = self._readers = None
            self._desks = {}
            self._guard = threading.Lock()
            self._pid = os.getpid()

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def enqueue(self, jobs: Sequence[NewJob]) -> Pending[list[Enqueued]]:
        return self._submit(Item(Result(), list(jobs), None)) if jobs else _ready([])

    def enqueue_here(self, jobs: Sequence[NewJob]) -> Pending[list[Enqueued]]:
        return self.enqueue(jobs)  # a commit blocks whoever makes it: not on a loop

    async def move_in(self) -> None:
        """The writer's thread does for all."""

    async def move_out(self) -> None:
        """See `move_in`."""

    def perform(self, verb: Verb[R] | Maker[R]) -> Pending[R]:
        # One writer at a time: none is given up for another's sake, so that nothing has to be done anew.
        result: Result[R] = self._submit(Item(Result(), None, verb() if callable(verb) else verb))
        return result

    def exchange(self, worker: str, changes: Sequence[Change], want: Want | None) -> Pending[Exchanged]:
        desk = self._desks.get(worker) or Desk()
        return self.perform(exchange(self.verbs, worker, changes, want, desk))

    def enqueue_on(self, tx: object, jobs: Sequence[NewJob]) -> Any:
        return self.run_on(tx, self.verbs.enqueue(jobs))

    def run_on(self, tx: object, verb: Verb[Any]) -> Any:
        home = borrow.Home("sqlite", self.path, self._announce, self.now, lambda e: db.explain(e, self.path))
        return borrow.run(tx, verb, home)

    def released(self, worker: str, job: str) -> None:
        """Nobody here keeps an account of what a worker holds."""

    def _submit(self, item: Item) -> Any:
        if self._pid != os.getpid():
            self._alive()
        if locked_here.get()():
            return failed(ConfigurationError(LOCKED))
        writer = self._writer
        if writer is None:
            with self._guard:
                if self._closed:
                    return failed(StoreUnavailable("the store has been closed"))
                if self._writer is None:
                    self._writer = Writer(self.path, self.verbs, self._announce, self._open_writer, self.now)
                writer = self._writer
        writer.submit(item)
        return item.result

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, verb: Verb[R]) -> Pending[R]:
        self._alive()
        result: Result[R] = Result()
        with self._guard:
            if self._closed:
                return failed(StoreUnavailable("the store has been closed"))
            if self._readers is None:
                self._readers = ThreadPoolExecutor(1, thread_name_prefix="offpath-reader")
            self._readers.submit(self._read, verb, result)
        return result

    def _open_writer(self) -> sqlite3.Connection:
        writer = self._connect()
        writer.execute("pragma temp_store=memory")
        writer.execute("pragma cache_size=-16000")  # the live table and the ends of the indexes stay in memory
        return writer

    def _open_reader(self) -> sqlite3.Connection:
        reader = self._connect()
        reader.execute("pragma query_only=on")
        return reader

    def _read(self, verb: Verb[R], result: Result[R]) -> None:
        try:
            with self._reader as reader:
                reader.execute("begin")  # one snapshot for all statements of the verb
                try:
                    answer = db.run(reader, verb, lambda hint: None, self.now)
                finally:
                    if reader.in_transaction:
                        reader.execute("commit")
            result.set(answer)
        except sqlite3.Error as e:
            result.fail(db.explain(e, self.path))
        except BaseException as e:
            result.fail(e)
        Result.deliver([result])

    # ── leases and the clock ─────────────────────────────────────────────────────────────────────────────────────

    def lease(self) -> SqliteLease:
        return SqliteLease(self.path, self.verbs.sql, self._leased, self._connect, self.now)

    def _leased(self, worker: str, seconds: float | None) -> None:
        """Remember how long this process's worker asks for, so that its write groups renew it too."""
        if seconds is None:
            self._desks.pop(worker, None)
        else:
            self._desks[worker] = Desk(Extension(seconds))

    def now(self) -> int:
        return db.now() + db.ahead.get(self.path, 0)


def _applied(connection: sqlite3.Connection) -> list[str]:
    try:
        return [row[0] for row in connection.execute("select name from offpath_migration")]
    except sqlite3.OperationalError as e:
        if "no such table" in str(e):
            return []
        raise


def _split(text: str) -> list[str]:
    """A migration's statements; SQLite itself says where one is complete (executescript would commit first)."""
    statements: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line)
        if sqlite3.complete_statement("\n".join(lines)):
            statements.append("\n".join(lines))
            lines = []
    return statements


def _ready(value: R) -> Result[R]:
    result: Result[R] = Result()
    result.set(value)
    return result
