"""Asking to stop, in every state a job can be in."""

import json

import pytest

from ...core.job import State
from ...core.outcome import Done
from ...ports import Found, Hint, Store
from .fixtures import Hire
from .kit import (
    HOUR,
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
    shown,
    told,
    watched,
)


def cancel(store: Store, id: str, reason: str = "no longer needed") -> Found | None:
    return perform(store, store.verbs.cancel(id, reason))


@pytest.mark.parametrize("state", [State.SCHEDULED, State.WAITING, State.READY])
def test_what_has_not_started_ends_at_once(store: Store, heard: list[Hint], state: State) -> None:
    new = watched(state=state, run_at=now() + (HOUR if state is State.SCHEDULED else 0), key="k")
    put(store, new)
    heard.clear()
    before = now()
    found = cancel(store, new.job.id)
    assert found == Found(None, ended(store, new.job.id))
    after = ended(store, new.job.id)
    assert (after.state, after.attempt, after.result) == (State.CANCELED, 1, None)
    said = json.loads(after.error or "")
    assert (said["kind"], said["reason"]) == ("canceled", "no longer needed")
    assert told(store, new.job.id)[1:] == [(2, "canceled", {"reason": "no longer needed"})]
    row = shown(store, new.job.id)
    assert row.status == State.CANCELED
    assert row.cancel_at is not None
    assert before <= row.cancel_at <= now()
    assert heard == [Hint("event", (new.job.id,))]


def test_a_running_job_is_asked(store: Store, hire: Hire, heard: list[Hint]) -> None:
    hand, other = hire(), hire()
    put(store, watched(), watched())
    job, neighbour = hand.claim_one(), other.claim_one()
    heard.clear()
    found = cancel(store, job.id)
    asked = live(store, job.id)
    assert found == Found(asked, None)
    assert asked == job._replace(cancel_at=asked.cancel_at, cancel_reason="no longer needed")
    assert asked.cancel_at is not None
    assert ask(store, store.verbs.canceling(hand.id)) == [(job.id, job.fence, asked.cancel_at, "no longer needed")]
    assert ask(store, store.verbs.canceling(other.id)) == []
    assert Hint("cancel", (job.id,)) in heard
    assert told(store, job.id)[2:] == [(3, "canceling", {"reason": "no longer needed"})]
    assert shown(store, job.id).cancel_at == asked.cancel_at
    assert live(store, neighbour.id) == neighbour
    assert hand.say(asked, Done("1")) == "applied"
    assert ended(store, job.id).state is State.CANCELED
    assert json.loads(ended(store, job.id).error or "")["reason"] == "no longer needed"
    assert told(store, job.id)[-1][1:] == ("canceled", {"reason": "no longer needed"})
    assert ask(store, store.verbs.canceling(hand.id)) == []


def test_asking_twice_is_asking_once(store: Store, hand: Hand) -> None:
    put(store, watched())
    job = hand.claim_one()
    cancel(store, job.id)
    asked = live(store, job.id)
    assert cancel(store, job.id, "again") == Found(asked, None)
    assert [type for _, type, _ in told(store, job.id)] == ["queued", "started", "canceling"]


def test_what_has_ended_stays_as_it_ended(store: Store, hand: Hand) -> None:
    put(store, watched())
    job = hand.claim_one()
    hand.say(job, Done("1"))
    after = ended(store, job.id)
    assert cancel(store, job.id) == Found(None, after)
    assert ended(store, job.id) == after


def test_nobody_there(store: Store) -> None:
    assert cancel(store, new_job().job.id) is None
    assert cancel(store, "'; drop table offpath_job; --") is None


def test_one_that_nobody_watches(store: Store, hand: Hand, heard: list[Hint]) -> None:
    put(store, new_job())
    job = hand.claim_one()
    heard.clear()
    cancel(store, job.id)
    assert live(store, job.id).cancel_at is not None
    assert heard == [Hint("cancel", (job.id,))]


def test_who_did_not_know_of_it_is_told_when_and_why(store: Store, hand: Hand) -> None:
    put(store, watched(), watched())
    job, other = hand.claim(2)
    cancel(store, job.id)
    at = live(store, job.id).cancel_at
    answer = hand.exchange([change(job, Done("1")), change(other, Done("2"))])
    assert answer.verdicts == ["changed", "applied"]
    assert answer.asked == {job.id: (at, "no longer needed")}


def test_the_reason_outlives_the_worker(store: Store, hire: Hire) -> None:
    hand, judge = hire(seconds=0.0), hire()
    put(store, watched())
    job = hand.claim_one()
    cancel(store, job.id)
    lose(hand, judge)
    assert expire(store, hand.id) == 1
    assert json.loads(ended(store, job.id).error or "")["reason"] == "no longer needed"
