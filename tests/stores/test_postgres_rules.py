"""Keys with a rule, while somebody's transaction is open: workers do not wait for it, and nothing is lost."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel

from offpath.core.job import Job, State
from offpath.errors import StoreError, StoreUnavailable
from offpath.ports import Enqueued, NewJob, Statement, Verb
from offpath.stores.postgres.store import PostgresStore
from offpath.testing.stores.fixtures import Make
from offpath.testing.stores.rules import latest, n_of, throttled
from tests.stores.kit import TIMEOUT, Hand, ask, live, new_job, perform, put


@pytest.fixture
def caller(tables_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with an open transaction."""
    with psycopg.connect(tables_url) as connection:
        yield connection
        connection.rollback()


def lend(store: PostgresStore, tx: object, *jobs: NewJob) -> list[Enqueued]:
    done: list[Enqueued] = store.enqueue_on(tx, jobs)
    return done


def test_a_holder_ends_although_the_one_behind_it_is_not_committed(
    store: PostgresStore, hand: Hand, caller: psycopg.Connection[Any]
) -> None:
    put(store, latest(1))
    running = hand.claim_one()
    behind = latest(2)
    lend(store, caller, behind)
    assert hand.finish(running) == ["applied"], "at once"
    caller.commit()
    assert live(store, behind.job.id).state is State.WAITING
    assert perform(store, store.verbs.free_keys(100)) == 1
    assert [n_of(job) for job in hand.claim()] == [2]


def test_a_holder_ends_although_the_one_behind_it_is_being_changed(
    store: PostgresStore, hand: Hand, caller: psycopg.Connection[Any]
) -> None:
    put(store, latest(1))
    running = hand.claim_one()
    behind = latest(2)
    put(store, behind)
    assert lend(store, caller, latest(3)) == [Enqueued(behind.job.id, True)]
    assert hand.finish(running) == ["applied"], "at once"
    assert perform(store, store.verbs.free_keys(100)) == 0, "not before it is committed"
    caller.commit()
    assert perform(store, store.verbs.free_keys(100)) == 1
    assert [n_of(job) for job in hand.claim()] == [3]


def meanwhile(verb: Verb[Any], sql: str, act: Callable[[], object]) -> Verb[Any]:
    """The verb, and what somebody else does just before its first statement `sql`."""
    answer: Any = None
    acted = False
    while True:
        try:
            step = verb.send(answer)
        except StopIteration as done:
            return done.value
        if isinstance(step, Statement) and step.sql == sql and not acted:
            acted = True
            act()
        answer = yield step


def test_one_that_is_claimed_between_the_look_and_the_writing_is_left_alone(
    store: PostgresStore, hand: Hand, caller: psycopg.Connection[Any]
) -> None:
    first, second = latest(1), latest(2)
    put(store, first)
    claimed: list[Job] = []
    verb = meanwhile(
        store.verbs.enqueue([second]), store.verbs.sql["keys.replace"], lambda: claimed.extend(hand.claim())
    )
    assert store.run_on(caller, verb) == [Enqueued(second.job.id, False)]
    caller.commit()
    assert [n_of(job) for job in claimed] == [1]
    assert live(store, first.job.id) == claimed[0]
    hand.finish(*claimed)
    assert [n_of(job) for job in hand.claim()] == [2]


def test_a_holder_that_ends_between_the_look_and_the_writing_leaves_nothing_behind(
    store: PostgresStore, hand: Hand, caller: psycopg.Connection[Any]
) -> None:
    put(store, latest(1))
    running = hand.claim_one()
    verb = meanwhile(store.verbs.enqueue([latest(2)]), store.verbs.sql["keys.behind"], lambda: hand.finish(running))
    store.run_on(caller, verb)
    caller.commit()
    assert [n_of(job) for job in hand.claim()] == [2], "without upkeep"


def test_what_is_being_changed_is_not_claimed_and_nobody_waits(
    store: PostgresStore, hand: Hand, caller: psycopg.Connection[Any]
) -> None:
    put(store, latest(1), new_job(task="mail", args="{}"))
    lend(store, caller, latest(2))
    [other] = hand.claim()
    assert other.key is None
    caller.commit()
    assert [n_of(job) for job in hand.claim()] == [2]


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
@pytest.mark.parametrize("rule", [latest, throttled])
def test_who_sees_what_was_and_not_the_one_behind_has_a_serialization_failure(
    store: PostgresStore,
    hand: Hand,
    caller: psycopg.Connection[Any],
    level: IsolationLevel,
    rule: Callable[..., NewJob],
) -> None:
    """Not a duplicate key: whoever repeats transactions after SQLSTATE 40001 repeats this one."""
    put(store, rule(1))
    hand.claim_one()
    caller.isolation_level = level
    caller.execute("select 1")
    behind = rule(2)
    put(store, behind)
    with pytest.raises(StoreError) as caught:
        lend(store, caller, rule(3))
    assert getattr(caught.value.__cause__, "sqlstate", None) == "40001"
    caller.rollback()
    assert lend(store, caller, rule(3)) == [Enqueued(behind.job.id, True)]
    caller.commit()
    assert n_of(live(store, behind.job.id)) == 3


def test_who_sees_only_one_that_was_passed_over_may_try_again(
    store: PostgresStore, hand: Hand, caller: psycopg.Connection[Any]
) -> None:
    put(store, latest(1))
    running = hand.claim_one()
    passed = latest(2)
    lend(store, caller, passed)
    hand.finish(running)
    caller.commit()
    caller.isolation_level = IsolationLevel.REPEATABLE_READ
    caller.execute("select 1")
    put(store, new_job(task=passed.job.task, key=passed.job.key))
    with pytest.raises(StoreUnavailable, match="try again"):
        lend(store, caller, latest(3))
    caller.rollback()
    assert lend(store, caller, latest(3)) == [Enqueued(passed.job.id, True)]
    caller.commit()
    assert n_of(live(store, passed.job.id)) == 3


def test_others_do_not_wait_for_a_busy_key(store: PostgresStore, caller: psycopg.Connection[Any]) -> None:
    mine, other = latest(1), latest(2)
    lend(store, caller, mine)
    waits = store.enqueue([other])
    put(store, new_job(), latest(3, key="other"))
    caller.commit()
    assert waits.result(TIMEOUT) == [Enqueued(mine.job.id, True)]
    assert n_of(live(store, mine.job.id)) == 2


def test_one_that_follows_when_the_transaction_is_rolled_back(
    store: PostgresStore, hand: Hand, caller: psycopg.Connection[Any]
) -> None:
    lend(store, caller, latest(1))
    mine = latest(2)
    waits = store.enqueue([mine])
    caller.rollback()
    assert waits.result(TIMEOUT) == [Enqueued(mine.job.id, False)]
    assert [n_of(job) for job in hand.claim()] == [2]


def test_many_keys_in_any_order_do_not_deadlock(store: PostgresStore, make: Make) -> None:
    stores = [store, make(), make()]
    chance = random.Random(6)

    def enqueue(n: int) -> None:
        for _ in range(8):
            names = [f"k{m}" for m in range(20)]
            chance.shuffle(names)
            kinds = (latest, throttled, lambda n, key: new_job(key=key))
            put(stores[n], *(chance.choice(kinds)(n, key=name) for name in names))

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(enqueue, n) for n in range(3)]:
            future.result(TIMEOUT)
    assert sum(row[3] for row in ask(store, store.verbs.counts())) == 20


def test_more_keys_than_are_locked_one_by_one(store: PostgresStore, make: Make) -> None:
    """Two at once, each with all of them: one finds what the other has made."""
    stores = [store, make()]
    calls = [[new_job(key=f"k{n}") for n in range(1500)] for _ in stores]
    calls[1].reverse()
    pending = [one.enqueue(jobs) for one, jobs in zip(stores, calls, strict=True)]
    said = [one.result(TIMEOUT) for one in pending]
    assert sum(not one.existing for answers in said for one in answers) == 1500
    assert sum(row[3] for row in ask(store, store.verbs.counts())) == 1500
    again = [latest(n, key=f"k{n}") for n in range(1500)]
    assert all(one.existing for one in put(store, *again))
