"""What an attempt said is written once, by the worker that holds the job as of that claim, or not at all."""

import json
from typing import Any

import pytest

from ...core.change import Change
from ...core.job import Job, State
from ...core.options import SECOND
from ...core.outcome import Canceled, Done, Errored, Interrupted, Snoozed, error
from ...ports import Hint, Store, Verdict
from .fixtures import Hire
from .kit import (
    POLICY,
    Hand,
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

BOOM = error("raised", "Failed", detail="boom", exception="RuntimeError")


BOTH = pytest.mark.parametrize("visible", [True, False], ids=["watched", "unwatched"])
"""A store may write the two in different ways."""


def running(store: Store, hand: Hand, visible: bool = True, **given: Any) -> Job:
    put(store, watched(**given) if visible else new_job(**given))
    return hand.claim_one()


# ── the guard, one part at a time: each of these passes when that part alone is dropped from the SQL, and then fails ──


@BOTH
def test_stale_with_an_older_fence(store: Store, hand: Hand, visible: bool) -> None:
    """The same worker gave the job back and claimed it again: the first attempt's late word is refused."""
    first = running(store, hand, visible)
    assert hand.say(first, Interrupted()) == "applied"
    second = hand.claim_one()
    assert (second.id, second.worker, second.fence) == (first.id, first.worker, first.fence + 1)
    assert hand.say(first, Done("1")) == "stale"
    assert live(store, first.id) == second
    assert hand.say(second, Done("2")) == "applied"
    assert ended(store, first.id).result == "2"


@BOTH
def test_stale_for_another_worker_with_the_same_fence(store: Store, hire: Hire, visible: bool) -> None:
    mine, other = hire(), hire()
    job = running(store, mine, visible)
    assert other.say(job, Done("1")) == "stale"
    assert live(store, job.id) == job


@BOTH
def test_stale_when_it_is_not_running(store: Store, hand: Hand, visible: bool) -> None:
    """Same fence, but given back: nobody holds it."""
    job = running(store, hand, visible)
    hand.say(job, Snoozed(3600))
    back = live(store, job.id)
    assert (back.fence, back.worker) == (job.fence, None)
    assert hand.say(job, Done("1")) == "stale"
    assert live(store, job.id) == back


@BOTH
def test_stale_when_it_has_ended(store: Store, hand: Hand, visible: bool) -> None:
    job = running(store, hand, visible)
    assert hand.say(job, Done("1")) == "applied"
    assert hand.say(job, Done("2")) == "stale"
    assert ended(store, job.id).result == "1"
    assert not visible or [type for _, type, _ in told(store, job.id)] == ["queued", "started", "succeeded"]


@BOTH
def test_changed_when_a_cancel_came_between(store: Store, hand: Hand, visible: bool) -> None:
    """Decide again: cancel was promised to whoever asked, so a late success must not win."""
    job = running(store, hand, visible)
    wish = change(job, Done("1"))
    perform(store, store.verbs.cancel(job.id, "no longer needed"))
    assert hand.settle(wish) == ["changed"]
    asked = live(store, job.id)
    assert asked.cancel_at is not None
    assert hand.say(asked, Done("1")) == "applied"
    after = ended(store, job.id)
    assert (after.state, after.result) == (State.CANCELED, None)
    assert json.loads(after.error or "")["requested_at"] == asked.cancel_at


@BOTH
def test_changed_is_told_the_other_way_round_too(store: Store, hand: Hand, visible: bool) -> None:
    job = running(store, hand, visible)
    dreamt = change(job._replace(cancel_at=now()), Done("1"))
    assert hand.settle(dreamt) == ["changed"]
    assert live(store, job.id) == job


@BOTH
def test_stale_comes_before_changed(store: Store, hire: Hire, visible: bool) -> None:
    """To a stranger the cancel request is none of its business."""
    mine, other = hire(), hire()
    job = running(store, mine, visible)
    wish = change(job, Done("1"))
    perform(store, store.verbs.cancel(job.id, "stop"))
    assert other.settle(wish) == ["stale"]


def test_stale_for_a_job_that_does_not_exist(hand: Hand) -> None:
    ghost = new_job(state=State.RUNNING, worker=hand.id, fence=1).job
    assert hand.say(ghost, Done(None)) == "stale"


def test_verdicts_are_one_for_each_change_in_order(store: Store, hire: Hire) -> None:
    mine, other = hire(), hire()
    put(store, *(watched() for _ in range(5)))
    jobs = mine.claim(4)
    theirs = other.claim(1)
    perform(store, store.verbs.cancel(jobs[1].id, "stop"))
    wishes = [change(job, Done(str(n))) for n, job in enumerate([jobs[0], jobs[1], theirs[0], jobs[2], jobs[3]])]
    assert mine.settle(*wishes) == ["applied", "changed", "stale", "applied", "applied"]
    assert [ended(store, job.id).result for job in (jobs[0], jobs[2], jobs[3])] == ["0", "3", "4"]
    assert live(store, jobs[1].id).state is State.RUNNING
    assert live(store, theirs[0].id) == theirs[0]


def test_the_stores_own_transactions_may_write_what_is_written_beside_them(store: Store) -> None:
    assert perform(store, store.verbs.snapshot()) is False


@BOTH
def test_one_settled_alone_is_held_to_the_same(store: Store, hire: Hire, visible: bool) -> None:
    """As the last statements of a transaction of the task's own."""
    mine, other = hire(), hire()
    job = running(store, mine, visible)
    wish = change(job, Done("1"))

    def alone(hand: Hand, wish: Change) -> tuple[Verdict, int | None, str | None]:
        return perform(store, store.verbs.settle_one(hand.id, wish))

    assert alone(other, wish) == ("stale", None, None)
    assert alone(mine, change(job._replace(fence=job.fence - 1), Done("1"))) == ("stale", None, None)
    assert live(store, job.id) == job
    perform(store, store.verbs.cancel(job.id, "stop"))
    asked = live(store, job.id)
    assert alone(mine, wish) == ("changed", asked.cancel_at, "stop")
    assert live(store, job.id) == asked
    assert alone(mine, change(asked, Done("1"))) == ("applied", None, None)
    store.released(mine.id, job.id)
    assert ended(store, job.id).state is State.CANCELED
    assert alone(mine, change(asked, Done("1"))) == ("stale", None, None)
    assert not visible or [type for _, type, _ in told(store, job.id)] == ["queued", "started", "canceling", "canceled"]


# ── a worker with a verdict ──────────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_stale_after_expire(store: Store, hire: Hire, visible: bool) -> None:
    """A stalled worker comes back: its jobs have been given to others, and none of its late words counts."""
    late, other = hire(-1.0), hire()
    job = running(store, late, visible)
    lose(late, other)
    assert expire(store, late.id) == 1
    assert late.say(job, Done("late")) == "stale"
    again = other.claim_one()
    assert (again.id, again.fence, again.crashes, again.attempt) == (job.id, job.fence + 1, 1, 1)
    assert late.say(job, Done("late")) == "stale"
    assert late.say(again._replace(worker=late.id), Done("late")) == "stale"
    assert other.say(again, Done("right")) == "applied"
    assert late.say(job, Done("late")) == "stale"
    assert ended(store, job.id).result == "right"


def test_a_lapsed_worker_may_still_settle_what_nobody_has_taken_from_it(store: Store, hire: Hire) -> None:
    """The verdict says that its jobs may be taken, not that they have been. Until then the row is still this worker's
    under this fence, the word is the first and only one, and to refuse it would do finished work a second time. Settle
    and expire exclude each other on the row itself. What a lapsed worker can not do is renew, or take more."""
    late, other = hire(-1.0), hire()
    kept, taken = running(store, late), running(store, late)
    lose(late, other)
    said = late.exchange([change(kept, Done("in time"))], late.want(5))
    assert (said.verdicts, said.claimed, said.alive) == (["applied"], [], False)
    assert ended(store, kept.id).result == "in time"
    assert expire(store, late.id) == 1
    assert late.say(taken, Done("late")) == "stale"


# ── what each outcome leaves behind ──────────────────────────────────────────────────────────────────────────────────


def test_success(store: Store, hand: Hand, heard: list[Hint]) -> None:
    job = running(store, hand)
    heard.clear()
    before = now()
    hand.say(job, Done('{"sent":true}'))
    row = shown(store, job.id)
    assert (row.status, row.result, row.error) == (State.SUCCEEDED, '{"sent":true}', None)
    assert row.finished_at is not None
    assert before <= row.finished_at == row.updated_at <= now()
    assert row.expires_at == ended(store, job.id).expires_at
    assert told(store, job.id)[2:] == [(3, "succeeded", {})]
    assert heard == [Hint("event", (job.id,))]


def test_failure_with_attempts_left_goes_back_and_waits(store: Store, hand: Hand) -> None:
    job = running(store, hand)
    before = now()
    hand.say(job, Errored(BOOM))
    back = live(store, job.id)
    assert back == job._replace(state=State.SCHEDULED, worker=None, attempt=2, run_at=back.run_at)
    assert before + 60 * SECOND <= back.run_at <= now() + 60 * SECOND
    assert hand.claim(1) == []
    [(_, type, data)] = told(store, job.id)[2:]
    assert (type, data["attempt"], data["delay"]) == ("retrying", 2, 60.0)
    row = shown(store, job.id)
    assert (row.status, row.attempt, row.finished_at, row.run_at) == (State.SCHEDULED, 2, None, back.run_at)


def test_failure_for_good(store: Store, hand: Hand) -> None:
    job = running(store, hand, attempt=3)
    hand.say(job, Errored(BOOM))
    after = ended(store, job.id)
    assert (after.state, after.error, after.result, after.attempt) == (State.FAILED, BOOM, None, 3)
    assert shown(store, job.id).error == BOOM


def test_snooze_and_interruption_spend_no_attempt(store: Store, hand: Hand, heard: list[Hint]) -> None:
    job = running(store, hand)
    hand.say(job, Snoozed(3600))
    back = live(store, job.id)
    assert (back.state, back.attempt, back.crashes) == (State.SCHEDULED, 1, 0)
    other = running(store, hand)
    heard.clear()
    hand.say(other, Interrupted())
    assert live(store, other.id) == other._replace(state=State.READY, worker=None)
    assert "work" in {hint.kind for hint in heard}, "somebody else could run it now"
    assert told(store, other.id)[2:] == [(3, "requeued", {"reason": "shutdown"})]


def test_a_second_attempt_starts_with_clean_progress(store: Store, hand: Hand) -> None:
    job = running(store, hand)
    perform(store, store.verbs.progress(job.id, job.fence, hand.id, '{"current":1}'))
    hand.say(job, Interrupted())
    assert shown(store, job.id).progress == '{"current":1}'
    first = shown(store, job.id).started_at
    hand.claim_one()
    row = shown(store, job.id)
    assert (row.progress, row.started_at) == (None, first)


def test_the_attempts_own_cancel(store: Store, hand: Hand) -> None:
    job = running(store, hand)
    hand.say(job, Canceled("customer left"))
    after = ended(store, job.id)
    assert after.state is State.CANCELED
    assert json.loads(after.error or "")["reason"] == "customer left"
    row = shown(store, job.id)
    assert row.cancel_at is not None


def test_no_result_is_kept_when_none_is_wanted(store: Store, hand: Hand) -> None:
    job = running(store, hand)
    hand.say(job, Done("1"), POLICY._replace(keep_result=False))
    assert ended(store, job.id).result is None


@pytest.mark.parametrize("size", [1, 700])
def test_a_batch_is_settled_and_the_next_claimed_in_one_go(store: Store, hand: Hand, size: int) -> None:
    put(store, *(watched() for _ in range(size)), *(new_job() for _ in range(size)))
    jobs = hand.claim(size)
    said = hand.exchange([change(job, Done(job.id)) for job in jobs], hand.want(size))
    assert said.verdicts == ["applied"] * size
    assert len(said.claimed) == size
    assert all(ended(store, job.id).result == job.id for job in jobs[:3])


def test_two_events_of_one_change_are_numbered_one_after_the_other(store: Store, hand: Hand) -> None:
    job, other = running(store, hand), running(store, hand)
    two = change(job, Done("1"))
    two = two._replace(events=(*two.events, *two.events, *two.events))
    assert hand.settle(two, change(other, Done("2"))) == ["applied", "applied"]
    assert [seq for seq, _, _ in told(store, job.id)] == [1, 2, 3, 4, 5]
    assert len(told(store, other.id)) == 3


def test_settled_and_claimed_again_by_the_same_exchange(store: Store, hand: Hand) -> None:
    job = running(store, hand)
    said = hand.exchange([change(job, Interrupted())], hand.want(1))
    [again] = said.claimed
    assert (again.id, again.fence) == (job.id, job.fence + 1)
    assert [type for _, type, _ in told(store, job.id)] == ["queued", "started", "requeued", "started"]


def test_a_change_of_an_unwatched_job_writes_no_event(store: Store, hand: Hand) -> None:
    put(store, new_job())
    job = hand.claim_one()
    wish: Change = change(job, Done("1"))
    assert wish.events == ()
    assert hand.settle(wish) == ["applied"]
