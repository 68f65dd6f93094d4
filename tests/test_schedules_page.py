"""docs/how-to/schedules.md: its snippets, run."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "schedules.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The module that the page adds up to."""
    monkeypatch.chdir(tmp_path)
    module = type(sys)("page_about_schedules")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(PYTHON.findall(PAGE.read_text("utf-8"))), str(PAGE), "exec"), module.__dict__)
    module.jobs.migrate()  # type: ignore[attr-defined]
    return module.__dict__


async def test_the_loop_takes_all_pages_in_one_run_and_marks_the_bad_row(page: dict[str, Any]) -> None:
    jobs: Offpath = page["jobs"]
    async with jobs, jobs.worker():
        async with asyncio.timeout(100):
            while page["pending"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # the page's own code sets no event
        assert (page["failed"], len(page["done"])) == ([40], 249)
        names = {info.name: str(info.schedule) for info in await jobs.schedules.list()}
        assert names == {
            "daily-report": "0 8 * * 1-5 Europe/Berlin",
            "clean-cache": "every 5 min",
            "clean-logs": "at 03:00:00, 15:30:00 Europe/Berlin",
            "sync": "every 1 min",
        }
        job = await jobs.schedules.run_now("daily-report")
        assert re.fullmatch(r"the report of \d{4}-\d\d-\d\d", await job.result(timeout=100))


async def test_schedules_by_api(page: dict[str, Any]) -> None:
    jobs: Offpath = page["jobs"]
    async with jobs:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00:00\+00:00", await page["subscribe"](7, 8))
        await page["holiday"](7)
        assert (await jobs.schedules.get("digest:7")).paused
        assert (await jobs.get(await page["right_now"](7))).task == "clean"
