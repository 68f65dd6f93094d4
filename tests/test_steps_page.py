"""docs/how-to/steps.md and testing.md: their snippets are a module each, and their tests pass."""

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from offpath.ports import NewOperation
from offpath.testing import drain, isolated

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    path = HOW_TO / f"{request.param}.md"
    module = type(sys)(f"page_about_{request.param}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(PYTHON.findall(path.read_text("utf-8"))), str(path), "exec"), module.__dict__)
    return module.__dict__


@pytest.mark.parametrize(("page", "count"), [("steps", 1), ("testing", 3)], indirect=["page"])
async def test_the_tests_on_the_page_pass(page: dict[str, Any], count: int) -> None:
    tests = [name for name in page if name.startswith("test_")]
    assert len(tests) == count
    for name in tests:
        with isolated(page["jobs"]) as jobs:
            given = {"offpath_jobs": jobs} if "offpath_jobs" in inspect.signature(page[name]).parameters else {}
            done = page[name](**given)
            if inspect.isawaitable(done):
                await done


@pytest.mark.parametrize("page", ["steps"], indirect=True)
async def test_what_the_page_says_of_steps_is_so(page: dict[str, Any]) -> None:
    with isolated(page["jobs"]) as jobs:
        resized = await page["resize_all"].enqueue(["a", "b"])
        call = page["render"].call(3).core._replace(watched=True)
        new = jobs.new_job(call, NewOperation("", "", "render", ""))
        await jobs.store.enqueue([new])
        assert await drain(jobs) == {"succeeded": 2}
        assert await resized.result() == ["A", "B"]
        events = await jobs.store.read(jobs.store.verbs.events(new.job.id, 0, 100))
        assert [event.data for event in events if event.type == "output"] == [
            f'{{"name":"page-rendered","data":{{"page":{page}}}}}' for page in range(3)
        ]
