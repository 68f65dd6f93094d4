"""Who gets which job, in what order, and what a claim leaves alone."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...core.job import Job, State
from ...core.options import SECOND, SUSPECT
from ...ports import NewJob, Store
from .fixtures import Hire, Make
from .kit import HOUR, Hand, ask, expire, live, lose, new_job, now, put, shown, told, watched


def ids(jobs: list[Job]) -> list[str]:
    return [job.id for job in jobs]


def test_order_is_priority_then_time_then_id(store: Store, hand: Hand) -> None:
    at = now() - HOUR
    late_but_urgent = new_job(priority=1, run_at=at + 5)
    early = new_job(priority=5, run_at=at)
    first, second, third = (new_job(priority=5, run_at=at + 1) for _ in range(3))
    last = new_job(priority=6, run_at=at - HOUR)
    put(store, last, first, second, third, early, late_but_urgent)
    wanted = [new.job.id for new in (late_but_urgent, early, first, second, third, last)]
    assert ids(hand.claim(2)) + ids(hand.claim(1)) + ids(hand.claim(10)) == wanted


def test_a_claimed_job_is_running_and_its_fence_is_raised_every_time(store: Store, hire: Hire) -> None:
    put(store, new_job())
    for fence in (1, 2):
        hand = hire(-1.0)
        job = hand.claim_one()
        assert (job.state, job.fence, job.worker) == (State.RUNNING, fence, hand.id)
        assert live(store, job.id) == job
        lose(hand, hire())
        assert expire(store, hand.id) == 1


def test_full_says_that_there_may_be_more(store: Store, hand: Hand) -> None:
    put(store, *(new_job() for _ in range(5)))
    assert hand.exchange(want=hand.want(3)).full
    rest = hand.exchange(want=hand.want(3))
    assert (len(rest.claimed), rest.full) == (2, False)
    assert not hand.exchange(want=hand.want(3)).full


def test_nothing_wanted_nothing_claimed(store: Store, hand: Hand) -> None:
    put(store, new_job())
    assert hand.exchange(want=None).claimed == []
    assert hand.claim(0) == []


def test_only_the_queues_and_tasks_asked_for(store: Store, hand: Hand) -> None:
    mine, elsewhere, unknown = new_job(), new_job(queue="other"), new_job(task="os:system", priority=-5)
    put(store, unknown, elsewhere, mine)
    assert ids(hand.claim(10)) == [mine.job.id]
    assert hand.claim(10) == []
    assert live(store, unknown.job.id) == unknown.job
    assert ids(hand.claim(10, queues=(("other", 1),))) == [elsewhere.job.id]
    assert ids(hand.claim(10, tasks='["push@1","os:system@1"]')) == [unknown.job.id]


def test_only_the_versions_that_are_known(store: Store, hand: Hand) -> None:
    """A rolling deploy: what the new code enqueues waits for a worker that has it."""
    old, new, newer = new_job(), new_job(version=2), new_job(version=12)
    put(store, newer, new, old)
    assert ids(hand.claim(10)) == [old.job.id]
    assert hand.claim(10) == []
    assert ids(hand.claim(10, tasks='["mail@2","mail@1"]')) == [new.job.id]
    assert live(store, newer.job.id) == newer.job
    assert {row[5]: row[2] for row in ask(store, store.verbs.counts())} == {1: 3, 2: 3, 12: 2}


def test_queues_share_by_weight(store: Store, hand: Hand) -> None:
    queues = (("critical", 6), ("normal", 3), ("low", 1))
    for queue, _ in queues:
        put(store, *(new_job(queue=queue) for _ in range(40)))
    for _ in range(2):
        assert Counter(job.queue for job in hand.claim(20, queues=queues)) == {"critical": 12, "normal": 6, "low": 2}


def test_queues_share_by_weight_one_job_at_a_time(store: Store, hire: Hire) -> None:
    """What a worker asks for is what has ended since: the shares are over time, and each worker keeps its own count."""
    queues = (("critical", 6), ("low", 1), ("normal", 3))
    for queue, _ in queues:
        put(store, *(new_job(queue=queue) for _ in range(60)))
    for hand in (hire(), hire()):
        came = [hand.claim_one(queues=queues).queue for _ in range(40)]
        for n in (10, 20, 40):
            assert Counter(came[:n]) == {"critical": n * 6 // 10, "normal": n * 3 // 10, "low": n // 10}
        assert came[0] == "critical"


def test_claims_of_any_size_come_to_the_same_shares(store: Store, hand: Hand) -> None:
    queues = (("alpha", 1), ("zeta", 3))
    for queue, _ in queues:
        put(store, *(new_job(queue=queue) for _ in range(100)))
    came = [job.queue for limit in (1, 2, 1, 5, 3, 7, 1) for job in hand.claim(limit, queues=queues)]
    assert Counter(came) == {"alpha": 5, "zeta": 15}


def test_a_queue_that_was_empty_has_saved_nothing_up(store: Store, hand: Hand) -> None:
    queues = (("a", 1), ("b", 1))
    put(store, *(new_job(queue="a") for _ in range(60)))
    assert [hand.claim_one(queues=queues).queue for _ in range(30)] == ["a"] * 30
    put(store, *(new_job(queue="b") for _ in range(60)))
    assert Counter(hand.claim_one(queues=queues).queue for _ in range(10)) == {"a": 5, "b": 5}


def test_what_one_queue_does_not_need_goes_to_the_others(store: Store, hand: Hand) -> None:
    put(store, *(new_job(queue="low") for _ in range(20)), new_job(queue="critical"))
    said = hand.exchange(want=hand.want(10, queues=(("critical", 9), ("low", 1), ("empty", 90))))
    assert Counter(job.queue for job in said.claimed) == {"critical": 1, "low": 9}
    assert said.full


def test_no_queue_starves_when_there_is_room_for_one_only(store: Store, hand: Hand) -> None:
    put(store, new_job(queue="low"))
    assert [job.queue for job in hand.claim(1, queues=(("critical", 1000), ("low", 1)))] == ["low"]


def test_scheduled_jobs_wait_until_they_are_due(store: Store, hand: Hand) -> None:
    later = watched(state=State.SCHEDULED, run_at=now() + HOUR)
    due = watched(state=State.SCHEDULED, run_at=now() - SECOND)
    waiting = new_job(state=State.WAITING)
    put(store, later, due, waiting)
    assert ids(hand.claim(10)) == [due.job.id]
    assert live(store, later.job.id) == later.job
    assert live(store, waiting.job.id) == waiting.job


def test_more_due_jobs_than_one_promotion_takes(store: Store, hand: Hand) -> None:
    put(store, *(new_job(state=State.SCHEDULED) for _ in range(2300)))
    assert [len(hand.claim(5000)) for _ in range(4)] == [1000, 1000, 300, 0]


def test_only_a_registered_worker_without_a_verdict_claims(store: Store, hire: Hire) -> None:
    put(store, new_job())
    hand = hire(-1.0)
    want = hand.want(1)
    stranger = store.exchange("nobody", [], want).result(5)
    assert (stranger.claimed, stranger.alive) == ([], False)
    lose(hand, hire())
    late = hand.exchange(want=want)
    assert (late.claimed, late.alive) == ([], False)


def test_a_worker_that_is_late_but_not_judged_still_claims(store: Store, hire: Hire) -> None:
    put(store, new_job())
    assert len(hire(-1.0).claim(1)) == 1


def test_a_claim_tells_that_it_started(store: Store, hand: Hand) -> None:
    new = watched(attempt=3)
    put(store, new, new_job(attempt=3))
    before = now()
    assert len(hand.claim(5)) == 2
    assert told(store, new.job.id) == [(1, "queued", {}), (2, "started", {"attempt": 3})]
    row = shown(store, new.job.id)
    assert row.status == State.RUNNING
    assert row.started_at is not None
    assert before <= row.started_at == row.updated_at


# ── at-most-once and suspects: only into free slots ──────────────────────────────────────────────────────────────────


def test_at_most_once_is_never_fetched_ahead(store: Store, hand: Hand) -> None:
    once = [new_job(once=True, priority=1) for _ in range(4)]
    plain = [new_job() for _ in range(4)]
    put(store, *once, *plain)
    assert ids(hand.claim(3, free=0)) == [new.job.id for new in plain[:3]]
    claimed = hand.claim(5, free=2)
    assert [job.once for job in claimed] == [True, True, False]
    assert ids(claimed)[:2] == [new.job.id for new in once[:2]]
    assert len(hand.claim(5, free=5)) == 2


def test_free_slots_go_to_the_first_in_line(store: Store, hand: Hand) -> None:
    """Where plain jobs come before it, a delicate one further back would have to wait for a slot in this worker."""
    at = now() - HOUR
    first, second, last = (new_job(run_at=at + n) for n in (1, 2, 5))
    once, crashed = new_job(run_at=at + 3, once=True), new_job(run_at=at + 4, crashes=1)
    put(store, last, crashed, once, second, first)
    assert ids(hand.claim(3, free=2)) == [new.job.id for new in (first, second, last)]
    assert ids(hand.claim(2, free=1)) == [once.job.id]
    assert ids(hand.claim(2, free=1)) == [crashed.job.id]


def test_free_slots_are_counted_over_all_queues(store: Store, hand: Hand) -> None:
    for queue in "abc":
        put(store, *(new_job(queue=queue, once=True) for _ in range(5)))
    assert len(hand.claim(15, free=4, queues=(("a", 1), ("b", 1), ("c", 1)))) == 4


def suspects(number: int, **given: Any) -> list[NewJob]:
    return [new_job(crashes=SUSPECT, **given) for _ in range(number)]


def test_one_suspect_at_a_time_and_its_neighbours_come_all_the_same(store: Store, hand: Hand) -> None:
    doubtful, plain = suspects(20, priority=1), [new_job() for _ in range(10)]
    put(store, *doubtful, *plain)
    said = hand.exchange(want=hand.want(10))
    assert ids(said.claimed) == [new.job.id for new in (doubtful[0], *plain[:9])]
    assert said.full
    assert ids(hand.claim(10, suspect=False)) == [plain[9].job.id]
    assert hand.claim(10, suspect=False) == []
    assert ids(hand.claim(10)) == [doubtful[1].job.id]


def test_one_suspect_over_all_queues(store: Store, hand: Hand) -> None:
    put(store, *(new_job(queue=queue, crashes=SUSPECT) for queue in "abc"))
    assert len(hand.claim(9, queues=(("a", 1), ("b", 1), ("c", 1)))) == 1


def test_nothing_a_worker_has_died_on_is_fetched_ahead(store: Store, hand: Hand) -> None:
    put(store, *suspects(1), *(new_job(crashes=1) for _ in range(4)))
    assert hand.claim(5, free=0) == []
    assert sorted(job.crashes for job in hand.claim(5, free=3)) == [1, 1, SUSPECT]


# ── several claimers ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_claimers_never_share_a_job(make: Make) -> None:
    stores = [make(), make(), make()]
    jobs = [new_job() for _ in range(600)]
    put(stores[0], *jobs)

    def work(store: Store) -> list[Job]:
        hand, mine = Hand(store), list[Job]()
        while got := hand.claim(7):
            mine += got
        hand.close()
        return mine

    with ThreadPoolExecutor(3) as pool:
        got = [job for mine in pool.map(work, stores) for job in mine]
    assert sorted(ids(got)) == [new.job.id for new in jobs]
    assert {job.fence for job in got} == {1}


def test_a_claim_gives_arguments_as_they_are_stored(store: Store, hand: Hand) -> None:
    args = json.dumps({"text": "x" * 900_000, "n": "\x00\U0001f4a1"})
    put(store, new_job(args=args))
    assert hand.claim_one().args == args


def test_counts_and_next_due(store: Store, hand: Hand) -> None:
    at = now() + HOUR
    assert ask(store, store.verbs.next_due()) is None
    due = [new_job(state=State.SCHEDULED, run_at=at + n) for n in range(3)]
    oldest = new_job(run_at=7)
    put(store, *due, oldest, new_job(), new_job(queue="low", task="push"))
    assert ask(store, store.verbs.next_due()) == at
    counts = {row[:3]: row[3:] for row in ask(store, store.verbs.counts())}
    assert counts["default", "mail", State.SCHEDULED] == (3, at, 1)
    assert counts["default", "mail", State.READY] == (2, 7, 1)
    assert counts["low", "push", State.READY][0] == 1
    hand.claim(1)
    counts = {row[:3]: row[3:] for row in ask(store, store.verbs.counts())}
    assert counts["default", "mail", State.RUNNING] == (1, 7, 1)
