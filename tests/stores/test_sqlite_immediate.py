"""The engine helper: sessions that read and then write never meet "database is locked" beside busy writers."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from offpath.core.outcome import Done
from offpath.errors import ConfigurationError, StoreUnavailable
from offpath.integrations.sqlalchemy import _begin, immediate
from offpath.ports import JobFilter, Store
from tests.stores.kit import Hand, ask, change, new_job

SESSIONS, ROUNDS = 16, 10


PRAGMAS = ("journal_mode", "synchronous", "foreign_keys")


def test_what_a_connection_is_given(database: Path) -> None:
    engine = create_engine(f"sqlite:///{database}")
    assert immediate(immediate(engine)) is engine
    with engine.connect() as connection:
        said = [connection.exec_driver_sql(f"pragma {name}").scalar() for name in PRAGMAS]
    assert said == ["wal", 2, 1]
    engine.dispose()


async def test_the_same_of_an_async_engine(database: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
    assert immediate(engine) is engine
    async with engine.connect() as connection:
        said = [(await connection.exec_driver_sql(f"pragma {name}")).scalar() for name in PRAGMAS]
    assert said == ["wal", 2, 1]
    await engine.dispose()


def test_other_databases_are_left_alone() -> None:
    class Driver:
        paramstyle = "format"
        __version__ = "2.9.10"
        version_info = (1, 1)

    engine = create_engine("mysql+pymysql://", module=Driver())
    assert immediate(engine) is engine
    assert not event.contains(engine, "begin", _begin)


def traced(engine: Engine) -> list[str]:
    """Every statement that reaches SQLite on connections that are opened from now on."""
    seen: list[str] = []

    def trace(connection: sqlite3.Connection, record: Any) -> None:
        connection.set_trace_callback(seen.append)

    event.listen(engine, "connect", trace)
    return seen


def test_each_transaction_begins_once(database: Path) -> None:
    engine = immediate(create_engine(f"sqlite:///{database}"))
    seen = traced(engine)
    with Session(engine) as session:
        session.execute(text("create table t (x)"))
        with session.begin_nested():
            session.execute(text("insert into t values (1)"))
        with session.begin_nested() as nested:
            session.execute(text("insert into t values (2)"))
            nested.rollback()
        session.commit()
        assert session.execute(text("select x from t")).scalars().all() == [1]
    assert [line for line in seen if line.startswith("BEGIN")] == ["BEGIN IMMEDIATE"] * 2
    engine.dispose()


def test_autocommit_reads_take_no_lock(database: Path) -> None:
    engine = immediate(create_engine(f"sqlite:///{database}", connect_args={"timeout": 60}))
    seen = traced(engine)
    reads = engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.begin() as connection:
        connection.execute(text("create table t (x)"))
    with engine.begin() as writing, reads.connect() as reading:
        writing.execute(text("insert into t values (1)"))
        assert reading.execute(text("select count(*) from t")).scalar() == 0
        assert reading.exec_driver_sql("pragma busy_timeout").scalar() == 60_000
    seen.clear()
    for _ in range(2):  # the same pooled connections, with a transaction again
        with engine.begin() as connection:
            connection.execute(text("insert into t values (1)"))
    assert seen.count("BEGIN IMMEDIATE") == 2
    engine.dispose()


def test_a_lock_that_stays_is_sqlalchemys_error(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offpath.integrations.sqlalchemy.BUSY_MS", 1)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("pragma journal_mode=wal")
    other.execute("begin immediate")
    engine = immediate(create_engine(f"sqlite:///{database}", connect_args={"timeout": 0}))
    with pytest.raises(OperationalError, match="locked"), engine.connect() as connection:
        connection.execute(text("select 1"))
    other.execute("rollback")
    with engine.connect() as connection:
        assert connection.execute(text("select 1")).scalar() == 1
    other.close()
    engine.dispose()


@pytest.mark.skipif(not hasattr(sqlite3, "LEGACY_TRANSACTION_CONTROL"), reason="Python 3.12 brought autocommit=")
def test_a_driver_that_begins_by_itself_is_refused(database: Path) -> None:
    engine = immediate(create_engine(f"sqlite:///{database}", connect_args={"autocommit": False}))
    with pytest.raises(ConfigurationError, match="autocommit"):
        engine.connect()
    engine.dispose()


# ── beside a worker and a writer that never rest ─────────────────────────────────────────────────────────────────────


@contextmanager
def busy(store: Store, database: Path) -> Iterator[None]:
    """A worker's exchanges and a stranger's transactions, one after the other without a pause."""
    over = threading.Event()

    def work() -> None:
        hand = Hand(store)
        held = hand.claim(5)
        while not over.is_set():
            said = hand.exchange([change(job, Done(None)) for job in held], hand.want(5))
            assert set(said.verdicts) <= {"applied"}
            held = said.claimed
        hand.finish(*held)
        hand.close()

    def write() -> None:
        connection = sqlite3.connect(database, timeout=30, isolation_level=None)
        while not over.is_set():
            connection.execute("begin immediate")
            connection.execute("insert into note values ('theirs')")
            connection.execute("commit")
        connection.close()

    threads = [threading.Thread(target=work), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


async def locked(store: Store, engine: AsyncEngine, rounds: int) -> int:
    """How many of the sessions' transactions (read, then write and enqueue) met a locked database."""
    met = 0

    async def one() -> None:
        nonlocal met
        for _ in range(rounds):
            async with AsyncSession(engine) as session:
                try:
                    await session.execute(text("select count(*) from note"))
                    await session.execute(text("insert into note values ('ours')"))
                    await store.enqueue_on(session, [new_job()])
                    await session.commit()
                except (OperationalError, StoreUnavailable) as e:
                    met += "locked" in str(e)

    await asyncio.gather(*(one() for _ in range(SESSIONS)))
    return met


def tables(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("create table note (text text)")
    connection.commit()
    connection.close()


async def test_sixteen_sessions_beside_a_worker_and_a_writer(store: Store, database: Path) -> None:
    tables(database)
    engine = immediate(create_async_engine(f"sqlite+aiosqlite:///{database}", pool_size=SESSIONS))
    with busy(store, database):
        assert await locked(store, engine, ROUNDS) == 0
    await engine.dispose()
    connection = sqlite3.connect(database)
    assert connection.execute("select count(*) from note where text = 'ours'").fetchone() == (SESSIONS * ROUNDS,)
    connection.close()
    hand = Hand(store)
    left = len(hand.claim(1000))
    assert left + _ended(store) == SESSIONS * ROUNDS
    hand.close()


def _ended(store: Store) -> int:
    return len(ask(store, store.verbs.list_jobs(JobFilter(states=(4,)), None, 10_000)))


async def test_without_the_helper_the_same_sessions_are_refused(store: Store, database: Path) -> None:
    """SQLAlchemy's documented BEGIN is deferred: it starts as a reader, and a reader whose page has been overtaken may
    not become a writer. This is what the helper is for; if this test ever fails, so has its reason."""
    tables(database)
    engine = create_async_engine(f"sqlite+aiosqlite:///{database}", pool_size=SESSIONS)

    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    event.listen(engine.sync_engine, "connect", connect)
    event.listen(engine.sync_engine, "begin", begin)
    with busy(store, database):
        assert await locked(store, engine, 2) > 0
    await engine.dispose()
