"""The pytest plugin, in a project of a user's own. It is found by its entry point, as any user's pytest finds it."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

APP = """
from offpath import Context, Offpath

jobs = Offpath("sqlite:////nowhere/production.db")
done = []


@jobs.task
async def work(ctx: Context, n: int) -> None:
    done.append(n)
    await ctx.step("note", lambda: n)
"""
TESTS = """
from datetime import timedelta

import pytest
from offpath.testing import assert_enqueued, crash_everywhere, drain_sync
from app import done, jobs, work


def test_fixtures(offpath_jobs, offpath_clock, tmp_path):
    assert offpath_jobs is jobs
    assert str(tmp_path) in jobs.settings.url
    work.using(delay=timedelta(days=1)).enqueue_sync(1)
    assert_enqueued(jobs, work, n=1)
    offpath_clock.advance(timedelta(days=1))
    assert drain_sync(jobs) == {"succeeded": 1}


def test_crash(offpath_jobs):
    for crash in crash_everywhere(jobs):
        done.clear()
        work.enqueue_sync(1)
        crash.drain_sync()
        assert done == [1]


def test_after_it(offpath_jobs, tmp_path):
    assert str(tmp_path) in jobs.settings.url


def test_everything_is_back():
    assert jobs.settings.url == "sqlite:////nowhere/production.db"
"""
APART = """
import sys


def test_nothing_of_it_is_here():
    assert "_offpath_pytestplugin" in sys.modules
    assert [name for name in sys.modules if name.split(".")[0] == "offpath"] == []


def test_it_says_what_it_needs(offpath_jobs):
    pass
"""


def pytest_in(folder: Path, *options: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:anyio",
        "-q",
        "-W",
        "error",
        *options,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_fixtures_and_the_point_of_a_crash(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "test_app.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\noffpath_app = app:jobs\n")
    said = pytest_in(tmp_path)
    assert re.search("1 failed, 3 passed", said), said
    assert "the worker died here: work is about to do step 'note'" in said
    assert "assert [1, 1] == [1]" in said


def test_who_does_not_use_it_does_not_notice_it(tmp_path: Path) -> None:
    (tmp_path / "test_apart.py").write_text(APART)
    said = pytest_in(tmp_path)
    assert re.search("1 passed, 1 error", said), said
    assert "write `offpath_app = module:attribute`" in said


def test_the_wheel_has_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        assert "_offpath_pytestplugin.py" in file.namelist()
        [entries] = [name for name in file.namelist() if name.endswith("entry_points.txt")]
        assert "[pytest11]\noffpath = _offpath_pytestplugin" in file.read(entries).decode()
