"""`Schedule`: what may be said, what it means, and what is refused at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from offpath import Offpath, Schedule
from offpath.core.options import SECOND, moment
from offpath.errors import ConfigurationError, MissingExtraError

BERLIN = "Europe/Berlin"


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[misc, arg-type]


def walls(schedule: Schedule, n: int, after: datetime) -> list[str]:
    return [tick.isoformat(timespec="minutes") for tick in schedule.upcoming(n, after)]


# ── both changes of the clock ────────────────────────────────────────────────────────────────────────────────────────


def test_a_time_that_is_left_out_runs_after_the_gap() -> None:
    half_past_two = Schedule.cron("30 2 * * *", zone=BERLIN)
    assert walls(half_past_two, 3, at(2026, 3, 27, 12)) == [
        "2026-03-28T02:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]
    twice = Schedule.cron("0,30 2 * * *", zone=BERLIN)
    assert walls(twice, 3, at(2026, 3, 28, 12)) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:00+02:00",
        "2026-03-30T02:30+02:00",
    ], "two times in one gap are one run"


def test_a_time_that_comes_twice_runs_the_first_time() -> None:
    half_past_two = Schedule.cron("30 2 * * *", zone=BERLIN)
    assert walls(half_past_two, 2, at(2026, 10, 24, 12)) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]
    between_the_two = at(2026, 10, 25, 1, 10)  # 02:10, the second time
    assert walls(half_past_two, 1, between_the_two) == ["2026-10-26T02:30+01:00"]


def test_a_line_for_every_hour_counts_real_hours() -> None:
    hourly = Schedule.cron("30 * * * *", zone=BERLIN)
    assert walls(hourly, 3, at(2026, 3, 29, 0)) == [
        "2026-03-29T01:30+01:00",
        "2026-03-29T03:30+02:00",
        "2026-03-29T04:30+02:00",
    ]
    assert walls(hourly, 3, at(2026, 10, 25, 0)) == [
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:30+01:00",
    ]
    quarters = Schedule.cron("*/15 2 * * *", zone=BERLIN)
    assert len(quarters.ticks(moment(at(2026, 10, 24, 22), ""), 0, 8)) == 8
    assert [tick.day for tick in quarters.upcoming(9, at(2026, 10, 24, 22))] == [25] * 8 + [26]
    assert quarters.upcoming(1, at(2026, 3, 28, 12))[0].day == 30, "on the 29th there is no such hour"


def test_clocks_that_go_back_half_an_hour_and_skip_a_day() -> None:
    half = Schedule.cron("45 * * * *", zone="Australia/Lord_Howe")
    assert walls(half, 3, at(2026, 4, 4, 14)) == [
        "2026-04-05T01:45+11:00",
        "2026-04-05T01:45+10:30",
        "2026-04-05T02:45+10:30",
    ]
    samoa = Schedule.cron("0 8 * * *", zone="Pacific/Apia")  # had no 30 December 2011
    assert walls(samoa, 3, at(2011, 12, 29, 0)) == [
        "2011-12-29T08:00-10:00",
        "2011-12-31T00:00+14:00",
        "2011-12-31T08:00+14:00",
    ]


def test_times_of_day_keep_the_rule_of_such_lines() -> None:
    both = Schedule.at(time(20), time(2, 30), zone=BERLIN)
    assert walls(both, 3, at(2026, 3, 28, 20)) == [
        "2026-03-29T03:00+02:00",
        "2026-03-29T20:00+02:00",
        "2026-03-30T02:30+02:00",
    ]


def test_an_interval_knows_no_wall_clock() -> None:
    daily = Schedule.every(timedelta(days=1), start=at(2026, 3, 28, 7))
    assert daily.upcoming(3, at(2026, 3, 28)) == [at(2026, 3, 28, 7), at(2026, 3, 29, 7), at(2026, 3, 30, 7)]


# ── the rest of what may be said ─────────────────────────────────────────────────────────────────────────────────────


def test_start_and_end_are_both_inside() -> None:
    bounded = Schedule.cron("0 8 * * *", start=at(2026, 1, 2, 8), end=at(2026, 1, 4, 8))
    assert bounded.upcoming(9, at(2020, 1, 1)) == [at(2026, 1, day, 8) for day in (2, 3, 4)]
    assert bounded.upcoming(9, at(2026, 1, 4, 8)) == []


def test_fixed_moments_run_once_each() -> None:
    two = Schedule.at(at(2030, 5, 1), at(2029, 5, 1), at(2030, 5, 1))
    assert two.upcoming(9, at(2026, 1, 1)) == [at(2029, 5, 1), at(2030, 5, 1)]


def test_an_interval_is_counted_from_its_anchor() -> None:
    step = Schedule.every(10)
    base = 1_700_000_003 * SECOND
    assert step.ticks(base, base, 2) == [base + 10 * SECOND, base + 20 * SECOND]
    assert step.after(base + 10 * SECOND, base) == base + 20 * SECOND
    assert step.after(base + 10 * SECOND - 1, base) == base + 10 * SECOND
    assert step.first(base) == base + 10 * SECOND
    assert Schedule.every(10, at_once=True).first(base) == base


@pytest.mark.parametrize(
    "name", ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually", "@Daily"]
)
def test_nicknames(name: str) -> None:
    assert len(Schedule.cron(name, zone=BERLIN).upcoming(2)) == 2


def test_lines_are_kept_in_one_way() -> None:
    assert Schedule.cron("0  8 * * mon-fri") == Schedule.cron(" 0 8 * * MON-FRI ")
    assert Schedule.cron("@daily") == Schedule.cron("0 0 * * *")


ALL = [
    Schedule.cron("0 8 * * MON#1", zone=BERLIN, overlap="queue", catch_up=10, late=60, jitter=timedelta(seconds=5)),
    Schedule.cron("@hourly", start=at(2026, 1, 1), end=at(2027, 1, 1), overlap="replace", catch_up=0),
    Schedule.every(0.5, at_once=True, overlap="allow"),
    Schedule.at(time(8), time(20, 30, 5), zone=BERLIN),
    Schedule.at(at(2030, 1, 1)),
]


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_it_outlives_the_database(schedule: Schedule) -> None:
    text = schedule.as_json()
    assert Schedule.from_json(text) == schedule
    assert Schedule.from_json(text).as_json() == text


def test_how_it_is_shown() -> None:
    assert [str(one) for one in ALL] == [
        "0 8 * * MON#1 Europe/Berlin",
        "0 * * * * UTC",
        "every 0.5 s",
        "at 08:00:00, 20:30:05 Europe/Berlin",
        "at 2030-01-01T00:00:00Z",
    ]
    assert str(Schedule.every(timedelta(days=2))) == "every 2 d"
    assert str(Schedule.every(90)) == "every 90 s"
    assert str(Schedule.at(at(2030, 1, 1), at(2031, 1, 1))) == "at 2030-01-01T00:00:00Z and 1 more"


@pytest.mark.parametrize("text", ["", "[]", "5", "{}", '{"kind": "lunar"}', '{"kind": "cron", "of": 1}'])
def test_what_nobody_wrote_is_an_error_and_no_crash(text: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Schedule.from_json(text)


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────

naive = datetime(2026, 1, 1)  # noqa: DTZ001
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: Schedule.cron("0 0 30 2 *"), "cannot be read: Bad day-of-month"),
    (lambda: Schedule.cron("0 0 31 2,4,6 *"), "Bad day-of-month"),
    (lambda: Schedule.cron("0 0 * 2 MON#5", end=at(2027, 1, 1)), "never comes: no moment fits it before its end"),
    (lambda: Schedule.cron("61 * * * *"), "Bad minute"),
    (lambda: Schedule.cron("* * * *"), "has 4"),
    (lambda: Schedule.cron("0 * * * * *"), "Schedule.every"),
    (lambda: Schedule.cron(""), "has 0"),
    (lambda: Schedule.cron("@reboot"), "has 1"),
    (lambda: Schedule.cron("* " * 1000), "a cron line is text"),
    (lambda: Schedule.cron(5), "a cron line is text"),  # type: ignore[arg-type]
    (lambda: Schedule.cron("* * * * *\x00"), "Bad day-of-week"),
    (lambda: Schedule.cron("0 8 * * *", zone="Mars/Olympus"), "no time zone 'Mars/Olympus'"),
    (lambda: Schedule.cron("0 8 * * *", zone="../../etc/passwd"), "no time zone"),
    (lambda: Schedule.cron("0 8 * * *", zone="/etc/passwd"), "no time zone"),
    (lambda: Schedule.cron("0 8 * * *", zone=""), "IANA name"),
    (lambda: Schedule.cron("0 8 * * *", zone="x\x00y"), "no time zone"),
    (lambda: Schedule.cron("0 8 * * *", zone="x" * 10_000), "IANA name"),
    (lambda: Schedule.cron("0 8 * * *", zone="Europe"), "no time zone"),
    (lambda: Schedule.cron("0 8 * * *", zone=None), "IANA name"),  # type: ignore[arg-type]
    (lambda: Schedule.every(0), "every 0.1 seconds or less often"),
    (lambda: Schedule.every(-1), "0 seconds or more"),
    (lambda: Schedule.every(float("nan")), "0 seconds or more"),
    (lambda: Schedule.every(float("inf")), "0 seconds or more"),
    (lambda: Schedule.every("minute"), "0 seconds or more"),  # type: ignore[arg-type]
    (lambda: Schedule.every(10, at_once=True, start=at(2026, 1, 1)), "contradict"),
    (lambda: Schedule.every(10, at_once=1), "True or False"),  # type: ignore[arg-type]
    (lambda: Schedule.at(), "at which times"),
    (lambda: Schedule.at(naive), "aware datetime"),
    (lambda: Schedule.at(time(8), at(2026, 1, 1)), "all times of day, or all moments"),
    (lambda: Schedule.at(time(8, tzinfo=UTC)), "give zone="),
    (lambda: Schedule.at(at(2026, 1, 1), zone=BERLIN), "goes with times of day"),
    (lambda: Schedule.at(at(2026, 1, 1), end=at(2025, 1, 1)), "never comes"),
    (lambda: Schedule.cron("* * * * *", start=at(2026, 1, 2), end=at(2026, 1, 1)), "ends before it starts"),
    (lambda: Schedule.cron("* * * * *", start=naive), "aware datetime"),
    (lambda: Schedule.cron("* * * * *", overlap="maybe"), "skip, queue, allow, replace"),  # type: ignore[arg-type]
    (lambda: Schedule.cron("* * * * *", catch_up=-1), "whole number from 0 to 1000"),
    (lambda: Schedule.cron("* * * * *", catch_up=1001, overlap="queue"), "whole number from 0 to 1000"),
    (lambda: Schedule.cron("* * * * *", catch_up=5), 'overlap="queue"'),
    (lambda: Schedule.cron("* * * * *", catch_up=5, overlap="replace"), 'overlap="queue"'),
    (lambda: Schedule.cron("* * * * *", late=-1), "late"),
    (lambda: Schedule.cron("* * * * *", jitter="5"), "jitter"),  # type: ignore[arg-type]
    (lambda: Schedule.cron("* * * * *", tz=BERLIN), "no option 'tz'"),  # type: ignore[call-arg]
    (lambda: Schedule.every(10).upcoming(0), "n must be"),
    (lambda: Schedule.every(10).upcoming(1, naive), "aware datetime"),
]


@pytest.mark.parametrize(("make", "said"), BAD, ids=[said for _, said in BAD])
def test_bad_input_is_refused_at_once(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(MissingExtraError, match=r'pip install "offpath\[schedules\]"'):
        Schedule.cron("0 8 * * *")
    assert len(Schedule.at(time(8)).upcoming(2)) == len(Schedule.every(5).upcoming(2)) == 2, "these need none"


# ── declaring ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def jobs(tmp_path: Any) -> Offpath:
    return Offpath(f"sqlite:///{tmp_path}/jobs.db")


def test_what_cannot_be_declared(jobs: Offpath) -> None:
    @jobs.task
    async def mail(to: str) -> None: ...

    @jobs.task
    async def clean() -> None: ...

    @Offpath("sqlite:///other.db").task
    async def strange() -> None: ...

    daily = Schedule.cron("0 8 * * *")
    for declare, text in (
        (lambda: jobs.schedule("x", daily)(mail), r"task mail needs arguments .*mail\.call"),
        (lambda: jobs.schedule("x", daily)(lambda: None), "goes above @jobs.task"),  # type: ignore[type-var]
        (lambda: jobs.schedule("x", "0 8 * * *"), "Schedule.cron"),  # type: ignore[call-overload]
        (lambda: jobs.schedule("x", daily, "mail"), r"task.call\(…\)"),  # type: ignore[call-overload]
        (lambda: jobs.schedule("", daily, clean.call()), "schedule name"),
        (lambda: jobs.schedule("x" * 201, daily, clean.call()), "1 to 200 characters"),
        (lambda: jobs.schedule("x", daily, mail.using(delay=5).call("a")), "delay cannot go with a schedule"),
        (lambda: jobs.schedule("x", daily, mail.using(run_at=at(2030, 1, 1)).call("a")), "run_at cannot go"),
        (lambda: jobs.schedule("x", daily, mail.using(key="k").call("a")), "key cannot go with"),
        (lambda: jobs.schedule("x", daily, mail.using(deadline=at(2030, 1, 1)).call("a")), "deadline is a duration"),
        (lambda: jobs.schedule("x", daily, strange.call()), "another application's"),
        (lambda: jobs.every()(lambda: None), "every 0.1 seconds"),
        (lambda: jobs.every(5, minutes=1), "one interval"),
        (lambda: jobs.every(seconds="x"), "numbers of seconds"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigurationError, match=text):
            declare()
    assert jobs.registry.schedules == {}

    with pytest.raises(ConfigurationError, match="needs arguments"):

        @jobs.every(seconds=5)
        async def sync(since: str) -> None: ...

    jobs.schedule("x", daily, clean.call())
    jobs.schedule("x", daily, clean.call())  # a module that is imported again
    with pytest.raises(ConfigurationError, match="two schedules are called 'x'"):
        jobs.schedule("x", Schedule.cron("0 9 * * *"), clean.call())


def test_every_is_a_task_and_its_schedule(jobs: Offpath) -> None:
    @jobs.every(minutes=1, seconds=30, queue="sync")
    async def sync() -> int:
        return 5

    [(name, (schedule, said))] = jobs.registry.schedules.items()
    assert (name, said.task, schedule) == ("sync", "sync", Schedule.every(90, at_once=True))
    assert sync.options.queue == "sync"
    assert sync.options.retry is not None
    assert sync.options.retry.max_attempts == 1, "the next tick is the next attempt"
