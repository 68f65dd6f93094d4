"""How it is going, as a store tells it to whoever asks what is wrong."""

from __future__ import annotations

from ...core import flow
from ...core.health import Part, Vitals, WorkerRow
from ...core.job import State
from ...core.outcome import Errored, error
from ...ports import Store
from .fixtures import Hire
from .kit import HOUR, Hand, ask, erase, lose, new_job, now, perform, put

BOOM = error("raised", "boom")


def _vitals(store: Store, most: int = 3) -> Vitals:
    """By surveys of so many at a time, until there are no more or, where it is one, a single one."""
    parts: list[Part] = []
    after: str | None = ""
    while after is not None:
        more, after = ask(store, store.verbs.survey(after, most))
        parts += more
        if most == 1:
            break
    return ask(store, store.verbs.vitals(parts, whole=after is None))


def test_the_vitals_of_an_empty_home(store: Store) -> None:
    vitals = _vitals(store)
    assert abs(vitals.at - store.now()) < HOUR
    assert (vitals.workers, vitals.known, vitals.counts, vitals.orphans, vitals.failed) == ([], set(), [], 0, [])


def test_the_vitals_tell_who_holds_what(store: Store, hire: Hire) -> None:
    busy, idle, dead = hire(), hire(tasks=["mail@1", "push@2"]), hire()
    put(store, *(new_job() for _ in range(6)), new_job(state=State.SCHEDULED, run_at=now() + HOUR))
    assert [len(hand.claim(2)) for hand in (busy, dead)] == [2, 2]
    dead.lease.renew(dead.id, -1.0)
    lose(dead, idle)
    vitals = _vitals(store)
    assert sorted((w.id, w.label, w.lapsed_at is not None, w.holds) for w in vitals.workers) == sorted(
        [(busy.id, "test", False, 2), (idle.id, "test", False, 0), (dead.id, "test", True, 2)]
    )
    by_id: dict[str, WorkerRow] = {worker.id: worker for worker in vitals.workers}
    assert by_id[dead.id].expires_at < vitals.at < by_id[busy.id].expires_at
    assert vitals.known == {"mail@1", "push@2"}
    assert sorted(vitals.counts) == sorted(ask(store, store.verbs.counts()))
    assert vitals.looked is None
    some = _vitals(store, 1)
    assert (some.looked, len(some.counts)) == (1, 1), "the oldest"
    assert vitals.orphans == 0
    erase(store, "offpath_worker", busy.id)
    assert _vitals(store).orphans == 2


def test_the_vitals_count_what_failed(store: Store, hand: Hand) -> None:
    put(store, new_job(task="push"), *(new_job() for _ in range(3)))
    jobs = hand.claim(tasks='["mail@1", "push@1"]')
    hand.finish(jobs.pop())
    for job in jobs:
        assert hand.say(job, Errored(BOOM, retryable=False)) == "applied"
    told = sorted(_vitals(store).failed)
    counted: dict[str, int] = {}
    for job in jobs:
        counted[job.task] = counted.get(job.task, 0) + 1
    assert told == sorted(counted.items())


def test_the_vitals_know_what_was_run_again(store: Store, hand: Hand) -> None:
    """The doctor went on about 40 jobs that had all been run again, for a day; a flow is counted as its part."""
    put(store, new_job(task="push"), new_job(), new_job(), new_job(task=flow.TASK))
    jobs = hand.claim(tasks=f'["mail@1", "push@1", "{flow.TASK}@1"]')
    for job in jobs:
        assert hand.say(job, Errored(BOOM, retryable=False)) == "applied"
    mails = [job.id for job in jobs if job.task == "mail"]
    perform(store, store.verbs.retry(mails[0], new_job().job.id))
    vitals = _vitals(store)
    assert (vitals.failed, vitals.again) == ([("mail", 1), ("push", 1)], 1)
    perform(store, store.verbs.retry(mails[1], new_job().job.id))
    vitals = _vitals(store)
    assert (vitals.failed, vitals.again) == ([("push", 1)], 2)


def test_a_doctor_finds_a_sound_home_sound(store: Store) -> None:
    assert not [check for check in store.doctor(60.0) if check.state == "problem"]
