"""Many jobs at once on PostgreSQL: rows that somebody has locked, and days of history for every retention."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from offpath import Offpath
from offpath.app import bulk
from offpath.app.bulk import Tally
from offpath.core.options import DAY
from offpath.core.retention import Retention, Terms
from offpath.core.selection import JobFilter
from offpath.ports import Page
from offpath.stores.postgres.store import PostgresStore
from tests.stores.kit import new_job, now, perform, put
from tests.stores.test_postgres_store import day, days

LIVE = JobFilter((0, 1, 2, 3))


@pytest.fixture
def jobs(tables_url: str) -> Iterator[Offpath]:
    made = Offpath(tables_url)
    made.migrate()
    put(made.store, *(new_job() for _ in range(5)))
    yield made
    made.close()


@pytest.fixture
def admin(tables_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(tables_url) as connection:
        yield connection


def lock(admin: psycopg.Connection[Any]) -> str:
    """Somebody's open transaction holds one of them."""
    (*_, (id,)) = admin.execute("select cast(id as text) from offpath_job order by id limit 3").fetchall()
    admin.execute("select from offpath_job where id = %s for update", (id,))
    return str(id)


def test_a_locked_row_is_named_and_nobody_waits_for_it(jobs: Offpath, admin: psycopg.Connection[Any]) -> None:
    id = lock(admin)
    assert perform(jobs.store, jobs.store.verbs.cancel_page(LIVE, None, 10, "x")) == Page(4, 0, (id,), None)
    assert perform(jobs.store, jobs.store.verbs.cancel_these([id], LIVE, "x")) == Page(0, 0, (id,), None)
    admin.rollback()
    assert perform(jobs.store, jobs.store.verbs.cancel_these([id], LIVE, "x")) == Page(1, 0, (), None)


def test_it_is_had_in_the_end_when_it_is_let_go(jobs: Offpath, admin: psycopg.Connection[Any]) -> None:
    lock(admin)
    seen: list[Tally] = []

    def told(tally: Tally) -> None:
        seen.append(tally)
        admin.rollback()  # after the first page: it was locked then

    assert jobs.cancel_many_sync(state=["ready"], progress=told) == Tally(5, 0, 5)
    assert seen == [Tally(4, 0, 5), Tally(5, 0, 5)]


def test_one_that_stays_locked_is_counted_as_skipped(
    jobs: Offpath, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(admin)
    monkeypatch.setattr(bulk, "RESTS", (0.01, 0.01))
    assert jobs.cancel_many_sync(state="ready") == Tally(4, 1, 5)
    assert jobs.count_sync(state="ready") == 1
    admin.rollback()


def test_there_is_a_day_for_whatever_a_queue_or_a_task_says(tables_url: str) -> None:
    """Made ahead, by whoever may: a worker that may only write rows could not."""
    terms = Terms(Retention())
    terms.queues["brief"] = {"succeeded": 3 * 86_400, "failed": 45 * 86_400}
    terms.tasks["audit"] = {"canceled": 400 * 86_400}
    store = PostgresStore(tables_url, announce=lambda hints: None, retention=terms)
    store.open()
    with psycopg.connect(tables_url) as admin:
        there = set(days(admin))
    # AHEAD more of each have been made, so it does not matter whether midnight has passed meanwhile.
    assert {day(now() + length * DAY + more) for length in (3, 45, 400, 7, 30) for more in (0, DAY)} <= there
    store.close()
