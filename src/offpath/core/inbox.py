"""What the inbox calls things: the task that reads a message again, names by which messages are known, lines. Pure."""

from __future__ import annotations

from hashlib import sha256

TASK = "offpath.receive"
QUEUE = "offpath.events"

MAX_NAME = 255  # bytes of a name as it is kept: it is in an index, whose entries the stores bound
MAX_RAW = 64 << 20  # bytes that are kept of a message which cannot be read


def name(text: str) -> str:
    """The same text for the same text: itself, unless it is long or has what not every store can keep."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_NAME and text.isprintable():
        return text
    return f"sha256:{sha256(raw).hexdigest()}"


def line(task: str, key: str) -> str:
    """The line of a task's jobs with this key."""
    return name(f"{task} {key}")
