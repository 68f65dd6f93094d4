"""docs/how-to/deploys.md: its snippets, run against jobs that were written before."""

import gc
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from offpath import Offpath
from offpath.testing import drain

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "deploys.md"
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.anyio


def snippets(language: str) -> str:
    return "\n".join(text for name, text in FENCED.findall(PAGE.read_text("utf-8")) if name == language)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The module that the page adds up to."""
    monkeypatch.chdir(tmp_path)
    module = type(sys)("page_about_deploys")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(snippets("python"), str(PAGE), "exec"), module.__dict__)
    return module.__dict__


@pytest.fixture
def before() -> Offpath:
    """The application as it was."""
    jobs = Offpath("sqlite:///app.db")

    @jobs.task(name="greet")
    async def greet(first: str, last: str) -> str:
        return f"Hi {first} {last}"

    return jobs


def greet(jobs: Offpath) -> Any:
    return jobs.registry.get("greet")


async def test_old_jobs_run_in_new_code_and_new_ones_wait_for_it(page: dict[str, Any], before: Offpath) -> None:
    old = await greet(before).enqueue("Ada", "Lovelace")
    new = await page["greet"].enqueue(name="Bob")
    jobs: Offpath = page["jobs"]
    versions, ended = (text.strip() for text in snippets("sql").strip().split("\n"))
    async with before, jobs:
        assert rows(versions) == [(1, 1), (2, 1)]
        assert await drain(before) == {"succeeded": 1, "ready": 1}
        assert (await new.info()).state == "ready"
        assert rows(ended) == [(1, 1)]
        again = await before.retry(old.id)
        assert await drain(jobs) == {"succeeded": 3}
        assert (await again.result(), await new.result()) == ("Hi Ada Lovelace", "Hi Bob")


def rows(sql: str) -> list[tuple[int, int]]:
    with closing(sqlite3.connect("app.db")) as connection:
        return sorted(connection.execute(sql))


@pytest.mark.parametrize("passed", [False, True])
async def test_what_fits_without_a_new_version(before: Offpath, tmp_path: Path, passed: bool) -> None:
    """A parameter with a default is new: old workers run its jobs as long as nobody passes it."""
    url = f"sqlite:///{tmp_path / 'app.db'}"
    before.use_database(url)
    after = Offpath(url)

    @after.task(name="greet")
    async def polite(first: str, last: str, polite: bool = False) -> str:
        return f"{'Dear' if polite else 'Hi'} {first} {last}"

    old = await greet(before).enqueue("Ada", "Lovelace")
    new = await (polite.enqueue("Bob", "X", polite=True) if passed else polite.enqueue("Bob", "X"))
    async with before, after:
        assert await drain(before) == ({"succeeded": 1, "failed": 1} if passed else {"succeeded": 2})
        assert (await old.info()).state == "succeeded"
        info = await new.info()
        assert (info.state, info.attempt) == ("failed" if passed else "succeeded", 1)
        assert ("Arguments do not fit the task" in str(info.error)) is passed


def test_the_lifespan_leaves_the_interpreter_alone(page: dict[str, Any]) -> None:
    before = gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()
    with TestClient(page["api"]):
        assert (gc.get_threshold(), sys.getswitchinterval(), gc.get_freeze_count()) == before
