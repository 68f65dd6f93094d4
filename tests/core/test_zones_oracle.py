"""Every IANA zone against an oracle that knows nothing of cronsim: it walks through time and looks at the clock.

Two years here, around each change of the clock; 2015 to 2035 as a soak. What the oracle says is the rule of
docs/how-to/schedules.md in the fewest words: a line with a `*` in its minute or hour runs at each minute whose wall
clock fits; any other line runs once for each wall clock time, the first time it is shown or, when it is left out, at
the first moment after the gap.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from offpath import Schedule
from offpath.core.options import moment

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

FIXED = ("30 2 * * *", "0 0 * * *", "15,45 0-3 * * *", "59 23 28-31 * *", "0 8 * * 1-5", "5 1,2,3 * 3,4,9-11 0")
REAL = ("*/15 * * * *", "30 * * * *", "*/20 2 * * *", "7 */3 * * *")
LONG = ("* * * * *", "* 0 * * 6,0")  # the same with more ticks


class Line:
    """A cron line as five sets: an implementation of the few forms used above."""

    def __init__(self, text: str) -> None:
        minute, hour, day, month, weekday = text.split()
        self.minutes, self.hours = _set(minute, 0, 59), _set(hour, 0, 23)
        self.days, self.months, self.weekdays = _set(day, 1, 31), _set(month, 1, 12), _set(weekday, 0, 6)
        self.real = minute[0] == "*" or hour[0] == "*"

    def fits(self, wall: datetime) -> bool:
        return (
            wall.minute in self.minutes
            and wall.hour in self.hours
            and wall.day in self.days
            and wall.month in self.months
            and wall.isoweekday() % 7 in self.weekdays
        )


def _set(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        whole = range(low, high + 1) if span == "*" else range(int(first), int(last or first) + 1)
        found |= set(whole[:: int(step or 1)])
    return found


def wall_of(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


class Stretch:
    """From `start` to `end` (UTC, whole minutes), with every minute's wall clock time looked at once."""

    def __init__(self, zone: ZoneInfo, start: datetime, end: datetime) -> None:
        self.start, self.end = start, end
        self.minutes = [(at, wall_of(at, zone)) for at in _steps(start, end, MINUTE)]

    def expected(self, line: Line) -> list[datetime]:
        found: list[datetime] = []
        if line.real:
            return [at for at, wall in self.minutes if line.fits(wall)]
        shown: datetime | None = None  # the latest wall clock time seen so far
        for at, wall in self.minutes:
            if shown is None or wall > shown:
                # Left out between the two: all of these run now, which is once.
                missed = [] if shown is None else list(_steps(shown + MINUTE, wall, MINUTE))
                if line.fits(wall) or any(map(line.fits, missed)):
                    found.append(at)
                shown = wall
        return found


def _steps(start: datetime, end: datetime, by: timedelta) -> Iterator[datetime]:
    while start < end:
        yield start
        start += by


def transitions(zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """The minutes at which the offset becomes another one; a day has at most one."""
    found = []
    for at in _steps(start, end, DAY):
        if at.astimezone(zone).utcoffset() != (at + DAY).astimezone(zone).utcoffset():
            before, early, late = at.astimezone(zone).utcoffset(), at, at + DAY
            while late - early > MINUTE:
                middle = early + (late - early) // 2 // MINUTE * MINUTE
                if middle.astimezone(zone).utcoffset() == before:
                    early = middle
                else:
                    late = middle
            found.append(late)
    return found


def distinct(start: datetime, end: datetime) -> list[tuple[str, ZoneInfo, list[datetime]]]:
    """Of zones whose clocks do the same all that time, one."""
    seen: dict[tuple[object, ...], tuple[str, ZoneInfo, list[datetime]]] = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        changes = transitions(zone, start, end)
        offsets = tuple(at.astimezone(zone).utcoffset() for at in (start, *changes))
        seen.setdefault((offsets, *changes), (name, zone, changes))
    return list(seen.values())


def stretches(changes: list[datetime], start: datetime, end: datetime, chance: random.Random) -> list[datetime]:
    """The days to look at: around each change, and one somewhere else."""
    some = start + timedelta(days=chance.randrange((end - start).days))
    return [at.replace(hour=0, minute=0) for at in (*changes, some)]


def compare(start: datetime, end: datetime, fixed: int, real: Sequence[str], some: int) -> tuple[int, int, int]:
    """(zones, changes, ticks) looked at; every difference fails."""
    chance = random.Random(20260101)
    zones = distinct(start, end)
    ticks = seen = 0
    for name, zone, changes in zones:
        for day in stretches(changes, start, end, chance):
            # The oracle begins a day before: what its clock has shown must be known when it is put back.
            stretch = Stretch(zone, day - DAY, day + 2 * DAY)
            seen += 1
            for text in chance.sample(FIXED, fixed) + chance.sample(real, some):
                schedule = Schedule.cron(text, zone=name)
                since = day
                wanted = [at for at in stretch.expected(Line(text)) if at > since]
                found = between(schedule, since, stretch.end)
                assert found == wanted, (name, text, day)
                ticks += len(found)
                # From anywhere, also from inside of a change, the answer is the same.
                for _ in range(2):
                    inside = since + timedelta(seconds=chance.randrange(172_000))
                    after = next((at for at in wanted if at > inside), None)
                    if after is not None:
                        assert first(schedule, inside) == after, (name, text, inside)
    return len(zones), seen, ticks


def between(schedule: Schedule, start: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    at = first(schedule, start)
    while at is not None and at < end:
        found.append(at)
        at = first(schedule, at)
    return found


def first(schedule: Schedule, after: datetime) -> datetime | None:
    tick = schedule.after(moment(after, "after"))
    return None if tick is None else datetime.fromtimestamp(tick / 1e6, UTC)


def test_f44_two_years_of_all_zones() -> None:
    zones, changes, ticks = compare(datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), 2, REAL, 1)
    assert zones > 50
    print(f"zones that differ {zones}, days looked at {changes}, ticks compared {ticks}, wrong 0")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_f44_2015_to_2035_of_all_zones() -> None:
    zones, changes, ticks = compare(
        datetime(2015, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC), 3, REAL + LONG, 2
    )
    print(f"zones that differ {zones}, days looked at {changes}, ticks compared {ticks}, wrong 0")
