"""An application on each kind of store, and commands that run in this process: thirty times as quick as one each."""

import contextlib
import importlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from offpath.cli import main
from offpath.testing import drain_sync

SOURCE = """
from datetime import timedelta
from offpath import Context, Limit, Offpath, Retry, Schedule, Snooze

jobs = Offpath({url!r})

@jobs.task(queue="mail")
async def send(to: str) -> str:
    return to.upper()

@jobs.task(retry=Retry(max_attempts=1))
def bad(n: int) -> None:
    raise ValueError("no \\x1b[31m \\u202e <script>alert(1)</script> [bold]x[/bold]")

@jobs.task(limit=Limit(concurrency=2, per="to"))
async def limited(to: str) -> None: ...
"""


class Shop(NamedTuple):
    """`run`: one command on it, with what it printed and its exit code."""

    folder: Path
    url: str
    module: Any

    def run(self, *args: str, app: bool = True) -> subprocess.CompletedProcess[str]:
        where = ("--app", "shop_of_two:jobs") if app else ("--database", self.url)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main((*where, *args))
        return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())

    def told(self, *args: str, app: bool = True) -> Any:
        """What a command prints with --json."""
        done = self.run(*args, "--json", app=app)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def work(self) -> None:
        drain_sync(self.module.jobs, timeout=100)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers("postgres"))])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    made: str = request.getfixturevalue("postgres_url")
    return made


@pytest.fixture
def opened(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Shop]]:
    """Makes the shop; what it is given stands below its other tasks."""
    made: list[Any] = []

    def make(more: str = "") -> Shop:
        (tmp_path / "shop_of_two.py").write_text(SOURCE.format(url=store_url) + more)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "shop_of_two", raising=False)
        module = importlib.import_module("shop_of_two")
        module.jobs.migrate()
        made.append(module)
        return Shop(tmp_path, store_url, module)

    yield make
    for module in made:
        module.jobs.close()
    sys.modules.pop("shop_of_two", None)


@pytest.fixture
def shop2(opened: Callable[[str], Shop]) -> Shop:
    return opened("")
