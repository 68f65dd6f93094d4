"""Tables and records for people."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def record(data: Mapping[str, Any], as_json: bool) -> None:
    """One thing: a line for each of its parts."""
    if as_json:
        print(json.dumps(data, ensure_ascii=False))
        return
    width = max(map(len, data))
    for name, value in data.items():
        print(f"{name:{width}}  {cell(value)}")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None, none: str) -> None:
    """Columns (None: all there are); `none` on stderr where there are no rows. On a terminal a long line is cut; a pipe
    gets all of it."""
    if not rows:
        print(none, file=sys.stderr)
        return
    columns = list(rows[0] if columns is None else columns)
    cells = [[cell(row[name]) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    edge = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in [columns, *cells]:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()[:edge])


def cell(value: Any) -> str:
    """One value on one line, with nothing in it that a terminal would obey."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
