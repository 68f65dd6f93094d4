"""How long to wait before the next attempt, and which exceptions get one."""

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offpath.core.retry import Backoff, Retry, seconds
from offpath.errors import ConfigurationError
from tests.core.values import backoffs, delays, uniform, wild

failures = st.integers(1, 200) | st.integers(1, 10_000) | st.just(10**30)


@given(backoffs, failures, uniform)
@example(Backoff.exponential(first=0, factor=3), 10_000, 0.5)
@example(Backoff.exponential(first=1e-9, factor=1.0001), 10**400, 0.999)
def test_a_delay_is_never_negative_and_never_above_the_cap(backoff: Backoff, n: int, u: float) -> None:
    assert 0 <= backoff.delay(n, u) <= backoff.cap


@given(backoffs, failures, uniform)
def test_jitter_stays_within_its_share_of_the_delay_without_jitter(backoff: Backoff, n: int, u: float) -> None:
    plain = Backoff(backoff.kind, backoff.first, backoff.grow, backoff.cap, 0).delay(n, u)
    tiny = plain * 1e-9
    assert plain * (1 - backoff.jitter) - tiny <= backoff.delay(n, u) <= plain * (1 + backoff.jitter) + tiny


@given(backoffs, failures)
def test_more_luck_is_never_a_shorter_delay(backoff: Backoff, n: int) -> None:
    ladder = [backoff.delay(n, u) for u in (0.0, 0.25, 0.5, 0.75, 0.999)]
    assert ladder == sorted(ladder)
    if backoff.jitter > 0.01 and ladder[0] > 1e-6:
        assert ladder[0] < ladder[-1], "jobs that failed together would return together"


@given(backoffs, st.integers(1, 300), uniform)
def test_without_jitter_it_never_shrinks(backoff: Backoff, n: int, u: float) -> None:
    plain = Backoff(backoff.kind, backoff.first, backoff.grow, backoff.cap, 0)
    assert all(a <= b for a, b in pairwise(plain.delay(m, u) for m in range(n, n + 5)))


@given(st.floats(0.001, 100), st.floats(1, 10), st.floats(0, 10**6), st.integers(1, 300))
@example(1.0, 1.05, 300.0, 118)  # a small factor reaches its cap too, only later
@example(0.001, 2.5, 10.0**6, 20)  # and a large one not before its time
def test_exponential_is_the_formula(first: float, factor: float, cap: float, n: int) -> None:
    expected = min(cap, first * factor ** min(n - 1, 290))
    assert Backoff.exponential(first, factor, cap, 0).delay(n, 0.5) == pytest.approx(expected, rel=1e-6)


@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 300))
def test_linear_and_fixed_are_the_formula(first: float, step: float, n: int) -> None:
    assert Backoff.linear(first, step, 10**6, 0).delay(n, 0.5) == pytest.approx(first + step * (n - 1))
    assert Backoff.fixed(first).delay(n, 0.5) == first


def test_the_default_doubles_from_one_second_to_five_minutes() -> None:
    default = Backoff.exponential(jitter=0)
    assert [default.delay(n, 0) for n in (1, 2, 3, 9, 10, 1000)] == [1, 2, 4, 256, 300, 300]
    assert Backoff.exponential().delay(1, 0) == pytest.approx(0.8)
    assert 240 <= Backoff.exponential().delay(20, 0) < Backoff.exponential().delay(20, 0.9) <= 300


def test_a_fixed_delay_may_be_longer_than_the_usual_cap() -> None:
    assert Backoff.fixed(timedelta(days=2), jitter=0.5).delay(1, 0) == 86_400
    assert Backoff.fixed(timedelta(days=2), jitter=0.5).delay(1, 0.9999999) == pytest.approx(3 * 86_400)
    assert Backoff.fixed(10**10).delay(1, 0.5) == 10**10


@given(backoffs)
def test_it_survives_the_way_through_json(backoff: Backoff) -> None:
    assert Backoff.from_json(json.loads(json.dumps(backoff.as_json(), allow_nan=False))) == backoff


@given(delays)
def test_a_duration_is_seconds_however_it_was_written(delay: Any) -> None:
    expected = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
    assert seconds(delay, "delay") == expected


def in_seconds(value: object) -> float:
    return seconds(value, "delay")


TAKERS: list[tuple[Callable[..., object], int]] = [
    (Backoff.exponential, 4),
    (Backoff.linear, 4),
    (Backoff.fixed, 2),
    (Backoff, 5),
    (Retry, 4),
    (in_seconds, 1),
]


@given(st.data(), st.sampled_from(TAKERS))
def test_anything_else_is_a_configuration_error(data: st.DataObject, taker: tuple[Callable[..., object], int]) -> None:
    make, count = taker
    values = data.draw(st.lists(wild, min_size=count, max_size=count))
    try:
        made = make(*values)
    except ConfigurationError:
        return
    if isinstance(made, Backoff):
        assert 0 <= made.delay(3, 0.5) <= made.cap


def test_a_message_stays_short_and_can_always_be_made() -> None:
    with pytest.raises(ConfigurationError) as long:
        Backoff.fixed("x" * 10_000)  # type: ignore[arg-type]
    assert len(str(long.value)) < 150
    with pytest.raises(ConfigurationError, match="<int>"):
        Retry(10**5000)  # Python refuses to print it


def test_which_exceptions_are_retried() -> None:
    assert Retry().allows(OSError())
    assert not Retry().allows(KeyboardInterrupt())
    picky = Retry(retry_on=(OSError,), give_up_on=(FileNotFoundError,))
    assert picky.allows(TimeoutError())
    assert not picky.allows(ValueError())
    assert not picky.allows(FileNotFoundError())
    bare: Any = OSError
    assert Retry(retry_on=bare).retry_on == (OSError,)
    assert not Retry(retry_on=()).allows(OSError())


@pytest.mark.parametrize("bad", [3, "OSError", (OSError, 3), (int,), [OSError()], None])
def test_only_exception_classes_can_be_retried(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="exception classes"):
        Retry(retry_on=bad)
    with pytest.raises(ConfigurationError, match="give_up_on"):
        Retry(give_up_on=bad)
