"""The page that says what transports come to under faults."""

from tests import matrix
from tests.matrix import FAULTS, Cell


def test_the_matrix_has_a_line_for_each_store_and_transport_and_says_what_was_lost() -> None:
    cells = [Cell("sqlite", "redis", fault, 100, 0, 0, "kill -9") for fault in FAULTS]
    cells.append(Cell("postgresql", "sqs", FAULTS[1], 100, 1, 2, "cut"))
    head, rule, *lines = matrix.table(cells)
    assert head.count("|") == rule.count("|") == lines[0].count("|")
    assert lines == [
        "| postgresql | sqs |  | 100 / 1 / 2 |  |  |  |  | cut |",
        "| sqlite | redis | " + "100 / 0 / 0 | " * len(FAULTS) + "kill -9 |",
    ]
    assert matrix.total(cells) == "7 cells, 700 jobs: 1 lost, 2 doubled"
    assert matrix.page(cells).endswith("7 cells, 700 jobs: 1 lost, 2 doubled.\n")
