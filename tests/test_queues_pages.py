"""docs/how-to/queues.md, dead-letters.md and alerts.md: their snippets, run as they stand."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath, Retry
from offpath.engine import alerts
from offpath.engine.clock import clock
from offpath.testing import drain

PAGES = Path(__file__).parents[1] / "docs" / "how-to"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.anyio


@pytest.fixture
def page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The module that the page adds up to."""
    monkeypatch.chdir(tmp_path)
    path = PAGES / request.param
    module = type(sys)(f"page_{path.stem}".replace("-", "_"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(PYTHON.findall(path.read_text("utf-8"))), str(path), "exec"), module.__dict__)
    return module.__dict__


@pytest.mark.parametrize("page", ["queues.md"], indirect=True)
async def test_the_page_about_queues(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    jobs: Offpath = page["jobs"]
    async with jobs:
        for to in ("a@example.org", "nobody", "b@example.org"):
            await page["send_email"].enqueue(to)
        await page["render_report"].enqueue("2026")
        await jobs.queues.pause("mail")
        assert await drain(jobs) == {"ready": 3, "succeeded": 1}
        await page["while_the_mail_server_moves"]()
        await page["before_a_risky_migration"]()
        assert [info.paused for info in await jobs.queues.list()] == [False, False]
        assert await page["look"]() == []
        await page["clean_up"]()
        said = capsys.readouterr().out
        assert "0 reports failed" in said
        assert "3 mails will be canceled" in said
        assert "3 canceled, 0 had ended meanwhile" in said
        # (Two of one millisecond are in no order.)
        assert sorted([info.state async for info in jobs.list()]) == [*["canceled"] * 3, "succeeded"]


@pytest.mark.parametrize("page", ["dead-letters.md"], indirect=True)
async def test_the_page_about_dead_letters(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    jobs: Offpath = page["jobs"]
    async with jobs:
        for order in range(11):
            await page["charge"].enqueue(order, "4" * 16)
        await drain(jobs)
        page["broken"] = False
        await page["after_the_outage"]()
        states = await drain(jobs)
        assert states == {"failed": 11, "succeeded": 11}
        said = capsys.readouterr().out
        assert "11 payments are stuck" in said
        assert "{'order': 'number', 'card': 'text, 16 characters'}" in said
        assert "4444" not in said
        assert "11 run again" in said
        assert await jobs.dead_letters.count() == 0


@pytest.mark.parametrize("page", ["alerts.md"], indirect=True)
async def test_the_page_about_alerts(page: dict[str, Any]) -> None:
    jobs: Offpath = page["jobs"]

    @jobs.task(queue="payments", retry=Retry(max_attempts=1))
    async def charge() -> None:
        raise ConnectionError("the bank does not answer")

    async with jobs:
        for _ in range(11):
            await charge.enqueue()
        await drain(jobs)
        for _ in range(2):
            await alerts.look(jobs.store, jobs.registry, clock(jobs.store))
        await drain(jobs)
        told = {one["alert"]: one for one in page["rung"]}
        assert told["payments fail"] == {
            "alert": "payments fail", "news": "raised", "kind": "dead_letters", "value": 11, "above": 10,
            "within": 3600.0, "queue": "payments", "task": None, "at": told["payments fail"]["at"],
            "raised_at": told["payments fail"]["at"],
        }  # fmt: skip
