"""What the page about flows says is so."""

from pathlib import Path
from typing import Any

import pytest

from offpath import JobFailed, Offpath
from offpath.errors import ConfigurationError
from offpath.testing import drain, isolated, run_inline
from tests.test_docs import PYTHON, ROOT


async def test_the_flows_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "how-to" / "flows.md"
    said: dict[str, Any] = {"__name__": "page_about_flows"}
    exec(compile("\n".join(PYTHON.findall(page.read_text("utf-8"))), str(page), "exec"), said)
    jobs: Offpath = said["jobs"]
    results: dict[str, Any] = {"chain": 40, "both": 6, "many": 90, "found": 2 * (19 + 2 + 3), "first": 42}
    results |= {"diamond": 10, "given": 4, "tolerant": 0}
    with isolated(jobs):
        made = {name: await said[name].enqueue() for name in results}
        failed = await said["reported"].enqueue()
        await drain(jobs)
        assert {name: await job.result(timeout=0) for name, job in made.items()} == results
        with pytest.raises(JobFailed, match="not 2"):
            await failed.result(timeout=0)
        [failure] = said["caught"]
        assert (failure.task, failure.state, failure.error["kind"]) == ("refuse", "failed", "raised")
        async with jobs.worker():
            assert await said["start_chain"]() == 40
            parts = sorted(await said["show"]())
            assert parts == [("add", "succeeded"), ("double", "succeeded"), ("double", "succeeded")]
    with run_inline(jobs), pytest.raises(ConfigurationError, match="drain"):
        await said["chain"].enqueue()
