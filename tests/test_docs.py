"""What the pages promise: links lead somewhere, snippets run."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from offpath import Offpath
from offpath.testing import drain, enqueued, isolated

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if path.is_file()
)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What may follow a `#`, made from the headings as code hosts do it."""
    text = FENCED.sub("", page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


def broken(page: Path, root: Path = ROOT) -> list[str]:
    found = []
    for link in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        there = target.exists() and root in (target, *target.parents)
        if not there or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](nowhere.md) [b](#no-such) [c](#here) [d](https://x.org/y)\n# Here\n```\n[e](code.md)\n```\n")
    assert broken(page, tmp_path) == ["nowhere.md", "#no-such"]


@pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_every_snippet_is_python(page: Path) -> None:
    for snippet in PYTHON.findall(page.read_text("utf-8")):
        compile(snippet, str(page), "exec", flags=AWAIT_ANYWHERE)


AWAIT_ANYWHERE = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The module that the page about tasks adds up to."""
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "how-to" / "tasks.md"
    module = type(sys)("page_about_tasks")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(PYTHON.findall(page.read_text("utf-8"))), str(page), "exec"), module.__dict__)
    return module.__dict__


async def test_the_tests_on_the_page_pass(tasks: dict[str, Any]) -> None:
    tests = [name for name in tasks if name.startswith("test_")]
    assert len(tests) == 2
    for name in tests:
        await tasks[name]()


async def test_what_the_page_says_of_tasks_is_so(tasks: dict[str, Any]) -> None:
    jobs: Offpath = tasks["jobs"]
    label = tasks["print_label"]
    with isolated(jobs):
        ended = {
            "failed": await label.enqueue(-1),
            "canceled": await label.enqueue(0),
            "scheduled": await label.enqueue(2, open=False),
        }
        pinged = await tasks["ping"].enqueue("https://example.org")
        twice = await tasks["ping_twice"].enqueue("https://example.org")
        paid = await tasks["pay_out"].enqueue(1, 100)
        assert await drain(jobs) == {"failed": 1, "canceled": 1, "scheduled": 1, "succeeded": 3}
        for state, job in ended.items():
            assert (await job.info()).state == state
        assert (await ended["scheduled"].info()).attempt <= 1
        assert (await pinged.result(), await twice.result(), await paid.result()) == (204, 408, None)
        assert tasks["seen"] == ["attempt 1 of 5: Problem", "print_label is dead"]

        await tasks["print_all"]([4, 5])
        rows = [one for one in enqueued(jobs) if one.queue == "low"]
        assert [(row.key, row.state) for row in rows] == [("order:4", "scheduled"), ("order:5", "scheduled")]


def test_the_lifespan_on_the_page_runs_jobs(tasks: dict[str, Any]) -> None:
    with TestClient(tasks["api"]):
        assert tasks["ping"].enqueue_sync("https://example.org").result_sync(timeout=60) == 204


def test_the_sdist_is_a_whole_repository(tmp_path: Path) -> None:
    """What is needed to run and check the source is in it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=270, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    wanted = {"dev.py", "requirements/dev.txt", "requirements/demo.in", "benchmarks/__main__.py", "tests/test_docs.py"}
    wanted |= {"requirements/postgres.txt", "servers/postgres.py"}
    wanted |= {
        "pyproject.toml",
        "README.md",
        "examples/accounts/app.py",
        "docs/how-to/tasks.md",
        "src/offpath/py.typed",
    }
    assert wanted <= names
    assert not [name for name in names if "__pycache__" in name or ".venv" in name]
