"""What a task tells those who watch it, in its own words: a name and plain data, one event of type "output" each.

Bounded, because the log is kept: 64 KiB an event (as CloudEvents asks of intermediaries, CE §Size Limits), and so many
per attempt.
"""

from __future__ import annotations

import re

from ..errors import ArgumentError
from .checks import shown

MAX_BYTES = 64 * 1024  # of one event's data, as JSON
MAX_OUTPUTS = 10_000  # of one attempt
MAX_WAITING = 1_000  # not written yet
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}")


def output(name: object, data: str) -> str:
    """The event's line for the log, JSON text of {"name", "data"}; `data` is JSON text. ArgumentError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(
            "name", f"an event's name is 1 to 100 letters, digits and _ . : / - (not first), not {shown(name)}"
        )
    if (size := len(data.encode())) > MAX_BYTES:
        raise ArgumentError("data", f"has {size} bytes; an event carries at most {MAX_BYTES}: send a link instead")
    return f'{{"name":"{name}","data":{data}}}'


def room(sent: int, waiting: int) -> None:
    """ArgumentError when an attempt that has sent so many, and has so many not written yet, may send no more."""
    if sent >= MAX_OUTPUTS:
        raise ArgumentError("name", f"this attempt has sent {MAX_OUTPUTS:,} events, and that is the most")
    if waiting >= MAX_WAITING:
        raise ArgumentError("name", f"{MAX_WAITING:,} events are not written yet: await what ctx.events.emit gives")
