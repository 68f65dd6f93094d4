"""docs/how-to/executors.md: its module runs, in processes too."""

import hashlib
import importlib
import re
import sys
from pathlib import Path

import pytest

from offpath.testing import drain, isolated

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "executors.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


async def test_the_module_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page_about_executors.py").write_text("\n".join(PYTHON.findall(PAGE.read_text("utf-8"))), "utf-8")
    (tmp_path / "file").write_bytes(b"content")
    monkeypatch.syspath_prepend(str(tmp_path))
    page = importlib.import_module("page_about_executors")
    try:
        page.release.set("1.2.3")
        with isolated(page.jobs):
            sums = await page.checksum.enqueue(str(tmp_path / "file"), rounds=2)
            scored = await page.score.enqueue([2.0, 4.0])
            told = await page.which.enqueue()
            assert await drain(page.jobs, timeout=100) == {"succeeded": 3}
            twice = hashlib.sha256(hashlib.sha256(b"content").digest()).hexdigest()
            assert (await sums.result(), await scored.result(), await told.result()) == (twice, 3.0, "1.2.3")
    finally:
        del sys.modules["page_about_executors"]
