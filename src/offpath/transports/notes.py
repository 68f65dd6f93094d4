"""What hints look like on a channel of text messages, and how those that wait to leave become few. No I/O here.

A message is JSON of ASCII, `["sender", [["work", ["mail"]], …]]`. PostgreSQL takes less than 8,000 bytes of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Literal

from ..ports import Hint

Kind = Literal["work", "cancel", "event", "queue"]

KINDS: tuple[Kind, ...] = ("work", "cancel", "event", "queue")
MAX_BYTES = 7_999
MAX_PARTS = 8  # messages for the names of one kind (some 1,600 ids); more than that are said as "all of them"
MAX_NAMES = 10_000  # of one kind that wait, as while there is no connection; the same beyond
MAX_CHANNEL = 63  # bytes of a PostgreSQL identifier


class Gathered:
    """Hints that wait to leave, each name once. Not thread-safe."""

    def __init__(self) -> None:
        self._names: dict[Kind, dict[str, None] | None] = {}  # None: all of them

    def __bool__(self) -> bool:
        return bool(self._names)

    def add(self, hints: Iterable[Hint]) -> None:
        for kind, names in hints:
            known = self._names.setdefault(kind, {})
            if known is None:
                continue
            known.update(dict.fromkeys(names))
            if not names or len(known) > MAX_NAMES:
                self._names[kind] = None

    def take(self) -> list[Hint]:
        """All of them, one for each kind; nothing waits after that."""
        taken, self._names = self._names, {}
        return [Hint(kind, tuple(names or ())) for kind, names in taken.items()]


def encode(sender: str, hints: Sequence[Hint], limit: int = MAX_BYTES) -> list[str]:
    """As few messages as say it; every name is in one of them, or its kind is there without names."""
    whole = _message(sender, hints)
    if len(whole) <= limit:
        return [whole]
    return [_message(sender, [part]) for hint in hints for part in _split(sender, hint, limit)]


def decode(message: str | bytes) -> tuple[str, list[Hint]]:
    """Who says what; nothing when it is not ours, or of a version that knows more kinds."""
    try:
        sender, hints = json.loads(message)
        return str(sender), [Hint(kind, tuple(map(str, names))) for kind, names in hints if kind in KINDS]
    except (ValueError, TypeError, RecursionError):
        return "", []


def channel(schema: str) -> str:
    """The channel of the jobs in this schema. Channels are the database's own, so it need not be told apart."""
    name = f"offpath_{schema}"
    if len(name.encode()) <= MAX_CHANNEL:
        return name
    return f"offpath_{hashlib.sha256(schema.encode()).hexdigest()[:32]}"


def _message(sender: str, hints: Sequence[Hint]) -> str:
    return json.dumps((sender, hints), separators=(",", ":"))


def _split(sender: str, hint: Hint, limit: int) -> list[Hint]:
    room = limit - len(_message(sender, [Hint(hint.kind)]))
    parts: list[list[str]] = [[]]
    used = 0
    for name in hint.names:
        size = len(json.dumps(name)) + 1
        if size > room:
            return [Hint(hint.kind)]
        if used + size > room:
            parts.append([])
            used = 0
        parts[-1].append(name)
        used += size
    return [Hint(hint.kind)] if len(parts) > MAX_PARTS else [Hint(hint.kind, tuple(part)) for part in parts]
