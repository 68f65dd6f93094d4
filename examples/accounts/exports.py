"""Export files: rows become CSV or JSON, written beside their final name and moved there when they are whole."""

import csv
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

Format = Literal["csv", "json"]
Row = Mapping[str, Any]
MEDIA_TYPES: Mapping[str, str] = {"csv": "text/csv", "json": "application/json"}


def path(folder: Path, job: str, format: str) -> Path:
    """Where the file of a finished export is."""
    return folder / "exports" / f"{job}.{format}"


def write(folder: Path, job: str, format: Format, rows: Sequence[Row]) -> None:
    """The file appears under its name, durable and whole; an attempt that is repeated replaces it with the same."""
    final = path(folder, job, format)
    final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left_over in final.parent.glob(f"{job}.*.part"):
        left_over.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{job}.", suffix=".part", dir=final.parent)
    try:
        with open(handle, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            _as_csv(file, rows) if format == "csv" else json.dump(rows, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, final)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _as_csv(file: TextIO, rows: Sequence[Row]) -> None:
    """A column for every member that any row has, in the order in which they first appear."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = csv.writer(file)
    lines.writerow([_cell(name) for name in columns])
    lines.writerows([_cell(row.get(name)) for name in columns] for row in rows)


def _cell(value: Any) -> str:
    """Text as it is, but never a formula to whoever opens it in a spreadsheet; everything else as JSON."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
