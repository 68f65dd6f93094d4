"""Enqueue in the caller's own transaction, on SQLite; what is so on every database is in `test_borrow.py`."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from offpath.errors import ConfigurationError, SchemaError, StoreUnavailable
from offpath.ports import Enqueued, Store
from offpath.stores.sqlite import SqliteStore
from tests.stores.callers import CREATE
from tests.stores.conftest import Make
from tests.stores.kit import Hand, ask, live, new_job, put

pytestmark = pytest.mark.anyio


def notes(database: Path) -> int:
    connection = sqlite3.connect(database)
    [(count,)] = connection.execute("select count(*) from note").fetchall()
    connection.close()
    return int(count)


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    text: Mapped[str] = mapped_column(primary_key=True)


class Other(Base):
    __tablename__ = "other"
    text: Mapped[str] = mapped_column(primary_key=True)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tx", [None, 1, "sqlite:///app.db", object(), []])
def test_what_is_no_connection(store: Store, tx: object) -> None:
    with pytest.raises(ConfigurationError, match="tx must be"):
        store.enqueue_on(tx, [new_job()])


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory(store: Store, url: str) -> None:
    engine = create_engine(url)
    with Session(engine) as session, pytest.raises(ConfigurationError, match="in memory"):
        store.enqueue_on(session, [new_job()])
    connection = sqlite3.connect(":memory:")
    with pytest.raises(ConfigurationError, match="in memory"):
        store.enqueue_on(connection, [new_job()])
    connection.close()
    engine.dispose()


@pytest.mark.parametrize("aside", [False, True], ids=["alone", "asynchronous"])
async def test_a_session_of_which_only_mappers_are_bound(store: Store, database: Path, aside: bool) -> None:
    first, second = new_job(), new_job()
    if aside:
        lazy = create_async_engine(f"sqlite+aiosqlite:///{database}")
        async with AsyncSession(binds={Note: lazy, Other: lazy}) as asynchronous:
            for new in (first, second):
                await store.enqueue_on(asynchronous, [new])
                await (asynchronous.commit() if new is first else asynchronous.rollback())
        await lazy.dispose()
    else:
        engine = create_engine(f"sqlite:///{database}")
        with Session(binds={Note: engine, Other: engine}) as session:
            for new in (first, second):
                store.enqueue_on(session, [new])
                session.commit() if new is first else session.rollback()
        engine.dispose()
    assert live(store, first.job.id) == first.job
    assert ask(store, store.verbs.counts())[0][3] == 1


def test_a_session_of_several_databases(store: Store, database: Path) -> None:
    new, engine, other = new_job(), create_engine(f"sqlite:///{database}"), create_engine("sqlite://")
    with Session(binds={Note: engine, Other: other}) as session:
        with pytest.raises(ConfigurationError, match="bound to several databases; say which one"):
            store.enqueue_on(session, [new])
        store.enqueue_on(session.connection(bind_arguments={"mapper": Note}), [new])
        session.commit()
    with Session() as session, pytest.raises(ConfigurationError, match="not bound"):
        store.enqueue_on(session, [new_job()])
    for one in (engine, other):
        one.dispose()
    assert live(store, new.job.id) == new.job


def test_the_same_file_by_another_name(store: Store, database: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(database)
    new = new_job()
    connection = sqlite3.connect(link)
    store.enqueue_on(connection, [new])
    connection.commit()
    connection.close()
    assert live(store, new.job.id) == new.job


def test_a_connection_without_a_transaction(store: Store, database: Path) -> None:
    """Each statement would be a commit of its own: not one transaction, and nothing to roll back."""
    connection = sqlite3.connect(database, isolation_level=None)
    with pytest.raises(ConfigurationError, match="BEGIN IMMEDIATE"):
        store.enqueue_on(connection, [new_job()])
    connection.close()
    assert ask(store, store.verbs.counts()) == []


async def test_autocommit_of_sqlalchemy(store: Store, database: Path) -> None:
    engine = create_engine(f"sqlite:///{database}", isolation_level="AUTOCOMMIT")
    with Session(engine) as session, pytest.raises(ConfigurationError, match="no open transaction"):
        store.enqueue_on(session, [new_job()])
    with engine.connect() as connection, pytest.raises(ConfigurationError, match="no open transaction"):
        store.enqueue_on(connection, [new_job()])
    engine.dispose()
    lazy = create_async_engine(f"sqlite+aiosqlite:///{database}").execution_options(isolation_level="AUTOCOMMIT")
    async with lazy.connect() as other:
        with pytest.raises(ConfigurationError, match="no open transaction"):
            await store.enqueue_on(other, [new_job()])
    await lazy.dispose()
    assert ask(store, store.verbs.counts()) == []


def test_a_closed_connection(store: Store, database: Path) -> None:
    raw = sqlite3.connect(database)
    raw.close()
    engine = create_engine(f"sqlite:///{database}")
    connection = engine.connect()
    connection.close()
    for tx in (raw, connection):
        with pytest.raises(ConfigurationError, match="cannot be used"):
            store.enqueue_on(tx, [new_job()])
    with Session(engine) as session:
        session.begin()
        session.execute(text("select 1"))
        session.connection().connection.invalidate()
        with pytest.raises(ConfigurationError, match="cannot be used"):
            store.enqueue_on(session, [new_job()])
        session.rollback()
    unbound = Session()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        store.enqueue_on(unbound, [new_job()])
    engine.dispose()


def test_a_session_that_must_be_rolled_back_first(store: Store, database: Path) -> None:
    engine = create_engine(f"sqlite:///{database}")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Note(text="x"), Note(text="x")])
        with pytest.raises(IntegrityError):
            session.flush()
        with pytest.raises(ConfigurationError, match="rolled back"):
            store.enqueue_on(session, [new_job()])
        session.rollback()
        store.enqueue_on(session, [new_job()])
        session.commit()
    engine.dispose()


def test_tables_that_are_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    never = SqliteStore(str(path), announce=lambda hints: None)
    connection = sqlite3.connect(path)
    connection.execute(CREATE)
    with pytest.raises(SchemaError, match=r"there are no offpath tables in .*new\.db: run `offpath migrate`"):
        never.enqueue_on(connection, [new_job()])
    connection.close()
    engine = create_engine(f"sqlite:///{path}")
    with Session(engine) as session, pytest.raises(SchemaError, match="offpath migrate"):
        never.enqueue_on(session, [new_job()])
    engine.dispose()


async def test_a_database_that_stays_locked(store: Store, database: Path) -> None:
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("begin immediate")
    raw = sqlite3.connect(database, timeout=0)
    engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": 0})
    lazy = create_async_engine(f"sqlite+aiosqlite:///{database}", connect_args={"timeout": 0})
    with Session(engine) as session:
        for tx in (raw, session):
            with pytest.raises(StoreUnavailable, match="locked"):
                store.enqueue_on(tx, [new_job()])
    async with lazy.connect() as connection:
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.enqueue_on(connection, [new_job()])
    other.close()
    raw.close()
    engine.dispose()
    await lazy.dispose()


# ── nothing of the caller's is changed ───────────────────────────────────────────────────────────────────────────────


def test_a_row_factory_of_the_callers_own(store: Store, database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda data: data.decode()
    standing = new_job(key="k")
    put(store, standing)
    assert store.enqueue_on(connection, [new_job(key="k"), new_job()])[0] == Enqueued(standing.job.id, True)
    assert connection.row_factory is sqlite3.Row
    assert connection.execute("select 1 as one").fetchone()["one"] == 1
    connection.commit()
    connection.close()


def test_a_subclass_of_the_callers_own(store: Store, database: Path) -> None:
    class Mine(sqlite3.Connection):
        def execute(self, *args: Any) -> Any:
            raise AssertionError("not through here")

    connection = sqlite3.connect(database, factory=Mine)
    assert len(store.enqueue_on(connection, [new_job()])) == 1
    connection.commit()
    connection.close()


def test_what_the_session_has_not_flushed_stays_so(store: Store, database: Path) -> None:
    """No autoflush, no ORM hook: enqueue is none of the session's business but its transaction."""
    engine = create_engine(f"sqlite:///{database}")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        note = Note(text="x")
        session.add(note)
        store.enqueue_on(session, [new_job()])
        assert note in session.new
        session.commit()
    engine.dispose()
    assert notes(database) == 1


def test_in_the_jobs_own_database_a_worker_takes_it_at_once(store: Store, make: Make, database: Path) -> None:
    other = make()
    hand = Hand(other)
    connection = sqlite3.connect(database)
    new = new_job()
    store.enqueue_on(connection, [new])
    connection.commit()
    connection.close()
    assert [job.id for job in hand.claim(5)] == [new.job.id]
    hand.close()
