"""An application's event loop that writes by itself: what its own connection has to do with the store's thread."""

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from offpath import Offpath
from offpath.ports import Enqueued, Hint
from offpath.stores.postgres.store import PostgresStore
from tests.stores.kit import ask, live, new_job, put

SOON = 60.0  # s


@pytest.fixture
def make(postgres_url: str) -> Iterator[Callable[..., PostgresStore]]:
    made: list[PostgresStore] = []

    def make(announce: Callable[[Any], None] = lambda hints: None) -> PostgresStore:
        store = PostgresStore(postgres_url, announce=announce)
        store.open()
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make: Callable[..., PostgresStore]) -> PostgresStore:
    return make()


def held_up(store: PostgresStore) -> threading.Event:
    """The store's thread stands still until this is set."""
    gate = threading.Event()
    put(store, new_job())
    assert store._rooms is not None
    store._rooms.thread.post(gate.wait)
    return gate


async def test_it_does_without_the_stores_thread(store: PostgresStore) -> None:
    await store.move_in()
    gate = held_up(store)
    try:
        new = new_job()
        assert await asyncio.wait_for(store.enqueue_here([new]), SOON) == [Enqueued(new.job.id, False)]
    finally:
        gate.set()
    assert await asyncio.to_thread(live, store, new.job.id) == new.job
    await store.move_out()


@pytest.mark.parametrize(("callers", "groups"), [(30, 1), (200, 2)])
async def test_those_who_gather_share_a_statement_and_many_share_two(
    store: PostgresStore, postgres_url: str, callers: int, groups: int
) -> None:
    await store.move_in()
    await store.enqueue_here([new_job()])
    said = await asyncio.gather(*(store.enqueue_here([new_job()]) for _ in range(callers)))
    assert len({one.id for [one] in said}) == callers
    # Rows of one statement have one transaction's number.
    async with await psycopg.AsyncConnection.connect(postgres_url) as other:
        found = await (
            await other.execute("select xmin::text, count(*) from offpath_job group by 1 order by 2")
        ).fetchall()
    assert [count for _, count in found] == [1, *[callers // groups] * groups]
    await store.move_out()


async def test_a_second_group_leaves_while_the_first_is_held_up(store: PostgresStore, postgres_url: str) -> None:
    await store.move_in()
    async with await psycopg.AsyncConnection.connect(postgres_url) as tx:
        await tx.execute("lock table offpath_job in share mode")
        waiting = [asyncio.ensure_future(store.enqueue_here([new_job()])) for _ in range(100)]
        async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as other:
            stuck = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = %s"
            for _ in range(6_000):
                if await (await other.execute(stuck, ["Lock"])).fetchone() == (2,):
                    break
                await asyncio.sleep(0.01)
            else:
                raise AssertionError("only one of them has left")
        await tx.rollback()
    assert len(await asyncio.gather(*waiting)) == 100
    await store.move_out()


async def test_a_key_that_waits_for_somebody_does_not_wait_here(store: PostgresStore, postgres_url: str) -> None:
    await store.move_in()
    async with await psycopg.AsyncConnection.connect(postgres_url) as tx:
        await store.enqueue_on(tx, [new_job(key="k")])
        waits = asyncio.ensure_future(store.enqueue_here([new_job(key="k")]))
        for _ in range(20):
            await asyncio.wait_for(store.enqueue_here([new_job()]), SOON)
        assert not waits.done()
        await tx.rollback()
    [said] = await asyncio.wait_for(waits, SOON)
    assert not said.existing
    await store.move_out()


async def test_a_connection_that_the_server_ends_is_replaced_and_nothing_doubled(
    store: PostgresStore, postgres_url: str
) -> None:
    await store.move_in()
    made = [await store.enqueue_here([new_job()])]
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as other:
        for _ in range(5):
            await other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            made += await asyncio.gather(*(store.enqueue_here([new_job()]) for _ in range(20)))
    assert len({one.id for [one] in made}) == 101
    assert [row[3] for row in await store.read(store.verbs.counts())] == [101]
    await store.move_out()


async def test_a_group_is_written_in_nobodys_context(make: Callable[..., PostgresStore]) -> None:
    """The first of them may be a request with a trace of its own."""
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody")
    seen: list[str] = []

    def announce(hints: list[Hint]) -> None:
        seen.append(whose.get())

    store = make(announce)
    await store.move_in()
    whose.set("a request")
    await store.enqueue_here([new_job()])
    assert seen == ["nobody"]
    await store.move_out()


async def test_whoever_gives_up_waiting_takes_nobody_with_him(store: PostgresStore) -> None:
    await store.move_in()
    gone, stays = (asyncio.ensure_future(store.enqueue_here([new_job()])) for _ in range(2))
    gone.cancel()
    assert len(await stays) == 1
    await store.move_out()
    assert [row[3] for row in await store.read(store.verbs.counts())] == [2]  # it was on its way already


async def test_closing_elsewhere_waits_for_what_was_enqueued_here(store: PostgresStore) -> None:
    await store.move_in()
    waiting = [store.enqueue_here([new_job()]) for _ in range(50)]
    await asyncio.to_thread(store.close)
    assert len(await asyncio.gather(*waiting)) == 50
    await store.move_out()
    await asyncio.to_thread(store.open)
    assert [row[3] for row in await store.read(store.verbs.counts())] == [50]


async def test_closing_on_the_loop_itself_loses_nothing(store: PostgresStore) -> None:
    await store.move_in()
    waiting = [store.enqueue_here([new_job()]) for _ in range(50)]
    store.close()
    assert len(await asyncio.gather(*waiting)) == 50
    await asyncio.to_thread(store.open)
    assert [row[3] for row in await store.read(store.verbs.counts())] == [50]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Python tells of the connections that were left
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_ended_without_a_word_is_no_trouble(store: PostgresStore) -> None:
    async def main() -> None:
        await store.move_in()
        await store.enqueue_here([new_job()])

    asyncio.run(main())
    asyncio.run(main())  # another loop, another connection
    assert [row[3] for row in ask(store, store.verbs.counts())] == [2]
    store.close()
    gc.collect()


@pytest.mark.parametrize("turns", [0, 1, 3], ids=["before its first step", "at its first", "under way"])
def test_an_application_that_cancels_all_tasks_still_gets_its_answers(
    store: PostgresStore, postgres_url: str, turns: int
) -> None:
    """The usual shutdown cancels whatever is in `all_tasks()`, a group on its way among them; handlers that say goodbye
    by a job wait for it in their `finally`."""
    first, last = new_job(), new_job()

    async def main() -> None:
        await store.move_in()
        await store.enqueue_here([new_job()])
        with psycopg.connect(postgres_url) as tx:
            tx.execute("lock table offpath_job in share mode")
            waits = store.enqueue_here([first])  # not a task: nobody cancels it
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            later = store.enqueue_here([last])
            await asyncio.sleep(0)
            tx.rollback()
        for new, waiting in ((first, waits), (last, later)):
            assert await asyncio.wait_for(waiting, SOON) == [Enqueued(new.job.id, False)]
        await asyncio.wait_for(store.enqueue_here([new_job()]), SOON)
        await store.move_out()

    asyncio.run(main())
    assert live(store, first.job.id) == first.job


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Python tells of the connections that were left
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_loops_that_ended_without_a_word_keep_no_connections(store: PostgresStore, postgres_url: str) -> None:
    async def life() -> None:
        await store.move_in()
        await store.enqueue_here([new_job()])

    for _ in range(4):
        asyncio.run(life())
    assert len(store._annexes) == 1
    store.close()
    gc.collect()


@pytest.mark.parametrize("what", ["loops that enter and leave", "a thread that opens, one that closes"])
def test_whoever_comes_while_another_leaves_is_not_left_standing(tables_url: str, what: str) -> None:
    jobs = Offpath(tables_url)
    note = jobs.task(name="note")(lambda: None)

    async def visit() -> None:
        async with jobs:
            await note.enqueue()

    def many(turn: Callable[[], object]) -> None:
        for _ in range(30):
            turn()

    turns: list[Callable[[], object]] = [lambda: asyncio.run(visit())] * 2
    if what.startswith("a thread"):
        turns = [lambda: jobs.store.migrate(), jobs.store.close]
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(many, turn) for turn in turns]
        for one in both:
            one.result(SOON)
    jobs.close()
