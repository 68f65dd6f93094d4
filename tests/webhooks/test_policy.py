"""What an attempt's end means: pure, so every row of the table is tried."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.errors import ConfigurationError
from offpath.webhooks.policy import (
    LONGEST,
    PATIENCE,
    SCHEDULE,
    Sent,
    Verdict,
    check_schedule,
    concurrency,
    failing,
    next_attempt,
    retry_after,
)

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND
MIDDLE = 0.5  # no jitter at all


def said(status: int | None, **more: Any) -> Sent:
    return Sent(status, 0.1, **more)


def verdict(sent: Sent, attempt: int = 1, u: float = MIDDLE, **more: Any) -> Verdict:
    return next_attempt(attempt, sent, NOW, u, **more)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_whk_09_a_2xx_is_a_success(status: int) -> None:
    assert verdict(said(status)) == Verdict("delivered")
    assert verdict(said(status, error="timeout: its body never ended")) == Verdict("delivered")


@pytest.mark.parametrize(
    "status", [100, 101, 199, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 413, 415, 422, 431, 451]
)
def test_whk_09_everything_else_below_500_is_final(status: int) -> None:
    made = verdict(said(status))
    assert (made.kind, str(status) in made.reason) == ("give_up", True)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_whk_09_these_are_repeated(status: int) -> None:
    assert verdict(said(status)).kind == "retry"


@pytest.mark.parametrize("kind", ["timeout", "dns", "connect", "tls", "protocol", "blocked"])
def test_whk_09_no_answer_at_all_is_repeated(kind: str) -> None:
    assert verdict(said(None, error=f"{kind}: so it was")).kind == "retry"


def test_whk_26_a_url_that_may_not_be_called_is_not_tried_again() -> None:
    made = verdict(said(None, error="refused: the URL is not https"))
    assert (made.kind, "not https" in made.reason) == ("give_up", True)


@pytest.mark.parametrize("attempt", [1, 5, 10, 11])
def test_whk_10_410_disables_the_endpoint_at_once(attempt: int) -> None:
    assert verdict(said(410), attempt).kind == "disable"
    assert verdict(said(410, retry_after=5.0), attempt).kind == "disable"


@pytest.mark.parametrize(
    ("attempt", "wait", "expected"),
    [
        (1, 0.0, 5.0),  # the schedule is longer
        (1, 60.0, 60.0),  # Retry-After is
        (1, LONGEST, LONGEST),
        (1, LONGEST + 1, LONGEST),
        (1, 1e12, LONGEST),
        (5, 60.0, 5 * 3600.0),
        (9, 1e12, LONGEST),
    ],
)
@pytest.mark.parametrize("status", [429, 503, 500, 408])
def test_whk_11_the_later_of_schedule_and_retry_after(status: int, attempt: int, wait: float, expected: float) -> None:
    made = verdict(said(status, retry_after=wait), attempt)
    assert made.at == NOW + expected * SECOND
    assert made.not_before == NOW + min(wait, LONGEST) * SECOND


@pytest.mark.parametrize("status", [200, 404, 302])
def test_whk_11_any_retry_after_slows_the_whole_endpoint(status: int) -> None:
    assert verdict(said(status, retry_after=90.0)).not_before == NOW + 90 * SECOND
    assert verdict(said(status)).not_before is None


def test_whk_11_a_429_slows_the_endpoint_even_without_a_word() -> None:
    assert verdict(said(429)).not_before == NOW + 60 * SECOND
    assert verdict(said(503)).not_before is None


def test_whk_11_the_last_attempt_is_the_last_whatever_it_says() -> None:
    assert verdict(said(503, retry_after=5.0), 10).kind == "give_up"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("9" * 30, 999_999_999_999.0),
        ("Fri, 15 Jan 2027 08:01:00 GMT", 60.0),
        ("Friday, 15-Jan-27 08:01:00 GMT", 60.0),  # RFC 850
        ("Fri Jan 15 08:01:00 2027", 60.0),  # asctime
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),  # past
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("١٢", None),
        ("Fri, 99 Jan 2027 08:01:00 GMT", None),
        ("\x00", None),
    ],
)
def test_whk_11_retry_after_in_both_forms(text: str, expected: float | None) -> None:
    assert datetime.fromtimestamp(NOW / SECOND, UTC) == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert retry_after(text, NOW) == expected


@given(st.text(max_size=60))
def test_whk_11_no_text_in_retry_after_is_an_error(text: str) -> None:
    found = retry_after(text, NOW)
    assert found is None or found >= 0


@given(st.integers(0, 253_000_000_000))
def test_whk_11_every_http_date_is_read(seconds: int) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    expected = max(0.0, (at - datetime.fromtimestamp(NOW / SECOND, UTC)).total_seconds())
    assert retry_after(format_datetime(at, usegmt=True), NOW) == expected


@pytest.mark.parametrize(
    ("sent", "after"),
    [
        (said(502), 4),
        (said(504), 4),
        (said(None, error="timeout: no answer"), 4),
        (said(200, error="timeout: its body never ended"), 4),
        (said(500), 8),
        (said(404), 8),
        (said(None, error="connect: nobody there"), 8),
    ],
)
def test_whk_12_an_overloaded_endpoint_gets_less_at_once(sent: Sent, after: int) -> None:
    assert concurrency(8, 10, sent) == after


def test_whk_12_it_never_ends_at_none_and_a_success_restores_it() -> None:
    now = 10
    seen = [now := concurrency(now, 10, said(504)) for _ in range(6)]
    assert seen == [5, 2, 1, 1, 1, 1]
    assert concurrency(now, 10, said(200)) == 10
    assert concurrency(10, 3, said(500)) == 3


def test_whk_13_the_schedule() -> None:
    hour = 3600
    assert (0, 5, 300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour) == SCHEDULE
    waits = []
    for attempt in range(1, 10):
        at = verdict(said(500), attempt).at
        assert at is not None
        waits.append((at - NOW) / SECOND)
    assert (0, *waits) == SCHEDULE
    assert verdict(said(500), 10) == Verdict("give_up", reason="10 attempts failed")


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_whk_13_jitter_is_20_percent_either_way(attempt: int, u: float) -> None:
    made = verdict(said(500), attempt, u)
    assert made.at is not None
    share = (made.at - NOW) / SECOND / SCHEDULE[attempt]
    assert 0.8 - 1e-9 <= share <= 1.2 + 1e-9


def test_whk_13_jitter_reaches_both_ends() -> None:
    low, high = verdict(said(500), 2, 0.0).at, verdict(said(500), 2, 1 - 1e-9).at
    assert low == NOW + 240 * SECOND
    assert high is not None
    assert abs(high - NOW - 360 * SECOND) <= 1


def test_whk_13_a_schedule_of_ones_own() -> None:
    mine = check_schedule([0, timedelta(minutes=1), 2.5])
    assert mine == (0.0, 60.0, 2.5)
    assert verdict(said(500), 1, schedule=mine).at == NOW + 60 * SECOND
    assert verdict(said(500), 3, schedule=mine).kind == "give_up"
    bad: list[Any] = [[], "5", 5, None, [-1], ["1"], [float("nan")], [True], range(101), b"12"]
    for value in bad:
        with pytest.raises(ConfigurationError):
            check_schedule(value)


def test_whk_16_five_days_without_a_success_disable() -> None:
    since = failing(None, said(500), NOW - PATIENCE)
    assert since == NOW - PATIENCE
    assert failing(since, said(404), NOW) == since
    assert verdict(said(500), failing_since=since).kind == "disable"
    assert verdict(said(404), failing_since=since).kind == "disable"
    assert verdict(said(500), failing_since=since + 1).kind == "retry"
    assert verdict(said(204), failing_since=since).kind == "delivered"
    assert failing(since, said(204), NOW) is None
