"""What time does: deadlines, and forgetting."""

import json
from functools import partial

import pytest

from ...core.job import State
from ...core.options import DAY, SECOND
from ...core.outcome import Done, Errored, error
from ...core.policy import Policy, Retention
from ...errors import Conflict, NotFound, StoreError, StoreUnavailable
from ...ports import Enqueued, Hint, Round, Statement, Store, Verb
from .fixtures import Hire, Make
from .kit import (
    HOUR,
    Hand,
    ask,
    ended,
    erase,
    fresh,
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

GONE = Policy(retention=Retention(finished=-SECOND, failed=-SECOND, operation=-SECOND))
"""What ends under it has outlived its time at once."""


def test_overdue_jobs_never_start(store: Store, hand: Hand, heard: list[Hint]) -> None:
    late = [watched(deadline=now() - n * SECOND) for n in range(3)]
    asleep = new_job(state=State.SCHEDULED, run_at=now() + HOUR, deadline=now() - 1)
    flow = new_job(state=State.WAITING, deadline=now() - 1)
    running, in_time, none = new_job(deadline=now() - HOUR, priority=0), new_job(deadline=now() + HOUR), new_job()
    put(store, running)
    held = hand.claim_one()
    put(store, *late, asleep, flow, in_time, none)
    heard.clear()
    assert [perform(store, store.verbs.overdue(3)) for _ in range(3)] == [3, 2, 0]
    for new in (*late, asleep, flow):
        after = ended(store, new.job.id)
        assert (after.state, json.loads(after.error or "")["kind"]) == (State.FAILED, "deadline")
    for new in (in_time, none):
        assert live(store, new.job.id) == new.job
    assert live(store, held.id) == held
    assert told(store, late[0].job.id)[1:] == [(2, "failed", {})]
    assert {name for hint in heard for name in hint.names} == {new.job.id for new in late}


def poison(store: Store, id: str) -> None:
    """The next event of this operation cannot be written: there is one with its number."""

    def verb() -> Verb[int]:
        sql = (
            "insert into offpath_event (job, seq, type, at, data) "
            "select id, seq + 1, 'x', 0, '{}' from offpath_operation where cast(id as text) = :id"
        )
        made: int = yield Statement(sql, {"id": id}, lambda rows: rows[0][0])
        return made

    assert perform(store, verb()) == 1


@pytest.mark.parametrize("duty", ["expire", "orphans", "overdue"])
def test_a_job_that_cannot_be_written_is_named_and_can_be_skipped(store: Store, duty: str, hire: Hire) -> None:
    """The page fails as a whole, with an error that does not blame the store, and the round knows what was in it."""
    if duty == "overdue":
        jobs = [watched(deadline=now() - n * SECOND).job.id for n in range(4)]
        put(store, *(watched(id=id, deadline=now() - SECOND) for id in jobs))
        page = store.verbs.overdue
    else:
        put(store, *(watched() for _ in range(4)))
        late, judge = hire(-1.0), hire()
        jobs = [job.id for job in late.claim()]
        if duty == "expire":
            lose(late, judge)
            page = partial(store.verbs.expire, late.id)
        else:
            erase(store, "offpath_worker", late.id)
            page = store.verbs.orphans
    poison(store, jobs[2])
    round = Round()
    with pytest.raises(StoreError) as caught:
        perform(store, page(10, round))
    assert not isinstance(caught.value, StoreUnavailable)
    assert sorted(round.taken) == sorted(jobs)
    round.skip.add(jobs[2])
    assert [perform(store, page(2, round)) for _ in range(3)] == [2, 1, 0]
    assert round.taken == []
    left = [found for id in jobs if (found := ask(store, store.verbs.find(id))) and found.job and found.job.worker]
    assert [found.job.id for found in left if found.job] == ([] if duty == "overdue" else [jobs[2]])


def finish(store: Store, hand: Hand, policy: Policy, *, shown: bool = False, fail: bool = False) -> str:
    put(store, watched(label="secret") if shown else new_job())
    job = hand.claim_one()
    hand.say(job, Errored(error("raised", "x"), False) if fail else Done('"secret"'), policy)
    return job.id


def test_history_is_forgotten_page_by_page(store: Store, hand: Hand) -> None:
    old = [finish(store, hand, GONE) for _ in range(5)]
    kept = finish(store, hand, Policy())
    failed = finish(store, hand, Policy(), fail=True)
    assert [perform(store, store.verbs.prune(2)) for _ in range(4)] == [2, 2, 1, 0]
    assert [ask(store, store.verbs.find(id)) for id in old] == [None] * 5
    assert ended(store, kept).expires_at is not None
    assert ended(store, failed).expires_at is None, "dead letters do not vanish by themselves"


def test_an_operation_becomes_a_tombstone_and_then_nothing(make: Make) -> None:
    store = make(retention=Retention(operation=HOUR))
    hand = Hand(store)
    old, kept = finish(store, hand, GONE, shown=True), finish(store, hand, Policy(), shown=True)
    assert perform(store, store.verbs.prune(10)) == 1
    while perform(store, store.verbs.prune(10)):  # one kind of rows at a time
        pass
    row = shown(store, old)
    assert (row.expired, row.label, row.progress, row.result, row.error) == (True, "", None, None, None)
    assert row.expires_at is not None
    assert row.expires_at > now(), "it is remembered that it was there: 410, not 404"
    assert ask(store, store.verbs.events(old, 0, 9)) == []
    assert ask(store, store.verbs.find(old)) is None
    assert len(told(store, kept)) == 3
    assert perform(store, store.verbs.prune(10)) == 0
    assert perform(store, store.verbs.delete(old))
    assert ask(store, store.verbs.operation(old)) is None
    hand.close()


def test_tombstones_are_forgotten_in_the_end(make: Make) -> None:
    store = make(retention=Retention(operation=-1))
    hand = Hand(store)
    old = [finish(store, hand, GONE, shown=True) for _ in range(3)]
    while perform(store, store.verbs.prune(2)):
        pass
    assert [ask(store, store.verbs.operation(id)) for id in old] == [None] * 3
    hand.close()


def test_nothing_that_lives_is_pruned(store: Store, hand: Hand) -> None:
    put(store, watched(), watched(state=State.SCHEDULED, run_at=now() + 400 * DAY))
    job = hand.claim_one()
    assert perform(store, store.verbs.prune(10)) == 0
    assert live(store, job.id) == job


# ── erase, and run again ─────────────────────────────────────────────────────────────────────────────────────────────


def test_delete_erases_everything_of_a_job(store: Store, hand: Hand) -> None:
    id, neighbour = finish(store, hand, Policy(), shown=True), finish(store, hand, Policy(), shown=True)
    assert perform(store, store.verbs.delete(id))
    assert ask(store, store.verbs.find(id)) is None
    assert ask(store, store.verbs.operation(id)) is None
    assert ask(store, store.verbs.events(id, 0, 9)) == []
    assert not perform(store, store.verbs.delete(id))
    assert len(told(store, neighbour)) == 3


def test_what_lives_is_not_deleted(store: Store, hand: Hand) -> None:
    put(store, watched())
    job = hand.claim_one()
    with pytest.raises(Conflict, match="has not ended"):
        perform(store, store.verbs.delete(job.id))
    assert live(store, job.id) == job


def test_a_finished_job_runs_again_as_a_new_one(store: Store, hand: Hand, heard: list[Hint]) -> None:
    first = watched("alice", tenant="acme", label="x", args='{"n":1}', options='{"timeout":9}', owner="o", priority=3)
    put(store, first)
    job = hand.claim_one()
    hand.say(job._replace(attempt=3), Errored(error("raised", "x")))
    old, new_id = ended(store, job.id), fresh()
    heard.clear()
    assert perform(store, store.verbs.retry(job.id, new_id)) == Enqueued(new_id, False)
    new = live(store, new_id)
    assert new == first.job._replace(id=new_id, run_at=new.run_at, retry_of=job.id, deadline=None)
    assert (new.attempt, new.fence, new.crashes) == (1, 0, 0)
    assert ended(store, job.id) == old
    row = shown(store, new_id)
    assert (row.tenant, row.owner, row.kind, row.label, row.retry_of) == ("acme", "alice", "mail", "x", job.id)
    assert told(store, new_id) == [(1, "queued", {})]
    assert heard == [Hint("work", ("default",))]
    again = hand.claim_one()
    hand.finish(again)
    assert ended(store, new_id).retry_of == job.id
    assert shown(store, new_id).retry_of == job.id


def test_one_whose_operation_is_gone_runs_again_unwatched(store: Store, hand: Hand) -> None:
    put(store, watched())
    job = hand.claim_one()
    hand.say(job, Done(None), Policy(retention=Retention(operation=HOUR)))
    erase(store, "offpath_operation", job.id)
    new_id = fresh()
    perform(store, store.verbs.retry(job.id, new_id))
    assert not live(store, new_id).watched


def test_only_what_has_ended_runs_again(store: Store, hand: Hand) -> None:
    put(store, new_job())
    job = hand.claim_one()
    with pytest.raises(Conflict, match="has not ended"):
        perform(store, store.verbs.retry(job.id, fresh()))
    with pytest.raises(NotFound):
        perform(store, store.verbs.retry(fresh(), fresh()))
