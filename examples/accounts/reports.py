"""Report files on disk: written beside their final name, and moved there when they are whole."""

import contextlib
import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

Write = Callable[[int, str], None]


def path(folder: Path, job: str) -> Path:
    """Where the file of a finished report is."""
    return folder / "reports" / f"{job}.csv"


@contextlib.contextmanager
def draft(folder: Path, job: str) -> Iterator[Write]:
    """Write rows inside the block; the file appears under its name, durable and whole, when the block ends well.

    Drafts of earlier attempts are thrown away first: a worker that was killed could not do so itself.
    """
    final = path(folder, job)
    final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left_over in final.parent.glob(f"{job}.*.part"):
        left_over.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{job}.", suffix=".part", dir=final.parent)
    try:
        with open(handle, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["row", "value"])

            def write(row: int, value: str) -> None:
                rows.writerow([row, value])

            yield write
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, final)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
