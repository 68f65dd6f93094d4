"""The suite as a third party uses it: one import, one fixture; it takes a sound store and refuses a broken one."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from offpath.ports import Store, Verbs
from offpath.testing.stores import suite
from tests.stores.kit import ROOT

FOLDER = Path(suite.__file__).parent
THEIRS = """
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory

import pytest
from offpath.stores.sqlite import SqliteStore
from offpath.testing.stores.suite import *


class MyStore(SqliteStore):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        sql = dict(self.verbs.sql)
        for name, old, new in {changes}:
            assert old in sql[name]
            sql[name] = sql[name].replace(old, new)
        self.verbs.sql = sql


@pytest.fixture
def databases():
    @contextmanager
    def empty():
        with TemporaryDirectory() as folder:
            yield partial(MyStore, f"{{folder}}/jobs")

    return empty


@pytest.fixture
def examples():
    return 2
"""


def theirs(folder: Path, *changes: tuple[str, str, str], words: str) -> subprocess.CompletedProcess[str]:
    """The suite in another project, with no plugin but pytest itself."""
    (folder / "test_mine.py").write_text(THEIRS.format(changes=changes))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:anyio", "-k", words]
    return subprocess.run([*command, "test_mine.py"], cwd=folder, capture_output=True, text=True, check=False)


def test_a_sound_store_passes(tmp_path: Path) -> None:
    done = theirs(tmp_path, words="key or model or race or against or deadlock")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d\d passed", done.stdout.splitlines()[-1]), done.stdout


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("settle.remove", "select value from json_each(:ids)", "select value from json_each(:ids) limit 0", "success"),
        ("upkeep.queues", "state = 2", "state = 3", "where_work_is"),
    ],
)
def test_a_broken_store_is_refused_and_shown_why(tmp_path: Path, name: str, old: str, new: str, words: str) -> None:
    done = theirs(tmp_path, (name, old, new), words=words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^E +(assert|AssertionError)", done.stdout, re.MULTILINE), "the values compared are shown"


def test_every_test_is_under_the_roof() -> None:
    parts = [import_module(f"offpath.testing.stores.{name}") for name in suite.PARTS]
    assert {path.stem for path in FOLDER.glob("*.py")} == {
        "__init__",
        "fixtures",
        "flowmodel",
        "kit",
        "model",
        "suite",
        *suite.PARTS,
    }
    names = [name for part in parts for name in vars(part) if name.startswith("test_")]
    assert sorted(names) == sorted(name for name in suite.__all__ if name.startswith("test_")), "no name twice"
    here = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for part in suite.PARTS:
        assert f"from offpath.testing.stores.{part} import *" in here, f"{part} is run on our own stores, too"


def test_every_verb_and_every_method_is_asked() -> None:
    text = "".join(path.read_text() for path in FOLDER.glob("*.py"))
    elsewhere = {"enqueue_on", "run_on"}  # test_borrow.py
    for protocol, call in ((Verbs, r"verbs\.{}\("), (Store, r"(?:store|first|second|other)\.{}\b")):
        for name, _ in inspect.getmembers(protocol, callable):
            assert name.startswith("_") or name in elsewhere or re.search(call.format(name), text), name


def test_only_the_suite_needs_pytest() -> None:
    code = """
        import sys
        import offpath, offpath.testing, offpath.testing.stores.kit
        assert not {"pytest", "hypothesis"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", inspect.cleandoc(code)], cwd=ROOT, check=True)
