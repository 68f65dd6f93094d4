"""What the HTTP face's guard asks: tickets that open once, and how full things are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from ...core.job import State
from ...ports import Pressure, Store, Ticket
from .fixtures import Make
from .kit import HOUR, TIMEOUT, Hand, ask, fresh, new_job, now, perform, put, watched


def ticket(operation: str, hash: str = "a" * 64) -> Ticket:
    return Ticket(hash, operation, "äcme 'x'", 'al"ice')


def test_a_ticket_opens_its_own_operation_once(store: Store) -> None:
    mine, other = fresh(), fresh()
    before = now()
    until = perform(store, store.verbs.issue_ticket(ticket(mine), 30))
    assert before + 30_000_000 <= until <= now() + 30_000_000
    for hash, operation in (("a" * 64, other), ("b" * 64, mine), ("", mine), ("a" * 64, "no id")):
        assert perform(store, store.verbs.take_ticket(hash, operation)) is None
    assert perform(store, store.verbs.take_ticket("a" * 64, mine)) == ticket(mine)
    assert perform(store, store.verbs.take_ticket("a" * 64, mine)) is None


def test_a_ticket_whose_time_is_up_opens_nothing(store: Store) -> None:
    mine = fresh()
    perform(store, store.verbs.issue_ticket(ticket(mine), -1))
    assert perform(store, store.verbs.take_ticket("a" * 64, mine)) is None


def test_tickets_that_nobody_used_are_pruned(store: Store) -> None:
    kept = fresh()
    for n, seconds in enumerate((-3, -2, -1, 60)):
        perform(store, store.verbs.issue_ticket(ticket(kept, str(n) * 64), seconds))
    assert [perform(store, store.verbs.prune(2)) for _ in range(3)] == [2, 1, 0]
    assert perform(store, store.verbs.take_ticket("3" * 64, kept)) is not None


def test_of_many_who_use_a_ticket_at_once_one_wins(make: Make) -> None:
    stores = [make() for _ in range(4)]
    for _ in range(5):
        mine, gate = fresh(), Barrier(len(stores))
        perform(stores[0], stores[0].verbs.issue_ticket(ticket(mine), 30))

        def use(store: Store, mine: str = mine, gate: Barrier = gate) -> Ticket | None:
            gate.wait(TIMEOUT)
            return store.perform(lambda: store.verbs.take_ticket("a" * 64, mine)).result(TIMEOUT)

        with ThreadPoolExecutor(len(stores)) as pool:
            won = [running.result(TIMEOUT) for running in [pool.submit(use, store) for store in stores]]
        assert sorted(map(str, won)) == sorted(map(str, [None, None, None, ticket(mine)]))


def test_how_full_a_queue_is(store: Store, hand: Hand) -> None:
    assert ask(store, store.verbs.pressure("mail", 10, 10)) == Pressure(0, 0.0, {})
    at = now()
    put(
        store,
        new_job(queue="mail", priority=1, run_at=at - 5_000_000),
        new_job(queue="mail", priority=9, run_at=at - 50_000_000),
        new_job(queue="mail", priority=9, run_at=at - 20_000_000, once=True),
        watched(queue="mail", priority=5, run_at=at - 10_000_000),
        watched("bob", tenant="globex", queue="mail"),
        new_job(queue="mail", state=State.SCHEDULED, run_at=at + HOUR),
        new_job(queue="other", run_at=at - 900_000_000),
    )
    seen = ask(store, store.verbs.pressure("mail", 10, 10))
    assert (seen.depth, seen.tenants) == (5, {"acme": 1, "globex": 1})
    assert 50 <= seen.age <= 50 + TIMEOUT
    assert ask(store, store.verbs.pressure("mail", 3, 0))._replace(age=0) == Pressure(3, 0, {})
    assert ask(store, store.verbs.pressure("mail", 9, 1)).tenants == {}, "the first in line is no operation"
    hand.claim(9, queues=(("mail", 1),))
    assert ask(store, store.verbs.pressure("mail", 10, 10)) == Pressure(0, 0.0, {})


def test_the_age_is_of_the_oldest_at_most_once_jobs_too(store: Store) -> None:
    put(store, new_job(run_at=now() - 40_000_000, once=True), new_job(crashes=1, run_at=now() - 70_000_000))
    assert 70 <= ask(store, store.verbs.pressure("default", 10, 0)).age <= 70 + TIMEOUT


def test_the_live_operations_of_a_caller(store: Store, hand: Hand) -> None:
    put(
        store, watched(owner="alice"), watched(owner="alice", queue="later", state=State.SCHEDULED, run_at=now() + HOUR)
    )
    put(store, watched(tenant="globex", owner="alice"), watched("bob", owner="bob"), new_job(owner="alice"))

    def live(limit: int = 9) -> int:
        return ask(store, store.verbs.live_operations("acme", "alice", limit))

    assert (live(), live(1)) == (2, 1)
    jobs = {job.id: job for job in hand.claim(9)}
    assert live() == 2
    for job in jobs.values():
        if job.owner == "alice":
            hand.finish(job)
    assert live() == 1
    assert ask(store, store.verbs.live_operations("acme", "nobody", 9)) == 0
    assert ask(store, store.verbs.live_operations("globex", "alice", 9)) == 0
