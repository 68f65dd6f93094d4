"""A picture (`picture.py`) as lines of text, or as something rich can draw. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import layout, printing
from .alerts import spoken

QUEUES = ("queue", "ready", "running", "scheduled", "waiting", "age", "rate/s", "backlog", "state")
WORKERS = ("worker", "state", "running", "of", "up", "seen", "queues")
RUNNING = ("task", "queue", "for", "attempt", "worker", "id")
FAILED = ("failed at", "task", "queue", "error", "id")
LEAST = 2  # rows of a part, however low the terminal is

Part = tuple[str, Sequence[str], list[dict[str, Any]]]


def head(picture: dict[str, Any], paused: bool) -> str:
    """The first line."""
    totals = ", ".join(
        f"{count:,}{'+' if name in picture['more'] else ''} {name}" for name, count in picture["totals"].items()
    )
    alive = sum(one["state"] == "alive" for one in picture["workers"])
    said = f"{picture['at'][11:19]} {picture['store']}: {totals}; {picture['rate']:g}/s; {alive} of "
    said += f"{printing.many(len(picture['workers']), 'worker')} alive"
    return printing.line(("HELD, p goes on; " if paused else "") + said)  # first: a narrow terminal cuts the rest


def parts(picture: dict[str, Any]) -> list[Part]:
    """Title, columns and rows of each part; those without rows are left out, but for queues and workers."""
    queues = [
        {
            "queue": one["name"], "ready": one["ready"], "running": one["running"], "scheduled": one["scheduled"],
            "waiting": one["waiting"], "age": printing.age(one["age"]), "rate/s": one["rate"],
            "backlog": printing.age(one["backlog"]), "state": "paused" if one["paused"] else "active",
        }
        for one in picture["queues"]
    ]  # fmt: skip
    workers = [
        {
            "worker": one["label"], "state": one["state"], "running": one["running"], "of": one["concurrency"],
            "up": one["up"], "seen": one["seen"],
            "queues": "all" if one["queues"] is None else ", ".join(one["queues"]),
        }
        for one in picture["workers"]
    ]  # fmt: skip
    running = [
        {
            "task": one["task"], "queue": one["queue"], "for": printing.age(one["seconds"]),
            "attempt": one["attempt"], "worker": one["worker"], "id": one["id"],
        }
        for one in picture["running"]
    ]  # fmt: skip
    failed = [
        {
            "failed at": one["finished_at"], "task": one["task"], "queue": one["queue"],
            "error": one["error"], "id": one["id"],
        }
        for one in picture["failed"]
    ]  # fmt: skip
    alerts = [
        {"alert": one["name"], "now": spoken(one), "rings": one["rings"], "since": one["raised_at"]}
        for one in picture["alerts"]
    ]
    every: list[Part] = [
        ("ALERTS", ("alert", "now", "rings", "since"), alerts),
        ("QUEUES", QUEUES, queues),
        ("WORKERS", WORKERS, workers),
        ("RUNNING, the longest first", RUNNING, running),
        ("DEAD LETTERS, the newest first", FAILED, failed),
    ]
    return [part for part in every if part[2] or part[0] in ("QUEUES", "WORKERS")]


def fitted(every: list[Part], height: int | None) -> list[tuple[Part, int]]:
    """How many rows of each part there is room for: a line for the head, and three for each part's title, its columns
    and what follows it. Whoever needs less leaves it to the others."""
    if height is None:
        return [(part, len(part[2])) for part in every]
    room = max(0, height - 2 - 3 * len(every))
    wants = [len(part[2]) for part in every]
    given = [0] * len(every)
    while room > 0 and any(have < want for have, want in zip(given, wants, strict=True)):
        for at, want in enumerate(wants):
            if room > 0 and given[at] < want:
                given[at] += 1
                room -= 1
    return [(part, max(min(LEAST, want), have)) for part, want, have in zip(every, wants, given, strict=True)]


def lines(picture: dict[str, Any], width: int | None, height: int | None = None, *, paused: bool = False) -> list[str]:
    """As plain text."""
    out = [head(picture, paused)]
    for (title, columns, rows), count in fitted(parts(picture), height):
        more = f" ({count} of {len(rows)})" if count < len(rows) else ""
        out += ["", f"{title}{more}"]
        out += printing.aligned(rows[:count], columns, width, below=False) if rows else ["none"]
    return [layout.cut(text, width) for text in out]


def drawn(picture: dict[str, Any], width: int, height: int, *, paused: bool = False) -> Any:
    """As something that rich draws."""
    from rich.console import Group
    from rich.text import Text

    first = layout.cut(head(picture, paused), width)
    made: list[Any] = [Text(first, style="reverse" if paused else "bold", no_wrap=True)]
    for (title, columns, rows), count in fitted(parts(picture), height):
        more = f" ({count} of {len(rows)})" if count < len(rows) else ""
        made += [Text(""), Text(f"{title}{more}", style="bold cyan", no_wrap=True)]
        made.append(printing.drawn(rows[:count], columns, width, below=False) if rows else Text("none", style="dim"))
    made.append(Text("q ends, p holds, r looks at once", style="dim", no_wrap=True))
    return Group(*made)
