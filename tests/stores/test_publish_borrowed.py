"""Publishing in the caller's own transaction, through every kind of connection; and in which order, when two of them
are open at once."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from offpath.ports import Store
from offpath.ports.outbox import NewEvent
from offpath.stores.postgres import PostgresStore
from offpath.stores.sqlite import SqliteStore
from offpath.testing.stores.outbox import _event as event
from tests.stores.callers import WAYS, Caller, Heard, Way, settled
from tests.stores.kit import TIMEOUT, ask, fresh, live

pytestmark = pytest.mark.anyio

SOME = (
    *("sqlite3", "sqlite, Session", "aiosqlite, AsyncSession", "asyncpg", "asyncpg, AsyncSession", "psycopg"),
    *("psycopg, async", "psycopg, async, begun by hand", "psycopg, Session"),
)
"""One of each family; that any verb runs on all of them is shown in `test_borrow.py`."""
Open = Callable[[], AbstractAsyncContextManager[Caller]]


def _ways(dialect: str = "") -> Iterator[object]:
    for name, way in WAYS.items():
        if dialect in ("", way.dialect) and name in SOME:
            marks = [pytest.mark.servers("postgres")] if way.dialect == "postgresql" else []
            yield pytest.param(way, id=name, marks=marks)


def _store(way: Way, address: str, heard: Heard) -> Store:
    kind: Callable[..., Store] = SqliteStore if way.dialect == "sqlite" else PostgresStore
    made = kind(address, announce=heard.announce)
    made.migrate()
    made.open()
    return made


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def address(way: Way, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    return str(tmp_path / "app.db") if way.dialect == "sqlite" else str(request.getfixturevalue("tables_url"))


@pytest.fixture
def store(way: Way, address: str, heard: Heard) -> Iterator[Store]:
    made = _store(way, address, heard)
    yield made
    made.close()


@pytest.fixture
def opened(way: Way, address: str) -> Open:
    return lambda: way.open(address)


async def publish(store: Store, tx: Any, *events: NewEvent) -> None:
    await settled(store.run_on(tx, store.verbs.publish(events)))


def waiting(store: Store, key: str) -> list[str]:
    shard = event("", key).shard
    return [row.id for row in ask(store, store.verbs.line(shard, fresh(), 100)).rows if row.key == key]


@pytest.mark.parametrize("way", list(_ways()))
async def test_what_is_rolled_back_is_not_published(store: Store, opened: Open, heard: Heard) -> None:
    async with opened() as caller:
        await publish(store, caller.tx, event("1", "k"))
        await caller.rollback()
        await caller.begin()
        async with caller.savepoint() as undo:
            await publish(store, caller.tx, event("2", "k"))
            await undo()
        async with caller.savepoint():
            await publish(store, caller.tx, made := event("3\U0001f4a1 :k %s ?", "k"))
        assert waiting(store, "k") == []
        await caller.commit()
        assert waiting(store, "k") == ["3\U0001f4a1 :k %s ?"]
        assert live(store, made.new.job.id).task == "offpath.publish"
        told = caller.told
    if told:
        assert {hint.names for hint in heard} == {("offpath.events",)}


TWO = ("asyncpg", "asyncpg, AsyncSession", "psycopg, async", "psycopg, async, begun by hand")


@pytest.mark.parametrize("way", [one for one in _ways("postgresql") if getattr(one, "id", "") in TWO])
async def test_events_of_a_key_are_in_the_order_of_their_commits(store: Store, opened: Open) -> None:
    """Two transactions are open. The one that began later and publishes first commits last."""
    async with opened() as first, opened() as second:
        await first.note()
        await second.note()
        await publish(store, second.tx, event("A", "k"), event("B", "other"))
        late = asyncio.create_task(publish(store, first.tx, event("C", "k")))
        await publish_free(store, opened, "D")  # other keys wait for nobody
        assert not late.done()
        assert waiting(store, "k") == []
        await second.commit()
        await asyncio.wait_for(late, TIMEOUT)
        assert waiting(store, "k") == ["A"]
        await first.commit()
    assert waiting(store, "k") == ["A", "C"]
    assert waiting(store, "other") == ["B"]


async def publish_free(store: Store, opened: Open, id: str) -> None:
    async with opened() as third:
        await publish(store, third.tx, event(id, "free"), event(f"{id}{id}"))
        await third.commit()


@pytest.mark.parametrize("way", [one for one in _ways("postgresql") if getattr(one, "id", "") in TWO[:2]])
async def test_events_of_a_key_go_on_after_a_rollback(store: Store, opened: Open) -> None:
    async with opened() as first, opened() as second:
        await publish(store, first.tx, event("A", "k"))
        late = asyncio.create_task(publish(store, second.tx, event("B", "k")))
        await publish_free(store, opened, "C")
        assert not late.done()
        await first.rollback()
        await asyncio.wait_for(late, TIMEOUT)
        await second.commit()
    assert waiting(store, "k") == ["B"]


@pytest.mark.parametrize("way", [one for one in _ways("postgresql") if getattr(one, "id", "") in TWO[:1]])
async def test_two_who_publish_for_the_same_keys_in_one_call_each_do_not_deadlock(store: Store, opened: Open) -> None:
    keys = [f"key {n}" for n in range(20)]
    async with opened() as first, opened() as second:
        doing = [
            asyncio.create_task(_both(store, caller, order)) for caller, order in ((first, keys), (second, keys[::-1]))
        ]
        await asyncio.wait_for(asyncio.gather(*doing), TIMEOUT)
    assert all(len(waiting(store, key)) == 2 for key in keys)


async def _both(store: Store, caller: Caller, keys: list[str]) -> None:
    await publish(store, caller.tx, *(event(fresh(), key) for key in keys))
    await caller.commit()
