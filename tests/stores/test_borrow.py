"""Enqueue in the caller's own transaction: the row and the job stand or fall together, and nothing else is touched.

Each test here runs on every kind of connection (`callers.WAYS`), beside a store on the same database. What is so on one
database alone is in `test_sqlite_borrow.py` and `test_postgres_borrow.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from offpath.errors import ConfigurationError, StoreError
from offpath.ports import Enqueued, Hint, Statement, Store, Verb
from offpath.stores.borrow import Home, run
from offpath.stores.postgres import PostgresStore
from offpath.stores.sqlite import SqliteStore
from offpath.testing.stores.rules import latest, n_of, throttled
from tests import servers
from tests.stores.callers import WAYS, Caller, Heard, Way, lend, settled
from tests.stores.kit import ask, live, new_job, put, told, watched

pytestmark = pytest.mark.anyio


def _ways() -> Iterator[object]:
    for name, way in WAYS.items():
        marks = [pytest.mark.servers("postgres")] if way.dialect == "postgresql" else []
        yield pytest.param(way, id=name, marks=marks)


@pytest.fixture(params=_ways())
def way(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


@pytest.fixture
def address(way: Way, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Of an empty database that is this test's own."""
    if way.dialect == "sqlite":
        return str(tmp_path / "app.db")
    url: str = request.getfixturevalue("tables_url")
    return url


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def store(way: Way, address: str, heard: Heard) -> Iterator[Store]:
    made = open_store(way, address, heard)
    yield made
    made.close()


def open_store(way: Way, address: str, heard: Heard) -> Store:
    kind: Callable[..., Store] = SqliteStore if way.dialect == "sqlite" else PostgresStore
    made = kind(address, announce=heard.announce)
    made.migrate()
    made.open()
    return made


@pytest.fixture
def elsewhere(way: Way, address: str, tmp_path: Path) -> Iterator[str]:
    """The address of another database."""
    if way.dialect == "sqlite":
        yield str(tmp_path / "other.db")
        return
    server = servers.postgres()
    assert isinstance(server, servers.Server)
    with server.database() as url:
        yield url


Open = Callable[[], AbstractAsyncContextManager[Caller]]


@pytest.fixture
def opened(way: Way, address: str) -> Open:
    return lambda: way.open(address)


def notes(store: Store) -> int:
    """How many of the caller's own rows have been committed."""

    def count() -> Verb[int]:
        return (yield Statement("select count(*) from note", {}, lambda rows: rows[0][0]))  # type: ignore[no-any-return]

    return ask(store, count())


# ── it stands or falls with the caller's rows ────────────────────────────────────────────────────────────────────────


async def test_commit_carries_both(store: Store, opened: Open) -> None:
    one, two = watched(args='{"t":"\U0001f4a1 :colon %s ?"}'), new_job()
    async with opened() as caller:
        await caller.note()
        assert await lend(store, caller.tx, one, two) == [Enqueued(one.job.id, False), Enqueued(two.job.id, False)]
        assert ask(store, store.verbs.find(one.job.id)) is None, "not before the commit"
        await caller.commit()
        assert live(store, one.job.id) == one.job
        assert live(store, two.job.id) == two.job
        assert told(store, one.job.id) == [(1, "queued", {})]
    assert notes(store) == 1


async def test_rollback_takes_both_back(store: Store, opened: Open, heard: Heard) -> None:
    new = watched()
    async with opened() as caller:
        await lend(store, caller.tx, new)
        await caller.note()
        await caller.rollback()
        assert ask(store, store.verbs.find(new.job.id)) is None
        assert ask(store, store.verbs.operation(new.job.id)) is None
        assert ask(store, store.verbs.events(new.job.id, 0, 9)) == []
    assert (notes(store), heard) == (0, [])


async def test_a_savepoint_takes_back_only_what_came_after_it(store: Store, opened: Open) -> None:
    before, inside, after = new_job(), watched(), new_job()
    async with opened() as caller:
        await caller.note()
        await lend(store, caller.tx, before)
        async with caller.savepoint() as undo:
            await lend(store, caller.tx, inside)
            await undo()
        await lend(store, caller.tx, after)
        await caller.commit()
    assert live(store, before.job.id) == before.job
    assert live(store, after.job.id) == after.job
    assert ask(store, store.verbs.find(inside.job.id)) is None
    assert ask(store, store.verbs.operation(inside.job.id)) is None


async def test_leaving_without_a_commit_leaves_nothing(store: Store, opened: Open) -> None:
    new = new_job()
    async with opened() as caller:
        await caller.note()
        await lend(store, caller.tx, new)
    assert ask(store, store.verbs.find(new.job.id)) is None
    assert notes(store) == 0


async def test_several_transactions_one_after_the_other(store: Store, opened: Open) -> None:
    jobs = [new_job() for _ in range(4)]
    async with opened() as caller:
        for n, new in enumerate(jobs):
            if n:
                await caller.begin()
            await lend(store, caller.tx, new)
            await (caller.rollback() if n % 2 else caller.commit())
    found = [ask(store, store.verbs.find(new.job.id)) is not None for new in jobs]
    assert found == [True, False, True, False]


async def test_many_in_one_call(store: Store, opened: Open) -> None:
    jobs = [new_job() for _ in range(500)]
    async with opened() as caller:
        assert len(await lend(store, caller.tx, *jobs)) == 500
        await caller.commit()
    assert ask(store, store.verbs.counts())[0][3] == 500


async def test_keys_hold_in_the_callers_transaction(store: Store, opened: Open) -> None:
    standing, new = new_job(key="there"), new_job(key="new")
    put(store, standing)
    async with opened() as caller:
        said = await lend(store, caller.tx, new_job(key="there"), new, new_job(key="new"))
        assert said == [Enqueued(standing.job.id, True), Enqueued(new.job.id, False), Enqueued(new.job.id, True)]
        assert await lend(store, caller.tx, new_job(key="new")) == [Enqueued(new.job.id, True)]
        await caller.commit()
    assert ask(store, store.verbs.counts())[0][3] == 2


async def test_rules_hold_in_the_callers_transaction(store: Store, opened: Open) -> None:
    there, new = latest(1, key="there"), latest(1, key="new")
    put(store, there)
    async with opened() as caller:
        said = await lend(store, caller.tx, latest(2, key="there"), new, new_job(), latest(2, key="new"))
        assert [(one.id, one.existing) for one in (*said[:2], said[3])] == [
            (there.job.id, True), (new.job.id, False), (new.job.id, True)
        ]  # fmt: skip
        assert await lend(store, caller.tx, latest(3, key="new")) == [Enqueued(new.job.id, True)]
        await caller.rollback()
        assert live(store, there.job.id) == there.job
        await caller.begin()
        await lend(store, caller.tx, latest(4, key="there"), throttled(5, key="new"))
        assert n_of(live(store, there.job.id)) == 1, "not before the commit"
        await caller.commit()
    assert n_of(live(store, there.job.id)) == 4
    assert ask(store, store.verbs.counts())[0][3] == 2


# ── hints ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_hint_leaves_after_the_commit_only(store: Store, way: Way, opened: Open, heard: Heard) -> None:
    """Where the driver does not tell when it has committed: on PostgreSQL the row is looked for until it is seen, on
    SQLite a look at the file finds it."""
    async with opened() as caller:
        wanted = [Hint("work", ("mails",))] if caller.told or way.dialect == "postgresql" else []
        await lend(store, caller.tx, new_job(queue="mails"))
        assert heard == []
        await caller.commit()
        if not caller.told:
            heard.wait(len(wanted))
        assert heard == wanted
        await caller.begin()
        await caller.note()
        await caller.commit()
        assert heard == wanted, "once"


async def test_the_end_of_a_savepoint_is_not_the_commit(store: Store, way: Way, opened: Open, heard: Heard) -> None:
    async with opened() as caller:
        await caller.note()
        async with caller.savepoint():
            await lend(store, caller.tx, new_job())
        assert heard == []
        await caller.commit()
        if caller.told:
            assert len(heard) == 1
        elif way.dialect == "postgresql":
            heard.wait(1)


async def test_no_hint_of_what_was_rolled_back_reaches_the_next_commit(
    store: Store, way: Way, opened: Open, heard: Heard
) -> None:
    async with opened() as caller:
        await lend(store, caller.tx, new_job(queue="undone"))
        await caller.rollback()
        await caller.begin()
        await caller.note()
        await lend(store, caller.tx, new_job(queue="done"))
        await caller.commit()
        if caller.told or way.dialect == "postgresql":
            heard.wait(1)
            assert heard == [Hint("work", ("done",))]
        else:
            assert heard == []


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_another_database(store: Store, way: Way, elsewhere: str, heard: Heard) -> None:
    """Refused, and the caller's transaction goes on as it was."""
    new = new_job()
    async with way.open(elsewhere) as caller:
        await caller.note()
        with pytest.raises(ConfigurationError, match="same database"):
            await lend(store, caller.tx, new)
        await caller.note()
        await caller.commit()
        other = open_store(way, elsewhere, heard)
        assert notes(other) == 2
        await caller.begin()
        await lend(other, caller.tx, new)
        with pytest.raises(ConfigurationError, match="same database"):
            await lend(store, caller.tx, new_job())  # known to lead elsewhere, not known to lead here
        await caller.commit()
        assert live(other, new.job.id) == new.job
        other.close()
    assert ask(store, store.verbs.counts()) == []


async def test_a_database_of_another_kind(way: Way, opened: Open, tmp_path: Path) -> None:
    async with opened() as caller:
        wrong = SqliteStore(str(tmp_path / "jobs.db"), announce=lambda hints: None)
        if way.dialect == "sqlite":
            home = Home("postgresql", "", lambda hints: None, lambda: 0, lambda error: StoreError(str(error)))
            with pytest.raises(ConfigurationError, match="the jobs live on postgresql"):
                await settled(run(caller.tx, wrong.verbs.enqueue([new_job()]), home))
        else:
            with pytest.raises(ConfigurationError, match="the jobs live on sqlite"):
                await lend(wrong, caller.tx, new_job())
        await caller.note()
        await caller.commit()
