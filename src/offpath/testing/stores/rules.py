"""A key with a rule (debounce, throttle, latest): what has not begun takes the newest arguments, one runs at a time,
and what is asked for meanwhile waits behind it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ...core.job import Job, State
from ...core.keys import Rule
from ...core.options import SECOND
from ...core.outcome import Canceled, Done, Errored, Interrupted, Outcome, Snoozed, error
from ...ports import Enqueued, Hint, NewJob, NewOperation, Statement, Store, Verb
from .fixtures import Hire, Make
from .kit import (
    HOUR,
    TIMEOUT,
    Hand,
    ask,
    change,
    ended,
    expire,
    live,
    lose,
    new_job,
    now,
    perform,
    put,
    told,
    watched,
)
from .races import at_once

LATEST = Rule("latest")
BOOM = error("raised", "Failed")


def call(rule: Rule, n: int, /, *, key: str = "k", **given: Any) -> NewJob:
    return new_job(key=key, args=f'{{"n":{n}}}', **given)._replace(rule=rule)


def latest(n: int, /, **given: Any) -> NewJob:
    return call(LATEST, n, **given)


def debounced(n: int, /, *, longest: int | None = None, **given: Any) -> NewJob:
    """By an hour, from now."""
    fields: dict[str, Any] = {"state": State.SCHEDULED, "run_at": now() + HOUR}
    return call(Rule("debounce", HOUR, longest), n, **fields | given)


def throttled(n: int, /, **given: Any) -> NewJob:
    fields: dict[str, Any] = {"run_at": now()}
    return call(Rule("throttle", HOUR), n, **fields | given)


def enter(store: Store, new: NewJob) -> Enqueued:
    [said] = put(store, new)
    return said


def n_of(job: Job) -> int:
    return int(job.args.removeprefix('{"n":').removesuffix("}"))


def count(store: Store) -> int:
    return sum(row[3] for row in ask(store, store.verbs.counts()))


def test_what_waits_takes_the_newest_arguments_and_keeps_its_place(store: Store, hand: Hand, heard: list[Hint]) -> None:
    first = latest(1, run_at=now() - 2 * HOUR)
    assert enter(store, first) == Enqueued(first.job.id, False)
    put(store, new_job(run_at=now() - HOUR))
    more = latest(2, run_at=now(), priority=3, version=2, owner="bob", options='{"timeout": 5}', deadline=now() + HOUR)
    heard.clear()
    assert enter(store, more) == Enqueued(first.job.id, True)
    assert heard == [Hint("work", ("default",))]
    row = live(store, first.job.id)
    assert row == more.job._replace(id=first.job.id, run_at=first.job.run_at, state=State.READY)
    assert count(store) == 2
    assert enter(store, latest(3, priority=5)).existing
    assert [n_of(job) for job in hand.claim(1)] == [3]


def test_what_is_asked_for_while_it_runs_waits_behind_it(store: Store, hand: Hand) -> None:
    first, second, third = latest(1), latest(2), latest(3)
    put(store, first)
    running = hand.claim_one()
    assert enter(store, second) == Enqueued(second.job.id, False)
    assert live(store, second.job.id).state is State.WAITING
    assert enter(store, third) == Enqueued(second.job.id, True)
    assert enter(store, new_job(key="k")) == Enqueued(first.job.id, True), "without a rule, a key is taken"
    assert hand.claim() == [], "one at a time"
    assert live(store, first.job.id) == running, "what runs is left alone"
    hand.finish(running)
    [behind] = hand.claim()
    assert (behind.id, behind.key, n_of(behind)) == (second.job.id, "k", 3)
    last = latest(4)
    assert enter(store, last) == Enqueued(last.job.id, False)
    hand.finish(behind)
    assert [n_of(job) for job in hand.claim()] == [4]


@pytest.mark.parametrize("said", [Done(None), Errored(BOOM, retryable=False), Canceled("enough")])
@pytest.mark.parametrize("shown", [False, True])
def test_however_the_holder_ends_the_next_one_has_its_key(store: Store, hand: Hand, said: Outcome, shown: bool) -> None:
    make = watched if shown else new_job
    put(store, make(key="k"))
    running = hand.claim_one()
    behind = latest(2)
    put(store, behind)
    assert hand.say(running, said) == "applied"
    assert live(store, behind.job.id).state is State.SCHEDULED
    assert [job.id for job in hand.claim()] == [behind.job.id]


def test_a_holder_that_is_canceled_or_lost_frees_its_key_too(store: Store, hand: Hand, hire: Hire) -> None:
    dead = hire(-1.0)
    once = new_job(key="k", once=True)
    put(store, once, new_job(key="j"))
    taken = {job.key: job for job in dead.claim()}
    put(store, latest(1), latest(2, key="j"))
    perform(store, store.verbs.cancel(taken["j"].id, "enough"))
    assert hand.claim() == []
    lose(dead, hand)
    while expire(store, dead.id):
        pass
    assert ended(store, once.job.id).state is State.FAILED
    assert {job.key: n_of(job) for job in hand.claim()} == {"k": 1, "j": 2}


def test_one_that_waits_to_be_tried_again_takes_them_and_is_as_new(store: Store, hand: Hand) -> None:
    first = latest(1)
    put(store, first)
    hand.say(hand.claim_one(), Errored(BOOM))
    backing = live(store, first.job.id)
    assert (backing.state, backing.attempt) == (State.SCHEDULED, 2)
    assert enter(store, latest(2)) == Enqueued(first.job.id, True)
    [again] = hand.claim()
    assert (n_of(again), again.attempt, again.fence) == (2, 1, 2)


def test_behind_one_that_is_tried_again_is_where_new_arguments_go(store: Store, hand: Hand) -> None:
    put(store, latest(1))
    running = hand.claim_one()
    second = latest(2)
    put(store, second)
    hand.say(running, Snoozed(3600))
    assert enter(store, latest(3)) == Enqueued(second.job.id, True)
    assert n_of(live(store, running.id)) == 1
    assert hand.claim() == []
    perform(store, store.verbs.cancel(running.id, "enough"))
    assert [n_of(job) for job in hand.claim()] == [3]


def test_one_that_is_given_back_keeps_its_key(store: Store, hand: Hand) -> None:
    put(store, latest(1))
    running = hand.claim_one()
    put(store, latest(2))
    hand.say(running, Interrupted(begun=False))
    assert [n_of(job) for job in hand.claim()] == [1]


def test_one_behind_can_be_canceled_and_the_key_goes_on(store: Store, hand: Hand) -> None:
    put(store, latest(1))
    running = hand.claim_one()
    second, third = latest(2), latest(3)
    put(store, second)
    perform(store, store.verbs.cancel(second.job.id, "enough"))
    assert ended(store, second.job.id).key == "k"
    assert enter(store, third) == Enqueued(third.job.id, False)
    hand.finish(running)
    assert [n_of(job) for job in hand.claim()] == [3]


def test_a_debounce_moves_and_is_bounded(store: Store, hand: Hand) -> None:
    first = debounced(1)
    put(store, first)
    later = now() + 3 * HOUR
    assert enter(store, debounced(2, run_at=later)) == Enqueued(first.job.id, True)
    moved = live(store, first.job.id)
    assert (n_of(moved), moved.run_at, moved.state) == (2, later, State.SCHEDULED)
    put(store, debounced(3, run_at=later, longest=2 * HOUR))
    born = live(store, first.job.id).run_at - 2 * HOUR
    assert abs(born - first.job.run_at + HOUR) < HOUR, "counted from the first call"
    put(store, debounced(4, run_at=later, longest=SECOND, key="old", id="01890a5d-ac96-774b-bcce-b302099a8057"))
    put(store, debounced(5, run_at=later, longest=SECOND, key="old"))
    assert [n_of(job) for job in hand.claim()] == [5], "its first call is long ago"


def test_a_debounce_while_one_runs_waits_for_its_own_time(store: Store, hand: Hand) -> None:
    put(store, new_job(key="k"))
    running = hand.claim_one()
    behind = debounced(1)
    put(store, behind)
    put(store, debounced(2))
    hand.finish(running)
    row = live(store, behind.job.id)
    assert (row.state, n_of(row)) == (State.SCHEDULED, 2)
    assert row.run_at > now()
    assert hand.claim() == []


def test_a_throttle_runs_at_once_and_then_when_its_time_has_passed(store: Store, hand: Hand) -> None:
    first, second = throttled(1), throttled(2)
    assert enter(store, first) == Enqueued(first.job.id, False)
    hand.finish(hand.claim_one())
    assert enter(store, second) == Enqueued(second.job.id, False)
    waits = live(store, second.job.id)
    assert (waits.state, waits.run_at) == (State.SCHEDULED, first.job.run_at + HOUR)
    assert enter(store, throttled(3)) == Enqueued(second.job.id, True)
    assert live(store, second.job.id) == waits._replace(args='{"n":3}')
    other = throttled(4, key="j")
    put(store, other)
    assert live(store, other.job.id).state is State.READY
    long_after = throttled(5, run_at=first.job.run_at + 5 * HOUR)
    perform(store, store.verbs.cancel(second.job.id, "enough"))
    put(store, long_after)
    assert live(store, long_after.job.id).run_at == long_after.job.run_at


def test_a_throttle_counts_from_a_start_that_still_runs(store: Store, hand: Hand) -> None:
    first, second, third = throttled(1), throttled(2), throttled(3)
    put(store, first)
    running = hand.claim_one()
    put(store, second)
    put(store, third)
    row = live(store, second.job.id)
    assert (row.state, row.run_at, n_of(row)) == (State.WAITING, first.job.run_at + HOUR, 3)
    hand.finish(running)
    assert live(store, second.job.id) == row._replace(state=State.SCHEDULED)


def test_what_a_throttle_remembers_is_forgotten_in_time(store: Store, hand: Hand) -> None:
    put(store, call(Rule("throttle", 1), 1, run_at=now()), throttled(2, key="j"))
    hand.finish(*hand.claim())
    assert perform(store, store.verbs.prune(100)) == 1
    assert perform(store, store.verbs.prune(100)) == 0
    again = throttled(3, key="j")
    put(store, again)
    assert live(store, again.job.id).state is State.SCHEDULED


def test_many_at_once_each_by_its_own_rule(store: Store, hand: Hand) -> None:
    put(store, new_job(key="busy"))
    running = hand.claim_one()
    calls = [
        latest(0), new_job(), latest(1), new_job(key="plain"), new_job(key="plain"), latest(2, key="busy"),
        latest(3, key="busy"), throttled(4, key="t"), throttled(5, key="t"), debounced(6, key="d"),
        latest(7, task="push"),
    ]  # fmt: skip
    said = put(store, *calls)
    stands = [calls.index(next(new for new in calls if new.job.id == one.id)) for one in said]
    assert stands == [0, 1, 0, 3, 3, 5, 5, 7, 7, 9, 10]
    assert [one.existing for one in said] == [n != at for n, at in enumerate(stands)]
    hand.finish(running)
    told = {(job.key, n_of(job)) for job in hand.claim() if job.key in ("k", "busy", "t")}
    assert told == {("k", 1), ("busy", 3), ("t", 5)}


def test_an_operation_tells_that_it_was_replaced(store: Store, hand: Hand) -> None:
    operation = NewOperation("acme", "alice", "mail", "")
    first = latest(1, watched=True)._replace(operation=operation)
    put(store, first)
    put(store, latest(2))
    assert live(store, first.job.id).watched
    assert told(store, first.job.id) == [(1, "queued", {}), (2, "requeued", {"reason": "replaced"})]
    hand.claim_one()
    behind = latest(3, watched=True)._replace(operation=operation)
    put(store, behind)
    assert told(store, behind.job.id) == [(1, "queued", {})]


def test_the_same_call_again_changes_nothing(store: Store, hand: Hand) -> None:
    """Its answer was lost, and it is sent again."""
    first, second = latest(1), latest(2)
    for _ in range(2):
        assert enter(store, first) == Enqueued(first.job.id, False)
    running = hand.claim_one()
    assert enter(store, first) == Enqueued(first.job.id, False)
    for _ in range(2):
        assert enter(store, second) == Enqueued(second.job.id, False)
    assert count(store) == 2
    hand.finish(running)
    assert [n_of(job) for job in hand.claim()] == [2]


def test_one_behind_nobody_is_freed(store: Store, hand: Hand) -> None:
    """The holder ended while it was in somebody's open transaction."""
    lonely, fine = latest(1), latest(2, key="j")
    put(store, lonely, new_job(key="j"))
    strand(store, lonely.job.id)
    running = hand.claim_one()
    put(store, fine)
    assert perform(store, store.verbs.free_keys(100)) == 1
    assert perform(store, store.verbs.free_keys(100)) == 0
    assert live(store, fine.job.id).state is State.WAITING
    assert [n_of(job) for job in hand.claim()] == [1]
    hand.finish(running)


def test_one_behind_nobody_takes_new_arguments_and_the_key(store: Store, hand: Hand) -> None:
    lonely = latest(1)
    put(store, lonely)
    strand(store, lonely.job.id)
    assert enter(store, latest(2)) == Enqueued(lonely.job.id, True)
    assert perform(store, store.verbs.free_keys(100)) == 0
    assert [n_of(job) for job in hand.claim()] == [2]


def strand(store: Store, id: str) -> None:
    def verb() -> Verb[None]:
        sql = "update offpath_job set behind = 1, state = 1 where cast(id as text) = :id"
        yield Statement(sql, {"id": id}, lambda rows: None)

    perform(store, verb())


def test_fifty_callers_of_one_key_leave_one_job(store: Store, make: Make) -> None:
    stores = (store, make())
    calls = [latest(n) for n in range(50)]
    pending = [stores[n % 2].enqueue([one]) for n, one in enumerate(calls)]
    said = [answer for one in pending for answer in one.result(TIMEOUT)]
    assert len({one.id for one in said}) == 1
    assert sum(not one.existing for one in said) == 1
    assert count(store) == 1


def test_callers_against_workers_lose_no_newest_arguments(make: Make) -> None:
    """One calls again and again, two claim and finish: never two of the key at once, and the last call is run last."""
    calls, stores = 60, [make(), make(), make()]
    running: set[str] = set()
    overlaps: list[str] = []
    ran: list[int] = []
    guard, over = threading.Lock(), threading.Event()

    def enqueue() -> None:
        try:
            for n in range(calls):
                put(stores[0], latest(n))
        finally:
            over.set()

    def work(hand: Hand) -> None:
        while not over.is_set():
            take(hand)

    def take(hand: Hand) -> bool:
        jobs = hand.claim()
        for job in jobs:
            with guard:
                overlaps.extend(running)
                running.add(job.id)
                ran.append(n_of(job))
            with guard:
                running.discard(job.id)
            changes = [change(job, Done(None))]
            while hand.settle(*changes) == ["changed"]:
                pass
        return bool(jobs)

    hands = [Hand(store) for store in stores[1:]]
    at_once(enqueue, *(lambda hand=hand: work(hand) for hand in hands))
    while take(hands[0]) or perform(stores[0], stores[0].verbs.free_keys(100)):
        pass
    assert count(stores[0]) == 0
    assert overlaps == []
    assert ran[-1] == calls - 1
    assert ran == sorted(ran), "nothing older runs after something newer"
    for hand in hands:
        hand.close()
