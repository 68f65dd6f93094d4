"""What docs/ says of the core is what the core says of itself."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from offpath.core.job import State
from offpath.core.lifecycle import MOVES
from offpath.core.outcome import ErrorKind, Outcome

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("offpath_docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["reference/lifecycle.md", "reference/options.md", "reference/settings.md"])
def test_the_committed_pages_are_the_generated_ones(generate: ModuleType, page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    assert generate.render(text) == text, "run: python docs/generate.py"


def test_every_part_is_on_a_page(generate: ModuleType) -> None:
    pages = "".join((DOCS / name).read_text("utf-8") for name in generate.PAGES)
    assert sorted(re.findall(r"<!-- generated: ([a-z-]+) -->", pages)) == sorted(generate.PARTS)
    assert pages.count("<!-- end -->") == len(generate.PARTS)


def test_the_generator_finds_nothing_to_do() -> None:
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_variable_that_is_read_has_a_line() -> None:
    page = (DOCS / "reference" / "settings.md").read_text("utf-8")
    source = "".join(path.read_text("utf-8") for path in (DOCS.parent / "src").rglob("*.py"))
    read = set(re.findall(r"\bOFFPATH_[A-Z_]*[A-Z]\b", source))
    assert {"OFFPATH_APP", "OFFPATH_QUEUES"} <= read
    assert [name for name in sorted(read) if f"`{name}`" not in page] == []


def test_the_picture_has_every_move(generate: ModuleType) -> None:
    drawn = generate.diagram()
    for state, causes in MOVES.items():
        for cause, target in causes.items():
            line = re.search(rf"^    {state.name.lower()} --> {target.name.lower()}: (.*)$", drawn, re.MULTILINE)
            assert line is not None
            assert cause in line[1].split(", ")


def test_every_cause_and_every_kind_of_failure_is_explained() -> None:
    page = (DOCS / "reference" / "lifecycle.md").read_text("utf-8")
    causes = {cause for row in MOVES.values() for cause in row}
    kinds = set(get_args(ErrorKind)) - {"canceled"}
    states = {state.name.lower() for state in State}
    assert [word for word in sorted(causes | kinds | states) if f"\n| `{word}` |" not in page] == []


def test_the_glossary_has_a_line_for_every_word_once() -> None:
    page = (DOCS / "glossary.md").read_text("utf-8")
    words = re.findall(r"^\| \*\*(.+?)\*\*", page, re.MULTILINE)
    assert len(words) == len(set(words))
    assert {"task", "job", "operation", "fence", "outcome", "settle", "change", "event", "store", "transport"} <= set(
        words
    )
    row = next(line for line in page.splitlines() if line.startswith("| **outcome**"))
    for outcome in get_args(Outcome):
        assert outcome.__name__.lower() in row
    for state in State:
        assert f"`{state.name.lower()}`" in page
