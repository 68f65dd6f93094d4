"""mypy --strict and pyright must see a wrong argument to `enqueue`, and nothing wrong in right code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def mypy(path: Path) -> dict[int, str]:
    """Line → message of each error in the file."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(path.parent),
        str(path),
    ]
    done = run(command, ROOT, MYPYPATH="src")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[int, str] = {}
    for line in done.stdout.splitlines():
        if match := re.match(r"(.+?):(\d+): error: (.*)", line):
            assert match[1].endswith(path.name), line
            found[int(match[2])] = match[3]
    return found


def pyright(path: Path) -> dict[int, str]:
    """The same of the other checker."""
    settings = {"extraPaths": [str(ROOT / "src")], "typeCheckingMode": "standard", "include": [path.name]}
    (path.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(path.parent)]
    said = json.loads(run(command, path.parent).stdout)
    assert said["summary"]["filesAnalyzed"] == 1
    errors = [one for one in said["generalDiagnostics"] if one["severity"] == "error"]
    return {one["range"]["start"]["line"] + 1: one["message"] for one in errors}


def run(command: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, check=False, timeout=270
    )


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_right_code_is_right(checker, tmp_path):
    path = tmp_path / "right.py"
    path.write_text((HERE / "right.py").read_text())
    assert checker(path) == {}


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_wrong_code_is_refused_at_each_marked_line_and_nowhere_else(checker, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text((HERE / "wrong.py.txt").read_text())
    marked = {number for number, line in enumerate(path.read_text().splitlines(), 1) if line.endswith("# refused")}
    assert len(marked) > 15
    found = checker(path)
    assert set(found) == marked, found
