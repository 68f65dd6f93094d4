"""Jobs go in: every column comes back as it went in, callers share a commit, one caller's failure is its own."""

import asyncio
from typing import Any

import pytest

from ...core.job import State
from ...core.outcome import Done
from ...errors import StoreError
from ...ports import Enqueued, Hint, JobFilter, NewJob, Store
from .fixtures import Make
from .kit import HOUR, Hand, ask, change, ended, fresh, live, new_job, now, perform, put, shown, told, wait, watched

FULL: dict[str, Any] = {
    "task": "päth.to:täsk",
    "version": 7,
    "args": '{"to":"a@example.org","n":9007199254740993,"t":"\\u0000 \U0001f4a1 \' \\" \n"}',
    "queue": "quëue with 'quotes'",
    "priority": -32768,
    "key": 'k"1',
    "attempt": 4,
    "crashes": 2,
    "fence": 2**31,
    "once": True,
    "owner": "öwner",
    "options": '{"timeout":null}',
    "retry_of": fresh(),
}
TIMES: dict[str, Any] = {"state": State.SCHEDULED, "run_at": now() + HOUR, "deadline": now() + 2 * HOUR}


def test_every_column_of_a_live_job_comes_back(store: Store) -> None:
    new = watched(**FULL, **TIMES)
    assert put(store, new) == [Enqueued(new.job.id, False)]
    assert live(store, new.job.id) == new.job
    assert [found.job for found in ask(store, store.verbs.list_jobs(JobFilter(), None, 10))] == [new.job]


def test_every_column_of_a_job_survives_claim_and_history(store: Store, hand: Hand) -> None:
    new = watched(**FULL, deadline=now() + HOUR)
    put(store, new)
    claimed = hand.claim_one(queues=((new.job.queue, 1),), tasks='["päth.to:täsk@7"]')
    assert claimed == new.job._replace(state=State.RUNNING, fence=new.job.fence + 1, worker=hand.id)
    assert live(store, claimed.id) == claimed
    wish = change(claimed, Done('{"x":"\U0001f4a1"}'))
    before = now()
    assert hand.settle(wish) == ["applied"]
    after = ended(store, claimed.id)
    assert before <= after.finished_at <= now()
    shared = set(after._fields) & set(claimed._fields) - {"state"}
    assert {name: getattr(after, name) for name in shared} == {name: getattr(claimed, name) for name in shared}
    assert (after.state, after.result, after.error) == (State.SUCCEEDED, '{"x":"\U0001f4a1"}', None)
    assert after.expires_at == wish.expires_at


def test_a_job_that_nobody_watches_writes_no_operation_and_no_event(store: Store) -> None:
    new = new_job()
    put(store, new)
    assert ask(store, store.verbs.operation(new.job.id)) is None
    assert ask(store, store.verbs.events(new.job.id, 0, 10)) == []


def test_an_operation_starts_with_its_first_event(store: Store) -> None:
    new = watched("alice", tenant="acme", label="three reports", options='{"timeout":5}')
    before = now()
    put(store, new)
    row = shown(store, new.job.id)
    assert (row.tenant, row.owner, row.kind, row.label) == ("acme", "alice", "mail", "three reports")
    assert (row.status, row.seq, row.attempt, row.queue, row.priority) == (State.READY, 1, 1, "default", 5)
    assert row.run_at == new.job.run_at
    assert row.options == '{"timeout":5}'
    assert before <= row.created_at == row.updated_at <= now()
    assert not row.expired
    nothing = (row.progress, row.started_at, row.finished_at, row.expires_at, row.cancel_at, row.result, row.error)
    assert set(nothing) == {None}
    assert told(store, new.job.id) == [(1, "queued", {})]


def test_many_at_once_in_order(store: Store, heard: list[Hint]) -> None:
    jobs = [new_job(queue=f"q{n % 3}") for n in range(2500)]
    assert put(store, *jobs) == [Enqueued(new.job.id, False) for new in jobs]
    [hint] = heard
    assert hint.kind == "work"
    assert set(hint.names) == {"q0", "q1", "q2"}
    assert put(store) == []


def test_the_same_id_again_is_the_same_job(store: Store) -> None:
    """Whoever did not hear the answer may ask again with the id of before."""
    new = watched()
    assert put(store, new) == put(store, new) == [Enqueued(new.job.id, False)]
    assert told(store, new.job.id) == [(1, "queued", {})]


def test_in_a_transaction_of_its_own_it_is_the_same(store: Store, heard: list[Hint]) -> None:
    first, second = watched(key="k"), watched(key="k", queue="other")
    said = perform(store, store.verbs.enqueue([first, second]))
    assert said == [Enqueued(first.job.id, False), Enqueued(first.job.id, True)]
    assert live(store, first.job.id) == first.job
    assert told(store, first.job.id) == [(1, "queued", {})]
    assert heard == [Hint("work", ("default",))]


def test_concurrent_callers_are_answered_each_on_their_own(store: Store) -> None:
    jobs = [new_job() for _ in range(200)]

    async def main() -> list[list[Enqueued]]:
        return await asyncio.gather(*(wait(store.enqueue([new])) for new in jobs))

    assert asyncio.run(main()) == [[Enqueued(new.job.id, False)] for new in jobs]


def test_one_callers_bad_job_does_not_touch_the_others(store: Store) -> None:
    good = [new_job() for _ in range(5)]
    bad = new_job(task=None)

    async def main() -> None:
        pending = [store.enqueue([good[0], good[1]]), store.enqueue([good[2], bad]), store.enqueue([good[3], good[4]])]
        assert await pending[0] == [Enqueued(new.job.id, False) for new in good[:2]]
        with pytest.raises(StoreError):
            await pending[1]
        assert await pending[2] == [Enqueued(new.job.id, False) for new in good[3:]]
        assert await store.read(store.verbs.find(good[2].job.id)) is None

    asyncio.run(main())


def test_enqueue_sync_on_a_loop_cannot_deadlock(store: Store) -> None:
    """A blocking enqueue while the loop's own enqueues are still on their way."""

    async def main() -> None:
        waiting: list[asyncio.Future[list[Enqueued]]] = [
            asyncio.ensure_future(wait(store.enqueue([new_job()]))) for _ in range(20)
        ]
        for _ in range(20):
            put(store, new_job())
        await asyncio.gather(*waiting)

    asyncio.run(main())


def test_a_loop_that_has_moved_in_enqueues_as_any_other(store: Store, heard: list[Hint]) -> None:
    jobs = [watched(key=f"k{n}") if n % 7 == 0 else watched() for n in range(200)]
    bad = new_job(task=None)

    async def here(*new: NewJob) -> list[Enqueued]:
        return await store.enqueue_here(new)

    async def main() -> None:
        await store.move_in()
        await store.move_in()
        made = await asyncio.gather(*(here(new) for new in jobs), here(bad), here(), return_exceptions=True)
        assert made[:200] == [[Enqueued(new.job.id, False)] for new in jobs]
        assert isinstance(made[200], StoreError)
        assert made[201] == []
        assert [hint for hint in heard if hint.kind == "work"]
        assert await here(new_job(task=jobs[0].job.task, key="k0")) == [Enqueued(jobs[0].job.id, True)]
        await store.move_out()
        await here(new_job())
        await store.move_out()
        await here(new_job())  # it has left, and is served as whoever never came
        await store.move_out()
        store.close()
        with pytest.raises(StoreError, match="closed"):
            await here(new_job())

    asyncio.run(main())
    store.open()
    assert [row[3] for row in ask(store, store.verbs.counts())] == [202]
    assert [live(store, new.job.id) for new in jobs] == [new.job for new in jobs]
    assert told(store, jobs[3].job.id) == [(1, "queued", {})]


def test_the_hint_leaves_after_the_commit(store: Store, make: Make, heard: list[Hint]) -> None:
    put(store, new_job(queue="a"), new_job(queue="b"))
    [hint] = heard
    assert hint.kind == "work"
    assert set(hint.names) == {"a", "b"}


def test_what_was_submitted_before_close_is_written(make: Make) -> None:
    first = make()
    jobs = [new_job() for _ in range(100)]
    pending = [first.enqueue([new]) for new in jobs]
    first.close()
    assert [p.result(1) for p in pending] == [[Enqueued(new.job.id, False)] for new in jobs]
    with pytest.raises(StoreError, match="closed"):
        first.enqueue([new_job()]).result(1)
    with pytest.raises(StoreError, match="closed"):
        first.read(first.verbs.counts()).result(1)
    first.open()  # the same application, started again
    assert [row[3] for row in ask(first, first.verbs.counts())] == [100]
    put(first, new_job())


def test_a_listener_that_fails_does_not_stop_the_store(make: Make) -> None:
    def broken(hints: object) -> None:
        raise RuntimeError("nobody home")

    store = make(announce=broken)
    put(store, new_job())
    put(store, new_job())
    assert [row[3] for row in ask(store, store.verbs.counts())] == [2]
