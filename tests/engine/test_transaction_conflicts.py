"""The job's own transaction that PostgreSQL does not let pass beside another one is run again, and spends no attempt.

The server says so as often as it is asked to: a trigger raises the error, and counts with a sequence, whose numbers no
rollback takes back.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, Table, Text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import registry

from offpath import Context, JobFailed, Retry, Snooze, provided
from offpath.engine.attempt import REPEATS
from offpath.tasks import AttemptInfo
from offpath.testing import drain
from tests.stores.callers import Caller

from .kit import until
from .test_transaction import INSERT, KINDS, NOW, Kind, Site, at_once, commit, driver, note, register, watched

POSTGRES = {name: kind for name, kind in KINDS.items() if kind.dialect == "postgresql"}
every = pytest.mark.parametrize("kind", list(POSTGRES.values()), ids=list(POSTGRES))
some = pytest.mark.parametrize("kind", [KINDS["psycopg"], KINDS["asyncpg"]], ids=["psycopg", "asyncpg"])
pytestmark = pytest.mark.anyio

CONFLICT = """
create sequence met;
create function conflict() returns trigger language plpgsql as $$
declare n bigint := nextval('met');
begin
    if n between {first} and {last} then
        raise exception 'could not pass' using errcode = '{state}';
    end if;
    return new;
end $$;
create {when} for each row execute function conflict();
"""
WHEN = {
    "called": "trigger clash before insert on note",
    "enqueued": "trigger clash before insert on offpath_job",
    "settled": "trigger clash before insert on offpath_history",
    "committed": "constraint trigger clash after insert on note deferrable initially deferred",
}


@pytest.fixture
def site(tables_url: str) -> Iterator[Site]:
    made = Site(tables_url)
    yield made
    made.jobs.desk.close()


def conflicts(site: Site, when: str = "called", times: int = 2, state: str = "40001", first: int = 1) -> None:
    """So many transactions cannot pass, from the first one on, or a later one."""
    site.run(CONFLICT.format(when=WHEN[when], first=first, last=first + times - 1, state=state))


def met(site: Site) -> int:
    """How often one could not pass, or could."""
    return int(site.run("select last_value from met")[0][0])


def unspent(site: Site) -> bool:
    return site.run("select attempt, crashes from offpath_history") == [(1, 0)] and not site.run(
        "select * from offpath_job_attempt"
    )


# ── again ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@every
@pytest.mark.parametrize("when", ["called", "settled", "committed"])
async def test_it_is_run_again_and_spends_nothing(site: Site, kind: Kind, when: str) -> None:
    conflicts(site, when)
    told: list[AttemptInfo] = []
    task = site.task(kind, note)
    task.hook("before")(told.append)
    task.hook("failure")(told.append)
    task.hook("after")(told.append)
    job = await task.enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}
    assert await job.result() == 7
    assert (site.notes, met(site), unspent(site)) == (1, 3, True)
    assert [one.outcome is None for one in told] == [True, False], "one attempt, which began once and ended once"


@some
async def test_so_it_is_after_a_deadlock(site: Site, kind: Kind) -> None:
    conflicts(site, state="40P01")
    await site.task(kind, note).enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}
    assert (site.notes, unspent(site)) == (1, True)


@some
async def test_so_it_is_when_its_enqueue_met_the_conflict(site: Site, kind: Kind) -> None:
    conflicts(site, "enqueued", first=2)  # the first is ours

    @site.jobs.task
    async def other() -> None: ...

    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        if kind.plain:
            other.using(tx=caller.tx).enqueue_sync()
        else:
            await other.using(tx=caller.tx).enqueue()

    await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"succeeded": 2}
    assert (site.notes, met(site)) == (1, 4)
    assert site.run("select distinct attempt from offpath_history") == [(1,)]


@pytest.mark.parametrize(
    "kind",
    [POSTGRES["postgresql, Session"], POSTGRES["postgresql, AsyncSession"]],
    ids=["postgresql, Session", "postgresql, AsyncSession"],
)
async def test_so_it_is_when_a_session_meets_it_with_what_it_had_not_flushed(site: Site, kind: Kind) -> None:
    class Note: ...

    mapped = registry()
    mapped.map_imperatively(Note, Table("note", mapped.metadata, Column("text", Text, primary_key=True)))
    conflicts(site)

    async def body(caller: Caller) -> None:
        made: Any = Note()
        made.text = "x"
        caller.tx.add(made)

    await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}
    assert (site.notes, met(site), unspent(site)) == (1, 3, True)


@some
async def test_each_time_it_is_given_what_it_is_given_anew(site: Site, kind: Kind) -> None:
    """Arguments that it has changed, what a provider made, the steps that it took."""
    conflicts(site)
    register(site.jobs, kind, kind.provide, site.url)
    seen: list[tuple[list[int], object]] = []

    if kind.plain:

        @site.jobs.task(name="taking", retry=Retry(max_attempts=1))
        def plain(ctx: Context, found: list[int], tx: kind.type = provided(transaction=True)) -> None:  # type: ignore[name-defined]
            seen.append((list(found), tx))
            found.pop()
            ctx.step("write", lambda: at_once(kind.caller(tx).run(INSERT)) and None).result()

        task: Any = plain
    else:

        @site.jobs.task(name="taking", retry=Retry(max_attempts=1))
        async def taking(ctx: Context, found: list[int], tx: kind.type = provided(transaction=True)) -> None:  # type: ignore[name-defined]
            seen.append((list(found), tx))
            found.pop()
            await ctx.step("write", write, tx)

        async def write(tx: Any) -> None:
            await kind.caller(tx).run(INSERT)

        task = taking
    await task.enqueue([1, 2])
    assert await drain(site.jobs) == {"succeeded": 1}
    assert [found for found, _ in seen] == [[1, 2]] * 3
    assert len({id(tx) for _, tx in seen}) == 3
    assert (site.notes, unspent(site)) == (1, True)
    assert site.run("select count(*) from offpath_step") == [(1,)]


@some
async def test_whoever_watches_sees_one_attempt(site: Site, kind: Kind) -> None:
    conflicts(site)
    job = await watched(site, site.task(kind, note))
    assert await drain(site.jobs) == {"succeeded": 1}
    assert await job.result() == 7
    types = [type for (type,) in site.run("select type from offpath_event order by seq")]
    assert (types[0], types[-1]) == ("queued", "succeeded")
    assert "retrying" not in types


# ── and no more ──────────────────────────────────────────────────────────────────────────────────────────────────────


@some
async def test_after_so_many_times_the_attempt_has_failed(site: Site, kind: Kind) -> None:
    conflicts(site, times=REPEATS + 1)
    await site.task(kind, note, retry=Retry(max_attempts=2, backoff=NOW)).enqueue()
    async with site.jobs.worker():
        await until(lambda: site.run("select outcome, attempt from offpath_history") == [(4, 2)])
    assert (site.notes, met(site)) == (1, REPEATS + 2)
    assert site.run("select attempt, ended from offpath_job_attempt") == [(1, "errored")]


@some
async def test_what_must_never_repeat_is_not_run_again(site: Site, kind: Kind) -> None:
    conflicts(site, times=1)
    job = await site.task(kind, note, delivery="at_most_once").enqueue()
    assert await drain(site.jobs) == {"failed": 1}
    with pytest.raises(JobFailed, match="could not pass"):
        await job.result()
    assert (site.notes, met(site)) == (0, 1)


@some
async def test_nor_is_what_its_task_gives_up_on(site: Site, kind: Kind) -> None:
    conflicts(site, times=1)
    await site.task(kind, note, retry=Retry(max_attempts=3, give_up_on=(Exception,))).enqueue()
    assert await drain(site.jobs) == {"failed": 1}
    assert (site.notes, met(site)) == (0, 1)


@some
async def test_what_the_task_makes_of_it_is_the_tasks_word(site: Site, kind: Kind) -> None:
    conflicts(site, times=1)

    async def body(caller: Caller) -> None:
        try:
            await caller.run(INSERT)
        except Exception as error:
            raise Snooze(3600) from error

    await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"scheduled": 1}
    assert (site.notes, met(site)) == (0, 1)


@every
async def test_a_task_that_has_committed_by_itself_does_not_write_again(site: Site, kind: Kind) -> None:
    conflicts(site, times=0)

    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        await commit(caller)
        if kind.type in (POSTGRES["asyncpg"].type, POSTGRES["psycopg"].type):
            with contextlib.suppress(Exception):  # psycopg begins by itself
                await caller.run("begin")
        await caller.run("do $$ begin raise exception 'could not pass' using errcode = '40001'; end $$")

    await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"failed": 1}
    assert site.notes == 1, "what it committed stands alone, and was not written once more"


async def test_one_that_is_told_to_stop_is_not_begun_again(site: Site) -> None:
    conflicts(site, times=10**6)
    await site.task(KINDS["asyncpg"], note, timeout=3600).enqueue()
    async with site.jobs.worker():
        await until(lambda: site.run("select is_called from met") == [(True,)])
        # Leaving it may come in the middle of a call or of a pause: either way it goes back, or has been given up.
    assert site.notes == 0
    assert site.run("select state, attempt from offpath_job") in ([(2, 1)], [])


# ── what others write of the same job ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
async def test_an_operation_that_tells_how_far_it_is(site: Site, level: str) -> None:
    """The worker writes such lines on a connection of its own, and the settling writes the same row."""

    @site.jobs.provider(lifetime="attempt")
    async def connection() -> AsyncIterator[asyncpg.Connection]:
        made = await asyncpg.connect(site.url, server_settings={"default_transaction_isolation": level})
        try:
            yield made
        finally:
            await made.close()

    called: list[int] = []

    @site.jobs.task(name="telling", retry=Retry(max_attempts=1))
    async def telling(ctx: Context, tx: asyncpg.Connection = provided(transaction=True)) -> None:
        called.append(ctx.attempt)
        await tx.execute(INSERT)
        assert await ctx.progress(1, of=2)
        ctx.events.emit("noted", 1)
        assert await ctx.progress(2, of=2)

    await watched(site, telling)
    assert await drain(site.jobs) == {"succeeded": 1}
    assert (site.notes, called) == (1, [1])
    events = site.run("select type, data from offpath_event order by seq")
    assert [json.loads(data)["current"] for type, data in events if type == "progress"][-1:] == [2]
    assert [type for type, _ in events].count("output") == 1
    assert events[-1][0] == "succeeded"


# ── neighbours ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_neighbours_at_serializable(site: Site) -> None:
    """Nothing of the task's own is in conflict; all that they share is the table of jobs."""
    engine = create_async_engine(driver(site.url, "postgresql+asyncpg"), isolation_level="SERIALIZABLE", pool_size=20)

    @contextlib.asynccontextmanager
    async def serializable(url: str) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session:
            yield session

    inside = 0
    together = asyncio.Event()

    async def body(caller: Caller) -> None:
        nonlocal inside
        await caller.run(INSERT)
        inside += 1
        if inside >= 8:
            together.set()
        await together.wait()

    task = site.task(KINDS["postgresql, AsyncSession"], body, serializable)
    await task.enqueue_many([task.call() for _ in range(8)])
    try:
        async with site.jobs.worker(concurrency=8):
            await until(lambda: site.notes == 8)
    finally:
        await engine.dispose()
    assert site.run("select outcome, attempt, count(*) from offpath_history group by 1, 2") == [(4, 1, 8)]
