"""The matrix store × transport × fault, as this run found it: the last lines of the run, and, under `--matrix`, the
page docs/reference/broker-matrix.md."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "broker-matrix.md"
PROPERTY = "matrix"
FAULTS = ("hints lost", "hints doubled", "hints reordered", "slow consumer", "server lost", "connected but deaf")

ABOUT = """# Transports against faults

Every store with every transport, under every fault: two workers, a third application that enqueues, real servers
(Kafka is librdkafka's mock, SQS is moto's server). In each cell: jobs enqueued / jobs lost / jobs run twice, by the
store and by a ledger outside of it. Written by the tests:
`python3 dev.py test --matrix tests/transports/test_matrix.py`.

- *hints lost*: two of three do not arrive. *doubled*: each arrives three times. *reordered*: held back and shuffled.
- *slow consumer*: the listener takes 50 ms for each hint, in the thread that reads them.
- *server lost*: in the middle of the work, by what the last column says; the work ends without it.
- *connected but deaf*: in the middle of the work every byte is swallowed, both ways, on connections that stay open; on
  SQLite's own way no hint is passed on.

"""


class Cell(NamedTuple):
    store: str
    transport: str
    fault: str
    jobs: int
    lost: int
    doubled: int
    how: str  # the server was lost

    def __str__(self) -> str:
        return f"{self.jobs} / {self.lost} / {self.doubled}"


def table(cells: Iterable[Cell]) -> list[str]:
    """In Markdown, a line for each store and transport."""
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.store, cell.transport), {})[cell.fault] = cell
    lines = [f"| store | transport | {' | '.join(FAULTS)} | lost how |", "|---" * (len(FAULTS) + 3) + "|"]
    for (store, transport), found in sorted(rows.items()):
        said = " | ".join(str(found.get(fault, "")) for fault in FAULTS)
        how = next((cell.how for cell in found.values()), "")
        lines.append(f"| {store} | {transport} | {said} | {how} |")
    return lines


def total(cells: Iterable[Cell]) -> str:
    cells = list(cells)
    lost, doubled = sum(cell.lost for cell in cells), sum(cell.doubled for cell in cells)
    return f"{len(cells)} cells, {sum(cell.jobs for cell in cells)} jobs: {lost} lost, {doubled} doubled"


def page(cells: Iterable[Cell]) -> str:
    cells = list(cells)
    return ABOUT + "\n".join([*table(cells), "", total(cells) + "."]) + "\n"
