"""The conformance page lists the tests there are, and every row of the specification has one."""

from pathlib import Path

import pytest

from tests import requirements
from tests.conftest import missing
from tests.requirements import ids_of


def test_the_page_lists_the_tests_there_are(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--conformance"):
        pytest.skip("this run writes the page")
    told = requirements.told()
    again = "run `python3 dev.py test --conformance` (it writes the page)"
    assert sorted(requirements.existing().keys() - told.keys()) == [], again
    assert sorted(told.keys() - requirements.existing().keys()) == [], again
    assert sorted(name for name, said in told.items() if said not in ("passed", "skipped")) == [], again
    assert requirements.PAGE.read_text("utf-8") == requirements.page(told), again


def test_every_row_is_tested_or_decided() -> None:
    assert requirements.lacking() == []


def test_the_rows_are_those_of_the_specification(request: pytest.FixtureRequest, conformance: Path) -> None:
    specification = conformance.parent / "wire.md"
    if not specification.exists():
        missing(request.config, "conformance", "no specification beside the vectors")
    found = requirements.from_specification(specification.read_text("utf-8"))
    assert requirements.rows() == found, "see tests/requirements.py"


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("test_acc_06_a_202_outlives", ["ACC-06"]),
        ("test_res_06_413_declared", ["RES-06"]),
        ("test_idk_09_and_10_once", ["IDK-09", "IDK-10"]),
        ("test_doc_01_06_valid", ["DOC-01", "DOC-06"]),
        ("test_sse_05_whk_03_both", ["SSE-05", "WHK-03"]),
        ("test_sse_02", ["SSE-02"]),
        ("test_acc_1_is_none", []),
        ("test_the_acc_01", []),
    ],
)
def test_a_name_carries_its_rows(name: str, ids: list[str]) -> None:
    assert ids_of(name) == ids


def test_of_several_parameters_the_worst_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements, "PAGE", tmp_path / "page.md")
    recorder = requirements.Recorder()
    name = next(iter(requirements.existing()))
    for nodeid, outcome, when in (
        (name + "[a]", "passed", "call"),
        (name + "[b]", "failed", "call"),
        (name + "[c]", "passed", "call"),
        (name + "[c]", "passed", "teardown"),
        ("tests/x.py::test_acc_99_nowhere", "passed", "call"),
    ):
        recorder.heard(nodeid, outcome, when)
    recorder.write()
    told = requirements.told()
    assert told[name] == "failed"
    assert set(told) == set(requirements.existing())
    assert {said for test, said in told.items() if test != name} == {"not run"}
