"""docs/how-to/patch.md: its snippets, run as they stand."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from offpath.errors import JobFailed
from offpath.testing import drain

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "patch.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.anyio


@pytest.fixture
async def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that the page adds up to, with a team of three and one whose name is long."""
    monkeypatch.chdir(tmp_path)
    module = type(sys)("page_about_patches")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(PYTHON.findall(PAGE.read_text("utf-8"))), str(PAGE), "exec"), module.__dict__)
    async with module.engine.begin() as connection:
        await connection.run_sync(module.Base.metadata.create_all)
    async with module.Session.begin() as session:
        session.add_all([module.TeamRow(id=1, name="three", seats=3), module.TeamRow(id=2, name="x" * 100, seats=1)])
    yield module
    await module.engine.dispose()
    module.jobs.close()


async def test_a_team_is_patched(page: Any) -> None:
    with TestClient(page.api) as client:
        tag = {"If-Match": client.get("/teams/1").headers["etag"]}
        change = {"Content-Type": "application/merge-patch+json"}
        assert client.patch("/teams/1", content=b'{"seats": 4}', headers=change).status_code == 428
        answer = client.patch("/teams/1", content=b'{"seats": 4}', headers=change | tag)
        assert answer.json() == {"id": 1, "name": "three", "seats": 4, "version": 2}
        assert client.patch("/teams/1", content=b'{"seats": 5}', headers=change | tag).status_code == 412
        now = {"If-Match": answer.headers["etag"], "Content-Type": "application/json-patch+json"}
        for patch, status in (
            (b'[{"op": "replace", "path": "/seats", "value": 0}]', 422),
            (b'[{"op": "replace", "path": "/version", "value": 9}]', 422),
            (b'[{"op": "test", "path": "/seats", "value": 5}]', 409),
            (b'{"op": "remove", "path": "/seats"}', 400),
        ):
            assert client.patch("/teams/1", content=patch, headers=now).status_code == status
        same = client.get("/teams/1", headers={"If-None-Match": answer.headers["etag"]})
        assert (same.status_code, same.headers["etag"], same.content) == (304, answer.headers["etag"], b"")
        assert client.options("/teams/1").headers["accept-patch"] == page.patching.accept_patch


async def test_the_worker_checks_again(page: Any) -> None:
    page.jobs.migrate()
    renames = [await page.rename_team.enqueue(1, name, '"1"') for name in ("a", "b")]
    assert await drain(page.jobs) == {"succeeded": 1, "failed": 1}  # whichever came second
    ends = await asyncio.gather(*(job.result() for job in renames), return_exceptions=True)
    assert 2 in ends
    assert [end.error["status"] for end in ends if isinstance(end, JobFailed)] == [412]
