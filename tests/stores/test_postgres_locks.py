"""Locks that others hold on our rows, and transactions that the server gives up for another's sake."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import psycopg
import pytest

from offpath import Offpath
from offpath.core.change import Change
from offpath.core.job import State
from offpath.core.outcome import Done
from offpath.core.policy import Retention
from offpath.core.steps import Asked
from offpath.engine.clock import clock
from offpath.engine.upkeep import Upkeep
from offpath.errors import StoreUnavailable
from offpath.ports import Exchanged, Lease, Pending, Want
from offpath.stores.postgres.rooms import HOT_LOCK_MS, VERB_LOCK_MS
from offpath.stores.postgres.session import LOCK_MS
from offpath.stores.postgres.store import PostgresStore
from offpath.tasks import Registry
from tests.stores.kit import TIMEOUT, Hand, ask, change, ended, fresh, live, new_job, put, told, watched

HELD = "select 1 from offpath_job where id = %s for update"


@pytest.fixture
def store(tables_url: str) -> Iterator[PostgresStore]:
    made = PostgresStore(tables_url, announce=lambda hints: None)
    made.open()
    yield made
    made.close()


@pytest.fixture
def hand(store: PostgresStore) -> Iterator[Hand]:
    hand = Hand(store)
    yield hand
    hand.close()


@pytest.fixture
def admin(tables_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(tables_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def holder(tables_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody with an open transaction."""
    with psycopg.connect(tables_url) as connection:
        yield connection
        connection.rollback()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < end


def waiting(admin: psycopg.Connection[Any], since: str = "0") -> int:
    found = admin.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' "
        "and query_start < clock_timestamp() - cast(%s as interval)",
        (since,),
    ).fetchone()
    assert found is not None
    return int(found[0])


# ── settle ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_whose_row_is_locked_holds_up_the_others_once(
    store: PostgresStore, hand: Hand, holder: psycopg.Connection[Any]
) -> None:
    put(store, *(new_job() for _ in range(21)))
    held, *others = hand.claim(21)
    holder.execute(HELD, (held.id,))
    assert hand.finish(held, others.pop()) == ["changed", "applied"]
    took: list[float] = []
    for job in others:
        began = time.monotonic()
        assert hand.finish(held, job) == ["changed", "applied"]
        took.append(time.monotonic() - began)
    assert median(took) < HOT_LOCK_MS / 2000, "not the whole wait for each"
    holder.rollback()
    assert hand.finish(held) == ["applied"]
    assert ended(store, held.id).state is State.SUCCEEDED


def test_one_that_was_locked_is_told_of_a_cancel(
    store: PostgresStore, hand: Hand, holder: psycopg.Connection[Any]
) -> None:
    put(store, new_job())
    job = hand.claim_one()
    holder.execute(HELD, (job.id,))
    assert hand.exchange([change(job, Done(None))]).asked == {job.id: (None, None)}
    holder.execute("update offpath_job set cancel_at = 7, cancel_reason = 'enough' where id = %s", (job.id,))
    holder.commit()
    assert hand.exchange([change(job, Done(None))]).asked == {job.id: (7, "enough")}
    assert hand.say(job._replace(cancel_at=7, cancel_reason="enough"), Done(None)) == "applied"


class Counting(PostgresStore):
    """Counts what it is asked to settle."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.settled: Counter[str] = Counter()

    def exchange(self, worker: str, changes: Sequence[Change], want: Want | None) -> Pending[Exchanged]:
        self.settled.update(change.id for change in changes)
        return super().exchange(worker, changes, want)


async def test_a_worker_goes_on_beside_a_job_whose_row_is_locked(
    tables_url: str, holder: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offpath.stores.postgres.store.PostgresStore", Counting)
    jobs = Offpath(tables_url)
    go, going = asyncio.Event(), asyncio.Event()

    @jobs.task
    async def slow() -> str:
        going.set()
        await go.wait()
        return "done"

    @jobs.task
    async def quick(n: int) -> int:
        return n

    async with jobs, jobs.worker():
        counting = jobs.store
        assert isinstance(counting, Counting)
        held = await slow.enqueue()
        await going.wait()
        holder.execute(HELD, (held.id,))
        go.set()
        took: list[float] = []
        for n in range(40):
            began = time.monotonic()
            assert await (await quick.enqueue(n)).result(timeout=TIMEOUT) == n
            took.append(time.monotonic() - began)
        await asyncio.to_thread(until, lambda: counting.settled[held.id] >= 3)
        told, at = counting.settled[held.id], time.monotonic()
        for n in range(100):
            assert await (await quick.enqueue(n)).result(timeout=TIMEOUT) == n
        spent = time.monotonic() - at
        assert counting.settled[held.id] - told <= 4 + 10 * spent, "it is asked again, but not all the time"
        holder.rollback()
        assert await held.result(timeout=TIMEOUT) == "done"
    assert median(took) < HOT_LOCK_MS / 2000, "not the whole wait for each of them"


# ── verbs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_reads_do_not_wait_behind_verbs_that_wait_for_locks(
    store: PostgresStore, admin: psycopg.Connection[Any], holder: psycopg.Connection[Any]
) -> None:
    new = new_job()
    keyed = new_job(key="k")
    put(store, new)
    holder.execute(HELD, (new.job.id,))
    began = time.monotonic()
    stops = [store.perform(lambda: store.verbs.cancel(new.job.id, "enough")) for _ in range(8)]
    until(lambda: waiting(admin) == 4)
    assert live(store, new.job.id) == new.job
    assert [said.existing for said in put(store, keyed)] == [False]
    over = any(stop.done for stop in stops)
    assert not over or time.monotonic() - began > VERB_LOCK_MS / 1000, "the cancels wait longer"
    for stop in stops:
        with pytest.raises(StoreUnavailable, match="another open transaction"):
            stop.result(TIMEOUT)
    with pytest.raises(StoreUnavailable, match="another open transaction"):
        store.perform(store.verbs.cancel(new.job.id, "enough")).result(TIMEOUT)
    holder.rollback()
    found = store.perform(lambda: store.verbs.cancel(new.job.id, "enough")).result(TIMEOUT)
    assert found is not None
    assert found.finished is not None


def test_verbs_do_not_wait_behind_enqueues_whose_keys_are_held(
    store: PostgresStore, holder: psycopg.Connection[Any], admin: psycopg.Connection[Any]
) -> None:
    new = new_job()
    put(store, new)
    store.run_on(holder, store.verbs.enqueue([new_job(key=f"k{n}") for n in range(8)]))
    began = time.monotonic()
    keyed = [store.enqueue([new_job(key=f"k{n}")]) for n in range(8)]
    until(lambda: waiting(admin) == 4)
    found = store.perform(lambda: store.verbs.cancel(new.job.id, "enough")).result(TIMEOUT)
    over = any(one.done for one in keyed)
    assert not over or time.monotonic() - began > LOCK_MS / 1000, "they wait longer"
    assert found is not None
    assert found.finished is not None
    holder.rollback()
    assert [one.result(TIMEOUT)[0].existing for one in keyed] == [False] * 8


def tries(admin: psycopg.Connection[Any]) -> int:
    found = admin.execute("select last_value from tries").fetchone()
    assert found is not None
    return int(found[0])


SHAKY = """
create sequence tries;
create function shaky() returns trigger language plpgsql as $$
begin
    if nextval('tries') < {times} then
        raise exception 'given up' using errcode = '{state}';
    end if;
    return coalesce(new, old);
end $$;
create trigger shaky before insert or update or delete on {table} for each row execute function shaky();
"""


@pytest.mark.parametrize("state", ["40001", "40P01"], ids=["serialization failure", "deadlock"])
@pytest.mark.parametrize(
    ("what", "table"),
    [("cancel", "job"), ("retry", "job"), ("expire", "job"), ("prune", "history"), ("delete", "history"),
     ("progress", "operation"), ("emit", "operation"), ("remember", "step"),
     ("renew", "worker"), ("judge", "worker"), ("resign", "worker")],
)  # fmt: skip
def test_what_is_given_up_for_another_transaction_is_done_again(
    store: PostgresStore, hand: Hand, admin: psycopg.Connection[Any], what: str, table: str, state: str
) -> None:
    put(store, watched(), watched())
    job, old = hand.claim(2)
    assert hand.finish(old) == ["applied"]
    admin.execute("update offpath_history set expires_at = 1")
    verbs, new_id = store.verbs, fresh()
    lease = store.lease()
    if what in ("expire", "judge"):
        admin.execute(f"update offpath_worker set {'lapsed_at' if what == 'expire' else 'expires_at'} = 1")
    admin.execute(SHAKY.format(times=4, state=state, table=f"offpath_{table}").encode())
    calls: dict[str, Callable[[], Any]] = {
        "cancel": lambda: store.perform(lambda: verbs.cancel(job.id, "enough")).result(TIMEOUT),
        "retry": lambda: store.perform(lambda: verbs.retry(old.id, new_id)).result(TIMEOUT),
        "expire": lambda: store.perform(lambda: verbs.expire(hand.id, 9)).result(TIMEOUT),
        "prune": lambda: store.perform(lambda: verbs.prune(9)).result(TIMEOUT),
        "delete": lambda: store.perform(lambda: verbs.delete(old.id)).result(TIMEOUT),
        "progress": lambda: store.perform(lambda: verbs.progress(job.id, job.fence, hand.id, "{}")).result(TIMEOUT),
        "emit": lambda: store.perform(lambda: verbs.emit(job.id, job.fence, hand.id, ["{}"])).result(TIMEOUT),
        "remember": lambda: store.perform(
            lambda: verbs.remember_steps(job.id, job.fence, hand.id, [(Asked("a", 1, 1, 1), "1")])
        ).result(TIMEOUT),
        "renew": lambda: lease.renew(hand.id, 60.0),
        "judge": lambda: hand.id in lease.judge(),
        "resign": lambda: resigned(lease, hand.id),
    }
    assert calls[what]()
    assert tries(admin) >= 4
    if what == "cancel":
        assert live(store, job.id).cancel_reason == "enough"
    if what == "expire":
        assert [type for _, type, _ in told(store, job.id)] == ["queued", "started", "requeued"], "and only once"
    lease.close()


def test_what_is_given_up_every_time_is_told(store: PostgresStore, hand: Hand, admin: psycopg.Connection[Any]) -> None:
    put(store, new_job())
    job = hand.claim_one()
    admin.execute(SHAKY.format(times=100, state="40P01", table="offpath_job").encode())
    with pytest.raises(StoreUnavailable, match="given up"):
        store.perform(lambda: store.verbs.cancel(job.id, "enough")).result(TIMEOUT)
    assert tries(admin) == 5
    with pytest.raises(StoreUnavailable, match="given up"):
        store.perform(store.verbs.cancel(job.id, "enough")).result(TIMEOUT)
    assert tries(admin) == 6, "a verb alone runs once"


def resigned(lease: Lease, worker: str) -> bool:
    lease.resign(worker)
    return True


def cross(holder: psycopg.Connection[Any], id: str, won: list[str]) -> None:
    try:
        holder.execute(HELD, (id,))
        holder.commit()
        won.append(id)
    except psycopg.errors.DeadlockDetected:
        holder.rollback()


def test_a_cancel_that_loses_a_deadlock_is_made_all_the_same(
    store: PostgresStore, hand: Hand, admin: psycopg.Connection[Any], holder: psycopg.Connection[Any]
) -> None:
    won: list[str] = []
    for _ in range(20):  # whoever waits longer looks first and gives up; held up by the machine, it may be the other
        put(store, watched())
        job = hand.claim_one()
        holder.execute("select 1 from offpath_operation where id = %s for update", (job.id,))
        stop = store.perform(lambda: store.verbs.cancel(job.id, "enough"))  # noqa: B023
        until(lambda: waiting(admin, "300 ms") == 1)
        crossing = threading.Thread(target=cross, args=(holder, job.id, won))
        crossing.start()
        try:
            assert stop.result(TIMEOUT) is not None
        except StoreUnavailable:  # the crossing came after the look, and then too late for it
            won.clear()
        crossing.join(TIMEOUT)
        holder.rollback()
        if won:
            break
    assert won, "it was never the cancel that gave up"
    assert live(store, job.id).cancel_reason == "enough"


# ── upkeep ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def spoken(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(word)]


BOOM = """
create function boom() returns trigger language plpgsql as $$
begin if old.id = '{id}' then raise 'boom'; end if; return new; end $$;
create trigger boom before update on offpath_job for each row execute function boom();
"""


@pytest.mark.parametrize(
    ("poison", "error"),
    [("update offpath_job set crashes = 2147483647 where id = '{id}'", "out of range"), (BOOM, "boom")],
    ids=["a number that has no successor", "a trigger of the user's"],
)
async def test_a_row_that_the_database_will_not_have_changed_is_left_out(
    store: PostgresStore,
    hand: Hand,
    admin: psycopg.Connection[Any],
    caplog: pytest.LogCaptureFixture,
    poison: str,
    error: str,
) -> None:
    put(store, *(new_job() for _ in range(40)))
    bad, *good = hand.claim(40)
    admin.execute("update offpath_worker set lapsed_at = 1")
    admin.execute(poison.format(id=bad.id).encode())
    upkeep = Upkeep(store, Registry((), Retention()), clock(store), 5.0)
    running = asyncio.ensure_future(upkeep.run())
    upkeep.lapsed([hand.id])
    try:
        await asyncio.to_thread(until, lambda: spoken(caplog, "upkeep.recovered"))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert spoken(caplog, "upkeep.recovered") == [f"upkeep.recovered dead={hand.id} jobs=39"]
    assert {ask(store, store.verbs.find(job.id)).job.state for job in good} == {State.READY}  # type: ignore[union-attr]
    assert live(store, bad.id).state is State.RUNNING
    [skipped] = spoken(caplog, "upkeep.skipped")
    assert f"duty=expire job={bad.id}" in skipped
    assert error in skipped
