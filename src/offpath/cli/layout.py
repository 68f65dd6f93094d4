"""A table on so many columns of a terminal. Pure.

Nothing vanishes without a sign. Ids, moments and numbers are whole; texts are cut first, with an ellipsis, the widest
of them most; and what finds no room beside the others stands below its row. Where a row has only one line, ids are cut,
too, before the texts are too short to be read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.ids import is_id

LEAST = 12  # characters of a text that stay beside the others
TIGHT, LESS = 8, 5  # of a text, where there is only one line for a row; and where ids are cut for it already
NAMING = 19  # of an id that is cut: its beginning will do for commands, and hardly another one begins so
GAP = "  "
WHOLE = ("id", "state", "event", "outcome")  # columns that are never cut

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")


class Line(NamedTuple):
    """`cells`: texts, each as wide as its column; `row`: of which row, None: the names of the columns. `below`: what
    stands under the row."""

    row: int | None
    cells: list[str]
    columns: list[int]
    below: Sequence[str] = ()


def laid(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    values: Sequence[Sequence[Any]],
    width: int | None,
    *,
    below: bool = True,
) -> list[Line]:
    """The lines of a table. `rows` are what is shown of `values`; width None: as wide as it is.

    below  False: a row has one line, so texts are cut further, and the line may still be too long (see `cut`)
    """
    natural = [max(map(wide, texts)) for texts in zip(columns, *rows, strict=True)]
    right = [all(_number(row[at]) for row in values) for at in range(len(columns))]
    soft = [not (right[at] or name in WHOLE or _whole(row[at] for row in rows)) for at, name in enumerate(columns)]
    beside = list(range(len(columns)))
    ids = [max((wide(row[at]) for row in rows if is_id(row[at])), default=0) for at in range(len(columns))]
    floors = [max(wide(name), ids[at]) for at, name in enumerate(columns)]
    widths = fitted(beside, natural, soft, floors, width, LEAST)
    while below and width is not None and _line(widths, beside) > width and len(beside) > 1:
        # The last text goes below; without one, the last column: the first one is what the row is known by.
        beside.remove(next((at for at in reversed(beside[1:]) if soft[at]), beside[-1]))
        widths = fitted(beside, natural, soft, floors, width, LEAST)
    if not below:
        widths = fitted(beside, natural, soft, floors, width, TIGHT)
        if width is not None and _line(widths, beside) > width:
            short = [min(most, max(wide(name), NAMING)) if ids[at] else most
                     for at, (name, most) in enumerate(zip(columns, natural, strict=True))]  # fmt: skip
            widths = fitted(beside, short, soft, [wide(name) for name in columns], width, LESS)
    lines = [Line(None, [_put(columns[at], widths[at], right[at]) for at in beside], beside)]
    under = [at for at in range(len(columns)) if at not in beside]
    for number, row in enumerate(rows):
        told = [f"{columns[at]} {row[at]}" for at in under if row[at] not in ("", "-")]
        lines.append(Line(number, [_put(row[at], widths[at], right[at]) for at in beside], beside, _under(told, width)))
    return lines


def fitted(
    beside: Sequence[int],
    natural: Sequence[int],
    soft: Sequence[bool],
    floors: Sequence[int],
    width: int | None,
    least: int,
) -> list[int]:
    """How wide each column is: as it would be, or texts less than that, the widest first and no less than `least`, nor
    than their `floors`: their names, and the ids among them."""
    widths = list(natural)
    while width is not None and _line(widths, beside) > width:
        able = [at for at in beside if soft[at] and widths[at] > max(least, floors[at])]
        if not able:
            break
        widest = max(able, key=lambda at: widths[at])
        widths[widest] -= 1
    return widths


def wide(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )


def cut(text: str, width: int | None) -> str:
    """At most so wide; an ellipsis at its end says that there was more."""
    if width is None or wide(text) <= width:
        return text
    while text and wide(text) > max(0, width - 1):
        text = text[: max(0, min(len(text) - 1, width))]
    return f"{text}…" if width > 0 else ""


def moment(text: str, today: str) -> str:
    """A moment, ISO 8601 in UTC, in as few characters as tell it: of `today` (YYYY-MM-DD) the time is enough, of this
    year day and time. What is no moment stays as it is."""
    said = _MOMENT.fullmatch(text)
    if said is None:
        return text
    day, time = said.groups()
    if day == today:
        return f"{time}Z"
    return f"{day[5:] if day[:4] == today[:4] else day} {time}Z"


def _under(told: Sequence[str], width: int | None) -> list[str]:
    """As few indented lines as they fit on."""
    lines: list[str] = []
    for one in told:
        longer = f"{lines[-1]}, {one}" if lines else ""
        if longer and (width is None or wide(longer) <= width):
            lines[-1] = longer
        else:
            lines.append(cut(f"    {one}", width))
    return lines


def _whole(texts: Any) -> bool:
    """Moments, as `moment` writes them."""
    return all(text == "-" or re.fullmatch(r"[-\d ]*\d\d:\d\d:\d\dZ", text) for text in texts)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line(widths: Sequence[int], beside: Sequence[int]) -> int:
    return sum(widths[at] for at in beside) + len(GAP) * (len(beside) - 1)


def _put(text: str, width: int, right: bool) -> str:
    text = cut(text, width)
    room = " " * (width - wide(text))
    return room + text if right else text + room
