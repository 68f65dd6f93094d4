"""docs/how-to/batches.md and docs/how-to/once-per-key.md: their snippets, run as they stand."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offpath import JobFailed
from offpath.testing import drain, enqueued, isolated

PAGES = Path(__file__).parents[1] / "docs" / "how-to"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """The module that a page adds up to."""

    def load(name: str) -> dict[str, Any]:
        module = type(sys)(f"page_{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        path = PAGES / f"{name}.md"
        exec(compile("\n".join(PYTHON.findall(path.read_text("utf-8"))), str(path), "exec"), module.__dict__)
        return module.__dict__

    return load


async def test_batches(page: Callable[[str], dict[str, Any]]) -> None:
    here = page("batches")
    jobs, doc = here["jobs"], here["Doc"]
    with isolated(jobs):
        assert len(await here["greet_all"]([1, 2, 3])) == 3
        assert len(await here["greet_all"]([2, 3, 4])) == 1
        for n in range(5):
            await here["save"](doc(n, f"text {n}"))
        urls = ["https://example.org", "https://example.org/busy", "ftp"]
        good, busy, bad = [await here["fetch_all"].enqueue(url) for url in urls]
        image = await here["resize"].enqueue("a.png")
        await drain(jobs)
        assert here["index"] == {n: f"text {n}" for n in range(5)}
        assert here["requests"] < 5
        assert await good.result() == "the page at https://example.org"
        assert (await busy.info()).state == "scheduled"
        assert ((await bad.info()).state, (await bad.info()).attempt) == ("scheduled", 2)
        assert await image.result() == f"a.png of {image.id}, attempt 1"
        await bad.cancel()
        with pytest.raises(JobFailed):
            await bad.result()


async def test_once_per_key(page: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    here = page("once-per-key")
    jobs, refresh = here["jobs"], here["refresh"]
    with isolated(jobs):
        for _ in range(3):
            await here["on_edit"](1)
            await here["on_keystroke"](1)
            await here["on_event"](1)
        lines = capsys.readouterr().out.split()
        assert lines[1::2] == ["False", "True", "True"]
        assert len(set(lines[::2])) == 1
        await refresh.using(key="user:1", latest=True).enqueue(1, reason="the newest")
        rows = {row.key: row.state for row in enqueued(jobs)}
        assert rows == {"user:1": "ready", "typing:1": "scheduled", "feed:1": "ready"}
        await drain(jobs)
        assert sorted(here["ran"]) == ["event", "the newest"]
        await here["on_event"](1)
        assert [row.state for row in enqueued(jobs) if row.key == "feed:1"].count("scheduled") == 1
