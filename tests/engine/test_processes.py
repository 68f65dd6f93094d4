"""Tasks in processes: what they are given, what they may say, and that it comes to the same as anywhere else."""

import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath
from offpath.engine.worker import Worker
from offpath.errors import ConfigurationError, JobFailed
from offpath.tasks import AttemptInfo
from offpath.tracing import JobLabels, continuing

from . import cpu
from .children import LONG, children, ended, hearing, lines, until, working

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('cpu') / 'jobs.db'}"
        return
    from tests import servers
    from tests.conftest import missing

    server = servers.postgres()
    if isinstance(server, servers.Unavailable):
        missing(request.config, "postgres", str(server))
    with server.database(servers.with_tables) as lent:
        yield lent


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("cpu") / "ledger"
    os.environ["CPU_LEDGER"] = str(file)
    yield file
    del os.environ["CPU_LEDGER"]


@pytest.fixture(scope="module")
async def worker(url: str, ledger: Path) -> AsyncIterator[Worker]:
    """One worker with one child, for all tests of this module that leave it alive."""
    with hearing("cpu"):
        cpu.who.set("whoever started the worker")
        async with working(url, processes=1, cancel_grace=30.0) as running:
            yield running
        assert children() == []


async def test_arguments_and_results_cross_and_the_process_is_used_again(worker: Worker) -> None:
    plain = await (await cpu.add.enqueue(1, b=2)).result(LONG)
    coroutine = await (await cpu.add_later.enqueue(3, 4)).result(LONG)
    assert (plain["sum"], coroutine["sum"]) == (3, 7)
    assert plain["pid"] == coroutine["pid"] != os.getpid()
    assert await (await cpu.has_a_loop.enqueue()).result(LONG) == 5


async def test_the_context_says_in_a_process_what_it_says_anywhere(worker: Worker) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with continuing(f"00-{trace}-b7ad6b7169203331-01"):
        job = await cpu.look.using(owner="alice").enqueue()
    assert await job.result(LONG) == {
        "job": job.id,
        "attempt": 1,
        "fence": 1,
        "principal": "alice",
        "trace": trace,
        "sent": trace,
        "canceled": False,
        "who": "whoever started the worker",
        "stray": "unset",
        "main": True,
    }
    for task in (cpu.who_on_loop, cpu.who_in_thread):  # the same in all three
        assert await (await task.enqueue()).result(LONG) == "whoever started the worker"


async def test_a_failure_is_tried_again_and_says_what_it_said(worker: Worker) -> None:
    seen: list[AttemptInfo] = []
    cpu.fails.hook("failure")(seen.append)
    try:
        end = await ended(await cpu.fails.enqueue("value"))
    finally:
        cpu.fails.hooks["failure"].clear()
    error = json.loads(end.error)
    assert (end.attempt, error["kind"], error["class"], error["detail"]) == (3, "raised", "ValueError", "attempt 3")
    assert "in fails" in error["traceback"]
    assert "children" not in error["traceback"], "a reader wants the handler's frames"
    assert [str(info.error) for info in seen[:2]] == ["attempt 1", "attempt 2"]
    assert getattr(seen[0].error, "exception", "") == "ValueError"


async def test_words_about_the_job_are_heard(worker: Worker) -> None:
    assert await (await cpu.fails.enqueue("snooze")).result(LONG) == "fence 2"
    canceled = await ended(await cpu.fails.enqueue("cancel"))
    assert (canceled.state.name, json.loads(canceled.error)["reason"]) == ("CANCELED", "customer left")
    left = json.loads((await ended(await cpu.fails.enqueue("exit"))).error)
    assert (left["kind"], left["class"]) == ("raised", "SystemExit")
    unfit = await ended(await cpu.fails.enqueue("result"))
    assert (unfit.attempt, json.loads(unfit.error)["kind"]) == (1, "result")


async def test_arguments_that_do_not_fit_any_more_fail_the_job_and_not_the_process(worker: Worker) -> None:
    before = await (await cpu.add.enqueue(1, 1)).result(LONG)
    job = await cpu.jobs.desk.submit([cpu.add.call(1, 2).core._replace(args='{"a": "one", "b": 2}')], None)
    error = json.loads((await ended(job[0])).error)
    assert (error["kind"], error["argument"]) == ("undecodable", "a")
    assert (await (await cpu.add.enqueue(1, 1)).result(LONG)) == before


async def test_providers_live_in_the_process(worker: Worker, ledger: Path) -> None:
    first = await (await cpu.uses.enqueue()).result(LONG)
    pid, kind, uses = await (await cpu.uses_deps.enqueue()).result(LONG)
    assert (pid, kind, uses) == (first[0], f"made in {pid}", first[2] + 1), "made once, in the child"
    assert json.loads((await ended(await cpu.uses.enqueue(fail=True))).error)["class"] == "ValueError"
    assert ["rolled", "back", str(pid)] in lines(ledger)


async def test_jobs_enqueued_there_are_in_the_same_database(worker: Worker) -> None:
    started = await (await cpu.enqueues.using(owner="ann", tenant="acme").enqueue()).result(LONG)
    assert await (await cpu.jobs.get(started)).result(LONG) == 1
    found = await cpu.jobs.desk.find(started)
    assert found is not None
    assert found.finished is not None
    said = json.loads(found.finished.options or "{}")
    assert (found.finished.owner, said["tenant"]) == ("ann", "acme"), "those of the running job"
    anyones = await (await cpu.enqueues.enqueue()).result(LONG)
    assert (await (await cpu.jobs.get(anyones)).info()).owner is None, "nothing is left of the attempt before"


async def test_progress_is_written_and_awaited(worker: Worker) -> None:
    desk = cpu.jobs.desk
    from offpath.ports import NewOperation

    calls = [cpu.reports.call(500).core, cpu.reports_plainly.call().core]
    made = await desk.write(
        [desk.new_job(call._replace(watched=True), NewOperation("", "", call.task, "")) for call in calls], None
    )
    many, plain = [await cpu.jobs.get(one.id) for one in made]
    assert await many.result(LONG) == [True, True]
    assert await plain.result(LONG) is True
    events = await cpu.jobs.store.read(cpu.jobs.store.verbs.events(many.id, 0, 1000))
    said = [json.loads(event.data)["current"] for event in events if event.type == "progress"]
    assert said[0] == 0
    assert said[-1] == 500
    assert said == sorted(said)
    assert len(said) < 400, "a tight loop does not flood the store"
    assert await (await cpu.reports.enqueue(3)).result(LONG) == [True, True], "nobody watches, nothing is written"


async def test_log_records_reach_the_workers_logging_with_the_jobs_labels(worker: Worker) -> None:
    with hearing("cpu") as heard:
        job = await cpu.talks.enqueue()
        pid = await job.result(LONG)
    said, failed = heard.records
    assert (said.getMessage(), said.levelno, said.process, said.funcName) == ("hello there", 20, int(pid), "talks")
    assert said.pathname.endswith("cpu.py")
    extra: dict[str, Any] = vars(said)
    assert extra["order"] == 7
    assert extra["odd"].startswith("<object object")
    assert extra["offpath"] == {
        "job": job.id,
        "task": "talks",
        "queue": "default",
        "attempt": 1,
        "trace": job.id.replace("-", ""),
    }
    assert "ValueError: inside" in logging.Formatter().format(failed)


async def test_a_filter_labels_what_tasks_log_in_all_three_executors(worker: Worker) -> None:
    with hearing("cpu") as heard:
        heard.addFilter(JobLabels())
        tasks = (cpu.logs_on_loop, cpu.logs_in_thread, cpu.logs_in_process)
        for task in tasks:
            job = await task.enqueue()
            await job.result(LONG)
            said = vars(heard.records[-1])["offpath"]
            assert (said["job"], said["task"], said["attempt"]) == (job.id, task.name, 1)
        cpu.log.info("outside")
        assert not hasattr(heard.records[-1], "offpath")


async def test_what_the_worker_does_not_log_does_not_cross(worker: Worker) -> None:
    with hearing("cpu", level=logging.ERROR) as heard:
        await (await cpu.talks.enqueue()).result(LONG)
    assert [record.getMessage() for record in heard.records] == ["it failed"]


async def test_told_to_leave_it_closes_what_it_holds(url: str, ledger: Path, worker: Worker) -> None:
    """Last in this module: it takes the child of the others away."""
    pid = (await (await cpu.uses.enqueue()).result(LONG))[0]
    before = cpu.jobs.desk.settings
    crew = worker._crew
    assert crew is not None
    assert crew.pool is not None
    (child,) = crew.pool._idle
    child.leave()
    await until(child.gone.done)
    assert child.gone.result() == 0
    assert ["closed", str(pid)] in lines(ledger)
    assert cpu.jobs.desk.settings is before
    again = await (await cpu.uses.enqueue()).result(LONG)
    assert again[0] != pid
    assert again[2] == 1


# -- declaring ---------------------------------------------------------------------------------------------------------


def plain() -> None: ...


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (plain, {"executor": "fork"}, '"async", "thread" or "process", not \'fork\''),
        (plain, {"executor": "async"}, "a plain function would block"),
        (coroutine, {"executor": "thread"}, "a coroutine function runs on the worker's loop"),
        (plain, {"memory": "1GiB"}, 'say executor="process"'),
        (plain, {"executor": "process", "memory": "a lot"}, "bytes or a text like"),
        (plain, {"executor": "process", "memory": True}, "bytes or a text like"),
        (plain, {"executor": "process", "memory": 1.5e9}, "bytes or a text like"),
        (plain, {"executor": "process", "memory": "31MiB"}, "from 32 MiB"),
        (plain, {"executor": "process", "memory": "-1GiB"}, "bytes or a text like"),
        (plain, {"executor": "process", "memory": "9" * 18 + "TB"}, "to 1024 TiB"),
    ],
)
def test_what_cannot_be_is_refused_at_registration(function: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Offpath("sqlite:///x.db").task(**options)(function)


def test_the_jobs_own_transaction_cannot_be_in_another_process() -> None:
    import sqlite3

    from offpath import provided

    with pytest.raises(ConfigurationError, match="in a transaction of another process"):

        @Offpath("sqlite:///x.db").task(executor="process")
        def writes(db: sqlite3.Connection = provided(transaction=True)) -> None: ...


def test_where_a_task_runs() -> None:
    jobs = Offpath("sqlite:///x.db")
    assert [jobs.task(plain).executor, jobs.task(coroutine).executor] == ["thread", "async"]
    for name, function in (("one", plain), ("two", coroutine)):
        assert jobs.task(executor="process", name=name)(function).executor == "process"


def test_two_carried_variables_of_one_name_are_an_error() -> None:
    import contextvars

    jobs = Offpath("sqlite:///x.db")
    one: contextvars.ContextVar[int] = contextvars.ContextVar("same")
    jobs.carry(one)
    jobs.carry(one)
    with pytest.raises(ConfigurationError, match="two context variables are called 'same'"):
        jobs.carry(contextvars.ContextVar("same"))
    with pytest.raises(ConfigurationError, match="takes a ContextVar"):
        jobs.carry("same")  # type: ignore[arg-type]


async def test_an_error_of_a_task_in_a_process_reaches_whoever_waits(worker: Worker) -> None:
    with pytest.raises(JobFailed, match="attempt 3"):
        await (await cpu.fails.enqueue("value")).result(LONG)
