"""`Schedule`: when something is to run again and again, and what becomes of the runs that could not be in time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

from ..core.checks import flag, shown, whole
from ..core.options import SECOND, moment
from ..core.retry import Seconds, seconds
from ..core.schedule import MAX_CATCH_UP, Overlap
from ..core.zones import next_once, next_real
from ..errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from cronsim import CronSim

LEAST = 100_000  # µs between two ticks: what comes more often is a loop, not a schedule
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class ScheduleOptions(TypedDict, total=False):
    """What every kind of schedule takes; see `Schedule`."""

    start: datetime | None
    end: datetime | None
    overlap: Overlap
    catch_up: int
    late: Seconds | None
    jitter: Seconds


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a call is to run: make one with `cron`, `every` or `at`. Each moment it names is a *tick*; one tick is one
    job, whatever dies.

    start       no tick before (an aware datetime)
    end         no tick after
    overlap     what a tick does while the job of an earlier one has not ended: "skip" it (default); "queue": it waits;
                "allow": both run; "replace": the earlier one is asked to stop and the new one does not wait for it
    catch_up    how many ticks are made up for after a time without workers (or, with "queue", while a job was running):
                the newest so many, in their order. 1 (default) runs the newest; 0 none. 0 to 1000; more than 1 wants
                overlap "queue" or "allow"
    late        seconds after which a tick that nobody came to is dropped; None (default): never, but with catch_up=0 a
                minute
    jitter      each job starts up to so many seconds after its tick, by chance
    """

    kind: Literal["cron", "every", "at"]
    line: str = ""
    zone: str = "UTC"
    interval: int = 0
    at_once: bool = False
    times: tuple[str, ...] = ()
    moments: tuple[int, ...] = ()
    start: int | None = None
    end: int | None = None
    overlap: Overlap = "skip"
    catch_up: int = 1
    late: float | None = None
    jitter: float = 0.0

    # ── the three kinds ──────────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def cron(cls, line: str, *, zone: str = "UTC", **options: Unpack[ScheduleOptions]) -> Schedule:
        """A cron line of five fields (minute, hour, day of month, month, day of week; names, ranges, steps, `L`, `#`),
        or one of @hourly, @daily, @weekly, @monthly, @yearly, read in an IANA time zone: `cron("0 8 * * 1-5",
        zone="Europe/Berlin")`.

        A line that says minute and hour means wall clock times: one that the change to summer time leaves out runs at
        the first moment after the gap, one that comes twice runs the first time. A line with a `*` in front of the
        minute or the hour means real time: it runs whenever the clock shows a time that fits, in an hour that comes
        twice too. ConfigurationError for a line that is none or never comes, and for an unknown zone; MissingExtraError
        without the extra `schedules`.
        """
        text = _text(line)
        made = cls("cron", line=text, zone=_checked_zone(zone), **_options(options))
        _check_line(line, text)
        return made._comes(f"the cron line {shown(line)}")

    @classmethod
    def every(cls, interval: Seconds, *, at_once: bool = False, **options: Unpack[ScheduleOptions]) -> Schedule:
        """Again and again after the same time (seconds or a timedelta, at least 0.1 s), whatever the clock on the wall
        does; counted from `start`, or else from when the schedule is first put.

        at_once  the first tick is not one interval later but then; and again when the first worker of all starts
        """
        length = round(seconds(interval, "interval") * SECOND)
        if length < LEAST:
            raise ConfigurationError(
                f"a schedule runs every {LEAST / SECOND:g} seconds or less often, not every {shown(interval)}; "
                "what is to run without a pause is a task that raises Snooze(0)"
            )
        made = cls("every", interval=length, at_once=flag(at_once, "at_once"), **_options(options))
        if at_once and made.start is not None:
            raise ConfigurationError("at_once and start contradict each other: give one of them")
        return made

    @classmethod
    def at(cls, *times: time | datetime, zone: str | None = None, **options: Unpack[ScheduleOptions]) -> Schedule:
        """At fixed times: each day at these times of day, `at(time(8), time(20), zone="Europe/Berlin")` (of the zone;
        default UTC), or once at each of these moments (aware datetimes).

        Times of day keep the rule of cron lines that say minute and hour.
        """
        if not times:
            raise ConfigurationError("at which times? Schedule.at(time(8), …) or Schedule.at(datetime(…, tzinfo=…), …)")
        if all(type(one) is time for one in times):
            of_day = sorted({_time_of_day(one) for one in times if isinstance(one, time)})
            name = _checked_zone("UTC" if zone is None else zone)
            return cls("at", zone=name, times=tuple(of_day), **_options(options))._comes("Schedule.at")
        if zone is not None:
            raise ConfigurationError("zone goes with times of day; a datetime has a zone of its own")
        named = sorted({moment(one, "a time of Schedule.at (all times of day, or all moments)") for one in times})
        return cls("at", moments=tuple(named), **_options(options))._comes("Schedule.at")

    def _comes(self, what: str) -> Schedule:
        """ConfigurationError unless there is a tick at all."""
        if self.after(0 if self.moments or self.start is not None else _ANY) is None:
            raise ConfigurationError(f"{what} never comes: no moment fits it" + (" before its end" if self.end else ""))
        return self

    # ── its ticks ────────────────────────────────────────────────────────────────────────────────────────────────

    def after(self, at: int, anchor: int | None = None) -> int | None:
        """The first tick strictly after a moment (µs since the epoch); None: there is none.

        anchor  what an `every` counts from, when it has no start of its own
        """
        if self.start is not None:
            at = max(at, self.start - 1)
        tick = self._after(at, anchor)
        return None if tick is None or tick > MAX_MOMENT or (self.end is not None and tick > self.end) else tick

    def first(self, now: int) -> int | None:
        """The first tick of a schedule that is put now (µs)."""
        return now if self.at_once else self.after(now, now)

    def _after(self, at: int, anchor: int | None) -> int | None:
        if self.kind == "every":
            base = self.start if self.start is not None else anchor or 0
            return base + max(0, (at - base) // self.interval + 1) * self.interval
        if self.moments:
            return next((one for one in self.moments if one > at), None)
        if at > MAX_MOMENT:
            return None
        rule = next_real if self.kind == "cron" and _is_real(self.line) else next_once
        found = rule(self._walls, zone_of(self.zone), EPOCH + timedelta(microseconds=at))
        return None if found is None else _micros(found)

    def _walls(self, after: datetime) -> Iterator[datetime]:
        if self.kind == "cron":
            yield from _simulator(self.line, after)
            return
        of_day = [time.fromisoformat(text) for text in self.times]
        day = after.date()
        while day.year < 9999:
            for one in of_day:
                if (wall := datetime.combine(day, one)) > after:
                    yield wall
            day += timedelta(days=1)

    def upcoming(self, n: int = 10, after: datetime | None = None) -> list[datetime]:
        """The next `n` ticks after a moment (default: now, by this machine's clock), in the schedule's own zone. An
        `every` without a start is counted from that moment; of a schedule that is stored, ask `jobs.schedules.explain`.
        """
        whole(n, 1, 10_000, "n")
        at = moment(after if after is not None else datetime.now(UTC), "after")
        return [self.local(tick) for tick in self.ticks(at, at, n)]

    def ticks(self, at: int, anchor: int, n: int) -> list[int]:
        """The next `n` ticks (µs) strictly after a moment."""
        found: list[int] = []
        tick = self.after(at, anchor)
        while tick is not None and len(found) < n:
            found.append(tick)
            tick = self.after(tick, anchor)
        return found

    def local(self, tick: int) -> datetime:
        """A tick (µs) as its zone's clock shows it."""
        return (EPOCH + timedelta(microseconds=tick)).astimezone(zone_of(self.zone))

    # ── as text ──────────────────────────────────────────────────────────────────────────────────────────────────

    def as_json(self) -> str:
        """What a row keeps: only what was said."""
        said = {name: value for name in FIELDS if (value := getattr(self, name)) != _DEFAULTS.get(name, ...)}
        return json.dumps({"kind": self.kind, **said}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Schedule:
        """The same again. ConfigurationError for what no version of `as_json` wrote."""
        try:
            said: dict[str, Any] = json.loads(text)
            for name in ("times", "moments"):
                if name in said:
                    said[name] = tuple(said[name])
            made = cls(**said)
            if made.kind not in ("cron", "every", "at"):
                raise ValueError(made.kind)
            return made
        except (ValueError, TypeError, AttributeError, RecursionError) as unreadable:
            raise ConfigurationError(f"a stored schedule cannot be read: {unreadable}") from unreadable

    def when(self) -> Schedule:
        """The same ticks, without what is said of each."""
        return replace(self, overlap="skip", catch_up=1, late=None, jitter=0.0)

    def __str__(self) -> str:
        """For people: `0 8 * * * Europe/Berlin`, `every 5 min`, `at 08:00, 20:00 UTC`."""
        if self.kind == "every":
            return f"every {_length(self.interval)}"
        if self.moments:
            first = (EPOCH + timedelta(microseconds=self.moments[0])).isoformat().replace("+00:00", "Z")
            return f"at {first}" + (f" and {len(self.moments) - 1} more" if len(self.moments) > 1 else "")
        return f"{self.line} {self.zone}" if self.kind == "cron" else f"at {', '.join(self.times)} {self.zone}"


FIELDS = (
    *("line", "zone", "interval", "at_once", "times", "moments"),
    *("start", "end", "overlap", "catch_up", "late", "jitter"),
)
_DEFAULTS = {name: getattr(Schedule("at"), name) for name in FIELDS}
MAX_MOMENT = 253_370_764_800 * SECOND  # the year 9999: what a datetime in any zone can still show
_ANY = (
    1_577_836_800 * SECOND
)  # 2020-01-01, to see whether a line comes at all: what never comes is the same at all times


def zone_of(name: str) -> tzinfo:
    """An IANA time zone. ConfigurationError when there is none of this name, or no data at all."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # 5 ms of an import that most do not need

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as unknown:  # ZoneInfoNotFoundError is a KeyError; odd names are the others
        raise ConfigurationError(
            f"there is no time zone {shown(name)}: give an IANA name, such as Europe/Berlin. (Where the system has no "
            'time zones, pip install "offpath[schedules]" brings them.)'
        ) from unknown


def _checked_zone(name: object) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= 100:
        raise ConfigurationError(f"zone is the IANA name of a time zone, such as Europe/Berlin, not {shown(name)}")
    zone_of(name)
    return name


def _options(given: ScheduleOptions) -> dict[str, Any]:
    """Checked, as the fields keep them."""
    unknown = sorted(given.keys() - ScheduleOptions.__annotations__.keys())
    if unknown:
        raise ConfigurationError(f"a schedule has no option {unknown[0]!r}")
    start, end, late = given.get("start"), given.get("end"), given.get("late")
    overlap, catch_up = given.get("overlap", "skip"), whole(given.get("catch_up", 1), 0, MAX_CATCH_UP, "catch_up")
    if overlap not in get_args(Overlap):
        raise ConfigurationError(f"overlap is one of {', '.join(get_args(Overlap))}, not {shown(overlap)}")
    if catch_up > 1 and overlap not in ("queue", "allow"):
        raise ConfigurationError(
            f'catch_up={catch_up} with overlap "{overlap}": of so many at once only one could run. Give '
            'overlap="queue" (one after the other) or "allow" (all together)'
        )
    said: dict[str, Any] = {
        "overlap": overlap,
        "catch_up": catch_up,
        "jitter": seconds(given.get("jitter", 0), "jitter"),
    }
    if start is not None:
        said["start"] = moment(start, "start")
    if end is not None:
        said["end"] = moment(end, "end")
        if start is not None and said["end"] < said["start"]:
            raise ConfigurationError("the schedule ends before it starts")
    if late is not None:
        said["late"] = seconds(late, "late")
    return said


def _time_of_day(given: time) -> str:
    if given.tzinfo is not None:
        raise ConfigurationError(f"a time of day has no zone of its own, and {shown(given)} has: give zone=")
    return given.replace(fold=0).isoformat()


def _text(line: object) -> str:
    """A cron line in the one way it is kept."""
    if not isinstance(line, str) or len(line) > 255:
        raise ConfigurationError(f'a cron line is text such as "0 8 * * *", not {shown(line)}')
    return NICKNAMES.get(line.strip().lower(), " ".join(line.split()).upper())


def _check_line(given: str, line: str) -> None:
    """ConfigurationError unless cronsim takes it."""
    if len(line.split()) != 5:
        raise ConfigurationError(
            f"a cron line has five fields (minute, hour, day of month, month, day of week), and {shown(given)} has "
            f"{len(line.split())}; what runs more often than each minute is Schedule.every(seconds)"
        )
    cronsim = _cronsim()
    try:
        cronsim.CronSim(line, _NAIVE)
    except cronsim.CronSimError as error:
        raise ConfigurationError(f"the cron line {shown(given)} cannot be read: {error}") from None


def _simulator(line: str, after: datetime) -> CronSim:
    simulator: CronSim = _cronsim().CronSim(line, after)
    return simulator


def _cronsim() -> Any:
    try:
        import cronsim
    except ImportError as error:
        raise MissingExtraError("a cron line", "schedules") from error
    return cronsim


def _is_real(line: str) -> bool:
    """Real time, or wall clock times? As Debian's cron tells them apart."""
    minute, hour = line.split()[:2]
    return minute.startswith("*") or hour.startswith("*")


_NAIVE = datetime(2020, 1, 1)  # noqa: DTZ001 (cron lines are about wall clocks)


def _micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _length(micros: int) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if micros % (size * SECOND) == 0:
            return f"{micros // (size * SECOND)} {name}"
    return f"{micros / SECOND:g} s"
