"""Two that want the same job at once: one gets it, the other is told so, and the job's story has no hole.

Each race runs between store objects of their own, as between processes, over enough jobs that both sides win some.
Where the outcome of one job is open, what is checked is that everyone's answer and the rows agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest

from ...core.change import Change
from ...core.job import Job, State
from ...core.options import SECOND
from ...core.outcome import Done, Interrupted
from ...errors import NotFound
from ...ports import Enqueued, Found, JobFilter, NewJob, Store, Verdict, Want
from .fixtures import Hire, Make
from .kit import (
    TIMEOUT,
    Hand,
    ask,
    change,
    ended,
    erase,
    expire,
    fresh,
    live,
    lose,
    new_job,
    now,
    perform,
    put,
    told,
    watched,
)

R = TypeVar("R")
JOBS = 60


def at_once(*sides: Callable[[], R]) -> list[R]:
    """Each in a thread of its own, from the same moment on."""
    gate = Barrier(len(sides))

    def run(side: Callable[[], R]) -> R:
        gate.wait(TIMEOUT)
        return side()

    with ThreadPoolExecutor(len(sides)) as pool:
        return [future.result(TIMEOUT) for future in [pool.submit(run, side) for side in sides]]


def find(store: Store, id: str) -> Found:
    found = ask(store, store.verbs.find(id))
    assert found is not None, f"{id} is lost"
    return found


def words(store: Store, id: str) -> list[str]:
    return [type for _, type, _ in told(store, id)]


def mixed() -> list[NewJob]:
    """Every second one is watched: a store may write the two in different ways."""
    return [watched() if n % 2 else new_job() for n in range(JOBS)]


def insist(hand: Hand, *changes: Change) -> dict[str, Verdict]:
    """Where nobody cancels, "changed" says that somebody has the row in hand: ask again."""
    verdicts: dict[str, Verdict] = {}
    while left := [change for change in changes if verdicts.get(change.id, "changed") == "changed"]:
        verdicts |= zip((change.id for change in left), hand.settle(*left), strict=True)
    return verdicts


def test_claim_against_claim(make: Make) -> None:
    """Of the same few jobs, again and again: nobody gets a job that another holds."""
    stores = [make(), make()]
    hands = [Hand(store) for store in stores]
    jobs = [watched() for _ in range(4)]
    put(stores[0], *jobs)
    claims: list[list[Job]] = [[], []]

    def work(n: int) -> None:
        for _ in range(25):
            got = hands[n].claim(2)
            claims[n] += got
            verdicts = insist(hands[n], *(change(job, Interrupted()) for job in got))
            assert verdicts == {job.id: "applied" for job in got}

    at_once(*(lambda n=n: work(n) for n in range(2)))
    for new in jobs:
        fences = [job.fence for got in claims for job in got if job.id == new.job.id]
        assert sorted(fences) == list(range(1, len(fences) + 1)), "each claim raised it by one"
        assert words(stores[0], new.job.id) == ["queued", *["started", "requeued"] * len(fences)]
    for hand in hands:
        hand.close()


def test_claim_against_cancel(store: Store, make: Make, hand: Hand) -> None:
    """Either it never starts, or whoever runs it is asked to stop."""
    other, jobs, claimed = make(), [watched() for _ in range(JOBS)], list[Job]()
    put(store, *jobs)

    def claim() -> None:
        while got := hand.claim(3):
            claimed.extend(got)

    def cancel() -> None:
        for new in reversed(jobs):
            perform(other, other.verbs.cancel(new.job.id, "enough"))

    at_once(claim, cancel)
    started = {job.id for job in claimed}
    asked = {id for id, *_ in ask(store, store.verbs.canceling(hand.id))}
    assert asked == started
    for new in jobs:
        found = find(store, new.job.id)
        if new.job.id in started:
            assert found.job is not None
            assert (found.job.state, found.job.cancel_reason) == (State.RUNNING, "enough")
            assert words(store, new.job.id) == ["queued", "started", "canceling"]
        else:
            assert found.finished is not None
            assert found.finished.state is State.CANCELED
            assert words(store, new.job.id) == ["queued", "canceled"]


def test_settle_against_cancel(store: Store, make: Make, hand: Hand) -> None:
    """A success that came first stands; after a cancel the worker is told to decide again."""
    other = make()
    put(store, *mixed())
    jobs = hand.claim(JOBS)
    verdicts: dict[str, Verdict] = {}

    def settle() -> None:
        for job in jobs:
            [verdicts[job.id]] = hand.finish(job)

    def cancel() -> None:
        for job in reversed(jobs):
            perform(other, other.verbs.cancel(job.id, "enough"))

    at_once(settle, cancel)
    for job in jobs:
        if verdicts[job.id] == "applied":
            assert ended(store, job.id).state is State.SUCCEEDED
            assert not job.watched or words(store, job.id) == ["queued", "started", "succeeded"]
        else:
            assert verdicts[job.id] == "changed"
            assert hand.say(live(store, job.id), Done("1")) == "applied"
            assert ended(store, job.id).state is State.CANCELED
            assert not job.watched or words(store, job.id) == ["queued", "started", "canceling", "canceled"]


@pytest.mark.parametrize("row", [True, False], ids=["lapsed", "gone"])
def test_settle_against_expiry(store: Store, make: Make, hire: Hire, row: bool) -> None:
    """A worker with a verdict, or whose row has vanished, settles while its jobs are taken away: each job goes one way
    only."""
    other, late, judge = make(), hire(-1.0), hire()
    put(store, *mixed())
    jobs = late.claim(JOBS)
    if row:
        lose(late, judge)
    else:
        erase(store, "offpath_worker", late.id)
    verdicts: dict[str, Verdict] = {}

    def settle() -> int:
        for job in reversed(jobs):
            verdicts.update(insist(late, change(job, Done('"late"'))))
        return 0

    def take() -> int:
        taken = 0
        while some := perform(other, other.verbs.expire(late.id, 3) if row else other.verbs.orphans(3)):
            taken += some
        return taken

    taken = sum(at_once(settle, take))
    taken += take()  # what the other had in its hand when upkeep came by
    assert taken == list(verdicts.values()).count("stale")
    for job in jobs:
        if verdicts[job.id] == "applied":
            assert ended(store, job.id).result == '"late"'
            assert not job.watched or words(store, job.id) == ["queued", "started", "succeeded"]
        else:
            assert live(store, job.id) == job._replace(state=State.READY, worker=None, crashes=1)
            assert not job.watched or words(store, job.id) == ["queued", "started", "requeued"]
    assert judge.lease.judge() == [], "the worker's row went with its last job"


def test_claim_against_verdict(store: Store, make: Make, hire: Hire) -> None:
    """A claim in flight while the verdict is written leaves no job with the dead. Nobody can say from outside where in
    the claim it falls: each round waits a little longer."""
    other, judge = make(), hire()
    for n in range(10):
        queue, late = f"q{n}", hire(-1.0)
        jobs = [new_job(queue=queue) for _ in range(600)]
        put(store, *jobs)
        want = late.want(600, queues=((queue, 1),))

        def claim(late: Hand = late, want: Want = want) -> int:
            return len(late.exchange(want=want).claimed)

        def judged(late: Hand = late, n: int = n) -> int:
            time.sleep(n * 0.0015)
            while late.id not in judge.lease.judge():
                continue  # the claim has the worker's row in hand
            return sum(iter(lambda: expire(other, late.id), 0))

        claimed, taken = at_once(claim, judged)
        assert claimed == taken + expire(store, late.id)
        assert perform(store, store.verbs.orphans(100)) == 0
        found = [one.job for one in ask(store, store.verbs.list_jobs(JobFilter(queue=queue), None, 600)) if one.job]
        assert {job.state for job in found} == {State.READY}
        assert sum(job.crashes for job in found) == claimed


def test_expiry_against_expiry(store: Store, make: Make, hire: Hire) -> None:
    """Every worker does upkeep: a death counts once for each job."""
    stores, late, judge = [store, make(), make()], hire(-1.0), hire()
    put(store, *(watched() for _ in range(JOBS)))
    jobs = late.claim(JOBS)
    lose(late, judge)

    def take(store: Store) -> int:
        return sum(iter(lambda: expire(store, late.id, 7), 0))

    assert sum(at_once(*(lambda store=store: take(store) for store in stores))) == JOBS
    for job in jobs:
        assert live(store, job.id) == job._replace(state=State.READY, worker=None, crashes=1)
        assert words(store, job.id) == ["queued", "started", "requeued"]


def test_claim_against_deadline(store: Store, make: Make, hand: Hand) -> None:
    """What is overdue fails or runs, not both."""
    other = make()
    put(store, *(watched(deadline=now() - SECOND) for _ in range(JOBS)))
    claimed: list[Job] = []

    def claim() -> int:
        while got := hand.claim(3):
            claimed.extend(got)
        return len(claimed)

    def fail() -> int:
        return sum(iter(lambda: perform(other, other.verbs.overdue(3)), 0))

    assert sum(at_once(claim, fail)) == JOBS
    for job in claimed:
        assert live(store, job.id) == job


def test_one_key_from_all_sides(store: Store, make: Make) -> None:
    """Enqueued again and again while the job that holds the key comes and goes: never two at a time."""
    stores = [store, make(), make(), make()]

    def enqueue(store: Store) -> list[Enqueued]:
        return [put(store, watched(key="k"))[0] for _ in range(20)]

    def finish(store: Store) -> list[Enqueued]:
        hand = Hand(store)
        for _ in range(40):
            got = hand.claim(9)
            assert len(got) < 2, "two live jobs under one key"
            hand.finish(*got)
        hand.close()
        return []

    sides = [lambda: finish(stores[3]), *(lambda s=s: enqueue(s) for s in stores[:3])]
    said = [one for answers in at_once(*sides) for one in answers]
    made = [one.id for one in said if not one.existing]
    assert len(set(made)) == len(made) > 0
    assert {one.id for one in said if one.existing} <= set(made)
    for id in made:
        assert words(store, id)[0] == "queued"


def test_keys_in_opposite_orders(make: Make) -> None:
    """Batches that meet at several keys neither deadlock nor fail."""
    stores = [make() for _ in range(4)]
    keys = [f"k{n}" for n in range(20)]

    def enqueue(store: Store, order: list[str]) -> list[list[Enqueued]]:
        return [put(store, *(new_job(key=key) for key in order)) for _ in range(5)]

    sides = [lambda s=s, o=o: enqueue(s, o) for s, o in zip(stores, [keys, keys[::-1]] * 2, strict=True)]
    answers = at_once(*sides)
    made = [one.id for batches in answers for batch in batches for one in batch if not one.existing]
    assert len(made) == len(keys)
    assert {one.id for batches in answers for batch in batches for one in batch} == set(made)


def test_the_same_id_from_two_sides_is_one_job(make: Make) -> None:
    """Whoever did not hear the answer asks again, perhaps before the first asking is through."""
    stores = [make(), make()]
    for _ in range(20):
        new = watched()
        said = at_once(*(lambda s=s, new=new: put(s, new) for s in stores))
        assert said == [[Enqueued(new.job.id, False)]] * 2
        assert words(stores[0], new.job.id) == ["queued"]


def test_retry_against_delete(store: Store, make: Make, hand: Hand) -> None:
    """A finished job is run again or erased; the new job is whole either way."""
    other = make()
    put(store, *(watched() for _ in range(20)))
    jobs = hand.claim(20)
    hand.finish(*jobs)
    made: list[str] = []

    def again() -> None:
        for job in jobs:
            new = fresh()
            try:
                made.append(perform(store, store.verbs.retry(job.id, new)).id)
            except NotFound:
                continue

    def erase() -> None:
        for job in reversed(jobs):
            assert perform(other, other.verbs.delete(job.id))

    at_once(again, erase)
    assert [ask(store, store.verbs.find(job.id)) for job in jobs] == [None] * 20
    for id in made:
        job = live(store, id)
        assert job.watched == (ask(store, store.verbs.operation(id)) is not None)


def test_progress_against_the_end(store: Store, make: Make, hand: Hand) -> None:
    """The last word about a job is the one that ended it."""
    other = make()
    put(store, *(watched() for _ in range(20)))
    jobs = hand.claim(20)

    def report() -> int:
        return sum(perform(other, other.verbs.progress(job.id, job.fence, hand.id, "{}")) for job in jobs)

    def end() -> int:
        verdicts = insist(hand, *(change(job, Done(None)) for job in reversed(jobs)))
        return list(verdicts.values()).count("applied")

    reported, applied = at_once(report, end)
    assert applied == 20
    stories = [words(store, job.id) for job in jobs]
    assert all(
        story in (["queued", "started", "succeeded"], ["queued", "started", "progress", "succeeded"])
        for story in stories
    )
    assert sum("progress" in story for story in stories) == reported
