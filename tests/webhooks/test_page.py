"""docs/how-to/webhooks.md: its snippets run, and its table has every route."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "webhooks.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    monkeypatch.setenv("OFFPATH_DATABASE", f"sqlite:///{tmp_path}/jobs.db")
    monkeypatch.setenv("WEBHOOK_KEY", "a key that is only for the tests")
    module = type(sys)("page_about_webhooks")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(PYTHON.findall(PAGE.read_text("utf-8"))), str(PAGE), "exec"), module.__dict__)
    return module.__dict__


def test_whk_18_the_page_names_every_route(page: dict[str, Any]) -> None:
    text = PAGE.read_text("utf-8").replace("{operation}", "{operation_id}")
    for route in page["webhooks"].routes:
        last = route.path.replace("/webhooks/endpoints/{endpoint_id}", "…/{id}").removeprefix("…/{id}")
        assert last in text, route.path
    assert "/webhooks/endpoints" in page["api"].openapi()["paths"]
