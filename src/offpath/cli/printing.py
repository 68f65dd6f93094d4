"""All that commands print comes by here: tables, records, sentences and JSON.

What is printed is data: the name of a queue, the text of an exception, a reason that somebody typed. None of it may
move the cursor of a terminal, change its title or turn the text around, so whatever is not printable (control
characters, C1 included, bidi overrides, lone surrogates) is shown as an escape, in JSON as `\\uXXXX`, which reads back
as what it was. Rich's own markup is never looked for in data.

On a terminal, and with the extra `cli`, tables have colours, by rich. NO_COLOR, TERM=dumb and COLUMNS are honoured;
`layout.py` sees to what there is no room for. A pipe gets every column in full.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from . import layout

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

STYLES = {
    "succeeded": "green", "ok": "green", "alive": "green", "active": "green", "enabled": "green",
    "failed": "red", "lost": "red", "problem": "red", "disabled": "red", "raised": "red",
    "canceled": "yellow", "late": "yellow", "paused": "yellow", "warning": "yellow", "running": "cyan",
}  # fmt: skip
"""How words are coloured that we say ourselves, where a whole cell is one of them."""


def as_json(value: Any) -> None:
    """One JSON value on a line of its own."""
    print(dumps(value), flush=True)


def dumps(value: Any) -> str:
    """JSON on one line, in which nothing moves a terminal."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def record(data: Row, to_json: bool) -> None:
    """One thing: a line for each of its parts."""
    if to_json:
        as_json(data)
        return
    console = rich(sys.stdout)
    if console is None:
        width = max(map(len, data))
        for name, value in data.items():
            print(f"{name:{width}}  {cell(value)}")
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in data.items():
        grid.add_row(name, Text(cell(value), style=STYLES.get(str(value), "")))
    console.print(grid)


def table(
    rows: Sequence[Row],
    columns: Sequence[str] | None,
    none: str,
    *,
    to_json: bool = False,
    stream: IO[str] | None = None,
) -> None:
    """Columns (None: all there are); `none` on stderr where there are no rows. With `to_json`: an array of all that the
    rows have."""
    if to_json:
        as_json([dict(row) for row in rows])
        return
    if not rows:
        say(none)
        return
    columns = list(rows[0] if columns is None else columns)
    out = stream or sys.stdout
    width = terminal_width(out)
    console = rich(out)
    if console is None:
        for text in aligned(rows, columns, width):
            print(text, file=out)
        return
    console.print(drawn(rows, columns, width), soft_wrap=True)


def aligned(rows: Sequence[Row], columns: Sequence[str], width: int | None = None, *, below: bool = True) -> list[str]:
    """The lines of a plain table, in a terminal of that width; None: in full, moments too. `below`: see `layout`."""
    lines = []
    for one in _laid(rows, columns, width, below):
        lines.append(layout.cut(layout.GAP.join(one.cells).rstrip(), width))
        lines += one.below
    return lines


def drawn(rows: Sequence[Row], columns: Sequence[str], width: int | None, *, below: bool = True) -> Any:
    """The same for rich to print: words that say how it stands are coloured."""
    from rich.text import Text

    made = []
    for one in _laid(rows, columns, width, below):
        text = Text()
        for at, told in zip(one.columns, one.cells, strict=True):
            style = "bold" if one.row is None else STYLES.get(str(rows[one.row][columns[at]]), "")
            text.append(layout.GAP if text else "").append(told, style=style)
        text.rstrip()
        if width is not None:
            text.truncate(width, overflow="ellipsis")
        made += [text, *(Text(below, style="dim") for below in one.below)]
    return Text("\n").join(made)


def _laid(rows: Sequence[Row], columns: Sequence[str], width: int | None, below: bool) -> list[layout.Line]:
    values = [[row[name] for name in columns] for row in rows]
    today = datetime.now(UTC).date().isoformat()
    texts = [[cell(value) if width is None else layout.moment(cell(value), today) for value in row] for row in values]
    return layout.laid(columns, texts, values, width, below=below)


def cell(value: Any) -> str:
    """One value on one line, with nothing in it that a terminal would obey."""
    if value is None:
        return "-"
    return line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def line(text: str) -> str:
    """Text on one line, with nothing in it that a terminal would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def say(text: str) -> None:
    """One sentence for people, on stderr."""
    print(f"offpath: {line(' '.join(text.split()))}", file=sys.stderr, flush=True)


def mute() -> None:
    """Nobody reads standard output any more: what is left to be written there goes nowhere, and is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def many(count: int, what: str = "job") -> str:
    """1 job, 1,234 jobs."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def age(seconds: float | None) -> str | None:
    """A length of time for people: 4.2 s, 12 min, 3 h, 5 d."""
    if seconds is None:
        return None
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def rich(stream: IO[str]) -> Console | None:
    """Rich's view of a stream; None when it is no terminal, or rich is not there: plain text then."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream, markup=False, emoji=False, highlight=False, soft_wrap=False)


def terminal_width(stream: IO[str]) -> int | None:
    """Its columns; None: it is no terminal. COLUMNS beats what the terminal says, as everywhere."""
    if not stream.isatty():
        return None
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
