"""Something done to many jobs by a job of ours: what it is called, and how far it has come. Pure."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any, NamedTuple

from .steps import FREE, Asked

TASK = "offpath.bulk"
QUEUE = "offpath.bulk"
NOBODY = "\n"
"""Whose operation it is: no caller has that id."""
DONE = MappingProxyType({"retry": "run again", "cancel": "canceled", "delete": "erased"})
ACTIONS = tuple(DONE)
END = "00000000-0000-0000-0000-000000000000"
"""Behind this there is no job."""


STEP = Asked("reached", FREE, 1, 1)
"""Where a job of ours remembers it."""


class Reached(NamedTuple):
    """How far it has come: written with every page, so that whoever goes on begins behind the last one.

    after   the id of the last job of the last page; END: that was the last page
    locked  ids of jobs that somebody else held: they are asked for again at the end
    """

    done: int
    skipped: int
    of: int
    after: str | None
    locked: tuple[str, ...] = ()


def as_progress(reached: Reached, action: str) -> str:
    """For people."""
    said: dict[str, Any] = {
        "current": reached.done + reached.skipped,
        "total": max(reached.of, reached.done + reached.skipped),
        "unit": "jobs",
        "message": f"{reached.done:,} {DONE[action]}" + (f", {reached.skipped:,} skipped" if reached.skipped else ""),
    }
    return json.dumps(said)


def as_memory(reached: Reached) -> str:
    return json.dumps(reached._asdict())


def unnamed(text: str, owner: str, name: str) -> str | None:
    """The arguments of such a job, or a line of the audit log about one (JSON objects), with another name for an owner:
    what was told of that owner goes, how many it was about stays. None: its filter does not name that owner."""
    said: dict[str, Any] = json.loads(text)
    which = said.get("filter")
    if not isinstance(which, dict) or which.get("owner") != owner:
        return None
    said["filter"] = {part: name if part in ("owner", "key_prefix") else value for part, value in which.items()}
    said.pop("reason", None)
    return json.dumps(said)


def from_memory(text: str | None) -> Reached | None:
    """None: it has not begun."""
    if text is None:
        return None
    said: dict[str, Any] = json.loads(text)
    return Reached(**{**said, "locked": tuple(said["locked"])})
