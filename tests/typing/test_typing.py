"""mypy --strict and pyright must see a wrong argument to `enqueue` and to `accept`, and nothing wrong in right code.

Each is asked once about all of it: most of its time goes into reading what the code imports.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, WRONG = "right.py", {"wrong.py": 16, "accept.py": 9}  # and how many complaints there are at least

Complaints = dict[str, dict[int, str]]
"""File → line → message."""


def mypy(folder: Path) -> Complaints:
    files = sorted(str(path) for path in folder.glob("*.py"))
    words = ["-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(folder), *files]
    done = run([sys.executable, *words], ROOT, MYPYPATH="src")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: Complaints = {Path(path).name: {} for path in files}
    for line in done.stdout.splitlines():
        if match := re.match(r"(.+?):(\d+): error: (.*)", line):
            assert Path(match[1]).name in found, line
            found[Path(match[1]).name][int(match[2])] = match[3]
    return found


def pyright(folder: Path) -> Complaints:
    names = sorted(path.name for path in folder.glob("*.py"))
    settings = {"extraPaths": [str(ROOT / "src")], "typeCheckingMode": "standard", "include": names}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(folder)]
    said = json.loads(run(command, folder).stdout)
    assert said["summary"]["filesAnalyzed"] == len(names)
    found: Complaints = {name: {} for name in names}
    for one in said["generalDiagnostics"]:
        if one["severity"] == "error":
            found[Path(one["file"]).name][one["range"]["start"]["line"] + 1] = one["message"]
    return found


def run(command: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, check=False, timeout=270
    )


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_right_code_is_right_and_wrong_code_is_refused_at_each_marked_line_and_nowhere_else(
    checker: Callable[[Path], Complaints], tmp_path: Path
) -> None:
    (tmp_path / RIGHT).write_text((HERE / RIGHT).read_text())
    marked: dict[str, set[int]] = {RIGHT: set()}
    for name, least in WRONG.items():
        text = (HERE / f"{name}.txt").read_text()
        (tmp_path / name).write_text(text)
        marked[name] = {number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# refused")}
        assert len(marked[name]) >= least
    found = checker(tmp_path)
    assert {name: set(complaints) for name, complaints in found.items()} == marked, found
