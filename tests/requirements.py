"""Which test holds which row of the specification, and what the last run said: docs/reference/http-conformance.md.

A test carries the rows it holds in its name: `test_acc_06_…` holds ACC-06, `test_idk_09_and_10_…` IDK-09 and IDK-10,
`test_doc_01_06_…` DOC-01 and DOC-06, `test_sse_05_whk_03_…` one of each. `requirements.tsv` has the rows: id,
level (M must, S should, ^ more than the source asks) and text. `python3 dev.py test --conformance` writes the page: of
the tests that ran it says what became of them, of the others what the page said before.

    python -m tests.requirements ../shared/wire.md      make requirements.tsv anew from the specification
"""

import ast
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ROWS = Path(__file__).with_name("requirements.tsv")
PAGE = ROOT / "docs" / "reference" / "http-conformance.md"
LEFT_OUT = ROOT / "docs" / "decisions" / "0023-s-rows.md"
BEGUN = re.compile(r"test((?:_[a-z]{3}_[0-9]{2}(?:(?:_and)?_[0-9]{2})*(?=_|$))+)")
PART = re.compile(r"_([a-z]{3})((?:(?:_and)?_[0-9]{2})+)(?=_|$)")
LINE = re.compile(r"`(\S+::test_\w+)` (passed|failed|skipped|not run)")

GROUPS = {
    "ACC": "Accepting (202)",
    "OPR": "Operation resource and states",
    "POL": "Polling and waiting",
    "RES": "Results and errors",
    "CAN": "Cancellation",
    "LST": "Listing",
    "PRF": "Prefer",
    "IDK": "Idempotency-Key",
    "CND": "Conditional requests",
    "PAT": "PATCH",
    "SSE": "Server-sent events",
    "WHK": "Webhooks",
    "SEC": "Security",
    "OBS": "Observability",
    "DOC": "OpenAPI description",
    "EVT": "Events to brokers",
}
ELSEWHERE = "OBS-06"
"""Comes with the metrics."""

MISTAKES = (
    ("Replaying a failure's status code at the poll URL", "RES-03 OPR-10"),
    ("`cancelled`, with two l", "OPR-02"),
    ("A 202 before its commit", "ACC-06 ACC-07"),
    ("Cached polls", "POL-02"),
    ("Idempotency: check, then act", "IDK-09 IDK-10"),
    ("A key not scoped by caller", "IDK-08"),
    ("A key burnt by a 4xx", "IDK-11"),
    ("`str.splitlines()` on server-sent events", "SSE-02"),
    ("A terminal event without data, or reconnecting for ever after it", "SSE-03 SSE-08"),
    ("A gap, a duplicate or a leak when resuming", "SSE-05 SSE-07"),
    ("Generator clean-up that never starts", "SSE-14"),
    ("Signing other bytes than are sent", "WHK-02"),
    ("SSRF by check, then connect", "WHK-24 WHK-25"),
    ("JSON Patch through Python's equality, exceptions and memory", "PAT-04 PAT-07 PAT-09"),
    ("An OpenAPI document that lies", "DOC-01 DOC-06"),
)
"""The specification's section 4, and the rows that hold each."""


class Row(NamedTuple):
    id: str
    level: str
    text: str

    @property
    def must(self) -> bool:
        return self.level.startswith("M")


def from_specification(text: str) -> list[Row]:
    """The rows of the tables of section 1, as far as they are of `GROUPS`."""
    found = re.findall(r"^\| ([A-Z]{3}-[0-9]{2}) \| (.+?) \| ([MS]\^?) \| .* \|$", text, re.MULTILINE)
    return [Row(id, level, said) for id, said, level in found if id[:3] in GROUPS]


def rows() -> list[Row]:
    return [Row(*line.split("\t")) for line in ROWS.read_text("utf-8").splitlines()]


def ids_of(name: str) -> list[str]:
    """The rows a test's name carries."""
    begun = BEGUN.match(name)
    found = PART.findall(begun[1]) if begun else []
    return [f"{group.upper()}-{number}" for group, rest in found for number in re.findall("[0-9]{2}", rest)]


@cache
def existing() -> Mapping[str, list[str]]:
    """Every test of this folder whose name carries rows, as `file::name` → their ids."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (ids := ids_of(node.name)):
                found[f"{path.relative_to(ROOT).as_posix()}::{node.name}"] = ids
    return found


def decided() -> frozenset[str]:
    """The S rows that are left out, with the reason: the first column of the table in that decision record."""
    text = LEFT_OUT.read_text("utf-8") if LEFT_OUT.exists() else ""
    return frozenset(re.findall(r"^\| ([A-Z]{3}-[0-9]{2}) \|", text, re.MULTILINE))


def lacking() -> list[str]:
    """What is neither tested nor decided, by name: every M row wants a test, every S row a test or a decision."""
    held = {id for ids in existing().values() for id in ids}
    known = {row.id for row in rows()}
    said = []
    for row in rows():
        if row.id in held or row.id == ELSEWHERE or (not row.must and row.id in decided()):
            continue
        wanted = "has no test" if row.must else f"has neither a test nor a line in {LEFT_OUT.name}"
        said.append(f"{row.id} ({row.level}) {wanted}: {row.text}")
    said += [
        f"{test} carries {id}, which is no row" for test, ids in existing().items() for id in ids if id not in known
    ]
    return said


def told() -> dict[str, str]:
    """What the page says of each test."""
    return dict(LINE.findall(PAGE.read_text("utf-8"))) if PAGE.exists() else {}


def page(results: Mapping[str, str]) -> str:
    """The document; `results`: test → passed, failed, skipped or not run."""
    by_row: dict[str, list[str]] = {}
    for test, ids in existing().items():
        for id in ids:
            by_row.setdefault(id, []).append(test)
    verdicts = {}
    for row in rows():
        verdicts[row.id] = _verdict(row, [results.get(test, "not run") for test in by_row.get(row.id, [])])
    lines = [
        "# HTTP conformance",
        "",
        "Every requirement on the wire, the tests that carry its id, and what became of them. Written by the tests:",
        "`python3 dev.py test --conformance`. Level M is a must, S a should; ^ means that it asks for more than its",
        "source. A row passes when one of its tests ran and none failed; `skipped` is what needs `--soak` or a server.",
        "",
        "| group | M passed | S passed | S left out |",
        "|---|---|---|---|",
    ]
    for group in GROUPS:
        mine = [row for row in rows() if row.id.startswith(group)]
        cells = [_count(verdicts, [row for row in mine if row.must is must]) for must in (True, False)]
        left = " ".join(row.id for row in mine if verdicts[row.id] == "left out")
        lines.append(f"| {group} | {cells[0]} | {cells[1]} | {left} |")
    for group, title in GROUPS.items():
        lines += ["", f"## {group}: {title}", "", "| id | level | requirement | tests | result |"]
        lines.append("|---|---|---|---|---|")
        for row in (row for row in rows() if row.id.startswith(group)):
            tests = "<br>".join(f"`{test}` {results.get(test, 'not run')}" for test in by_row.get(row.id, []))
            lines.append(f"| {row.id} | {row.level} | {row.text} | {tests} | {verdicts[row.id]} |")
    lines += ["", "## Mistakes that are easily made", "", "| | mistake | held by | result |", "|---|---|---|---|"]
    for number, (mistake, ids) in enumerate(MISTAKES, 1):
        said = {verdicts[id] for id in ids.split()}
        lines.append(f"| {number} | {mistake} | {ids} | {', '.join(sorted(said))} |")
    return "\n".join(lines) + "\n"


def _verdict(row: Row, said: list[str]) -> str:
    if row.id == ELSEWHERE:
        return "comes with the metrics"
    if not said:
        return "left out" if row.id in decided() else "no test"
    return next((word for word in ("failed", "not run", "passed") if word in said), "skipped")


def _count(verdicts: Mapping[str, str], mine: list[Row]) -> str:
    mine = [row for row in mine if verdicts[row.id] not in ("left out", "comes with the metrics")]
    return f"{sum(verdicts[row.id] == 'passed' for row in mine)} of {len(mine)}" if mine else ""


class Recorder:
    """The pytest plugin behind `--conformance`: collects what each test came to and writes the page at the end.

    Under xdist it lives in the controller, which hears of every test.
    """

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def heard(self, nodeid: str, outcome: str, when: str) -> None:
        """One phase of one test; of several parameters, and of several phases, the worst counts."""
        name = nodeid.partition("[")[0]
        if name not in existing() or (when != "call" and outcome == "passed"):
            return
        worst = ("skipped", "passed", "failed")
        self.seen[name] = max(self.seen.get(name, outcome), outcome, key=worst.index)

    def write(self) -> None:
        known = existing()
        results = {name: said for name, said in (told() | self.seen).items() if name in known}
        PAGE.write_text(page(results), "utf-8")


def main(specification: str) -> None:
    found = from_specification(Path(specification).read_text("utf-8"))
    ROWS.write_text("".join("\t".join(row) + "\n" for row in found), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
