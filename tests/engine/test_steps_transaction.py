"""Steps and events inside the job's own transaction stand or fall with its commit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offpath import Context, JobFailed, Offpath, Retry, provided
from offpath.testing import drain

from .test_transaction import INSERT, KINDS, NOW, Kind, Site, register

ONE_OF_EACH = {name: KINDS[name] for name in ("sqlite3", "sqlite, AsyncSession", "psycopg", "postgresql, AsyncSession")}
pytestmark = pytest.mark.anyio


@pytest.fixture(params=list(ONE_OF_EACH), ids=list(ONE_OF_EACH))
def kind(request: pytest.FixtureRequest) -> Kind:
    return ONE_OF_EACH[request.param]


@pytest.fixture
def site(kind: Kind, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    url = f"sqlite:///{tmp_path / 'jobs.db'}" if kind.dialect == "sqlite" else request.getfixturevalue("tables_url")
    made = Site(url)
    yield made
    made.jobs.desk.close()


def noting(jobs: Offpath, kind: Kind, url: str, done: list[str], fails: int) -> Any:
    """Each attempt notes and tells in a step; `fails` of them end with an error after that."""
    register(jobs, kind, kind.provide, url)

    def after(ctx: Context) -> None:
        ctx.events.emit("noted", ctx.attempt)
        if ctx.attempt <= fails:
            raise ValueError("not yet")

    if kind.plain:

        @jobs.task(name="noting", retry=Retry(max_attempts=3, backoff=NOW))
        def plain(ctx: Context, tx: kind.type = provided(transaction=True)) -> int:  # type: ignore[name-defined]
            def note() -> int:
                done.append("note")
                at_once(caller.run(INSERT))
                return len(done)

            caller = kind.caller(tx)
            number = ctx.step("note", note).result()
            after(ctx)
            return number

        return plain

    @jobs.task(name="noting", retry=Retry(max_attempts=3, backoff=NOW))
    async def coroutine(ctx: Context, tx: kind.type = provided(transaction=True)) -> int:  # type: ignore[name-defined]
        async def note() -> int:
            done.append("note")
            await kind.caller(tx).run(INSERT)
            return len(done)

        number = await ctx.step("note", note)
        after(ctx)
        return number

    return coroutine


def at_once(coroutine: Any) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it had to wait")


async def test_a_step_is_remembered_with_the_commit(site: Site, kind: Kind) -> None:
    done: list[str] = []
    task = noting(site.jobs, kind, site.url, done, fails=0)
    job = await task.enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}
    assert await job.result() == 1
    assert site.run("select name, position, result from offpath_step") == [("note", 1, "1")]


async def test_what_was_rolled_back_is_not_remembered(site: Site, kind: Kind) -> None:
    """Else the next attempt would skip a write that never happened."""
    done: list[str] = []
    task = noting(site.jobs, kind, site.url, done, fails=1)
    async with site.jobs.worker():
        assert await (await task.enqueue()).result(20) == 2
    assert done == ["note", "note"]
    assert site.notes == 1
    assert site.run("select result from offpath_step") == [("2",)]


async def test_events_of_each_attempt_are_told(site: Site, kind: Kind) -> None:
    from offpath.ports import NewOperation

    task = noting(site.jobs, kind, site.url, [], fails=3)
    call = task.call().core._replace(watched=True)
    new = site.jobs.new_job(call, NewOperation("", "", "noting", ""))
    await site.jobs.store.enqueue([new])
    async with site.jobs.worker():
        with pytest.raises(JobFailed):
            await (await site.jobs.get(new.job.id)).result(20)
    rows = site.run("select data from offpath_event where type = 'output' order by seq")
    assert [data for (data,) in rows] == [f'{{"name":"noted","data":{n}}}' for n in (1, 2, 3)]
    assert site.run("select count(*) from offpath_step") == [(0,)]
