"""How attempts end that do not end by themselves, in each executor; and how processes end."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from offpath.engine.children import launch
from offpath.errors import ConfigurationError
from offpath.settings import Settings
from offpath.tasks import AttemptInfo

from . import cpu
from .children import LONG, ROOT, children, dead, ended, hearing, lines, placed, until, working

pytestmark = pytest.mark.anyio
EXECUTORS: dict[str, Any] = {"async": cpu.stays_on_loop, "thread": cpu.stays_in_thread, "process": cpu.stays}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    cpu.release.clear()
    yield f"sqlite:///{tmp_path / 'jobs.db'}"
    cpu.release.set()
    assert children() == []


def begun(file: Path) -> int:
    return sum(line[0] == "began" for line in lines(file))


# -- executor × cancel, timeout, deadline, shutdown --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "timeout", "deadline"])
async def test_f09_f10_every_executor_ends_what_it_is_told_to_end_and_says_so_honestly(
    url: str, tmp_path: Path, how: str
) -> None:
    file = tmp_path / "ledger"
    said: dict[str, dict[str, Any]] = {"cancel": {}, "timeout": {"timeout": 0.2}, "deadline": {"deadline": 5}}
    options = said[how]
    with hearing("offpath.attempt") as heard:
        async with working(url):
            if how == "deadline":  # a child that waits: else the start alone may take the job's time
                await (await cpu.add.enqueue(1, 2)).result(LONG)
            jobs = {
                (executor, deaf): await task.using(**options).enqueue(str(file), deaf=deaf)
                for executor, task in EXECUTORS.items()
                for deaf in (False, True)
            }
            if how == "cancel":
                await until(lambda: begun(file) == len(jobs))
                for job in jobs.values():
                    assert (await job.cancel("enough")).canceling
            ends = {key: await ended(job) for key, job in jobs.items()}
            cpu.release.set()
    for (executor, deaf), end in ends.items():
        error = json.loads(end.error)
        if how == "cancel":
            assert (end.state.name, error["reason"]) == ("CANCELED", "enough"), (executor, deaf)
            continue
        assert (end.state.name, error["kind"], end.attempt, end.crashes) == ("FAILED", how, 1, 0), (executor, deaf)
        if error.get("abandoned"):
            assert executor != "process", "it is dead, and not abandoned"
    abandoned = {(said["task"], said["job"]) for said in heard.signals("attempt.abandoned")}
    expected = {(EXECUTORS[executor].name, jobs[executor, True].id) for executor in ("async", "thread")}
    if how == "cancel":  # elsewhere a slow machine may see one end before it has begun
        assert abandoned == expected
    else:
        assert abandoned <= expected


async def test_f13_shutdown_gives_back_what_runs_in_every_executor_and_spends_no_attempt(
    url: str, tmp_path: Path
) -> None:
    file = tmp_path / "ledger"
    with placed(url, drain=0.05):
        async with cpu.jobs:
            async with cpu.jobs.worker():
                jobs = [
                    await task.enqueue(str(file), deaf=deaf) for task in EXECUTORS.values() for deaf in (False, True)
                ]
                await until(lambda: begun(file) == len(jobs))
                pids = children()
            assert [pid for pid in pids if not dead(pid)] == []
            for job in jobs:
                info = await job.info()
                assert (info.state, info.attempt, info.crashes) == ("ready", 1, 0), info.task
            cpu.release.set()


async def test_told_twice_the_worker_does_not_wait_for_a_deaf_process(url: str, tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    with placed(url, drain=3600.0, cancel_grace=3600.0):
        async with cpu.jobs:
            async with cpu.jobs.worker() as worker:
                job = await cpu.spins.enqueue(str(file))
                await until(lambda: begun(file))
                worker.stop()
                worker.stop()
            assert (await job.info()).state == "ready"


async def test_a_process_that_is_told_may_tidy_up_and_one_that_returns_half_done_has_not_succeeded(
    url: str, tmp_path: Path
) -> None:
    file = tmp_path / "ledger"
    async with working(url, cancel_grace=LONG, processes=3):
        jobs = [
            await cpu.stays.enqueue(str(file)),
            await cpu.stays_async.enqueue(str(file)),
            await cpu.polite.enqueue(str(file)),
        ]
        await until(lambda: begun(file) == 3)
        for job in jobs:
            await job.cancel()
        assert {(await ended(job)).state.name for job in jobs} == {"CANCELED"}
        assert sum(line[0] == "told" for line in lines(file)) == 2
        late = json.loads((await ended(await cpu.polite.using(timeout=0.3).enqueue(str(file)))).error)
        assert (late["kind"], late["abandoned"]) == ("timeout", False)


async def test_what_no_signal_reaches_is_killed_with_all_that_it_has_started(url: str, tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    async with working(url, processes=3):
        jobs = [await task.enqueue(str(file)) for task in (cpu.spins, cpu.family)]
        await until(lambda: len(lines(file)) == 2)
        pids = [int(line[1]) for line in lines(file) if line[0] == "grandchild"] + children()
        assert len(pids) == 3
        for job in jobs:
            await job.cancel()
        assert {(await ended(job)).state.name for job in jobs} == {"CANCELED"}
        await until(lambda: all(dead(pid) for pid in pids))


async def test_a_job_that_waits_for_its_process_can_be_stopped_too(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter that is started does not do anything at all: the attempt's time has not begun, its deadline
    goes on, and a cancel reaches it."""
    monkeypatch.setattr(sys, "executable", str(_program(tmp_path, "sleep 1000")))
    async with working(url):
        canceled = await cpu.add.using(timeout=0.01).enqueue(1, 2)
        await until(sleepers)
        await asyncio.sleep(0.3)  # many times its timeout: nothing may happen meanwhile
        await canceled.cancel()
        assert (await ended(canceled)).state.name == "CANCELED"
        late = await cpu.add.using(deadline=1, timeout=0.01).enqueue(1, 2)
        assert json.loads((await ended(late)).error)["kind"] == "deadline"
    assert sleepers() == []


def sleepers() -> list[int]:
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.cmdline()[:1] == ["sleep"]:
                found.append(process.pid)
    return found


def _program(folder: Path, script: str) -> Path:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\nexec {script}\n")
    program.chmod(0o755)
    return program


# -- processes that die ------------------------------------------------------------------------------------------------

DEATHS = {
    "segv": "signal 11 (SIGSEGV)",
    "exit": "exit code 7",
    "kill": "signal 9 (SIGKILL)",
    "deaf": "exit code 1",  # it could not say anything any more
}


async def test_f12_a_dying_process_fails_the_attempt_and_nobody_else(url: str, tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    told: list[AttemptInfo] = []
    cpu.dies.hook("exhausted")(told.append)
    try:
        with hearing("cpu") as heard:
            async with working(url):
                jobs = {how: await cpu.dies.enqueue(str(file), how) for how in DEATHS}
                beside = [await cpu.beside.enqueue(n) for n in range(20)]
                between = [await cpu.add.enqueue(n, n) for n in range(3)]
                assert [await job.result(LONG) for job in beside] == list(range(20))
                assert [(await job.result(LONG))["sum"] for job in between] == [0, 2, 4]
                for how, job in jobs.items():
                    end = await ended(job)
                    error = json.loads(end.error)
                    assert (error["kind"], end.attempt, end.crashes) == ("died", 2, 0), how
                    assert DEATHS[how] in error["detail"]
    finally:
        cpu.dies.hooks["exhausted"].clear()
    assert sorted(line[0] for line in lines(file)) == sorted(2 * list(jobs)), "as often as it may, and no more"
    said = [record.getMessage() for record in heard.records]
    assert sorted(said) == sorted(f"about to die by {how}" for how in 2 * list(jobs)), "heard before it died"
    assert {getattr(info.error, "exception", "") for info in told} == {"offpath.errors.ProcessDied"}


async def test_a_process_that_dies_before_the_attempt_has_begun_costs_it_nothing(url: str) -> None:
    async with working(url, processes=1) as worker:
        await (await cpu.add.enqueue(1, 1)).result(LONG)
        (idle,) = children()
        os.kill(idle, signal.SIGSTOP)
        job = await cpu.add.enqueue(2, 3)
        crew = worker._crew
        assert crew is not None
        await until(lambda: (slot := crew.running.get(job.id)) is not None and slot.process is not None)
        os.kill(idle, signal.SIGKILL)
        assert (await job.result(LONG))["sum"] == 5
        assert (await job.info()).attempt == 1
        assert children() != [idle]


async def test_f11_an_attempt_that_holds_more_than_it_may_fails_and_the_worker_does_not_notice(url: str) -> None:
    async with working(url, processes=3):
        within = await cpu.eats.enqueue(8)
        slowly = await cpu.eats.enqueue(200, and_stays=True)
        at_once = await cpu.eats.enqueue(4096, at_once=True)
        for job in (slowly, at_once):
            error = json.loads((await ended(job)).error)
            assert error["kind"] == "memory"
            assert "96" in error["detail"]
        assert await within.result(LONG) == 8


# -- processes that grow old -------------------------------------------------------------------------------------------


async def pids(task: Any, *args: Any, times: int) -> list[int]:
    found = []
    for _ in range(times):
        result = await (await task.enqueue(*args)).result(LONG)
        found.append(result["pid"] if isinstance(result, dict) else result)
    return found


async def test_a_process_is_thrown_away_after_so_many_attempts(url: str) -> None:
    async with working(url, processes=1, recycle_jobs=2):
        one, two, three, four = await pids(cpu.add, 1, 1, times=4)
        assert one == two != three == four


async def test_or_when_it_is_so_old(url: str) -> None:
    async with working(url, processes=1, recycle_age=0.001):  # an interpreter alone takes longer to start
        assert len(set(await pids(cpu.add, 1, 1, times=2))) == 2


async def test_or_so_large(url: str) -> None:
    async with working(url, processes=1, recycle_memory=128 << 20):
        assert len(set(await pids(cpu.add, 1, 1, times=2))) == 1
        one, two = await pids(cpu.grows, 200, times=2)
        assert one != two


# -- processes that cannot be ------------------------------------------------------------------------------------------


async def test_an_application_that_cannot_be_imported_is_told_once_and_fails_the_job_with_the_reason(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPU_BROKEN", "1")
    with hearing("offpath.process") as heard:
        async with working(url, processes=1):
            jobs = [await cpu.add.enqueue(n, n) for n in range(3)]
            for job in jobs:
                error = json.loads((await ended(job)).error)
                assert error["kind"] == "died"
                assert "ImportError: no such library" in error["detail"]
                assert "cpu.py:" in error["detail"]
            assert await (await cpu.beside.enqueue(7)).result(LONG) == 7
            assert len(heard.signals("process.failed")) == 1
            monkeypatch.delenv("CPU_BROKEN")
            assert (await (await cpu.add.enqueue(1, 1)).result(LONG))["sum"] == 2


async def test_an_interpreter_that_is_not_there_is_a_reason_too(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    async with working(url):
        error = json.loads((await ended(await cpu.add.enqueue(1, 1))).error)
    assert error["kind"] == "died"
    assert "FileNotFoundError" in error["detail"]


SCRIPT = """
from offpath import Offpath, Retry

jobs = Offpath("sqlite:///script.db")

@jobs.task(executor="process", retry=Retry(max_attempts=1))
def double(n: int) -> int:
    return 2 * n

{guard}
    job = double.enqueue_sync(21)
    jobs.run_worker(until_empty=True)
    print(job.info_sync().error or job.result_sync())
"""


def script(folder: Path, guard: str, *command: str) -> str:
    file = folder / "script.py"
    file.write_text(SCRIPT.format(guard=guard))
    arguments = command or (str(file),)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=LONG, check=False
    )
    return done.stdout + done.stderr


def test_a_script_with_a_guard_is_an_application(tmp_path: Path) -> None:
    assert script(tmp_path, 'if __name__ == "__main__":').endswith("42\n")


def test_one_without_a_guard_is_told_what_to_do(tmp_path: Path) -> None:
    assert "put what enqueues them under `if __name__" in script(tmp_path, "if True:")


def test_what_no_other_process_can_import_is_refused_before_anything_is_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", type(sys)("__main__"))
    monkeypatch.setitem(cpu.jobs.registry._homes, "add", "__main__")
    with pytest.raises(ConfigurationError, match="no other process could import"):
        launch.boot(cpu.jobs.registry, Settings())


async def test_a_task_that_only_this_process_has_declared_is_refused_in_words(url: str) -> None:
    def here() -> None: ...

    registry = cpu.jobs.registry
    cpu.jobs.task(executor="process", name="only_here")(here)
    try:
        async with working(url):
            error = json.loads((await ended(await cpu.add.enqueue(1, 1))).error)
    finally:
        del registry._tasks["only_here"], registry._homes["only_here"]
    assert "does not declare" in error["detail"]
    assert "only_here" in error["detail"]


# -- the worker itself -------------------------------------------------------------------------------------------------


async def test_i34_a_worker_leaves_no_process_no_thread_and_no_file_behind(url: str) -> None:
    def held() -> tuple[list[str], int, list[int]]:
        return sorted(t.name for t in threading.enumerate()), len(os.listdir("/proc/self/fd")), children()

    async def once() -> None:
        async with cpu.jobs.worker():
            assert (await (await cpu.add.enqueue(1, 1)).result(LONG))["sum"] == 2
            await asyncio.gather(*[(await cpu.add.enqueue(1, n)).result(LONG) for n in range(4)])

    with placed(url):
        async with cpu.jobs:
            await once()  # what is opened once for good is open now
            before = held()
            await once()
            assert held() == before


KILLS = 1


@pytest.mark.timeout(300)
def test_kill_9_of_the_worker_takes_its_children_with_it_and_others_do_their_jobs(tmp_path: Path) -> None:
    """One sleeps, one has the interpreter to itself in C, one waits for a process of its own."""
    file, url = tmp_path / "ledger", f"sqlite:///{tmp_path / 'jobs.db'}"
    environment = {**os.environ, "OFFPATH_LEASE": "4", "OFFPATH_PROCESSES": "2", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    command = [sys.executable, "-m", "offpath", "--app", "tests.engine.cpu:jobs", "worker", "--database", url]
    with placed(url):
        cpu.jobs.migrate()
        for task in (cpu.stays, cpu.spins):
            task.enqueue_sync(str(file))
    workers = []
    try:
        for round in range(KILLS + 1):
            workers.append(subprocess.Popen(command, cwd=ROOT, env=environment))
            asyncio.run(until(lambda: begun(file) >= 2 * (round + 1)))  # noqa: B023
            pids = [int(line[1]) for line in lines(file)][-2:]
            assert sorted(pids) == sorted(children(workers[-1].pid))
            workers[-1].kill()
            workers[-1].wait()
            asyncio.run(until(lambda: all(dead(pid) for pid in pids)))  # noqa: B023
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
