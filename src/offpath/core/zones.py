"""Wall clock times and the moments they are. Pure: the zone is an argument, any `tzinfo` that keeps PEP 495.

Twice a year, in many places, a wall clock time does not exist (clocks go forward: the gap) or exists twice (they go
back). Two rules say what becomes of a line of such times:

    once   each wall clock time is one moment: in the gap, the first moment after it; of two, the first
    real   each moment whose wall clock shows one of the times: none in the gap, both of two
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo

Walls = Callable[[datetime], Iterator[datetime]]
"""The wall clock times (naive) strictly after one, in order."""

LONGEST = timedelta(hours=25)  # no clock has ever been put back by more than a day
SECOND = timedelta(seconds=1)


def moments(wall: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    """The moments (UTC) at which the clock shows `wall`: none, one, or two in order."""
    there = [at for fold in (0, 1) if wall_at(at := _reckoned(wall, zone, fold), zone) == wall]
    return tuple(dict.fromkeys(there))


def moment_once(wall: datetime, zone: tzinfo) -> datetime:
    """The one moment (UTC) that stands for `wall` under the rule `once`."""
    found = moments(wall, zone)
    return found[0] if found else _end_of_gap(wall, zone)


def _end_of_gap(wall: datetime, zone: tzinfo) -> datetime:
    """To the second: between the moments that both offsets would make of a time that is not there."""
    early, late = _reckoned(wall, zone, 1), _reckoned(wall, zone, 0)
    before = _offset(early, zone)
    while late - early > SECOND:
        middle = early + (late - early) // 2 // SECOND * SECOND
        if _offset(middle, zone) == before:
            early = middle
        else:
            late = middle
    return late


def next_once(walls: Walls, zone: tzinfo, after: datetime) -> datetime | None:
    """The first moment (UTC) of a line strictly after `after`, under the rule `once`. None: there is none."""
    for wall in walls(wall_at(after, zone)):
        at = moment_once(wall, zone)
        if at > after:  # not so in the second pass of an hour that comes twice, and for two times in one gap
            return at
    return None


def next_real(walls: Walls, zone: tzinfo, after: datetime) -> datetime | None:
    """The same under the rule `real`."""
    back = _offset(after, zone) - _offset(after + LONGEST, zone)
    start = wall_at(after, zone)
    if back > timedelta(0):  # what the clock has shown already may come once more
        start -= back
    best: datetime | None = None
    for wall in walls(start):
        found = moments(wall, zone)
        if best is not None and found and found[0] > best:
            break
        for at in found:
            if at > after and (best is None or at < best):
                best = at
    return best


def wall_at(at: datetime, zone: tzinfo) -> datetime:
    """What the clock shows (naive) at a moment (UTC)."""
    return zone.fromutc(at.replace(tzinfo=zone)).replace(tzinfo=None, fold=0)


def _offset(at: datetime, zone: tzinfo) -> timedelta:
    return wall_at(at, zone) - at.replace(tzinfo=None)


def _reckoned(wall: datetime, zone: tzinfo, fold: int) -> datetime:
    """The moment (UTC) that one offset makes of a wall clock time: in a gap, of 0 the one before and of 1 the one after
    it; of a time that comes twice, the first and the second."""
    offset = wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0)
    return (wall - offset).replace(tzinfo=UTC)
