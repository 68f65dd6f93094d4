"""What the page about limits promises."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "limits.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The module that the page adds up to."""
    monkeypatch.chdir(tmp_path)
    module = type(sys)("page_about_limits")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(PYTHON.findall(PAGE.read_text("utf-8"))), str(PAGE), "exec"), module.__dict__)
    return module.__dict__


async def test_it_runs(page: dict[str, Any]) -> None:
    assert await page["main"]() == ["0:0.csv", "1:1.csv", "0:2.csv", "1:3.csv", "0:4.csv", "1:5.csv"]


async def test_the_names_it_tells_are_those_in_the_database(page: dict[str, Any]) -> None:
    rules = {rule.name: rule for rule in page["jobs"].registry.limits.rules()}
    assert set(rules) == {"all/tenant_id", "queue:sync", "task:render_report", "task:import_contacts/tenant_id"}
    assert (rules["queue:sync"].spacing, rules["queue:sync"].burst) == (100_000, 1)
    assert rules["task:render_report"].concurrency == 4
