"""A key is unique among a task's live jobs: the job that is there comes back."""

import asyncio

from ...core.outcome import Snoozed
from ...ports import Enqueued, Hint, Store
from .fixtures import Make
from .kit import Hand, ask, live, new_job, perform, put, shown, told, wait, watched


def test_the_live_job_comes_back(store: Store, heard: list[Hint]) -> None:
    first, second = watched(key="k"), watched(key="k")
    put(store, first)
    heard.clear()
    assert put(store, second) == [Enqueued(first.job.id, True)]
    assert ask(store, store.verbs.find(second.job.id)) is None
    assert ask(store, store.verbs.operation(second.job.id)) is None
    assert ask(store, store.verbs.events(second.job.id, 0, 9)) == []
    assert shown(store, first.job.id).seq == 1
    assert heard == []


def test_a_key_is_one_tasks_own(store: Store) -> None:
    mail, push, other = new_job(key="k"), new_job(key="k", task="push"), new_job(key="K")
    assert not any(said.existing for said in put(store, mail, push, other, new_job(), new_job()))
    assert put(store, new_job(key="k", task="push")) == [Enqueued(push.job.id, True)]
    assert put(store, new_job(key="k")) == [Enqueued(mail.job.id, True)]


def test_one_batch_with_the_same_key_twice(store: Store) -> None:
    first, second, other = new_job(key="k"), new_job(key="k"), new_job(key="j")
    said = put(store, first, other, second)
    assert said == [Enqueued(first.job.id, False), Enqueued(other.job.id, False), Enqueued(first.job.id, True)]


def test_a_running_or_waiting_job_keeps_its_key(store: Store, hand: Hand) -> None:
    first = new_job(key="k")
    put(store, first)
    job = hand.claim_one()
    assert put(store, new_job(key="k")) == [Enqueued(first.job.id, True)]
    hand.say(job, Snoozed(3600))
    assert put(store, new_job(key="k")) == [Enqueued(first.job.id, True)]


def test_what_has_ended_frees_its_key(store: Store, hand: Hand) -> None:
    put(store, new_job(key="k"))
    hand.finish(hand.claim_one())
    second = new_job(key="k")
    assert put(store, second) == [Enqueued(second.job.id, False)]
    perform(store, store.verbs.cancel(second.job.id, "enough"))
    third = new_job(key="k")
    assert put(store, third) == [Enqueued(third.job.id, False)]


def test_running_a_keyed_job_again_meets_the_live_one(store: Store, hand: Hand) -> None:
    put(store, new_job(key="k"))
    old = hand.claim_one()
    hand.finish(old)
    standing = new_job(key="k")
    put(store, standing)
    said = perform(store, store.verbs.retry(old.id, new_job().job.id))
    assert said == Enqueued(standing.job.id, True)


def test_fifty_tasks_with_the_same_key_make_one_job(store: Store, make: Make) -> None:
    other = make()
    jobs = [watched(key="k") for _ in range(50)]

    async def main() -> list[list[Enqueued]]:
        return await asyncio.gather(*(wait((store, other)[n % 2].enqueue([jobs[n]])) for n in range(50)))

    said = [answer for answers in asyncio.run(main()) for answer in answers]
    assert sum(not answer.existing for answer in said) == 1
    assert len({answer.id for answer in said}) == 1
    assert [row[3] for row in ask(store, store.verbs.counts())] == [1]
    assert live(store, said[0].id).key == "k"
    assert told(store, said[0].id) == [(1, "queued", {})]
