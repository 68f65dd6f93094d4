"""The facade over a real SQLite file and a real worker."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from offpath import Backoff, Context, JobFailed, Offpath, Problem, Queue, ResultTimeout, Retry, provided
from offpath.app.serving import weights
from offpath.core.ids import is_id
from offpath.errors import ArgumentError, ConfigurationError, Conflict, NotFound, StoreUnavailable
from offpath.tasks import AttemptInfo, Job

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Offpath]:
    jobs = Offpath(f"sqlite:///{tmp_path}/a.db", queues=[Queue("mail", weight=4)])
    yield jobs
    jobs.close()


# -- where -------------------------------------------------------------------------------------------------------------


def test_import_is_light() -> None:
    """`import offpath` needs nothing that is optional, no database driver, and little time: by CPU seconds."""
    script = """
        import sys, time
        start = time.process_time()
        import asyncio, dataclasses, inspect, json, logging, typing
        middle = time.process_time()
        import offpath
        print((time.process_time() - middle) / (middle - start))
        heavy = {"pydantic", "starlette", "fastapi", "sqlalchemy", "sqlite3", "anyio", "typing_extensions"}
        print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
        print(sorted(name for name in sys.modules if name.startswith(("offpath.stores", "offpath.engine"))))
        print(len(offpath.__all__), sorted(set(offpath.__all__) - set(dir(offpath))))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    times, heavy, rooms, names = done.stdout.splitlines()
    assert float(times) < 10  # as long as what it needs of the standard library: 4 to 5, and 0.1 s, on an idle machine
    assert (heavy, rooms) == ("[]", "[]")
    assert int(names.split()[0]) <= 20
    assert names.endswith("[]")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no database"),
        ("app.db", "must look like"),
        ("sqlite://app.db", "must look like"),
        ("sqlite:///", "must look like"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///a.db?mode=ro", "must look like"),
        ("sqlite:///folder/", "names no file"),
        ("sqlite+aiosqlite:///a.db", "leave out"),
        ("mysql://x/y", "must look like"),
        ("postgresql:/h/d", "must look like"),
        ("postgresql+asyncpg://u@h/d", "leave out"),
        ("postgresql://u@h:port/d", "no URL of a PostgreSQL database"),
        ("postgresql://u@h/d#x", "%23"),
    ],
)
def test_a_wrong_url_is_refused_before_anything_is_opened(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Offpath(url).migrate()


def test_relative_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///here.db", f"sqlite:///{tmp_path}/there.db"):
        jobs = Offpath(url)
        jobs.migrate()
        jobs.close()
    assert {"here.db", "there.db"} <= {path.name for path in tmp_path.iterdir()}


def test_nothing_is_opened_before_the_first_use(jobs: Offpath, tmp_path: Path) -> None:
    jobs.use_database(f"sqlite:///{tmp_path}/other.db")
    assert list(tmp_path.iterdir()) == []
    jobs.migrate()
    with pytest.raises(ConfigurationError, match="in use"):
        jobs.use_database("sqlite:///third.db")
    jobs.close()
    jobs.use_database(f"sqlite:///{tmp_path}/a.db")


def test_a_database_that_cannot_be_opened_is_one_sentence() -> None:
    jobs = Offpath("sqlite:////nowhere/at/all.db")
    task = jobs.task(name="t")(lambda: None)
    with pytest.raises(StoreUnavailable):
        task.enqueue_sync()
    with pytest.raises(StoreUnavailable):
        jobs.migrate()
    jobs.close()


async def test_migrate_may_be_awaited_or_not(jobs: Offpath) -> None:
    assert jobs.migrate() != []
    assert await jobs.migrate() == []


# -- enqueue, find, cancel, retry --------------------------------------------------------------------------------------


async def test_a_jobs_life_through_its_handle(jobs: Offpath) -> None:
    @jobs.task(queue="mail")
    async def add(a: int, b: int = 1) -> int:
        return a + b

    async with jobs:
        job = await add.enqueue(1, b=2)
        assert is_id(job.id)
        assert (job.task, job.existing) == ("add", False)
        info = await job.info()
        assert (info.state, info.queue, info.attempt, info.priority) == ("ready", "mail", 1, 5)
        with pytest.raises(ResultTimeout):
            await job.result(timeout=0.05)
        async with jobs.worker():
            assert await job.result(timeout=60) == 3
        assert (await (await jobs.get(job.id)).info()).state == "succeeded"
        assert await (await jobs.get(job.id)).result() == 3
        again = await jobs.retry(job.id)
        assert again.id != job.id
        assert (await again.info()).retry_of == job.id
        with pytest.raises(Conflict):
            await jobs.retry(again.id)
        assert (await jobs.cancel(again.id, "enough")).state == "canceled"
        with pytest.raises(JobFailed, match="enough") as caught:
            await again.result()
        assert (caught.value.state, caught.value.error["kind"]) == ("canceled", "canceled")


def test_the_same_blocking(jobs: Offpath) -> None:
    @jobs.task
    def double(a: int) -> int:
        return 2 * a

    job = double.enqueue_sync(2)
    with pytest.raises(ResultTimeout):
        job.result_sync(timeout=0)
    jobs.run_worker(until_empty=True)
    assert job.result_sync(timeout=60) == 4
    assert jobs.get_sync(job.id).info_sync().state == "succeeded"
    again = jobs.retry_sync(job.id)
    assert again.cancel_sync().state == "canceled"
    assert jobs.cancel_sync(again.id).state == "canceled"


@pytest.mark.parametrize("id", [NOBODY, "", "x", NOBODY.upper(), NOBODY + " ", "é" * 36])
async def test_an_id_that_names_no_job(jobs: Offpath, id: str) -> None:
    for call in (jobs.get, jobs.cancel, jobs.retry):
        with pytest.raises(NotFound):
            await call(id)
    for call_sync in (jobs.get_sync, jobs.cancel_sync, jobs.retry_sync):
        with pytest.raises(NotFound):
            await asyncio.to_thread(call_sync, id)


async def test_many_at_once_of_different_tasks(jobs: Offpath) -> None:
    @jobs.task
    async def one(a: int) -> int:
        return a

    @jobs.task
    async def two(a: str) -> str:
        return a

    made = await jobs.enqueue_many([one.call(1), two.using(key="k").call("x"), two.using(key="k").call("y")])
    assert [job.task for job in made] == ["one", "two", "two"]
    assert [job.existing for job in made] == [False, False, True]
    assert made[1].id == made[2].id
    assert await one.enqueue_many([]) == jobs.enqueue_many_sync([]) == []
    with pytest.raises(ArgumentError):
        await one.enqueue_many([one.call(1), one.call("x")])  # type: ignore[arg-type]


async def test_many_at_once_with_options(jobs: Offpath, tmp_path: Path) -> None:
    @jobs.task
    async def one(a: int) -> int:
        return a

    async def as_stored(made: list[Job[Any]]) -> list[tuple[str, str, str | None, int]]:
        return [(info.state, info.queue, info.key, info.priority) for job in made for info in [await job.info()]]

    using = one.using(delay=60, queue="mail", priority=7)
    assert await as_stored(await using.enqueue_many([one.call(1), one.call(2)])) == [("scheduled", "mail", None, 7)] * 2
    assert await as_stored(using.enqueue_many_sync([one.call(3)])) == [("scheduled", "mail", None, 7)]
    assert await as_stored(await one.using(key="k").enqueue_many([one.call(1)])) == [("ready", "default", "k", 5)]

    # what a call says itself wins; `delay` and `run_at` say the same thing
    soon = datetime.now(UTC) + timedelta(seconds=9)
    (job, *_) = await using.enqueue_many([one.using(run_at=soon, queue="own").call(1), one.call(2)])
    assert (await job.info()).run_at == soon
    assert await as_stored([job]) == [("scheduled", "own", None, 7)]

    for enqueue in (one.using(key="k").enqueue_many_sync, one.using(key="k", delay=3).enqueue_many_sync):
        with pytest.raises(ConfigurationError, match="key 'k' is one job's, and there are 2 calls"):
            enqueue([one.call(1), one.using(key="own").call(2)])
    with pytest.raises(ConfigurationError, match="key 'k' is one job's"):
        await one.using(key="k").enqueue_many([one.call(1), one.call(2)])

    # a transaction is told to whoever enqueues
    connection = sqlite3.connect(tmp_path / "a.db")
    with pytest.raises(ConfigurationError, match="a call belongs to no transaction"):
        one.using(tx=connection).call(1)
    (gone,) = one.using(tx=connection, queue="mail").enqueue_many_sync([one.call(1)])
    connection.rollback()
    connection.close()
    with pytest.raises(NotFound):
        await gone.info()


async def test_many_at_once_takes_calls_and_nothing_else(jobs: Offpath, tmp_path: Path) -> None:
    @jobs.task
    async def one(a: int) -> int:
        return a

    @jobs.task
    async def other(a: int) -> int:
        return a

    @Offpath(f"sqlite:///{tmp_path}/b.db").task
    async def foreign(a: int) -> int:
        return a

    bad: Any
    for bad in ("abc", b"abc", 5, None, one.call(1), ["abc"], [one], [one.call(1), 3], [one.call(1).core]):
        for many in (one.enqueue_many, jobs.enqueue_many):
            with pytest.raises(ConfigurationError, match="enqueue_many takes"):
                await many(bad)
        for many_sync in (one.enqueue_many_sync, jobs.enqueue_many_sync, one.using(delay=3).enqueue_many_sync):
            with pytest.raises(ConfigurationError, match="enqueue_many takes"):
                many_sync(bad)
    with pytest.raises(ConfigurationError, match=r"one.enqueue_many takes calls of .*one, and one is of .*other"):
        await one.enqueue_many([one.call(1), other.call(2)])
    with pytest.raises(ConfigurationError, match="another application's"):
        await jobs.enqueue_many([one.call(1), foreign.call(2)])


def test_in_the_callers_transaction(jobs: Offpath, tmp_path: Path) -> None:
    @jobs.task
    def work(a: int) -> int:
        return a

    jobs.migrate()
    connection = sqlite3.connect(tmp_path / "a.db")
    try:
        gone = work.using(tx=connection).enqueue_sync(1)
        connection.rollback()
        kept = work.using(tx=connection).enqueue_sync(2)
        connection.commit()
    finally:
        connection.close()
    with pytest.raises(NotFound):
        gone.info_sync()
    assert kept.info_sync().state == "ready"


async def test_failure_reaches_whoever_waits(jobs: Offpath) -> None:
    @jobs.task(retry=Retry(max_attempts=1))
    async def fail() -> None:
        raise Problem(title="No such customer", status=404, detail="customer 7 is gone")

    async with jobs, jobs.worker():
        with pytest.raises(JobFailed, match="customer 7 is gone") as caught:
            await (await fail.enqueue()).result(timeout=60)
    assert (caught.value.state, caught.value.error["status"]) == ("failed", 404)


async def test_a_result_that_was_not_kept_is_none(jobs: Offpath) -> None:
    @jobs.task(keep_result=False)
    async def work() -> int:
        return 1

    async with jobs, jobs.worker():
        assert await (await work.enqueue()).result(timeout=60) is None
        assert await (await work.using(keep_result=True).enqueue()).result(timeout=60) == 1


@pytest.mark.parametrize("timeout", [-1, float("nan")])
async def test_a_timeout_that_is_none(jobs: Offpath, timeout: float) -> None:
    job = await jobs.task(name="t")(lambda: None).enqueue()
    with pytest.raises(ConfigurationError):
        await job.result(timeout=timeout)


async def test_cancelling_who_waits_leaves_the_job_alone(jobs: Offpath) -> None:
    job = await jobs.task(name="t")(lambda: None).enqueue()
    waiting = asyncio.create_task(job.result())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await job.info()).state == "ready"


# -- running -----------------------------------------------------------------------------------------------------------


def test_a_worker_gives_what_tasks_ask_for_and_calls_the_hooks(jobs: Offpath) -> None:
    told: list[tuple[str, str]] = []
    closed: list[str] = []

    class Pool: ...

    @jobs.provider
    def pool() -> Iterator[Pool]:
        yield Pool()
        closed.append("pool")

    @jobs.task(retry=Retry(max_attempts=2, backoff=Backoff.fixed(0)))
    async def work(ctx: Context, fail: bool, pool: Pool = provided()) -> bool:
        assert isinstance(pool, Pool)
        if fail:
            raise ValueError("no")
        return True

    for kind in ("before", "after", "failure", "exhausted"):

        def note(info: AttemptInfo, kind: str = kind) -> None:
            told.append((kind, f"{info.task}:{info.attempt}/{info.max_attempts}"))

        jobs.hook(kind)(note)
    fine = work.enqueue_sync(fail=False)
    jobs.run_worker(until_empty=True)
    assert fine.result_sync() is True
    assert told == [("before", "work:1/2"), ("after", "work:1/2")]
    assert closed == ["pool"]
    told.clear()
    work.enqueue_sync(fail=True)
    jobs.run_worker(until_empty=True)
    while ("exhausted", "work:2/2") not in told:  # the second attempt is a moment later, and does not hold the worker
        jobs.run_worker(until_empty=True)
    assert told[-2:] == [("failure", "work:2/2"), ("exhausted", "work:2/2")]


async def test_run_worker_does_not_block_a_loop(jobs: Offpath) -> None:
    with pytest.raises(ConfigurationError, match="loop of its own"):
        jobs.run_worker(until_empty=True)


def test_a_worker_of_a_thread_installs_no_signal_handlers(jobs: Offpath) -> None:
    job = jobs.task(name="t")(lambda: 3).enqueue_sync()
    thread = threading.Thread(target=jobs.run_worker, kwargs={"until_empty": True})
    thread.start()
    thread.join(60)
    assert job.result_sync() == 3


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ("mail", {"mail": 4}),
        ("mail:9, default", {"mail": 9, "default": 1}),
        (["default:2"], {"default": 2}),
        ({"mail": 1}, {"mail": 1}),
    ],
)
def test_queues_as_people_write_them(jobs: Offpath, given: Any, served: dict[str, int]) -> None:
    assert weights(given, jobs.registry) == served
    seen = jobs.registry.weighted(served)
    assert {name: queue.weight for name, queue in seen.queues.items()} == served
    assert jobs.registry.queues["mail"].weight == 4


@pytest.mark.parametrize("given", ["", ",", [], "mail:", "mail:x", "mail:-1", "mail:0", "mail:1001", {"mail": 0}])
def test_queues_that_are_none(jobs: Offpath, given: Any) -> None:
    with pytest.raises(ConfigurationError):
        jobs.make_worker(queues=given)


def test_only_the_queues_asked_for_are_served(jobs: Offpath) -> None:
    task = jobs.task(name="t")(lambda: 1)
    here, there = task.using(queue="mail").enqueue_sync(), task.enqueue_sync()
    jobs.run_worker(queues="mail", until_empty=True)
    assert here.info_sync().state == "succeeded"
    assert there.info_sync().state == "ready"


# -- inside a web application ------------------------------------------------------------------------------------------


def site(jobs: Offpath, **options: Any) -> FastAPI:
    @jobs.task
    async def greet(name: str) -> str:
        return f"hello {name}"

    api = FastAPI(lifespan=jobs.lifespan(**options) if options else jobs.lifespan)

    @api.post("/greet/{name}")
    async def post(name: str) -> str:
        return (await greet.enqueue(name)).id

    return api


def test_the_lifespan_opens_and_closes_and_may_be_lived_twice(jobs: Offpath) -> None:
    api = site(jobs)
    for _ in range(2):
        with TestClient(api) as client:
            id = client.post("/greet/ada").json()
        assert jobs.get_sync(id).info_sync().state == "ready"


def test_a_worker_may_live_inside_and_nests_with_the_users_own_lifespan(jobs: Offpath) -> None:
    order: list[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, int]]:
        order.append("start")
        yield {"answer": 42}
        order.append("end")

    with TestClient(site(jobs, worker=True, wrap=own)) as client:
        assert client.app_state == {"answer": 42}
        id = client.post("/greet/ada").json()
        assert jobs.get_sync(id).result_sync(timeout=60) == "hello ada"
        assert order == ["start"]
    assert order == ["start", "end"]


def test_a_database_that_cannot_be_used_stops_the_application_from_starting() -> None:
    jobs = Offpath("sqlite:////nowhere/at/all.db")
    with pytest.raises(StoreUnavailable), TestClient(site(jobs)):
        pass


# -- processes ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_after_the_start_opens_its_own_connections(jobs: Offpath) -> None:
    task = jobs.task(name="t")(lambda: 1)
    task.enqueue_sync()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            task.enqueue_sync()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    task.enqueue_sync()
    jobs.run_worker(until_empty=True)
    store = jobs.store
    from offpath.ports import JobFilter

    rows = store.read(store.verbs.list_jobs(JobFilter(), None, 10)).result()
    assert [row.finished is not None for row in rows] == [True] * 3


WORKER = """
import asyncio, sys
from offpath import Offpath
jobs = Offpath(sys.argv[1])

@jobs.task
async def wait(path: str) -> str:
    open(path, "w").close()
    await asyncio.sleep(0.2)
    return "drained"

if __name__ == "__main__":
    jobs.run_worker()
    print("ended in order")
"""


def test_sigterm_lets_what_runs_finish(jobs: Offpath, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    task = jobs.task(name="wait")(waits)
    job = task.enqueue_sync(str(tmp_path / "started"))
    process = subprocess.Popen(
        [sys.executable, str(script), jobs.settings.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)  # a file is the only signal that crosses without help
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (0, "ended in order\n"), err
    assert job.result_sync() == "drained"


def waits(path: str) -> str:
    return path


def test_sec_02_ids_have_74_random_bits_and_sort_by_the_millisecond() -> None:
    from offpath.app.desk import fresh_id

    now = 1_795_612_261_994_000
    ids = [fresh_id(now) for _ in range(1000)]
    assert all(map(is_id, ids))
    bits = [int(id.replace("-", ""), 16) for id in ids]
    varying = 0
    for value in bits:
        varying |= value ^ bits[0]
    assert varying.bit_count() == 74
    assert fresh_id(now - 1000) < min(ids) <= max(ids) < fresh_id(now + 1000)


def test_f10_a_coroutine_that_swallows_every_cancel_does_not_hold_run_worker(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from offpath import Offpath
jobs = Offpath("sqlite:///" + sys.argv[1], cancel_grace=0.1, drain=0.1)
@jobs.task(timeout=0.1)
async def stubborn() -> None:
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
stubborn.enqueue_sync()
jobs.run_worker(until_empty=True)
print("left")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "jobs.db")], capture_output=True, text=True, timeout=100
    )
    assert (done.stdout, done.returncode) == ("left\n", 0), done.stderr


def test_parent_and_child_of_a_fork_never_give_the_same_ids() -> None:
    code = """
import os
from offpath.app.desk import fresh_id
fresh_id(0)
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, fresh_id(0).encode())
    os._exit(0)
os.wait()
print(os.read(read, 100).decode() == fresh_id(0))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=100) == "False\n"


def test_an_option_that_there_is_not_is_refused_by_its_name(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/jobs.db")

    @jobs.task
    def work() -> None: ...

    refused: list[tuple[Any, str]] = [
        (lambda: work.using(bogus=1), "there is no option 'bogus'; there are .*priority.*tx"),  # type: ignore[call-arg]
        (lambda: jobs.task(bogus=1), "there is no option 'bogus'; there are .*version"),  # type: ignore[call-overload]
        (lambda: jobs.batch(size=2, bogus=1), "there is no option 'bogus'; there are .*size"),  # type: ignore[call-arg]
        (lambda: jobs.on("a.b", bogus=1), "there is no option 'bogus'; there are .*topic"),  # type: ignore[call-arg]
    ]
    for wrong, said in refused:
        with pytest.raises(ConfigurationError, match=said):
            wrong()
