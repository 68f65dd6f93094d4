"""Identifiers: UUID version 7 (RFC 9562 §5.7) as canonical text, 48 bits of time and 74 random bits."""

from __future__ import annotations

import re

LEAST = 4  # characters that may stand for an id
LAST = "ffffffff-ffff-7fff-bfff-ffffffffffff"  # no id is greater
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def uuid7(now: int, random: bytes) -> str:
    """The id for a moment (µs since the epoch) and 10 bytes from a CSPRNG (74 of their 80 bits are used).

    Sorts by time to the millisecond, so primary keys grow at one end and a list's cursor is the id itself.
    """
    return at_moment(now, random_part(random))


def uuid7_fine(now: int, random: bytes) -> str:
    """The same, sorting by time to the microsecond: the first 12 of the random bits are the part of the millisecond
    that has passed (RFC 9562 §6.2, method 3)."""
    made = uuid7(now, random)
    return f"{made[:15]}{now % 1000 * 4096 // 1000:03x}{made[18:]}"


def at_moment(now: int, random: str) -> str:
    """The id for a moment (µs since the epoch) and a random part that no other id has."""
    ms = f"{now // 1000:012x}"
    return f"{ms[:8]}-{ms[8:]}-{random}"


def random_part(random: bytes) -> str:
    """Version, variant and 74 random bits, as an id ends."""
    r = random.hex()
    return f"7{r[0:3]}-{'89ab'[int(r[3], 16) & 3]}{r[4:7]}-{r[7:19]}"


def moment_of(id: str) -> int:
    """The moment it was made for, to the millisecond, as µs since the epoch."""
    return int(id[:8] + id[9:13], 16) * 1000


def is_id(text: str) -> bool:
    """True when `text` is an id as this module writes them; anything else names no job."""
    return _CANONICAL.fullmatch(text) is not None


def last_of(beginning: str) -> str | None:
    """The greatest id that begins so; None of what begins none, or is too short to mean one."""
    last = beginning + LAST[len(beginning) :]
    return last if len(beginning) >= LEAST and is_id(last) else None
