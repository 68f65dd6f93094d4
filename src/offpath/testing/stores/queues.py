"""Queues that are paused, retention by outcome, and what cannot be forgotten."""

import pytest

from ...core.job import Finished, State
from ...core.options import SECOND
from ...core.outcome import Done, Errored, Interrupted, error
from ...core.policy import Policy
from ...core.queues import PausedRow
from ...core.retention import Retention, Terms
from ...core.selection import JobFilter
from ...ports import Hint, Round, Statement, Store, Verb
from .bulk import rows_of
from .fixtures import Hire, Make
from .kit import HOUR, Hand, ask, ended, live, lose, new_job, now, perform, put

FAIL = Errored(error("raised", "it broke", exception="shop.CardDeclined"), False)


# ── pause ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pause(store: Store, queue: str, reason: str = "") -> None:
    perform(store, store.verbs.pause(queue, reason))


def test_nothing_is_claimed_from_a_paused_queue(store: Store, hire: Hire, heard: list[Hint]) -> None:
    """Whoever asks: a worker that has not heard of it asks all the same."""
    hand, other = hire(), hire()
    mine, theirs = new_job(queue="a"), new_job(queue="b")
    put(store, mine, theirs, new_job(queue="a", once=True), new_job(queue="a", crashes=1))
    both = (("a", 1), ("b", 1))
    heard.clear()
    pause(store, "a", "a deploy")
    assert heard == [Hint("queue", ("a",))]
    assert [job.id for job in hand.claim(queues=both)] == [theirs.job.id]
    assert other.claim(queues=both) == []
    assert live(store, mine.job.id) == mine.job
    perform(store, store.verbs.resume("a"))
    assert heard[-1] == Hint("queue", ("a",))
    assert len(other.claim(queues=both)) == 3


def test_what_runs_goes_on_and_may_come_back_but_not_start_again(store: Store, hand: Hand) -> None:
    put(store, *(new_job() for _ in range(3)))
    done, failed, given_back = hand.claim()
    pause(store, "default")
    assert hand.finish(done) == ["applied"]
    assert hand.say(failed, Errored(error("raised", "x"))) == "applied"
    assert hand.say(given_back, Interrupted("not started", begun=False)) == "applied"
    assert live(store, given_back.id).state is State.READY
    assert hand.claim() == []


def test_who_asks_for_no_queue_is_told_whether_he_is_alive(store: Store, hand: Hand) -> None:
    """As a worker might while all of its queues are paused. (The first exchange renews the lease: that tells, too.)"""

    def verdict() -> Verb[int]:
        given: int = yield Statement("update offpath_worker set lapsed_at = 1", {}, lambda rows: rows[0][0])
        return given

    assert hand.exchange(want=hand.want(queues=())).alive
    assert perform(store, verdict()) == 1
    answer = hand.exchange(want=hand.want(queues=()))
    assert (answer.alive, answer.claimed) == (False, [])


def test_what_falls_due_in_a_paused_queue_is_ready_and_waits(store: Store, hand: Hand) -> None:
    new = new_job(state=State.SCHEDULED, run_at=now() - SECOND, queue="a")
    put(store, new, new_job())
    pause(store, "a")
    assert len(hand.claim(queues=(("a", 1), ("default", 1)))) == 1
    assert hand.claim(queues=(("a", 1), ("default", 1))) == []
    perform(store, store.verbs.resume("a"))
    assert [job.id for job in hand.claim(queues=(("a", 1),))] == [new.job.id]


def test_a_pause_is_a_row_and_keeps_its_first_moment(store: Store, make: Make) -> None:
    before = now()
    pause(store, "mail", "first")
    [first] = ask(store, store.verbs.paused())
    assert first == PausedRow("mail", first.at, "first")
    assert before <= first.at <= now()
    pause(store, "mail", "second")
    other = make()
    assert ask(other, other.verbs.paused()) == [PausedRow("mail", first.at, "second")]
    perform(other, other.verbs.resume("mail"))
    perform(other, other.verbs.resume("nobody knows it"))
    assert ask(store, store.verbs.paused()) == []
    pause(store, "mail", "third")
    [third] = ask(store, store.verbs.paused())
    assert (third.reason, third.at > first.at) == ("third", True)


def test_how_queues_stand(store: Store, hand: Hand) -> None:
    old = now() - 90 * SECOND
    put(store, new_job(queue="a", run_at=old), new_job(queue="a"), new_job(queue="b", priority=0))
    put(store, new_job(queue="a", state=State.SCHEDULED, run_at=now() + HOUR), new_job(queue="a", state=State.WAITING))
    hand.claim(queues=(("b", 1),))
    pause(store, "c", "why not")
    counts, paused, at = ask(store, store.verbs.standing(None))
    assert {(queue, state): jobs for queue, state, jobs, _ in counts} == {
        ("a", State.READY): 2, ("a", State.SCHEDULED): 1, ("a", State.WAITING): 1, ("b", State.RUNNING): 1,
    }  # fmt: skip
    assert {oldest for queue, state, _, oldest in counts if (queue, state) == ("a", State.READY)} == {old}
    assert [row.name for row in paused] == ["c"]
    assert abs(at - now()) < 60 * SECOND
    assert ask(store, store.verbs.standing("b"))[:2] == ([c for c in counts if c[0] == "b"], [])
    assert ask(store, store.verbs.standing("c"))[:2] == ([], paused)
    assert ask(store, store.verbs.served()) == (["a"], ["c"])


# ── retention ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_ends_outside_a_worker_is_kept_as_its_queue_and_task_say(make: Make) -> None:
    terms = Terms(Retention(finished=HOUR, failed=None))
    terms.queues["a"] = {"canceled": 20 * 3600.0, "failed": 30 * 3600.0}
    terms.tasks["push"] = {"canceled": None}
    store = make(retention=terms)
    plain, queued, task = new_job(), new_job(queue="a"), new_job(queue="a", task="push")
    late = new_job(queue="a", deadline=now() - SECOND)
    put(store, plain, queued, task)
    for new in (plain, queued, task):
        perform(store, store.verbs.cancel(new.job.id, "x"))
    put(store, late)
    perform(store, store.verbs.overdue(10))
    many = new_job(queue="a")
    put(store, many)
    perform(store, store.verbs.cancel_page(JobFilter((2,), queue="a"), None, 5, "x"))
    kept = {new.job.id: length(ended(store, new.job.id)) for new in (plain, queued, task, late, many)}
    assert list(kept.values()) == [HOUR, 20 * HOUR, None, 30 * HOUR, 20 * HOUR]


def test_a_dead_workers_job_is_kept_as_its_queue_says(make: Make) -> None:
    terms = Terms()
    terms.queues["default"] = {"failed": 5 * 3600.0}
    store = make(retention=terms)
    late, judge = Hand(store, -1.0), Hand(store)
    put(store, new_job(once=True))
    job = late.claim_one()
    lose(late, judge)
    perform(store, store.verbs.expire(late.id, 10))
    assert length(ended(store, job.id)) == 5 * HOUR
    late.close()
    judge.close()


def length(row: Finished) -> int | None:
    """How long it is kept, to the second: the decision and the row look at the clock one after the other."""
    return None if row.expires_at is None else round((row.expires_at - row.finished_at) / (60 * SECOND)) * 60 * SECOND


# ── prune ────────────────────────────────────────────────────────────────────────────────────────────────────────────

GONE = Policy(retention=Retention(-SECOND, -SECOND, -SECOND))


def test_prune_knows_what_it_was_about_to_delete_and_can_leave_it(store: Store, hand: Hand) -> None:
    put(store, *(new_job() for _ in range(5)))
    ids = [job.id for job in hand.claim() if hand.say(job, Done(None), GONE) == "applied"]
    round = Round()
    round.skip = {ids[1], ids[3]}
    assert [perform(store, store.verbs.prune(2, round)) for _ in range(3)] == [2, 1, 0]
    assert {row.id for row in rows_of(store, JobFilter())} == round.skip
    assert round.taken == []
    assert [perform(store, store.verbs.prune(2)) for _ in range(2)] == [2, 0]


@pytest.mark.parametrize("name", ["'; drop table offpath_job; --", "ü" * 255, "%", "a\u2028b"])
def test_any_name_will_do(store: Store, hand: Hand, name: str) -> None:
    put(store, new_job(queue=name, key=name, owner=name))
    pause(store, name, name)
    assert hand.claim(queues=((name, 1),)) == []
    assert ask(store, store.verbs.served()) == ([name], [name])
    where = JobFilter(queue=name, key_prefix=name, owner=name)
    assert ask(store, store.verbs.count_jobs(where)) == 1
