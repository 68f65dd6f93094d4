"""Attempts that did not succeed: one row each, written with the change that ends it, forgotten with its job."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ...core.attempts import KEPT, AttemptRow
from ...core.change import Change
from ...core.job import Job
from ...core.lifecycle import settle
from ...core.options import SECOND
from ...core.outcome import Canceled, Done, Errored, Interrupted, Outcome, Snoozed, error
from ...core.selection import JobFilter
from ...ports import Statement, Store, Verb
from .fixtures import Hire
from .kit import POLICY, Hand, ask, change, ended, expire, live, lose, new_job, now, perform, put, watched

ALWAYS = POLICY._replace(max_attempts=1_000, backoff=POLICY.backoff.fixed(0))
BOOM = error("raised", "Boom", detail='é \U0001f4a1 " \\ %s :name', exception="ValueError", traceback="a\nb")


def _rows(store: Store, id: str) -> list[AttemptRow]:
    return ask(store, store.verbs.job_attempts(id, 1_000))


def _claimed(store: Store, hand: Hand, *, seen: bool = False, **given: Any) -> Job:
    put(store, watched(**given) if seen else new_job(**given))
    return hand.claim_one()


def _due(store: Store) -> None:
    """Attempts whose time for a look has come."""

    def verb() -> Verb[None]:
        yield Statement("update offpath_job_attempt set look_at = 1", {}, lambda rows: None)

    perform(store, verb())


def test_a_job_that_succeeds_leaves_no_attempt(store: Store, hand: Hand) -> None:
    job = _claimed(store, hand)
    hand.finish(job)
    assert _rows(store, job.id) == []
    assert _rows(store, "no id") == []


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "watched"])
def test_every_failure_is_a_row_in_order(store: Store, hand: Hand, seen: bool) -> None:
    job = _claimed(store, hand, seen=seen)
    id, began = job.id, now() - SECOND
    wish = settle(job, Errored(BOOM), ALWAYS, now(), 0.0, began)
    assert hand.settle(wish) == ["applied"]
    job = hand.claim_one()
    assert hand.say(job, Errored(error("timeout", "Too slow")), ALWAYS) == "applied"
    job = hand.claim_one()
    hand.finish(job)
    one, two = _rows(store, id)
    assert (one.attempt, one.fence, one.worker, one.label, one.ended) == (1, 1, hand.id, "test", "errored")
    assert one.started_at == began
    assert one.error == BOOM, "as it was said, byte for byte"
    assert abs(one.ended_at - now()) < 60 * SECOND
    assert (two.attempt, two.fence, two.ended, two.started_at) == (2, 2, "timeout", None)
    assert ask(store, store.verbs.job_attempts(id, 1)) == [one]


def test_the_last_failure_is_a_row_too(store: Store, hand: Hand) -> None:
    job = _claimed(store, hand)
    hand.say(job, Errored(BOOM, retryable=False))
    [one] = _rows(store, job.id)
    assert (one.ended, one.error) == ("errored", ended(store, job.id).error)


LEAVES_NONE: dict[str, Outcome] = {
    "snooze": Snoozed(0),
    "shutdown": Interrupted("shutdown"),
    "unbegun": Interrupted("not started", begun=False),
}


@pytest.mark.parametrize("outcome", list(LEAVES_NONE.values()), ids=list(LEAVES_NONE))
def test_who_comes_again_without_a_failure_leaves_none(store: Store, hand: Hand, outcome: Outcome) -> None:
    job = _claimed(store, hand)
    hand.say(job, outcome)
    assert _rows(store, job.id) == []


def test_an_attempt_that_was_stopped_is_a_row(store: Store, hand: Hand) -> None:
    job = _claimed(store, hand, seen=True)
    perform(store, store.verbs.cancel(job.id, "enough"))
    asked = live(store, job.id)
    assert hand.say(asked, Done("1")) == "applied", "cancel wins over success"
    assert [(one.ended, one.error) for one in _rows(store, job.id)] == [("canceled", None)]
    other = _claimed(store, hand)
    hand.say(other, Canceled("no need"))
    assert [one.ended for one in _rows(store, other.id)] == ["canceled"]


def test_the_job_of_a_dead_worker_has_the_crash(store: Store, hire: Hire) -> None:
    dead, judge = hire(-1), hire()
    put(store, new_job(), new_job(once=True))
    one, other = sorted(dead.claim(), key=lambda job: job.once)
    lose(dead, judge)
    assert expire(store, dead.id) == 2
    for job in (one, other):
        [row] = _rows(store, job.id)
        assert (row.attempt, row.worker, row.label, row.ended, row.error) == (1, dead.id, "test", "crashed", None)
        assert row.started_at is None
    again = judge.claim_one()
    judge.say(again, Errored(BOOM))
    rows = [(row.attempt, row.fence, row.worker, row.ended) for row in _rows(store, one.id)]
    assert rows == [(1, 1, dead.id, "crashed"), (1, 2, judge.id, "errored")]


def test_a_late_worker_adds_no_row(store: Store, hire: Hire) -> None:
    dead, judge = hire(-1), hire()
    put(store, new_job())
    job = dead.claim_one()
    lose(dead, judge)
    expire(store, dead.id)
    judge.claim_one()
    assert dead.say(job, Errored(BOOM)) == "stale"
    assert [row.ended for row in _rows(store, job.id)] == ["crashed"]


def test_in_one_batch_each_has_its_own(store: Store, hand: Hand) -> None:
    put(store, *(new_job() for _ in range(6)))
    jobs = hand.claim()
    said: list[Outcome] = [Done("1"), Errored(BOOM, retryable=False), Errored(BOOM), Snoozed(9), Done("2"), Done(None)]
    wishes: list[Change] = [change(job, outcome) for job, outcome in zip(jobs, said, strict=True)]
    wishes[5] = wishes[5]._replace(fence=99, record=wishes[1].record)
    assert hand.settle(*wishes) == ["applied"] * 5 + ["stale"]
    assert [len(_rows(store, job.id)) for job in jobs] == [0, 1, 1, 0, 0, 0]
    assert hand.say(jobs[5], Errored(BOOM, retryable=False)) == "applied"


def test_settled_by_itself_it_leaves_its_row(store: Store, hand: Hand) -> None:
    job = _claimed(store, hand)
    wish = change(job, Errored(BOOM, retryable=False))
    assert perform(store, store.verbs.settle_one(hand.id, wish))[0] == "applied"
    assert [row.error for row in _rows(store, job.id)] == [BOOM]


def test_of_many_the_newest_are_kept(store: Store, hand: Hand) -> None:
    put(store, new_job(attempt=KEPT - 1))
    id = ""
    for _ in range(4):
        job = hand.claim_one()
        id = job.id
        hand.say(job, Errored(BOOM), ALWAYS)
    assert [row.attempt for row in _rows(store, id)] == [KEPT - 1, KEPT, KEPT + 1, KEPT + 2]
    late_one = hand.claim_one()._replace(attempt=2 * KEPT)
    hand.say(late_one, Errored(BOOM), ALWAYS)
    assert [row.attempt for row in _rows(store, id)] == [KEPT + 1, KEPT + 2, 2 * KEPT]


def test_attempts_go_with_their_job(store: Store, hand: Hand) -> None:
    jobs = [_claimed(store, hand) for _ in range(4)]
    for job in jobs:
        hand.say(job, Errored(BOOM, retryable=False))
    one, two, three, four = (job.id for job in jobs)
    perform(store, store.verbs.delete(one))
    assert _rows(store, one) == []
    page = perform(store, store.verbs.delete_page(JobFilter(states=(5,)), four, 1))
    assert page.done == 1
    assert [len(_rows(store, id)) for id in (two, three, four)] == [1, 0, 1]

    def verb() -> Verb[None]:  # as when the partition of its day is dropped
        yield Statement("delete from offpath_history where cast(id as text) = :id", {"id": two}, lambda rows: None)

    perform(store, verb())
    assert perform(store, store.verbs.prune(100)) == 0, "nobody looks before a day has passed"
    _due(store)
    while perform(store, store.verbs.prune(1)):
        pass
    assert [len(_rows(store, id)) for id in (two, four)] == [0, 1]


def test_history_forgets_them_together(store: Store, hand: Hand) -> None:
    brief = POLICY._replace(retention=POLICY.retention._replace(failed=0))
    job, kept = _claimed(store, hand), _claimed(store, hand)
    hand.say(job, Errored(BOOM, retryable=False), brief)
    hand.say(kept, Errored(BOOM, retryable=False))
    while perform(store, store.verbs.prune(100)):
        pass
    assert ask(store, store.verbs.find(job.id)) is None
    assert _rows(store, job.id) == []
    assert len(_rows(store, kept.id)) == 1
    assert json.loads(_rows(store, kept.id)[0].error or "")["class"] == "ValueError"
