"""The walls: those that import-linter sees, and those it cannot: a core that is pure line by line, a light door, no
file too long to read."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"
PROJECT = SRC.parent / "pyproject.toml"
CORE = SRC / "offpath" / "core"
LONGEST = 400

ALLOWED = frozenset(
    {
        "__future__",
        "collections.abc",
        "dataclasses",
        "datetime",
        "enum",
        "hashlib",
        "bisect",
        "itertools",
        "json",
        "math",
        "re",
        "types",
        "typing",
    }
)
"""The standard library as far as it only computes. A clock hides in datetime: see CLOCKS."""

BUILTINS = frozenset(
    {"open", "print", "input", "eval", "exec", "compile", "__import__", "breakpoint", "globals", "locals", "vars"}
    | {"setattr", "delattr", "id", "hash"}
)
"""What reads or changes the world outside the arguments, or differs from process to process."""

CLOCKS = frozenset({"now", "utcnow", "today", "astimezone", "fromtimestamp", "utcfromtimestamp"})
ROOTS = frozenset(
    {"time", "os", "sys", "random", "secrets", "uuid", "socket", "threading", "asyncio", "logging", "pathlib", "io"}
)
SOURCES = frozenset({"uuid1", "uuid4", "urandom", "getenv", "token_bytes", "token_hex", "perf_counter", "monotonic"})


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on `folder`/offpath, with the contracts of this project."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", str(PROJECT)]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_wall_stands() -> None:
    done = lint_imports(SRC)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "line", "said"),
    [
        ("stores/verbs.py", "from .sqlite import store", "offpath.stores.verbs -> offpath.stores.sqlite.store"),
        ("stores/pending.py", "from . import sqlite", "offpath.stores.pending -> offpath.stores.sqlite"),
        ("transports/look.py", "from . import local", "offpath.transports.look -> offpath.transports.local"),
        ("stores/newcomer.py", "", "not listed as layers: - offpath.stores.newcomer"),
        ("transports/newcomer.py", "", "not listed as layers: - offpath.transports.newcomer"),
        ("integrations/newcomer.py", "", "not listed as layers: - offpath.integrations.newcomer"),
        ("newcomer.py", "", "not listed as layers: - offpath.newcomer"),
    ],
)
def test_a_hole_in_a_wall_is_seen(room: str, line: str, said: str, tmp_path: Path) -> None:
    shutil.copytree(SRC / "offpath", tmp_path / "offpath", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "offpath" / room
    path.write_text(f"{path.read_text('utf-8') if path.exists() else ''}\n{line}\n", "utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in " ".join(done.stdout.split())


class Reader(ast.NodeVisitor):
    """Collects what a pure file must not contain. A parameter may bear any name: it is a value that was given."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.given: list[set[str]] = []

    def say(self, node: ast.AST, what: str) -> None:
        self.found.append(f"line {getattr(node, 'lineno', 0)}: {what}")

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name not in ALLOWED:
                self.say(node, f"import {alias.name}")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        names = [alias.name for alias in node.names]
        inside = node.level == 1 or (
            node.level == 2 and (node.module == "errors" or (not node.module and names == ["errors"]))
        )
        allowed = inside if node.level else node.module in ALLOWED
        if not allowed:
            self.say(node, f"from {'.' * node.level}{node.module or ''} import {', '.join(names)}")

    def enter(self, node: ast.FunctionDef | ast.Lambda) -> None:
        a = node.args
        every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
        self.given.append({arg.arg for arg in every})
        self.generic_visit(node)
        self.given.pop()

    visit_FunctionDef = enter
    visit_Lambda = enter

    def stranger(self, name: str) -> bool:
        return not any(name in names for names in self.given)

    def visit_Name(self, node: ast.Name) -> None:
        read = isinstance(node.ctx, ast.Load)  # `id: str` declares a field and reads nothing
        if read and node.id in BUILTINS | SOURCES | ROOTS and self.stranger(node.id):
            self.say(node, node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        root = node.value
        if isinstance(root, ast.Name) and root.id == "object" and node.attr == "__setattr__":
            return  # how a frozen dataclass finishes itself in __post_init__
        if node.attr in CLOCKS | SOURCES:
            self.say(node, f".{node.attr}")
        self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.say(node, f"async def {node.name}")

    def visit_Global(self, node: ast.Global) -> None:
        self.say(node, f"global {', '.join(node.names)}")

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.say(node, f"nonlocal {', '.join(node.names)}")

    def visit_Assign(self, node: ast.Assign) -> None:
        self.mutable(node, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.mutable(node, node.value)

    def mutable(self, node: ast.stmt, value: ast.expr | None) -> None:
        """At the top of a module or class a list, dict or set would be a place to remember things in."""
        if not self.given and isinstance(
            value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
        ):
            self.say(node, "a mutable value outside a function")
        self.generic_visit(node)


def impurities(source: str) -> list[str]:
    reader = Reader()
    reader.visit(ast.parse(source))
    return reader.found


def test_the_core_is_pure() -> None:
    files = sorted(CORE.rglob("*.py"))
    assert len(files) >= 9
    found = {path.name: impurities(path.read_text("utf-8")) for path in files}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "import os.path",
        "import sqlite3",
        "from random import random",
        "from ..ports import Store",
        "from .. import ports",
        "from ...offpath import app",
        "from offpath.errors import Conflict",
        "def f(): return open('x')",
        "def f(x): print(x)",
        "def f(): return eval('1')",
        "def f(): return datetime.now()",
        "def f(): return datetime.datetime.now(UTC)",
        "class C: at: datetime = field(default_factory=datetime.utcnow)",
        "def f(x): return x.astimezone()",
        "def f(): return date.today()",
        "def f(): return uuid.uuid4()",
        "def f(): return uuid4()",
        "def f(): return time.monotonic()",
        "def f(): return os.environ['X']",
        "def f(): return random.random()",
        "f = lambda: input()",
        "async def f(): pass",
        "def f():\n    global x\n    x = 1",
        "def f():\n    from time import sleep",
        "SEEN = {}",
        "class C:\n    seen: list[int] = []",
    ],
)
def test_the_reader_sees(line: str) -> None:
    assert impurities(line)


@pytest.mark.parametrize(
    "line",
    [
        "from __future__ import annotations",
        "from ..errors import Conflict",
        "from .job import Job",
        "def f(now, random): return now + len(random.hex())",
        "def f(now):\n    made = {}\n    return made",
        "def f(self): object.__setattr__(self, 'a', 1)",
    ],
)
def test_the_reader_lets_pass(line: str) -> None:
    assert not impurities(line)


LIGHT = """
import sys
before = set(sys.modules)
import offpath
import json
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(roots - set(sys.stdlib_module_names) - {"offpath"})))
"""


def test_import_offpath_pulls_in_no_optional_dependency() -> None:
    """In a process of its own; what the environment loads by itself at start (.pth files) is not ours."""
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_no_file_swallows_the_house() -> None:
    files = [path for path in SRC.rglob("*") if path.suffix in {".py", ".sql"}]
    assert files
    lengths = {str(path.relative_to(SRC)): len(path.read_text("utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
