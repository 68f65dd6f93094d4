"""How far an attempt says it has come. Pure: the last word and a new one in, the line to store out.

Three rules (OPR-08): `percent` lies between 0 and 99 while the job runs (100 belongs to `succeeded`), it never falls
within one attempt, and a number that is no number of things is refused.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from ..errors import ArgumentError
from .checks import shown

MAX_TEXT = 500
MAX_NUMBER = 2**53


class Progress(NamedTuple):
    """One line of progress.

    current, total   of how many `unit`s; total is None when the end is not known
    percent          0-99, or None as long as no total has been named
    """

    current: float
    total: float | None
    unit: str | None
    message: str | None
    percent: int | None


def advance(
    last: Progress | None, current: float, of: float | None = None, unit: str | None = None, message: str | None = None
) -> Progress:
    """The line that follows `last` (None: the attempt's first); what is not said again stays as it was said.

    ArgumentError for a negative, infinite or huge number, and for text that is not text.
    """
    now = _count(current, "current")
    total = _count(of, "of") if of is not None else last.total if last else None
    percent = last.percent if last else None
    if total is not None:
        # (Compared before it is divided: by a tiny total the quotient would be infinite.)
        reached = 0 if total == 0 else 99 if now >= total else min(99, int(now * 100 // total))
        percent = reached if percent is None else max(percent, reached)
    return Progress(
        now,
        total,
        _text(unit, "unit") if unit is not None else last.unit if last else None,
        _text(message, "message") if message is not None else last.message if last else None,
        percent,
    )


def as_json(progress: Progress) -> str:
    """JSON text of the parts that are known: {"current", "total"?, "unit"?, "message"?, "percent"?}."""
    return json.dumps({k: v for k, v in progress._asdict().items() if v is not None}, ensure_ascii=False)


def _count(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_NUMBER:
        raise ArgumentError(what, f"progress counts from 0 to 2^53, not {shown(value)}")
    return value


def _text(value: object, what: str) -> str:
    """Progress must not fail a job over a character: what a store cannot hold is escaped, what is long is cut."""
    if not isinstance(value, str):
        raise ArgumentError(what, f"must be text, not {shown(value)}")
    if len(value) > MAX_TEXT:
        value = value[: MAX_TEXT - 1] + "…"
    return value.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
