"""`offpath worker --processes N`: real processes, killed and told to stop."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

APP = """
import os
from offpath import Offpath

jobs = Offpath("sqlite:///shop.db")

@jobs.task
async def who() -> int:
    return os.getpid()

@jobs.task
async def wrong() -> None: ...
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@contextmanager
def workers(shop: Path, *args: str, app: str = "shop:jobs") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "offpath", "--app", app, "worker", *args]
    with subprocess.Popen(command, cwd=shop, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def hear(process: subprocess.Popen[str], said: str) -> str:
    """The next line with these words; the suite's timeout ends a wait for one that never comes."""
    assert process.stderr is not None
    for line in process.stderr:
        if said in line:
            return line
    raise AssertionError(f"ended without saying {said!r}")


def started(process: subprocess.Popen[str]) -> int:
    """The pid of the next worker that says it has started."""
    line = hear(process, "worker.started")
    return int(next(word.partition("=")[2] for word in line.split() if word.startswith("pid=")))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_is_killed_is_replaced_and_all_drain_when_told(shop: Path) -> None:
    with workers(shop, "--processes", "2") as crew:
        first, second = started(crew), started(crew)
        assert len({first, second, crew.pid}) == 3
        os.kill(first, signal.SIGKILL)
        assert f"worker {first} ended by signal 9; another one starts in 1 s" in hear(crew, "another one starts")
        third = started(crew)
        assert third not in (first, second)
        crew.terminate()
        assert crew.stderr is not None
        rest = crew.stderr.read()
        assert crew.wait(timeout=100) == 0, rest
        assert rest.count("worker.stopped") == 2
        assert not alive(second)
        assert not alive(third)


def test_a_successor_that_cannot_work_yet_does_not_end_the_others(shop: Path) -> None:
    """The database is newer than the code for a while, or away: what ends with 2 then is started again."""
    with workers(shop, "--processes", "2") as crew:
        first, second = started(crew), started(crew)
        with contextlib.closing(sqlite3.connect(shop / "shop.db")) as connection, connection:
            connection.execute("insert into offpath_migration values ('9999_x', 0)")
        os.kill(first, signal.SIGKILL)
        hear(crew, f"worker {first} ended by signal 9")
        hear(crew, "ended with 2; another one starts in 2 s")
        assert alive(second)
        with contextlib.closing(sqlite3.connect(shop / "shop.db")) as connection, connection:
            connection.execute("delete from offpath_migration where name = '9999_x'")
        started(crew)
        crew.terminate()
        assert crew.stderr is not None
        rest = crew.stderr.read()
        assert crew.wait(timeout=100) == 0, rest


def test_when_the_parent_is_killed_the_workers_drain_and_end(shop: Path) -> None:
    with workers(shop, "--processes", "2") as crew:
        started(crew), started(crew)
        crew.kill()
        hear(crew, "worker.stopped")
        hear(crew, "worker.stopped")
        assert crew.stderr is not None
        crew.stderr.read()  # ends when the last of them has: nobody holds the pipe any more


def test_until_empty_ends_with_all_of_them(shop: Path) -> None:
    code = "from shop import who; who.enqueue_many_sync([who.call() for _ in range(50)])"
    subprocess.run([sys.executable, "-c", code], cwd=shop, check=True)
    with workers(shop, "--processes", "3", "--until-empty") as crew:
        assert crew.stderr is not None
        said = crew.stderr.read()
        assert crew.wait(timeout=100) == 0, said
    assert said.count("worker.stopped") == 3
    assert "another one starts" not in said


def test_a_worker_that_was_asked_wrongly_is_not_started_for_ever(shop: Path) -> None:
    """The application is fine when the command looks at it, and refuses in the worker."""
    with workers(shop, "--processes", "2", "--queues", "default:many") as crew:
        assert crew.stderr is not None
        said = crew.stderr.read()
        assert crew.wait(timeout=100) == 2
    assert "default:many" in said
    assert "another one starts" not in said


def test_a_database_that_cannot_be_used_is_said_once(shop: Path) -> None:
    code = "from shop import jobs; jobs.migrate()"
    subprocess.run([sys.executable, "-c", code], cwd=shop, check=True)
    with contextlib.closing(sqlite3.connect(shop / "shop.db")) as connection, connection:
        connection.execute("insert into offpath_migration values ('9999_x', 0)")
    with workers(shop, "--processes", "2") as crew:
        assert crew.stderr is not None
        said = crew.stderr.read()
        assert crew.wait(timeout=100) == 2
    assert "9999_x" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--processes", "0"), "--processes must be 1 to 1000"),
        (("--processes", "1001"), "--processes must be 1 to 1000"),
        (("--processes", "2", "--reload"), "cannot go with it"),
    ],
)
def test_what_is_wrong_is_one_sentence(shop: Path, args: tuple[str, ...], said: str) -> None:
    with workers(shop, *args) as crew:
        assert crew.stderr is not None
        words = crew.stderr.read()
        assert crew.wait(timeout=100) == 2
    assert said in words
    assert words.count("\n") == 1
