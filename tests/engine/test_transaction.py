"""The job's own transaction: what the task writes and its success stand or fall with one commit."""

import asyncio
import contextlib
import json
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import psycopg
import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from offpath import Backoff, Context, JobFailed, Offpath, Retry, Snooze, provided
from offpath.core.outcome import Done
from offpath.errors import ConfigurationError
from offpath.integrations.sqlalchemy import immediate
from offpath.ports import NewOperation
from offpath.tasks import AttemptInfo
from offpath.testing import drain, run_inline
from tests.stores.callers import Caller, OfAsyncpg, OfSQLAlchemy, engine_url

from .kit import until

# ── one way to write the same task for every kind of connection ──────────────────────────────────────────────────────


class Kind(NamedTuple):
    """`provide` is the body of a provider; `plain`: the task is a plain function, run in a thread."""

    dialect: str
    type: Any
    provide: Callable[[str], Any]
    caller: Callable[[Any], Caller] = Caller
    plain: bool = False


def driver(url: str, name: str) -> str:
    return engine_url(url.removeprefix("sqlite:///"), name)


@contextlib.contextmanager
def raw_sqlite(url: str) -> Iterator[Any]:
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        yield connection


@contextlib.contextmanager
def autocommit_sqlite(url: str) -> Iterator[Any]:
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        yield connection


def sync(name: str, make: Callable[[Any], Any], ready: Callable[[Any], Any] = lambda engine: engine) -> Any:
    @contextlib.contextmanager
    def provide(url: str) -> Iterator[Any]:
        engine = ready(create_engine(driver(url, name)))
        try:
            with make(engine) as made:
                yield made
        finally:
            engine.dispose()

    return provide


def asynchronous(name: str, make: Callable[[Any], Any], ready: Callable[[Any], Any] = lambda engine: engine) -> Any:
    @contextlib.asynccontextmanager
    async def provide(url: str) -> AsyncIterator[Any]:
        engine = ready(create_async_engine(driver(url, name)))
        try:
            async with make(engine) as made:
                yield made
        finally:
            await engine.dispose()

    return provide


@contextlib.asynccontextmanager
async def raw_asyncpg(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def pooled_asyncpg(url: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        yield connection


@contextlib.contextmanager
def raw_psycopg(url: str, autocommit: bool = False) -> Iterator[Any]:
    with contextlib.closing(psycopg.connect(url, autocommit=autocommit)) as connection:
        yield connection


@contextlib.asynccontextmanager
async def async_psycopg(url: str) -> AsyncIterator[Any]:
    connection = await psycopg.AsyncConnection.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def connect(engine: Any) -> Any:
    return engine.connect()


def begun(engine: Any) -> Any:
    return engine.begin()


SA = OfSQLAlchemy
KINDS = {
    "sqlite3": Kind("sqlite", sqlite3.Connection, raw_sqlite, plain=True),
    "sqlite3, autocommit": Kind("sqlite", sqlite3.Connection, autocommit_sqlite, plain=True),
    "sqlite3, coroutine": Kind("sqlite", sqlite3.Connection, raw_sqlite),
    "sqlite, Session": Kind("sqlite", Session, sync("sqlite", Session), SA, plain=True),
    "sqlite, Session, immediate": Kind("sqlite", Session, sync("sqlite", Session, immediate), SA, plain=True),
    "sqlite, Connection": Kind("sqlite", Connection, sync("sqlite", connect), SA, plain=True),
    "sqlite, AsyncSession": Kind("sqlite", AsyncSession, asynchronous("sqlite+aiosqlite", AsyncSession, immediate), SA),
    "sqlite, AsyncConnection": Kind("sqlite", AsyncConnection, asynchronous("sqlite+aiosqlite", connect), SA),
    "asyncpg": Kind("postgresql", asyncpg.Connection, raw_asyncpg, OfAsyncpg),
    "asyncpg, from a pool": Kind("postgresql", asyncpg.Connection, pooled_asyncpg, OfAsyncpg),
    "psycopg": Kind("postgresql", psycopg.Connection, raw_psycopg, plain=True),
    "psycopg, autocommit": Kind("postgresql", psycopg.Connection, lambda url: raw_psycopg(url, True), plain=True),
    "psycopg, async": Kind("postgresql", psycopg.AsyncConnection, async_psycopg),
    "postgresql, Session": Kind("postgresql", Session, sync("postgresql+psycopg", Session), SA, plain=True),
    "postgresql, Connection, begun": Kind("postgresql", Connection, sync("postgresql+psycopg", begun), SA, plain=True),
    "postgresql, AsyncSession": Kind("postgresql", AsyncSession, asynchronous("postgresql+asyncpg", AsyncSession), SA),
    "postgresql, AsyncConnection": Kind("postgresql", AsyncConnection, asynchronous("postgresql+psycopg", connect), SA),
}
ONE_OF_EACH = {name: KINDS[name] for name in ("sqlite3", "sqlite, AsyncSession", "psycopg", "postgresql, AsyncSession")}
every = pytest.mark.parametrize("kind", list(KINDS.values()), ids=list(KINDS))
some = pytest.mark.parametrize("kind", list(ONE_OF_EACH.values()), ids=list(ONE_OF_EACH))
pytestmark = pytest.mark.anyio
NOW = Backoff.fixed(0)
INSERT = "insert into note values ('x')"


class Site:
    """An application on either database, with a table of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.jobs = Offpath(url, poll=0.1, cancel_grace=1.0, drain=0.1)
        self.jobs.migrate()
        self.run("create table note (text text)")

    def run(self, sql: str) -> list[Any]:
        """Look, or meddle, from outside."""
        if self.url.startswith("sqlite"):
            with contextlib.closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=10)) as one, one:
                return one.execute(sql).fetchall()
        with psycopg.connect(self.url) as other:
            cursor = other.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def notes(self) -> int:
        return len(self.run("select * from note"))

    def task(self, kind: Kind, body: Callable[[Caller], Any], provide: Any = None, **options: Any) -> Any:
        """`body` is a coroutine function; a plain task drives it in its thread, where it never has to wait."""
        options.setdefault("retry", Retry(max_attempts=1))
        register(self.jobs, kind, provide or kind.provide, self.url)
        if kind.plain:

            @self.jobs.task(name="noting", **options)
            def plain(tx: kind.type = provided(transaction=True)) -> Any:  # type: ignore[name-defined]
                return at_once(body(kind.caller(tx)))

            return plain

        @self.jobs.task(name="noting", **options)
        async def noting(tx: kind.type = provided(transaction=True)) -> Any:  # type: ignore[name-defined]
            return await body(kind.caller(tx))

        return noting


def register(jobs: Offpath, kind: Kind, provide: Callable[[str], Any], url: str) -> None:
    """A provider of this kind; what it makes is a context manager."""
    if hasattr(provide(url), "__aenter__"):

        @jobs.provider(lifetime="attempt")
        async def asynchronous() -> AsyncIterator[kind.type]:  # type: ignore[name-defined]
            async with provide(url) as made:
                yield made
    else:

        @jobs.provider(lifetime="attempt")
        def source() -> Iterator[kind.type]:  # type: ignore[name-defined]
            with provide(url) as made:
                yield made


def at_once(coroutine: Any) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it had to wait")


@pytest.fixture
def site(kind: Kind, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    if kind.dialect == "sqlite":
        made = Site(f"sqlite:///{tmp_path / 'jobs.db'}")
    else:
        made = Site(request.getfixturevalue("tables_url"))
    yield made
    made.jobs.desk.close()


async def note(caller: Caller) -> int:
    await caller.run(INSERT)
    return 7


async def commit(caller: Caller) -> None:
    """What a task must not do."""
    if isinstance(caller, OfAsyncpg):
        await caller.tx.execute("commit")
    else:
        await caller.commit()


def title(failure: pytest.ExceptionInfo[JobFailed]) -> str:
    return str(failure.value.error["title"])


# ── one commit ───────────────────────────────────────────────────────────────────────────────────────────────────────


@every
async def test_the_write_and_the_success_are_one_commit(site: Site, kind: Kind) -> None:
    told: list[AttemptInfo] = []
    task = site.task(kind, note)
    task.hook("after")(told.append)
    job = await task.enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}
    assert await job.result() == 7
    assert site.notes == 1
    assert [one.outcome for one in told] == [Done("7")]
    assert site.run("select count(*) from offpath_job") == [(0,)]


@every
async def test_what_raises_leaves_nothing_and_is_tried_again(site: Site, kind: Kind) -> None:
    attempts: list[int] = []

    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        attempts.append(site.notes if kind.dialect != "sqlite" else 0)
        if len(attempts) < 3:
            raise ValueError("not yet")

    task = site.task(kind, body, retry=Retry(max_attempts=3, backoff=NOW))
    async with site.jobs.worker():
        await (await task.enqueue()).result(timeout=60)
    assert attempts == [0, 0, 0]
    assert site.notes == 1
    # A worker that is held up gives back what it has claimed and not begun: there may be more deliveries than attempts.
    [(attempt, fence)] = site.run("select attempt, fence from offpath_history")
    assert (attempt, fence >= 3) == (3, True)


@every
async def test_savepoints_are_the_tasks_own(site: Site, kind: Kind) -> None:
    async def body(caller: Caller) -> None:
        async with caller.savepoint() as undo:
            await caller.run(INSERT)
            await undo()
        async with caller.savepoint():
            await caller.run(INSERT)

    await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}
    assert site.notes == 1


@every
async def test_a_task_that_writes_nothing_succeeds(site: Site, kind: Kind) -> None:
    async def body(caller: Caller) -> None: ...

    await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}


@every
async def test_a_task_that_commits_by_itself_fails_at_once_and_says_so(site: Site, kind: Kind) -> None:
    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        await commit(caller)

    job = await site.task(kind, body, retry=Retry(max_attempts=5, backoff=NOW)).enqueue()
    assert await drain(site.jobs) == {"failed": 1}
    with pytest.raises(JobFailed, match="stands alone") as failure:
        await job.result()
    assert title(failure) == "Not one transaction"
    assert site.notes == 1
    assert site.run("select attempt from offpath_history") == [(1,)], "another attempt would have written again"


@every
async def test_so_does_one_that_goes_on_writing(site: Site, kind: Kind) -> None:
    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        await commit(caller)
        if isinstance(caller, OfAsyncpg):
            await caller.tx.execute("begin")
        await caller.run(INSERT)

    job = await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"failed": 1}
    with pytest.raises(JobFailed, match=r"stands alone|closed transaction"):  # the latter is SQLAlchemy's own word
        await job.result()
    # With autocommit on and no BEGIN of its own the second stood alone at once; elsewhere it has been rolled back.
    assert site.notes in (1, 2)


# ── the job is not ours any more, or should stop ─────────────────────────────────────────────────────────────────────


@every
async def test_a_stale_attempt_rolls_back(site: Site, kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "offpath")
    told: list[AttemptInfo] = []
    task = site.task(kind, note)
    task.hook("before")(lambda info: site.run("update offpath_job set fence = fence + 1") and None)
    task.hook("after")(told.append)
    await task.enqueue()
    async with site.jobs.worker():
        await until(lambda: "attempt.stale" in caplog.text)
    assert site.notes == 0
    assert site.run("select state, fence from offpath_job") == [(3, 2)], "whoever has it keeps it"
    assert told == []


@every
async def test_a_cancel_that_only_the_settling_meets(site: Site, kind: Kind) -> None:
    task = site.task(kind, note)
    asks = "update offpath_job set cancel_at = 1, cancel_reason = 'enough'"
    task.hook("before")(lambda info: site.run(asks) and None)
    job = await task.enqueue()
    assert await drain(site.jobs) == {"canceled": 1}
    with pytest.raises(JobFailed, match="enough"):
        await job.result()
    assert site.notes == 0


coroutines = pytest.mark.parametrize(
    "kind",
    [KINDS["sqlite, AsyncSession"], KINDS["postgresql, AsyncSession"], KINDS["asyncpg"], KINDS["sqlite3, coroutine"]],
    ids=["sqlite, AsyncSession", "postgresql, AsyncSession", "asyncpg", "sqlite3, coroutine"],
)


@coroutines
async def test_told_to_stop_it_rolls_back(site: Site, kind: Kind) -> None:
    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        await asyncio.Event().wait()

    job = await site.task(kind, body, timeout=0.3).enqueue()
    async with site.jobs.worker():
        with pytest.raises(JobFailed) as failure:
            await job.result(timeout=60)
    assert title(failure) == "Timeout"
    assert site.notes == 0


@coroutines
async def test_what_returns_although_told_to_stop_has_not_succeeded(site: Site, kind: Kind) -> None:
    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    job = await site.task(kind, body, timeout=0.3).enqueue()
    async with site.jobs.worker():
        with pytest.raises(JobFailed) as failure:
            await job.result(timeout=60)
    assert title(failure) == "Timeout"
    assert site.notes == 0


@coroutines
async def test_interrupted_by_a_shutdown_it_goes_back(site: Site, kind: Kind) -> None:
    entered = asyncio.Event()

    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        entered.set()
        await asyncio.Event().wait()

    await site.task(kind, body).enqueue()
    async with site.jobs.worker():
        await asyncio.wait_for(entered.wait(), 60)
    assert site.notes == 0
    assert site.run("select state, attempt from offpath_job") == [(2, 1)]


@pytest.mark.parametrize("kind", [KINDS["psycopg"], KINDS["postgresql, Session"]])
async def test_an_abandoned_thread_finds_the_job_gone(site: Site, kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "offpath")
    release = threading.Event()

    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        release.wait(100)

    job = await site.task(kind, body, timeout=0.2).enqueue()
    async with site.jobs.worker():
        with pytest.raises(JobFailed) as failure:
            await job.result(timeout=60)
        release.set()
        await until(lambda: "attempt.ended_late" in caplog.text)
    assert title(failure) == "Timeout"
    assert site.notes == 0


@every
async def test_snooze_takes_back_what_was_written(site: Site, kind: Kind) -> None:
    async def body(caller: Caller) -> None:
        await caller.run(INSERT)
        raise Snooze(3600)

    await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"scheduled": 1}
    assert site.notes == 0


@some
async def test_a_result_that_cannot_be_stored_takes_it_back(site: Site, kind: Kind) -> None:
    async def body(caller: Caller) -> object:
        await caller.run(INSERT)
        return object()

    await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"failed": 1}
    assert site.notes == 0


# ── COMMIT ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Lossy(AsyncSession):
    """Loses the answer to its COMMIT, or the COMMIT itself."""

    loses = "answer"

    async def commit(self) -> None:
        if self.loses == "answer":
            await super().commit()
        elif self.loses == "nothing":
            return await super().commit()
        raise ConnectionResetError("cut off")


class LossyConnection(sqlite3.Connection):
    loses = "answer"

    def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
        if sql == "commit" and self.loses != "nothing":
            if self.loses == "answer":
                super().execute(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *more)


def lossy(kind: Kind, loses: str) -> Callable[[str], Any]:
    if kind.type is sqlite3.Connection:

        @contextlib.contextmanager
        def provide(url: str) -> Iterator[Any]:
            path = url.removeprefix("sqlite:///")
            with contextlib.closing(sqlite3.connect(path, factory=LossyConnection)) as connection:
                connection.loses = loses
                yield connection

        return provide
    name = "sqlite+aiosqlite" if kind.dialect == "sqlite" else "postgresql+asyncpg"

    def make(engine: Any) -> Lossy:
        session = Lossy(engine)
        session.loses = loses
        return session

    return asynchronous(name, make, immediate)  # type: ignore[no-any-return]


loses_some = pytest.mark.parametrize(
    "kind",
    [KINDS["sqlite3"], KINDS["sqlite, AsyncSession"], KINDS["postgresql, AsyncSession"]],
    ids=["sqlite3", "sqlite, AsyncSession", "postgresql, AsyncSession"],
)


@loses_some
async def test_a_commit_whose_answer_is_lost_is_found_in_history(site: Site, kind: Kind) -> None:
    told: list[AttemptInfo] = []
    task = site.task(kind, note, lossy(kind, "answer"), retry=Retry(max_attempts=3, backoff=NOW))
    task.hook("after")(told.append)
    await task.enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}
    assert site.notes == 1
    assert [one.outcome for one in told] == [Done("7")]


@loses_some
async def test_a_commit_that_never_arrived_is_a_failed_attempt(site: Site, kind: Kind) -> None:
    ways = iter(["commit", "commit", "nothing"])
    task = site.task(
        kind, note, lambda url: lossy(kind, next(ways))(url), retry=Retry(max_attempts=2, backoff=NOW)
    )  # (the first is looked at only to see what kind of generator it is)
    await task.enqueue()
    async with site.jobs.worker():
        await until(lambda: site.run("select outcome, attempt from offpath_history") == [(4, 2)])
    assert site.notes == 1


@pytest.mark.parametrize("kind", [KINDS["asyncpg"], KINDS["psycopg"], KINDS["postgresql, Session"]])
async def test_a_commit_that_the_server_refuses(site: Site, kind: Kind) -> None:
    site.run("create table once (text text unique deferrable initially deferred)")
    site.run("insert into once values ('x')")

    async def body(caller: Caller) -> None:
        await caller.run("insert into once values ('x')")

    job = await site.task(kind, body).enqueue()
    assert await drain(site.jobs) == {"failed": 1}
    with pytest.raises(JobFailed, match="unique") as failure:
        await job.result()
    assert title(failure) != "Not one transaction"
    assert site.run("select * from once") == [("x",)]


@some
async def test_closing_a_provider_cannot_undo_what_is_committed(site: Site, kind: Kind) -> None:
    @contextlib.contextmanager
    def plain(url: str) -> Iterator[Any]:
        with kind.provide(url) as made:
            yield made
        raise ValueError("closing")

    @contextlib.asynccontextmanager
    async def coroutine(url: str) -> AsyncIterator[Any]:
        async with kind.provide(url) as made:
            yield made
        raise ValueError("closing")

    broken = plain if kind.plain else coroutine

    await site.task(kind, note, broken).enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}
    assert site.notes == 1


@some
async def test_a_session_on_another_database(site: Site, kind: Kind, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    if kind.dialect == "sqlite":
        with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as connection:
            connection.execute("create table note (text text)")
    else:
        other = site.url.rpartition("/")[0] + "/postgres"
    called: list[int] = []

    async def body(caller: Caller) -> None:
        called.append(1)
        if kind.dialect == "sqlite":
            await caller.run(INSERT)

    job = await site.task(kind, body, lambda url: kind.provide(other), retry=Retry(max_attempts=3)).enqueue()
    assert await drain(site.jobs) == {"failed": 1}
    with pytest.raises(JobFailed, match="same database") as failure:
        await job.result()
    assert title(failure) == "Not one transaction"
    if kind.dialect == "sqlite":
        with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as connection:
            assert connection.execute("select * from note").fetchall() == []
    else:
        assert called == []


# ── what a worker keeps of it ────────────────────────────────────────────────────────────────────────────────────────


@some
async def test_many_at_once_leave_the_workers_hand_once_each(site: Site, kind: Kind) -> None:
    task = site.task(kind, note)
    await task.enqueue_many([task.call() for _ in range(60)])
    assert await drain(site.jobs) == {"succeeded": 60}
    assert site.notes == 60
    assert site.run("select attempt, crashes, count(*) from offpath_history group by 1, 2") == [(1, 0, 60)]


@pytest.mark.parametrize("kind", [KINDS["asyncpg"]])
async def test_the_store_forgets_what_it_thought_was_held(site: Site, kind: Kind) -> None:
    task = site.task(kind, note)
    async with site.jobs.worker():
        jobs = await task.enqueue_many([task.call() for _ in range(20)])
        for job in jobs:
            await job.result(timeout=60)
        store: Any = site.jobs.store
        await until(lambda: [len(desk.held) for desk in store._desks.values()] == [0])


@some
async def test_a_suspect_makes_room_for_the_next(site: Site, kind: Kind) -> None:
    task = site.task(kind, note)
    await task.enqueue_many([task.call() for _ in range(3)])
    site.run("update offpath_job set crashes = 2")
    assert await drain(site.jobs) == {"succeeded": 3}
    assert site.notes == 3


# ── progress, and other writes ───────────────────────────────────────────────────────────────────────────────────────

progressing = pytest.mark.parametrize(
    "kind",
    [KINDS["sqlite3"], KINDS["sqlite, AsyncSession"], KINDS["postgresql, AsyncSession"], KINDS["psycopg"]],
    ids=["sqlite3", "sqlite, AsyncSession", "postgresql, AsyncSession", "psycopg"],
)


def reporting(site: Site, kind: Kind, fails: bool = False) -> Any:
    """A task that says how far it has come, waits until that is written, and enqueues without its transaction."""

    @site.jobs.task(name="other")
    async def other() -> None: ...

    register(site.jobs, kind, kind.provide, site.url)
    options: dict[str, Any] = {"name": "reporting", "retry": Retry(max_attempts=1)}
    refused: list[str] = []
    if kind.plain:

        @site.jobs.task(**options)
        def plain(ctx: Context, tx: kind.type = provided(transaction=True)) -> list[str]:  # type: ignore[name-defined]
            at_once(kind.caller(tx).run(INSERT))
            for n in range(3):
                assert ctx.progress(n, of=3).result(timeout=60)
            try:
                other.enqueue_sync()
            except ConfigurationError as error:
                refused.append(str(error))
            other.using(tx=tx).enqueue_sync()
            if fails:
                raise ValueError
            return refused

        return plain

    @site.jobs.task(**options)
    async def noting(ctx: Context, tx: kind.type = provided(transaction=True)) -> list[str]:  # type: ignore[name-defined]
        await kind.caller(tx).run(INSERT)
        for n in range(3):
            assert await ctx.progress(n, of=3)
        try:
            await other.enqueue()
        except ConfigurationError as error:
            refused.append(str(error))
        await other.using(tx=tx).enqueue()
        if fails:
            raise ValueError
        return refused

    return noting


async def watched(site: Site, task: Any) -> Any:
    """Enqueue as an operation, which has an event log."""
    new = site.jobs.desk.new_job(task.call().core._replace(watched=True), NewOperation("", "", task.name, ""))
    await site.jobs.store.enqueue([new])
    return await site.jobs.get(new.job.id)


@progressing
@pytest.mark.parametrize("fails", [False, True], ids=["commits", "rolls back"])
async def test_progress_and_own_enqueues_do_not_wait_for_the_lock_they_hold(
    site: Site, kind: Kind, fails: bool
) -> None:
    job = await watched(site, reporting(site, kind, fails))
    found = await drain(site.jobs)  # what waits for the lock would wait in vain: its own task has it to the end
    sqlite = kind.dialect == "sqlite"
    if fails:
        assert found == ({"failed": 1} if sqlite else {"succeeded": 1, "failed": 1})
    else:
        assert found == {"succeeded": 2 if sqlite else 3}
        refused = await job.result()
        assert [("using(tx=" in one) for one in refused] == ([True] if sqlite else [])
    events = site.run("select type, data from offpath_event order by seq")
    lines = [json.loads(data)["current"] for kind, data in events if kind == "progress"]
    assert lines[-1:] == [2], "the last one is written whatever happens"
    assert [kind for kind, _ in events][-2:] == ["progress", "failed" if fails else "succeeded"]


# ── what a worker refuses to start with ──────────────────────────────────────────────────────────────────────────────


class Db: ...


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Offpath]:
    made = Offpath(f"sqlite:///{tmp_path / 'jobs.db'}")
    yield made
    made.desk.close()


async def refused(jobs: Offpath, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        await drain(jobs)


async def test_a_provider_that_lives_as_long_as_the_worker(jobs: Offpath) -> None:
    @jobs.provider
    def connection() -> sqlite3.Connection:
        raise AssertionError("never called")

    @jobs.task
    def noting(tx: sqlite3.Connection = provided(transaction=True)) -> None: ...

    await refused(jobs, 'once for the whole worker.*lifetime="attempt"')


async def test_two_transactions(jobs: Offpath) -> None:
    @jobs.provider(lifetime="attempt")
    def connection() -> sqlite3.Connection:
        raise AssertionError("never called")

    @jobs.provider(lifetime="attempt")
    def session() -> Session:
        raise AssertionError("never called")

    @jobs.task
    def noting(
        tx: sqlite3.Connection = provided(transaction=True), also: Session = provided(transaction=True)
    ) -> None: ...

    await refused(jobs, "'tx' is provided.*'also' is too.*mark one of them")


async def test_what_has_no_transaction(jobs: Offpath) -> None:
    @jobs.provider(lifetime="attempt")
    def db() -> Db:
        raise AssertionError("never called")

    @jobs.task
    def noting(tx: Db = provided(transaction=True)) -> None: ...

    await refused(jobs, "Db has no transaction.*SQLAlchemy Session")


async def test_a_plain_function_with_an_asynchronous_session(jobs: Offpath) -> None:
    @jobs.provider(lifetime="attempt")
    def session() -> AsyncSession:
        raise AssertionError("never called")

    @jobs.task
    def noting(tx: AsyncSession = provided(transaction=True)) -> None: ...

    await refused(jobs, "cannot await AsyncSession")


async def test_only_a_task_may_ask_for_it(jobs: Offpath) -> None:
    with pytest.raises(ConfigurationError, match="only a task's own parameter"):

        @jobs.provider(lifetime="attempt")
        def repository(tx: sqlite3.Connection = provided(transaction=True)) -> Db:
            raise AssertionError("never called")


# ── beside it ────────────────────────────────────────────────────────────────────────────────────────────────────────


@some
async def test_other_providers_of_the_attempt_write_with_the_same_session(site: Site, kind: Kind) -> None:
    class Notes:
        def __init__(self, tx: Any) -> None:
            self.caller = kind.caller(tx)

    @site.jobs.provider(lifetime="attempt")
    def notes(tx: kind.type) -> Notes:  # type: ignore[name-defined]
        return Notes(tx)

    async def body(caller: Caller) -> None: ...

    site.task(kind, body)
    if kind.plain:

        @site.jobs.task
        def through(tx: kind.type = provided(transaction=True), notes: Notes = provided()) -> None:  # type: ignore[name-defined]
            at_once(notes.caller.run(INSERT))

        task: Any = through
    else:

        @site.jobs.task
        async def awaiting(tx: kind.type = provided(transaction=True), notes: Notes = provided()) -> None:  # type: ignore[name-defined]
            await notes.caller.run(INSERT)

        task = awaiting
    await task.enqueue()
    assert await drain(site.jobs) == {"succeeded": 1}
    assert site.notes == 1


@pytest.mark.parametrize("kind", [KINDS["sqlite3"]])
async def test_coroutines_wait_for_their_turn_without_blocking_the_loop(site: Site, kind: Kind) -> None:
    inside = most = 0

    async def body(caller: Caller) -> None:
        nonlocal inside, most
        await caller.run(INSERT)
        inside, most = inside + 1, max(most, inside + 1)
        await asyncio.sleep(0.01)  # with the lock held: whoever blocked the loop for it would wait for us
        inside -= 1

    task = site.task(kind._replace(plain=False), body)
    await task.enqueue_many([task.call() for _ in range(20)])
    assert await drain(site.jobs, timeout=10) == {"succeeded": 20}
    assert (most, site.notes) == (1, 20)


@some
async def test_run_inline_commits_it(site: Site, kind: Kind) -> None:
    task = site.task(kind._replace(plain=False), note)
    with run_inline(site.jobs):
        job = await task.enqueue()
        assert await job.result() == 7
    assert site.notes == 1
