"""docs/how-to/admin-api.md: its snippets, run as they stand, and its requests, sent."""

import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "admin-api.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CURL = re.compile(r"^curl (.*?[^\\])\n", re.MULTILINE | re.DOTALL)
ID = "01a21f92-a71e-703b-bfb1-7c4fd924b052"
pytestmark = pytest.mark.anyio


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    module = type(sys)("page_admin")
    monkeypatch.setitem(sys.modules, "page_admin", module)
    exec(compile("\n".join(PYTHON.findall(PAGE.read_text("utf-8"))), str(PAGE), "exec"), module.__dict__)
    return module.__dict__


async def test_the_page(page: dict[str, Any]) -> None:
    jobs = page["jobs"]
    jobs.migrate()
    transport = httpx.ASGITransport(page["api"])
    asked = CURL.findall(PAGE.read_text("utf-8"))
    assert len(asked) == 8
    async with jobs, httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        for line in asked:
            job = await page["charge"].enqueue(1, "4" * 16)
            if "retry" in line or "DELETE" in line:
                await jobs.cancel(job.id)
            line = line.replace(ID, job.id)
            [url] = re.findall(r"http://[^\s\"]+", line)
            verb = re.search(r"-X (\w+)", line)
            body = re.search(r"-d '(.*?)'", line)
            fields = dict(one.split(": ") for one in re.findall(r'-H "(.*?)"', line))
            content = None if body is None else body[1].encode()
            answer = await client.request(verb[1] if verb else "GET", url, headers=fields, content=content)
            assert answer.status_code in (200, 202, 204), (line, answer.text)
        job = await page["charge"].enqueue(2, "4" * 16)
        await page["forgive"](job.id, "carol")
        [said] = await page["history_of"](job.id)
        assert said.startswith("carol: job.cancel ")
