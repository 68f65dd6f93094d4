"""What the pages for people who come from Celery and BullMQ promise: their snippets run, and do what they say."""

import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath
from offpath.testing import drain, enqueued, isolated

ROOT = Path(__file__).parents[1]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    page = ROOT / "docs" / "how-to" / f"{name}.md"
    made = type(sys)(f"page_{name}")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec(compile("\n".join(PYTHON.findall(page.read_text("utf-8"))), str(page), "exec"), made.__dict__)
    return made.__dict__


async def test_the_celery_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = module("from-celery", monkeypatch)
    jobs: Offpath = page["jobs"]
    jobs.migrate()
    assert await page["main"]() == 10, "1 + 2 + 3 + 4"
    own = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    own.execute("begin")
    page["send_email"].using(tx=own).enqueue_sync("ada@example.org", "welcome")
    own.execute("rollback")
    own.execute("begin")
    page["send_email"].using(tx=own).enqueue_sync("bob@example.org", "welcome")
    own.execute("commit")
    own.close()
    await drain(jobs)
    assert page["sent"] == [("bob@example.org", "welcome")]
    jobs.close()


async def test_what_waits_on_the_celery_page_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = module("from-celery", monkeypatch)
    with isolated(page["jobs"]):
        await page["later"]()
        assert {one.key for one in enqueued(page["jobs"])} == {"reminder:42", None}
        await page["watch_payment"].enqueue("pay_1")
        await page["watch_payment"].enqueue("pay_2")
        assert await drain(page["jobs"]) == {"scheduled": 2, "succeeded": 2}


async def test_the_bullmq_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = module("from-bullmq", monkeypatch)
    page["jobs"].migrate()
    assert await page["main"]() == ({"sent": True}, "acme/1+acme/2+acme/3")
    assert page["failures"] == []
