"""Death is a verdict written on the worker's row, never a moment in time; its jobs go back, a killer is quarantined."""

import json

import pytest

from ...core.job import Job, State
from ...core.options import MAX_CRASHES
from ...errors import StoreError
from ...ports import Hint, Store
from .fixtures import Hire
from .kit import Hand, ask, ended, erase, expire, live, lose, new_job, perform, put, told, watched


def test_a_late_worker_that_was_not_judged_may_renew(hire: Hire) -> None:
    late = hire(-1.0)
    assert late.lease.renew(late.id, 60.0)
    assert hire().lease.judge() == []


def test_a_worker_with_a_verdict_is_dead_for_good(hire: Hire) -> None:
    late, other = hire(-1.0), hire()
    lose(late, other)
    assert not late.lease.renew(late.id, 60.0)
    assert not late.lease.renew(late.id, 60.0)
    assert other.lease.judge() == [late.id]
    assert other.lease.renew(other.id, 60.0)


def test_only_a_lease_that_ran_out_is_judged(hire: Hire) -> None:
    alive, other = hire(60.0), hire(60.0)
    assert other.lease.judge() == []
    assert alive.lease.renew(alive.id, 60.0)
    assert alive.exchange(want=alive.want(1)).alive


def test_an_exchange_renews_the_lease_on_the_way(store: Store, hire: Hire) -> None:
    """Among saturating writers a renewal that stands alone waits too long."""
    hand, other = hire(60.0), hire()
    hand.lease.renew(hand.id, -1.0)  # run out, not judged
    hand.exchange()
    assert other.lease.judge() == []


def test_a_verdict_stops_claims_between_two_renewals_too(store: Store, hire: Hire) -> None:
    put(store, new_job())
    hand, other = hire(60.0), hire()
    assert hand.exchange().alive  # this one has renewed it; the next will not bother
    hand.lease.renew(hand.id, -1.0)
    lose(hand, other)
    said = hand.exchange(want=hand.want(1))
    assert (said.claimed, said.alive) == ([], False)


def test_nobody_renews_a_worker_that_was_never_registered(hand: Hand) -> None:
    assert not hand.lease.renew("nobody", 60.0)


def test_one_id_registers_once(store: Store, hire: Hire) -> None:
    hand = hire()
    with pytest.raises(StoreError):
        hire(id=hand.id)
    assert hand.lease.renew(hand.id, 60.0)


def test_leaving_in_order_leaves_nothing(store: Store, hire: Hire) -> None:
    hand, other = hire(), hire()
    hand.lease.resign(hand.id)
    assert not hand.lease.renew(hand.id, 60.0)
    assert other.lease.judge() == []
    assert not hand.exchange(want=hand.want(1)).alive


def test_leaving_with_a_job_in_hand_leaves_it_to_the_others(store: Store, hire: Hire) -> None:
    put(store, new_job())
    hand, other = hire(), hire()
    job = hand.claim_one()
    hand.lease.resign(hand.id)
    assert other.lease.judge() == [hand.id]
    assert expire(store, hand.id) == 1
    assert live(store, job.id).state is State.READY


# ── expire ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_jobs_of_a_dead_worker_go_back_in_pages(store: Store, hire: Hire, heard: list[Hint]) -> None:
    late, other = hire(-1.0), hire()
    put(store, *(watched() for _ in range(5)), new_job(queue="other"))
    jobs = late.claim(5)
    elsewhere = other.claim_one(queues=(("other", 1),))
    lose(late, other)
    heard.clear()
    assert [expire(store, late.id, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert other.lease.judge() == [], "the row is gone"
    for job in jobs:
        assert live(store, job.id) == job._replace(state=State.READY, worker=None, crashes=1)
        assert told(store, job.id)[-1] == (3, "requeued", {"reason": "worker lost"})
    assert live(store, elsewhere.id) == elsewhere
    assert Hint("work", ("default",)) in heard


def test_the_row_stays_until_no_job_points_to_it(store: Store, hire: Hire) -> None:
    put(store, new_job(), new_job())
    late, other = hire(-1.0), hire()
    late.claim(2)
    lose(late, other)
    expire(store, late.id, 1)
    assert other.lease.judge() == [late.id]


def test_a_worker_without_a_verdict_keeps_its_jobs(store: Store, hire: Hire) -> None:
    late = hire(-1.0)
    put(store, new_job())
    job = late.claim_one()
    assert expire(store, late.id) == 0
    assert live(store, job.id) == job
    late.finish(job)
    assert expire(store, late.id) == 0
    assert late.lease.renew(late.id, 60.0), "its row is still there"


def test_expiring_twice_counts_one_crash(store: Store, hire: Hire) -> None:
    put(store, new_job())
    late, other = hire(-1.0), hire()
    job = late.claim_one()
    lose(late, other)
    assert [expire(store, late.id), expire(store, late.id)] == [1, 0]
    assert live(store, job.id).crashes == 1


def crash(store: Store, hire: Hire, times: int) -> Job:
    """The one job there is dies with its worker so many times."""
    job: Job | None = None
    for _ in range(times):
        late = hire(-1.0)
        job = late.claim_one()
        lose(late, hire())
        expire(store, late.id)
    assert job is not None
    return job


def test_three_dead_workers_quarantine_a_job(store: Store, hire: Hire) -> None:
    put(store, watched())
    job = crash(store, hire, MAX_CRASHES)
    after = ended(store, job.id)
    assert (after.state, after.crashes, after.attempt) == (State.FAILED, MAX_CRASHES, 1)
    assert json.loads(after.error or "")["kind"] == "quarantined"


def test_at_most_once_is_not_repeated(store: Store, hire: Hire) -> None:
    put(store, new_job(once=True))
    after = ended(store, crash(store, hire, 1).id)
    assert (after.state, json.loads(after.error or "")["kind"]) == (State.FAILED, "lost")


def test_a_cancel_that_was_asked_for_is_kept_by_the_death(store: Store, hire: Hire) -> None:
    put(store, watched())
    late, other = hire(-1.0), hire()
    job = late.claim_one()
    perform(store, store.verbs.cancel(job.id, "stop"))
    lose(late, other)
    expire(store, late.id)
    assert ended(store, job.id).state is State.CANCELED


def test_running_jobs_without_a_worker_row_are_orphans(store: Store, hire: Hire) -> None:
    hand, gone = hire(), hire()
    put(store, *(new_job() for _ in range(4)))
    held, lost = hand.claim_one(), gone.claim(3)
    erase(store, "offpath_worker", gone.id)
    assert [perform(store, store.verbs.orphans(2)) for _ in range(3)] == [2, 1, 0]
    for job in lost:
        assert live(store, job.id) == job._replace(state=State.READY, worker=None, crashes=1)
    assert live(store, held.id) == held


def test_orphans_are_not_the_jobs_of_a_worker_with_a_verdict(store: Store, hire: Hire) -> None:
    put(store, new_job())
    late, other = hire(-1.0), hire()
    late.claim_one()
    lose(late, other)
    assert perform(store, store.verbs.orphans(9)) == 0
    assert ask(store, store.verbs.counts())[0][2] == State.RUNNING
