"""docs/how-to/idempotency.md and prefer.md: their snippets, run as they stand."""

import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from starlette.testclient import TestClient

FOLDER = Path(__file__).parents[1] / "docs" / "how-to"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module that a page adds up to."""
    monkeypatch.chdir(tmp_path)
    name = f"page_{request.param}"
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    text = (FOLDER / f"{request.param}.md").read_text("utf-8")
    exec(compile("\n".join(PYTHON.findall(text)), name, "exec"), module.__dict__)
    yield module
    module.jobs.close()


@pytest.mark.parametrize("page", ["idempotency"], indirect=True)
def test_the_page_about_keys(page: ModuleType) -> None:
    page.jobs.store.migrate()
    with sqlite3.connect("shop.db") as database:
        database.execute("create table orders (product text)")
    alice = {"Authorization": "alice", "Idempotency-Key": '"1"'}
    with TestClient(page.api) as client:
        made = [client.post("/packages", json={"product": "lamp"}, headers=alice) for _ in range(2)]
        assert (made[0].status_code, made[1].content) == (202, made[0].content)
        alice["Idempotency-Key"] = '"2"'
        made = [client.post("/orders", json={"product": "lamp"}, headers=alice) for _ in range(2)]
        assert (made[0].status_code, made[1].content) == (201, made[0].content)
        assert made[1].headers["idempotency-replayed"] == "?1"
        alice["Idempotency-Key"] = '"3"'
        assert client.post("/orders", json={"product": "nothing"}, headers=alice).status_code == 404
        assert client.portal is not None
        client.portal.call(page.Session.kw["bind"].dispose)  # on the loop that its connections are of
    with sqlite3.connect("shop.db") as database:
        assert database.execute("select product from orders").fetchall() == [("lamp",)]
        assert database.execute("select count(*) from offpath_job").fetchall() == [(2,)]


@pytest.mark.parametrize("page", ["prefer"], indirect=True)
def test_the_page_about_prefer(page: ModuleType) -> None:
    alice = {"Authorization": "alice"}
    with TestClient(page.api) as client:
        assert client.put("/users/1", json={"name": "bo"}, headers=alice).json() == {"name": "Bo"}
        wait = alice | {"Prefer": "wait=25"}
        for method, path in (("PUT", "/users/1"), ("POST", "/users/1/rename")):
            answer = client.request(method, path, json={"name": "bo"}, headers=wait)
            assert (answer.status_code, answer.json()) == (200, {"name": "Bo"})
        strict = alice | {"Prefer": "handling=strict"}
        assert client.post("/users/1/rename", json={"name": "x", "nam": "y"}, headers=strict).status_code == 422


def test_sse_18_the_page_tells_of_the_browsers_limit() -> None:
    text = (Path(__file__).parents[1] / "docs" / "explanation" / "sse.md").read_text("utf-8")
    assert "HTTP/2" in text
    assert "six" in text
