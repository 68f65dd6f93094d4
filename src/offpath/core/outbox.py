"""Publication as jobs: which job sends an event, in which line it waits, and when to try again. Pure."""

from __future__ import annotations

from hashlib import sha256

TASK = "offpath.publish"
ANSWER = "offpath.answer"
QUEUE = "offpath.events"

SHARDS = 16
"""Lines that events wait in. Those of one key are in the same one, and each is sent by one job at a time."""

MOST = 1_000
"""Events of one call: each key takes a lock on PostgreSQL, which has room for some thousand, all callers together."""

FIRST, CAP = 0.5, 15.0  # s between two attempts to reach a broker that is away: shortest, longest
PER_SECOND = 16  # jobs that look again in a second, of those that wait behind others for the broker
FAR = 600.0  # s after which each of them looks in any case


def shard_of(key: str | None, u: float) -> int:
    """The line of an event; `u` is uniform in [0, 1), for events without a key."""
    if key is None:
        return int(u * SHARDS)
    return sha256(key.encode("utf-8", "surrogatepass")).digest()[0] % SHARDS


def again(away: float, u: float, asked: float | None = None) -> float:
    """Seconds until the broker is tried again that has been away for `away` seconds; `asked`: it said how long. The
    longer it is away, the longer the pause, up to `CAP`."""
    pause = min(CAP, max(FIRST, away / 2))
    if asked is not None:
        pause = max(pause, min(asked, FAR))
    return pause * (0.8 + 0.4 * u)


def behind(pause: float, distance: int, u: float) -> float:
    """Seconds until a job looks again that has `distance` others before it in its line: whoever finds the broker back
    sends for all of them, so that a long line need not be awake."""
    if distance <= 0:
        return pause
    return min(FAR, max(CAP, pause) + distance / (PER_SECOND / SHARDS)) * (0.8 + 0.4 * u)
