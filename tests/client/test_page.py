"""docs/how-to/client.md: its snippets, run as they stand, and what they need in the wheel."""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from offpath.client import Progress
from tests.http.site import Site, served

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "client.md"
SNIPPET = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[str]:
    return [code for name, code in SNIPPET.findall(PAGE.read_text("utf-8")) if name == language]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    module = type(sys)("page_about_clients")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(snippets("python")), str(PAGE), "exec"), module.__dict__)
    return module.__dict__


@pytest.fixture
async def base(tmp_path: Path) -> AsyncIterator[str]:
    site = Site(tmp_path)
    async with served(site.api) as url, site.jobs.worker():
        yield url
    site.jobs.close()


async def test_the_python_on_the_page_runs(page: dict[str, Any], base: str) -> None:
    assert (await anyio.to_thread.run_sync(page["make_report"], base, "alice")).url == "/files/may"
    *steps, url = await anyio.to_thread.run_sync(lambda: list(page["watch_report"](base, "alice")))
    assert url == "/files/may"
    assert steps[-1] == Progress(100, 3, 3, "pages", "page 3")
    assert await page["give_up"](base, "alice") in ("canceling", "canceled", "succeeded")
    assert page["module"] == (ROOT / "src" / "offpath" / "client" / "offpath.js").read_bytes()


@pytest.mark.servers("node")
def test_the_javascript_on_the_page_can_be_read(tmp_path: Path) -> None:
    [code] = snippets("javascript")
    path = tmp_path / "page.mjs"
    path.write_text(code)
    done = subprocess.run(["node", "--check", str(path)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    shutil.copy(ROOT / "src" / "offpath" / "client" / "offpath.js", tmp_path / "offpath.mjs")
    names = ", ".join(re.findall(r"import \{ (.*?) \}", code)[0].split(", "))
    path.write_text(f'import {{ {names} }} from "./offpath.mjs";')
    done = subprocess.run(["node", str(path)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def test_the_module_is_in_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=270)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        assert "offpath/client/offpath.js" in file.namelist()
