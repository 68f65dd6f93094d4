"""Enqueue in the caller's own transaction, on PostgreSQL; what is so on every database is in `test_borrow.py`."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine, event
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from offpath.errors import ConfigurationError, SchemaError, StoreError, StoreUnavailable
from offpath.ports import Enqueued, Now, Store, Verb
from offpath.stores.borrow import Home, run
from offpath.stores.postgres import PostgresStore
from servers.proxy import Proxy
from tests.conftest import missing
from tests.stores.callers import CREATE, WAYS, Heard, Way, engine_url, lend, settled
from tests.stores.kit import ask, live, new_job, perform, put, watched

pytestmark = [pytest.mark.anyio, pytest.mark.servers("postgres")]

POSTGRES = {name: way for name, way in WAYS.items() if way.dialect == "postgresql"}
RAW = {name: POSTGRES[name] for name in ("asyncpg", "asyncpg, from a pool", "psycopg", "psycopg, async")}


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def store(tables_url: str, heard: Heard) -> Iterator[Store]:
    made: Store = PostgresStore(tables_url, announce=heard.announce)
    made.migrate()
    made.open()
    yield made
    made.close()


@pytest.fixture(params=list(POSTGRES.values()), ids=list(POSTGRES))
def way(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


@pytest.fixture(params=list(RAW.values()), ids=list(RAW))
def raw(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_closed_connection(store: Store, tables_url: str) -> None:
    one = await asyncpg.connect(tables_url)
    await one.close()
    two = psycopg.connect(tables_url)
    two.close()
    three = await psycopg.AsyncConnection.connect(tables_url)
    await three.close()
    engine = create_engine(engine_url(tables_url, "postgresql+psycopg"))
    four = engine.connect()
    four.close()
    lazy = create_async_engine(engine_url(tables_url, "postgresql+asyncpg"))
    async with lazy.connect() as five:
        pass
    for tx in (one, two, three, four, five):
        with pytest.raises(ConfigurationError, match="tx cannot be used"):
            await lend(store, tx, new_job())
    engine.dispose()
    await lazy.dispose()


async def test_what_was_given_back_to_its_pool(store: Store, tables_url: str) -> None:
    async with asyncpg.create_pool(tables_url, min_size=1, max_size=1) as pool:
        async with pool.acquire() as connection, connection.transaction():
            await lend(store, connection, new_job())
        with pytest.raises(ConfigurationError, match="released back to the pool"):
            await lend(store, connection, new_job())
        async with pool.acquire() as connection, connection.transaction():
            await lend(store, connection, new_job())
    assert ask(store, store.verbs.counts())[0][3] == 2


async def test_a_connection_that_the_server_has_cut(store: Store, way: Way, tables_url: str) -> None:
    async with way.open(tables_url) as caller:
        await lend(store, caller.tx, new_job())
        [(pid,)] = await caller.run("select pg_backend_pid()")
        with psycopg.connect(tables_url, autocommit=True) as other:
            assert other.execute("select pg_terminate_backend(%s, 5000)", [pid]).fetchone() == (True,)
        # asyncpg's pool takes back at once what is of no use, SQLAlchemy wants a rollback before anything else
        taken = way is RAW["asyncpg, from a pool"]
        with pytest.raises(
            (StoreUnavailable, ConfigurationError) if taken else StoreUnavailable, match=r"lost|released"
        ):
            await lend(store, caller.tx, new_job())
        sure = way in RAW.values() and not taken
        with pytest.raises(
            StoreUnavailable if sure else (StoreUnavailable, ConfigurationError), match=r"lost|cannot be used"
        ):
            await lend(store, caller.tx, new_job())
    assert ask(store, store.verbs.counts()) == []


async def test_without_a_transaction(store: Store, tables_url: str) -> None:
    """Each statement would be a commit of its own: not one transaction, and nothing to roll back."""
    one = await asyncpg.connect(tables_url)
    two = psycopg.connect(tables_url, autocommit=True)
    three = await psycopg.AsyncConnection.connect(tables_url, autocommit=True)
    for tx in (one, two, three):
        with pytest.raises(ConfigurationError, match=r"no open transaction: enqueue inside .*transaction\(\)"):
            await lend(store, tx, new_job())
        await settled(tx.close())
    assert ask(store, store.verbs.counts()) == []


async def test_a_pipeline_without_a_transaction(store: Store, tables_url: str) -> None:
    """In a pipeline nobody knows how things stand before what was sent is answered: it is asked for first."""
    one, two, three = new_job(), new_job(), new_job()
    with psycopg.connect(tables_url, autocommit=True) as connection:
        with connection.transaction():
            store.enqueue_on(connection, [one])  # by now it is known where the connection leads
        with connection.pipeline():
            connection.execute("select 1")
            with pytest.raises(ConfigurationError, match="no open transaction"):
                store.enqueue_on(connection, [new_job()])
            with pytest.raises(ConfigurationError, match="no open transaction"):
                store.enqueue_on(connection, [new_job()])
            connection.execute("begin")
            store.enqueue_on(connection, [two])
            connection.execute("commit")
            with pytest.raises(ConfigurationError, match="no open transaction"):
                store.enqueue_on(connection, [new_job()])
    async with await psycopg.AsyncConnection.connect(tables_url, autocommit=True) as lazy:
        async with lazy.transaction():
            await lend(store, lazy, three)
        async with lazy.pipeline():
            await lazy.execute("select 1")
            with pytest.raises(ConfigurationError, match="no open transaction"):
                await lend(store, lazy, new_job())
    assert [live(store, new.job.id) for new in (one, two, three)] == [one.job, two.job, three.job]
    assert ask(store, store.verbs.counts())[0][3] == 3


def test_a_pipeline_in_which_a_statement_has_failed(store: Store, tables_url: str) -> None:
    with psycopg.connect(tables_url) as connection, connection.pipeline():
        connection.execute("select 1 / 0")
        with pytest.raises(StoreError, match="division by zero"):
            store.enqueue_on(connection, [new_job()])
        with pytest.raises(ConfigurationError, match="rolled back"):
            store.enqueue_on(connection, [new_job()])
        connection.rollback()
        store.enqueue_on(connection, [new_job()])
    assert ask(store, store.verbs.counts())[0][3] == 1


async def test_a_transaction_that_is_prepared_takes_no_more(
    store: Store, tables_url: str, request: pytest.FixtureRequest
) -> None:
    """Whatever is executed between its two phases is a transaction of its own."""
    new = new_job()
    with closing(psycopg.connect(tables_url)) as connection, psycopg.connect(tables_url, autocommit=True) as other:
        if other.execute("show max_prepared_transactions").fetchone() == ("0",):
            missing(request.config, "postgres-prepared", "max_prepared_transactions is 0")
        connection.tpc_begin(new.job.id)
        store.enqueue_on(connection, [new])
        connection.tpc_prepare()
        try:
            with pytest.raises(ConfigurationError, match=r"tx cannot be used: .*prepared"):
                store.enqueue_on(connection, [new_job()])
        finally:
            other.execute(f"commit prepared '{new.job.id}'")
    assert live(store, new.job.id) == new.job
    assert ask(store, store.verbs.counts())[0][3] == 1


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_autocommit_of_sqlalchemy(store: Store, tables_url: str, driver: str) -> None:
    url = engine_url(tables_url, f"postgresql+{driver}")
    lazy = create_async_engine(url, isolation_level="AUTOCOMMIT")
    later = create_async_engine(url)
    async with AsyncSession(lazy) as session:
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            await lend(store, session, new_job())
    async with later.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            await lend(store, connection, new_job())
    async with later.connect() as connection:
        await lend(store, connection, new_job())
        await connection.commit()
    for engine in (lazy, later):
        await engine.dispose()
    assert ask(store, store.verbs.counts())[0][3] == 1


async def test_a_transaction_that_may_only_read(store: Store, way: Way, tables_url: str) -> None:
    """Nothing is lost, and trying again will not help."""
    async with way.open(tables_url) as caller:
        await caller.run("set transaction read only")
        for key in (None, "k"):
            async with caller.savepoint() as undo:
                with pytest.raises(ConfigurationError, match="tx is read-only"):
                    await lend(store, caller.tx, new_job(key=key))
                await undo()
        await caller.rollback()
        await caller.begin()
        await lend(store, caller.tx, new_job())
        await caller.commit()
    assert ask(store, store.verbs.counts())[0][3] == 1


async def test_a_transaction_that_has_failed(store: Store, way: Way, tables_url: str) -> None:
    new = new_job()
    async with way.open(tables_url) as caller:
        await caller.note()
        async with caller.savepoint() as undo:
            with pytest.raises(Exception, match="division by zero"):
                await caller.run("select 1 / 0")
            with pytest.raises(ConfigurationError, match="rolled back"):
                await lend(store, caller.tx, new_job())
            await undo()
        await lend(store, caller.tx, new)
        await caller.commit()
    assert live(store, new.job.id) == new.job


async def test_a_connection_in_the_middle_of_something(store: Store, tables_url: str) -> None:
    connection = await asyncpg.connect(tables_url)
    block = connection.transaction()
    await block.start()
    await connection.execute("select pg_advisory_lock(1)")
    with psycopg.connect(tables_url) as other:
        other.execute("select pg_advisory_lock(2)")
        waits = asyncio.ensure_future(connection.execute("select pg_advisory_lock(2)"))
        await asyncio.sleep(0)  # it has been sent
        with pytest.raises(ConfigurationError, match="another operation"):
            await lend(store, connection, new_job())
    await waits
    await lend(store, connection, new_job())
    await block.commit()
    await connection.close()
    assert ask(store, store.verbs.counts())[0][3] == 1


async def test_tables_that_are_gone(store: Store, way: Way, tables_url: str) -> None:
    async with way.open(tables_url) as caller:
        await lend(store, caller.tx, new_job())
        await caller.commit()
        with psycopg.connect(tables_url, autocommit=True) as other:
            other.execute("drop table offpath_job cascade")
        await caller.begin()
        with pytest.raises(SchemaError, match="offpath migrate"):
            await lend(store, caller.tx, new_job())
        await caller.rollback()


def test_text_that_the_connection_cannot_carry(store: Store, tables_url: str) -> None:
    new = new_job(args='{"name":"Zoë"}')
    with psycopg.connect(tables_url, client_encoding="latin1") as connection:
        with pytest.raises(StoreError):
            store.enqueue_on(connection, [new_job(args='{"name":"\U0001f4a1"}')])
        store.enqueue_on(connection, [new])
    assert live(store, new.job.id) == new.job


async def test_a_lock_that_is_not_had_in_time(store: Store, raw: Way, tables_url: str) -> None:
    """Whoever repeats transactions looks at the SQLSTATE of the driver's own error."""
    async with raw.open(tables_url) as caller:
        await lend(store, caller.tx, new_job(key="one"))
        with psycopg.connect(tables_url) as other:
            other.execute("set local lock_timeout = '10s'")
            store.enqueue_on(other, [new_job(key="two")])
            await caller.run("set local lock_timeout = '20ms'")
            with pytest.raises(StoreError) as caught:
                await lend(store, caller.tx, new_job(key="two"))
            assert getattr(caught.value.__cause__, "sqlstate", None) == "55P03"
            other.rollback()
        await caller.rollback()
    assert ask(store, store.verbs.counts()) == []


async def test_a_serialization_failure(store: Store, way: Way, tables_url: str) -> None:
    """Trying again will do, and says so by its class; the driver's own error has the SQLSTATE."""
    holder = new_job(key="k")
    async with way.open(tables_url) as caller:
        await caller.run("set transaction isolation level repeatable read")
        await caller.run("select 1")
        put(store, holder)
        with pytest.raises(StoreUnavailable, match="cannot do this now") as caught:
            await lend(store, caller.tx, new_job(key="k"))
        assert getattr(caught.value.__cause__, "sqlstate", None) == "40001"
        await caller.rollback()
        await caller.begin()
        assert await lend(store, caller.tx, new_job(key="k")) == [Enqueued(holder.job.id, True)]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_a_key_whose_holder_has_ended_since_the_transaction_began_to_look(
    store: Store, raw: Way, tables_url: str, level: str
) -> None:
    """What it sees is as old as its first look: the holder still stands there for it, beside its own job."""
    former, new = new_job(key="k"), new_job(key="k")
    put(store, former)
    async with raw.open(tables_url) as caller:
        await caller.run(f"set transaction isolation level {level}")
        await caller.run("select 1")
        perform(store, store.verbs.cancel(former.job.id, ""))
        assert await lend(store, caller.tx, new) == [Enqueued(new.job.id, False)]
        assert await lend(store, caller.tx, new_job(key="k")) == [Enqueued(new.job.id, True)]
        await caller.commit()
    assert live(store, new.job.id) == new.job


# ── nothing of the caller's is changed ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        {"row_factory": dict_row},
        {"cursor_factory": psycopg.ClientCursor},
        {"cursor_factory": psycopg.RawCursor},
        {"prepare_threshold": None},
        {"prepare_threshold": 0},
        {"options": "-c search_path=pg_catalog -c default_transaction_isolation=serializable"},
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_psycopg_as_the_caller_likes_it(store: Store, tables_url: str, options: dict[str, Any]) -> None:
    standing, new = new_job(key="k"), watched()
    put(store, standing)
    with psycopg.connect(tables_url, **options) as connection:
        factories = connection.row_factory, connection.cursor_factory
        for _ in range(3):  # prepared on the way
            assert store.enqueue_on(connection, [new_job(key="k")]) == [Enqueued(standing.job.id, True)]
        assert store.enqueue_on(connection, [new]) == [Enqueued(new.job.id, False)]
        assert (connection.row_factory, connection.cursor_factory) == factories
    assert live(store, new.job.id) == new.job


async def test_psycopg_in_a_pipeline(store: Store, tables_url: str) -> None:
    one, two = new_job(), new_job()
    with psycopg.connect(tables_url) as connection, connection.pipeline():
        connection.execute(CREATE)
        store.enqueue_on(connection, [one])
    async with (
        await psycopg.AsyncConnection.connect(tables_url, autocommit=True) as lazy,
        lazy.pipeline(),
        lazy.transaction(),
    ):
        await lend(store, lazy, two)
    assert [live(store, new.job.id) for new in (one, two)] == [one.job, two.job]


async def test_asyncpg_as_the_caller_likes_it(store: Store, tables_url: str) -> None:
    class Record(asyncpg.Record):
        def __iter__(self) -> Any:
            raise AssertionError("not this one")

    standing, new = new_job(key="k"), watched(args='{"a":[1,"\\u0000"]}')
    put(store, standing)
    connection = await asyncpg.connect(
        tables_url, record_class=Record, statement_cache_size=0, server_settings={"search_path": "pg_catalog"}
    )
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    async with connection.transaction():
        assert await lend(store, connection, new_job(key="k")) == [Enqueued(standing.job.id, True)]
        assert await lend(store, connection, new) == [Enqueued(new.job.id, False)]
    await connection.close()
    assert live(store, new.job.id) == new.job


def test_a_subclass_of_the_callers_own(store: Store, tables_url: str) -> None:
    class Mine(psycopg.Connection[Any]):
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("not through here")

        def cursor(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError("nor here")

    with Mine.connect(tables_url) as connection:
        assert len(store.enqueue_on(connection, [new_job()])) == 1


# ── what it costs the caller ─────────────────────────────────────────────────────────────────────────────────────────


async def test_one_statement_and_no_notify(store: Store, tables_url: str) -> None:
    """The first enqueue on a connection asks where it leads; after that it is one statement, with a key two."""
    said: list[str] = []
    connection = await asyncpg.connect(tables_url)
    connection.add_query_logger(lambda query: said.append(query.query))
    engine = create_engine(engine_url(tables_url, "postgresql+psycopg"))
    event.listen(engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    with Session(engine) as session:
        for tx in (connection, session):
            if tx is connection:
                block = connection.transaction()
                await block.start()
            await lend(store, tx, watched())
            said.clear()
            await lend(store, tx, watched(), watched())
            assert len(said) == 1
            await lend(store, tx, watched(key=f"{id(tx)}"))
            assert len(said) == 3
            assert not re.search("notify", " ".join(said), re.IGNORECASE)
            await block.commit() if tx is connection else session.commit()
    engine.dispose()
    await connection.close()
    assert ask(store, store.verbs.counts())[0][3] == 8


async def test_the_clock_is_the_databases(way: Way, tables_url: str) -> None:
    def verb() -> Verb[int]:
        return (yield Now())  # type: ignore[no-any-return]

    home = Home("postgresql", "", lambda hints: None, lambda: 0, lambda error: StoreError(str(error)))
    async with way.open(tables_url) as caller:
        question = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
        [(before,)] = await caller.run(question)
        told = await settled(run(caller.tx, verb(), home))
        [(after,)] = await caller.run(question)
        assert before <= told <= after
        assert type(told) is int


async def test_no_loop_stands_still_until_the_store_has_looked_where_it_is(tables_url: str, heard: Heard) -> None:
    """The first time that a process lends a connection the store has to connect: whoever awaits that waits alone."""
    happened: list[str] = []
    async with await psycopg.AsyncConnection.connect(tables_url) as tx:
        with Proxy(tables_url) as proxy:
            store = PostgresStore(proxy.url, announce=heard.announce)
            proxy.deaf()

            async def enqueue() -> None:
                happened.append("asked")
                with pytest.raises(StoreUnavailable):
                    await lend(store, tx, new_job())
                happened.append("refused")

            asking = asyncio.create_task(enqueue())
            while "asked" not in happened or not proxy.connections:  # noqa: ASYNC110 (it is made in another thread)
                await asyncio.sleep(0.01)
            happened.append("we went on")
            proxy.restore()
            await asking
            assert happened == ["asked", "we went on", "refused"]
            assert len(await lend(store, tx, new_job())) == 1
            await asyncio.to_thread(store.close)
