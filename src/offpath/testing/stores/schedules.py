"""Schedules: one job per tick whatever happens, and rows that are read, decided on and written in one go."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from ...core.job import State
from ...core.options import SECOND
from ...core.outcome import Done
from ...core.schedule import Overlap, ScheduleRow, key_of, sign
from ...errors import Conflict
from ...ports import Hint, JobFilter, NewJob, Store
from ...ports.schedules import Fired, Firing
from .fixtures import Hire, Make
from .kit import HOUR, TIMEOUT, Hand, ask, ended, fresh, live, new_job, now, perform

BASE = 1_700_000_000 * SECOND


def a_row(name: str = "nightly", **given: Any) -> ScheduleRow:
    """A schedule whose time came a second ago."""
    at = now()
    row = ScheduleRow(name, "{}", "mail", "{}", (), at, at - SECOND, False, 1, None, None, None, 0, at, at)
    return row._replace(**given)


def keep(store: Store, *rows: ScheduleRow) -> None:
    for row in rows:

        def change(*_: Any, row: ScheduleRow = row) -> ScheduleRow:
            return row

        assert perform(store, store.verbs.change_schedule(row.name, change)) == row


def there(store: Store, name: str = "nightly") -> ScheduleRow:
    row = ask(store, store.verbs.schedule(name))
    assert row is not None
    return row


def firing(
    row: ScheduleRow, *ticks: int, overlap: Overlap = "skip", next_at: int | None = BASE + HOUR, **given: Any
) -> Firing:
    """What a worker makes of a row that is due."""
    assert row.next_at is not None
    at = ticks or (row.next_at,)
    jobs = tuple(new_job(task=row.task, key=key_of(row.name, overlap, tick)) for tick in at)
    return Firing(row.name, row.revision, row.next_at, next_at, overlap, at, jobs)._replace(**given)


def fire(store: Store, *firings: Firing) -> list[Fired]:
    return store.perform(lambda: store.verbs.fire(firings)).result(TIMEOUT)


def due(store: Store, *names: str, limit: int = 100) -> list[str]:
    _, found, _ = ask(store, store.verbs.due_schedules(names, limit))
    return [row.name for row in found]


def test_a_schedule_comes_back_as_it_was_put(store: Store) -> None:
    full = a_row(
        "näme \"x\" 'y' #1",
        spec='{"overlap": "queue", "zone": "Europe/Berlin"}',
        call='{"args": "{\\"ä\\": 1}"}',
        declared=("b", "a"),
        paused=True,
        revision=2**40,
        last_tick=BASE,
        last_job=fresh(),
        last_at=BASE + 1,
        skipped=2**40,
        next_at=None,
    )
    keep(store, full, a_row("a"))
    assert there(store, full.name) == full
    assert ask(store, store.verbs.schedule("none")) is None
    assert [row.name for row in ask(store, store.verbs.schedules("", 10))] == ["a", full.name]
    assert [row.name for row in ask(store, store.verbs.schedules("a", 10))] == [full.name]
    assert [row.name for row in ask(store, store.verbs.schedules("", 1))] == ["a"]


def test_a_change_is_told_the_row_the_time_and_who_lives(store: Store, hire: Hire) -> None:
    hire(60, tasks=["mail@1", sign("nightly", "ab")])
    hire(-1, tasks=[sign("nightly", "of one whose lease ran out")])
    gone = hire(60, tasks=[sign("nightly", "of one that left")])
    gone.lease.resign(gone.id)
    seen: list[Any] = []

    def change(row: ScheduleRow | None, at: int, alive: Any) -> ScheduleRow:
        seen.append((row, set(alive)))
        assert abs(at - now()) < HOUR
        return a_row() if row is None else row._replace(paused=True, revision=row.revision + 1)

    first = perform(store, store.verbs.change_schedule("nightly", change))
    second = perform(store, store.verbs.change_schedule("nightly", change))
    assert seen == [(None, {"mail@1", sign("nightly", "ab")}), (first, {"mail@1", sign("nightly", "ab")})]
    assert there(store) == second
    assert second is not None
    assert (second.paused, second.revision) == (True, 2)


def test_a_change_to_nothing_deletes(store: Store) -> None:
    keep(store, a_row(), a_row("other"))
    for _ in range(2):
        assert perform(store, store.verbs.change_schedule("nightly", lambda *_: None)) is None
    assert [row.name for row in ask(store, store.verbs.schedules("", 10))] == ["other"]


def test_a_change_that_raises_changes_nothing(store: Store) -> None:
    keep(store, a_row())
    before = there(store)

    def change(*_: Any) -> ScheduleRow:
        raise Conflict("no")

    with pytest.raises(Conflict):
        perform(store, store.verbs.change_schedule("nightly", change))
    assert there(store) == before


def test_of_many_who_put_it_at_once_none_is_lost(make: Make) -> None:
    stores, gate = [make() for _ in range(4)], Barrier(4)

    def put(store: Store) -> None:
        def change(row: ScheduleRow | None, *_: Any) -> ScheduleRow:
            return a_row() if row is None else row._replace(revision=row.revision + 1)

        gate.wait(TIMEOUT)
        store.perform(lambda: store.verbs.change_schedule("nightly", change)).result(TIMEOUT)

    with ThreadPoolExecutor(4) as pool:
        for running in [pool.submit(put, store) for store in stores]:
            running.result(TIMEOUT)
    assert there(stores[0]).revision == 4


def test_what_is_due(store: Store) -> None:
    at = now()
    keep(
        store,
        a_row("second", next_at=at - SECOND),
        a_row("first", next_at=at - HOUR),
        a_row("later", next_at=at + HOUR),
        a_row("much later", next_at=at + 2 * HOUR),
        a_row("paused", paused=True, next_at=at - HOUR),
        a_row("over", next_at=None),
        a_row("in code", next_at=at - 2 * HOUR, declared=("m",)),
        a_row("in other code", next_at=at - 2 * HOUR, declared=("m",)),
    )
    assert due(store, "in code", "first") == ["in code", "first", "second"]
    assert due(store) == ["first", "second"]
    assert due(store, limit=1) == ["first"]
    clock, _, soonest = ask(store, store.verbs.due_schedules((), 10))
    assert at <= clock <= now() + SECOND
    assert soonest == at + HOUR


def test_the_next_tick_is_of_those_that_the_worker_fires(store: Store) -> None:
    at = now()
    keep(store, a_row("x", next_at=at + HOUR, declared=("m",)), a_row("y", next_at=at + HOUR // 2, paused=True))
    assert ask(store, store.verbs.due_schedules((), 10))[2] is None
    assert ask(store, store.verbs.due_schedules(("x",), 10))[2] == at + HOUR


def test_firing_makes_the_job_and_moves_on(store: Store, hand: Hand, heard: list[Hint]) -> None:
    keep(store, a_row())
    row = there(store)
    one = firing(row)
    heard.clear()
    assert fire(store, one) == [Fired("nightly", (one.jobs[0].job.id,), 0)]
    assert Hint("work", ("default",)) in heard
    after = there(store)
    assert (after.next_at, after.last_tick, after.last_job) == (BASE + HOUR, row.next_at, one.jobs[0].job.id)
    assert after.last_at is not None
    assert abs(after.last_at - now()) < HOUR
    assert (after.skipped, after.busy, after.revision) == (0, True, row.revision)
    assert hand.claim_one().id == one.jobs[0].job.id


@pytest.mark.parametrize(
    "changed",
    [{"next_at": BASE}, {"revision": 2}, {"paused": True}, {"next_at": None}],
    ids=["somebody was quicker", "changed", "paused", "over"],
)
def test_a_row_that_is_not_as_it_was_is_not_fired(store: Store, changed: dict[str, Any]) -> None:
    keep(store, a_row(), a_row("neighbour"))
    stale, neighbour = firing(there(store)), firing(there(store, "neighbour"))
    keep(store, there(store)._replace(**changed))
    before = there(store)
    assert [fired.name for fired in fire(store, stale, neighbour)] == ["neighbour"]
    assert there(store) == before
    assert jobs(store) == {neighbour.jobs[0].job.id}


def test_one_that_is_gone_is_not_fired(store: Store) -> None:
    keep(store, a_row())
    stale = firing(there(store))
    perform(store, store.verbs.change_schedule("nightly", lambda *_: None))
    assert fire(store, stale) == []
    assert jobs(store) == set()


def jobs(store: Store) -> set[str]:
    found = ask(store, store.verbs.list_jobs(JobFilter(), None, 1000))
    return {one.job.id for one in found if one.job is not None}


def test_of_many_workers_one_fires_a_tick(make: Make) -> None:
    """Forty schedules, four stores, each fires all of them, in another order: every tick is one job."""
    stores, names = [make() for _ in range(4)], [f"s{n}" for n in range(40)]
    keep(stores[0], *(a_row(name) for name in names))
    due_now = [there(stores[0], name) for name in names]
    gate = Barrier(4)

    def all_of_them(turn: int) -> list[Fired]:
        order = due_now[turn * 10 :] + due_now[: turn * 10]
        mine = [firing(row, overlap="allow") for row in (reversed(order) if turn % 2 else order)]
        gate.wait(TIMEOUT)
        return fire(stores[turn], *mine)

    with ThreadPoolExecutor(4) as pool:
        fired = [one for running in [pool.submit(all_of_them, n) for n in range(4)] for one in running.result(TIMEOUT)]
    left = [firing(row, overlap="allow") for name in names if (row := there(stores[0], name)).next_at != BASE + HOUR]
    fired += fire(stores[0], *left)  # what was locked by somebody who then had no use for it
    assert sorted(one.name for one in fired) == sorted(names)
    assert len(jobs(stores[0])) == len(names)


def test_skip_drops_a_tick_while_a_job_is_there(store: Store, hand: Hand) -> None:
    keep(store, a_row())
    first = firing(there(store), next_at=now() - 1)
    fire(store, first)
    job = hand.claim_one()
    assert fire(store, firing(there(store), next_at=now() - 1)) == [Fired("nightly", (), 1)]
    row = there(store)
    assert (row.skipped, row.last_job, row.last_tick) == (1, job.id, first.ticks[0])
    assert jobs(store) == {job.id}
    hand.finish(job)
    assert not there(store).busy
    assert fire(store, firing(there(store)))[0].skipped == 0


def test_a_tick_that_queues_leaves_the_row_as_it_is(store: Store, hand: Hand) -> None:
    keep(store, a_row("free"), a_row(spec='{"overlap": "queue"}', next_at=now() - HOUR))
    fire(store, firing(there(store), overlap="queue", next_at=now() - HOUR))
    job = hand.claim_one()
    before = there(store)
    assert due(store) == ["free", "nightly"], "those that wait come last"
    assert fire(store, firing(before, overlap="queue")) == []
    assert there(store) == before
    hand.finish(job)
    assert due(store) == ["nightly", "free"]
    assert len(fire(store, firing(there(store), overlap="queue"))[0].jobs) == 1


def test_several_ticks_become_several_jobs(store: Store) -> None:
    keep(store, a_row())
    three = firing(there(store), BASE, BASE + 1, BASE + 2, overlap="allow")
    assert fire(store, three)[0].jobs == tuple(new.job.id for new in three.jobs)
    row = there(store)
    assert (row.last_tick, row.last_job) == (BASE + 2, three.jobs[2].job.id)
    assert not row.busy, "they have keys of their own"


def test_the_ticks_of_a_page_keep_to_their_schedules(store: Store) -> None:
    keep(store, a_row("a"), a_row("b"), a_row("c"))
    rows = {name: there(store, name) for name in "abc"}
    page = [
        firing(rows["a"], BASE, BASE + 1, overlap="allow"),
        firing(rows["b"])._replace(ticks=(), jobs=()),  # too late: dropped
        firing(rows["c"]),
    ]
    said = {one.name: one.jobs for one in fire(store, *page)}
    assert said == {one.name: tuple(new.job.id for new in one.jobs) for one in page}
    row = there(store, "b")
    assert (row.next_at, row.last_job, row.last_at) == (BASE + HOUR, None, None)


def test_replace_asks_the_one_before_to_stop(store: Store, hand: Hand) -> None:
    keep(store, a_row())
    fire(store, firing(there(store), overlap="replace", next_at=now() - 2))
    waiting = there(store).last_job
    assert waiting is not None
    fire(store, firing(there(store), overlap="replace", next_at=now() - 1, replaces=waiting))
    assert ended(store, waiting).state is State.CANCELED
    running = hand.claim_one()
    fire(store, firing(there(store), overlap="replace", replaces=running.id))
    stopping = live(store, running.id)
    assert stopping.cancel_at is not None
    assert stopping.cancel_reason == "replaced by the next run of schedule nightly"
    assert len(jobs(store)) == 2


def test_a_firing_that_fails_leaves_everything_as_it_was(store: Store) -> None:
    keep(store, a_row(), a_row("neighbour"))
    before = there(store)
    bad = firing(before)
    bad = bad._replace(jobs=(NewJob(bad.jobs[0].job._replace(state=9), bad.jobs[0].event, None),))  # type: ignore[arg-type]
    with pytest.raises(Exception):  # noqa: B017 (each store has its own word for it)
        fire(store, firing(there(store, "neighbour")), bad)
    assert there(store) == before
    assert jobs(store) == set()


def test_run_now(store: Store, hand: Hand) -> None:
    keep(store, a_row(next_at=BASE + HOUR, last_tick=BASE))
    row = there(store)
    assert perform(store, store.verbs.run_schedule("none", one_more)) is None
    said = perform(store, store.verbs.run_schedule("nightly", one_more))
    assert said is not None
    assert not said.existing
    after = there(store)
    assert (after.last_job, after.next_at, after.last_tick) == (said.id, row.next_at, row.last_tick)
    again = perform(store, store.verbs.run_schedule("nightly", one_more))
    assert again is not None
    assert (again.id, again.existing) == (said.id, True)
    assert hand.say(hand.claim_one(), Done(None)) == "applied"


def one_more(row: ScheduleRow, at: int) -> NewJob:
    return new_job(task=row.task, key=key_of(row.name, "skip", at))


def test_run_now_replaces_too(store: Store, hand: Hand) -> None:
    keep(store, a_row(spec=json.dumps({"overlap": "replace"}), next_at=BASE + HOUR))
    for n in range(2):

        def make(row: ScheduleRow, at: int, n: int = n) -> NewJob:
            return new_job(key=f"{row.name}:{n}")

        perform(store, store.verbs.run_schedule("nightly", make))
    [left] = jobs(store)
    assert left == there(store).last_job


def test_ticks_and_run_now_at_once_are_one_job(make: Make) -> None:
    """The key of all its jobs is one: whoever comes second is given what is there."""
    stores = [make() for _ in range(4)]
    for turn in range(5):
        name, gate = f"s{turn}", Barrier(4)
        keep(stores[0], a_row(name))
        row = there(stores[0], name)

        def go(n: int, row: ScheduleRow = row, gate: Barrier = gate) -> Sequence[object]:
            store = stores[n]
            one = firing(row)
            gate.wait(TIMEOUT)
            if n % 2:
                return fire(store, one)
            return [store.perform(lambda: store.verbs.run_schedule(row.name, one_more)).result(TIMEOUT)]

        with ThreadPoolExecutor(4) as pool:
            for running in [pool.submit(go, n) for n in range(4)]:
                running.result(TIMEOUT)
        assert len(jobs(stores[0])) == turn + 1
