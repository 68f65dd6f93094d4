"""A store comes to its tables, leaves, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ...core.options import SECOND
from ...ports import Enqueued, Store
from .fixtures import Build, Databases, Hire, Make
from .kit import TIMEOUT, ask, live, lose, new_job, now, put


def quiet(hints: object) -> None:
    """Nobody listens."""


@pytest.fixture
def empty(databases: Databases) -> Iterator[Build]:
    """Of a database without our tables."""
    with databases() as build:
        yield build


def test_an_empty_database_lacks_every_migration_and_then_none(empty: Build) -> None:
    store = empty(announce=quiet)
    known = [name for name, _ in store.migrations()]
    assert known == sorted(set(known)) != []
    assert all(text for _, text in store.migrations())
    assert store.lacking() == known
    assert store.lacking() == known, "looking changes nothing"
    assert store.migrate() == known
    assert store.lacking() == []
    assert store.migrate() == []
    store.open()
    put(store, new_job())
    store.close()


def test_a_doctor_comes_to_an_empty_database_too(empty: Build) -> None:
    store = empty(announce=quiet)
    lacking = store.lacking()
    checks = store.doctor(60.0)
    assert checks
    assert all((check.remedy is None) == (check.state == "ok") for check in checks)
    assert checks[0].check == "database"
    assert store.lacking() == lacking, "looking changes nothing"
    store.close()


def test_migrations_at_once_apply_each_of_them_once(empty: Build) -> None:
    gate = Barrier(4)

    def migrate() -> list[str]:
        store = empty(announce=quiet)
        gate.wait(TIMEOUT)
        return store.migrate()

    with ThreadPoolExecutor(4) as pool:
        applied = [running.result(TIMEOUT) for running in [pool.submit(migrate) for _ in range(4)]]
    known = [name for name, _ in empty(announce=quiet).migrations()]
    assert sorted(applied) == [[], [], [], known]


def test_jobs_outlive_the_store_that_took_them(make: Make) -> None:
    first = make()
    new = new_job()
    put(first, new)
    first.close()
    second = make()
    assert live(second, new.job.id) == new.job
    first.open()
    assert live(first, new.job.id) == new.job


def test_first_use_opens(build: Build) -> None:
    """After a fork, or with an application that was never started."""
    store = build(announce=quiet)
    new = new_job()
    put(store, new)
    assert live(store, new.job.id) == new.job
    store.close()


@pytest.mark.parametrize("how", ["enqueue", "here", "perform", "read", "a crowd"])
def test_first_use_makes_the_tables_of_an_empty_database(empty: Build, how: str) -> None:
    store, new = empty(announce=quiet), new_job()

    async def here() -> None:
        await store.move_in()
        assert await store.enqueue_here([new]) == [Enqueued(new.job.id, False)]
        await store.move_out()

    if how == "perform":
        assert store.perform(lambda: store.verbs.cancel(new.job.id, "why")).result(TIMEOUT) is None
    elif how == "read":
        assert ask(store, store.verbs.find(new.job.id)) is None
    elif how == "here":
        asyncio.run(here())
    elif how == "a crowd":
        waiting = [store.enqueue([one]) for one in [new, *(new_job() for _ in range(50))]]
        assert all(not one.existing for pending in waiting for one in pending.result(TIMEOUT))
    else:
        put(store, new)
    assert store.lacking() == []
    assert (ask(store, store.verbs.find(new.job.id)) is None) is (how in ("perform", "read"))
    store.close()


def test_what_is_enqueued_first_is_written_before_close(empty: Build) -> None:
    store, new = empty(announce=quiet), new_job()
    pending = store.enqueue([new])
    store.close()
    assert pending.result(TIMEOUT) == [Enqueued(new.job.id, False)]


def test_the_clock_is_told_in_microseconds(store: Store) -> None:
    """Of one machine, in these tests: what the store says must be what its rows are compared with."""
    put(store, new_job())
    assert abs(store.now() - now()) < 60 * SECOND


def test_what_workers_know_and_where_work_is(store: Store, hire: Hire) -> None:
    assert ask(store, store.verbs.known_tasks()) == set()
    assert ask(store, store.verbs.queues()) == []
    one, two = hire(tasks=["mail@1", "päth.to:täsk@2"]), hire(tasks=["mail@1", "push@1"])
    late = hire(-1.0, tasks=["gone@1"])
    assert ask(store, store.verbs.known_tasks()) == {"mail@1", "push@1", "päth.to:täsk@2", "gone@1"}
    lose(late, one)
    assert ask(store, store.verbs.known_tasks()) == {"mail@1", "push@1", "päth.to:täsk@2"}
    put(store, *(new_job(queue=queue) for queue in ("b", "a", "B", "b")), new_job(queue="a", task="push"))
    assert sorted(ask(store, store.verbs.queues())) == ["B", "a", "b"]
    for queues, left in (((("b", 1),), ["B", "a"]), ((("a", 1), ("B", 1)), ["a"])):
        one.claim(9, queues=queues)
        assert sorted(ask(store, store.verbs.queues())) == left
    two.claim(9, queues=(("a", 1),))
    assert ask(store, store.verbs.queues()) == []
