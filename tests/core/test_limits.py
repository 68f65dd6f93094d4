"""What a limit may say, what it is called in the store, and which lane a job is in."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core.limits import (
    MAX_PART,
    MAX_VALUE,
    MOST_LIMITS,
    Limit,
    Rule,
    agree,
    buckets_of,
    check_limits,
    lane_of,
    place,
    rule_name,
    short,
)
from offpath.errors import ArgumentError, ConfigurationError


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "needs concurrency=… .* rate=…"),
        ({"concurrency": 0}, "concurrency must be a whole number from 1"),
        ({"concurrency": -1}, "concurrency must be"),
        ({"concurrency": True}, "concurrency must be"),
        ({"concurrency": 2.0}, "concurrency must be"),
        ({"rate": 0}, "rate must be a whole number from 1"),
        ({"rate": "10/s"}, "rate must be"),
        ({"rate": 1, "period": 0}, "period must be from 1 ms"),
        ({"rate": 1, "period": float("nan")}, "period must be"),
        ({"rate": 1, "period": timedelta(days=1000)}, "period must be from 1 ms to 366 days"),
        ({"rate": 1, "burst": 0}, "burst must be"),
        ({"concurrency": 1, "burst": 2}, "give rate=…"),
        ({"concurrency": 1, "per": ""}, "per must name a parameter"),
        ({"concurrency": 1, "per": "a b"}, "per must name a parameter"),
        ({"concurrency": 1, "per": 7}, "per takes a name or a function"),
        ({"concurrency": 1, "per": lambda args: args["a"]}, "needs a name=…"),
        ({"concurrency": 1, "name": ""}, "name must be printable text"),
        ({"concurrency": 1, "name": "a\tb"}, "name must be printable text"),
    ],
)
def test_what_cannot_be_a_limit_is_refused_at_once(said: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Limit(**said)


@pytest.mark.parametrize(
    ("limit", "limits", "reason"),
    [
        (4, (), "limit takes a Limit"),
        (None, 4, "limits takes a list"),
        (None, "abc", "limits takes a list"),
        (None, [4], "limits takes Limit values"),
        (Limit(rate=1), [Limit(rate=1)] * MOST_LIMITS, f"under {MOST_LIMITS} limits"),
    ],
)
def test_limits_are_told_from_other_things(limit: object, limits: object, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"task x: .*{reason}"):
        check_limits(limit, limits, "task x")


def rule(limit: Limit) -> Rule:
    [one] = place([limit], "all")
    return one.rule


def test_a_rule_is_the_numbers_with_an_interval_rounded_up() -> None:
    assert rule(Limit(concurrency=4)) == Rule("all", 4, None, 1)
    assert rule(Limit(rate=10)) == Rule("all", None, 100_000, 1)
    assert rule(Limit(rate=3, burst=2)) == Rule("all", None, 333_334, 2)
    assert rule(Limit(rate=60, period=timedelta(hours=1), concurrency=2)) == Rule("all", 2, 60_000_000, 1)


def test_names_tell_scope_parameter_and_number() -> None:
    one, key, second = Limit(rate=10), Limit(per="order.customer", concurrency=1), Limit(rate=100, period=60)
    assert [p.name for p in place([one, key, second], "task:sync")] == [
        "task:sync",
        "task:sync/order.customer",
        "task:sync#2",
    ]
    assert [p.name for p in place([Limit(rate=1, name="stripe")], "task:sync")] == ["limit:stripe"]


def test_one_name_stands_for_one_set_of_numbers() -> None:
    stripe = Limit(rate=10, name="stripe")
    both = [*place([stripe], "task:a"), *place([stripe], "queue:b")]
    assert agree(both) == {"limit:stripe": Rule("limit:stripe", None, 100_000, 1)}
    with pytest.raises(ConfigurationError, match="'stripe' is declared twice with different numbers"):
        agree([*both, *place([Limit(rate=11, name="stripe")], "task:c")])
    with pytest.raises(ConfigurationError, match="two limits are called 'stripe'"):
        place([stripe, Limit(concurrency=1, name="stripe")], "task:a")


def lane(limit: Limit, values: Mapping[str, Any]) -> str:
    return lane_of(place([limit], "task:t"), values)


def test_a_lane_has_a_bucket_for_each_limit_the_widest_first() -> None:
    placed = [
        *place([Limit(concurrency=9)], "all"),
        *place([Limit(rate=10)], "queue:q"),
        *place([Limit(per="tenant", concurrency=2), Limit(per="order.id", concurrency=1)], "task:t"),
    ]
    text = lane_of(placed, {"tenant": "ä\n\t", "order": {"id": 7}, "other": [1]})
    assert buckets_of(text) == ["all", "queue:q", 'task:t/tenant\t"ä\\n\\t"', "task:t/order.id\t7"]
    assert [rule_name(bucket) for bucket in buckets_of(text)] == [one.name for one in placed]


def test_a_function_of_the_arguments_makes_a_key() -> None:
    limit = Limit(per=lambda args: args["to"].rpartition("@")[2], concurrency=1, name="domain")
    assert lane(limit, {"to": "a@example.org"}) == 'limit:domain\t"example.org"'
    with pytest.raises(ArgumentError, match="limit 'domain' has no key for them: KeyError"):
        lane(limit, {})
    with pytest.raises(ArgumentError, match="domain"):
        lane(Limit(per=lambda args: [], concurrency=1, name="domain"), {})


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=60)


@given(scalars, scalars)
def test_different_values_are_in_different_lanes(one: Any, other: Any) -> None:
    limit = Limit(per="x", concurrency=1)
    same = type(one) is type(other) and repr(one) == repr(other)
    assert (lane(limit, {"x": one}) == lane(limit, {"x": other})) is same
    assert len(buckets_of(lane(limit, {"x": one}))) == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x" * (MAX_VALUE + 1), "has 256 characters, and jobs are limited by at most 255"),
        ("x" * (1 << 20), "has 1048576 characters"),
        ({"a": 1}, r"limit them per a field of it, x\.…"),
        ([1], "jobs are limited by text"),
    ],
)
def test_a_value_that_cannot_be_a_key_names_its_parameter(value: Any, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason) as caught:
        lane(Limit(per="x", concurrency=1), {"x": value})
    assert caught.value.argument == "x"
    with pytest.raises(ArgumentError, match=r"has no field 'id' \(x\.id\)") as caught:
        lane(Limit(per="x.id", concurrency=1), {"x": "text"})
    assert caught.value.argument == "x"


def test_too_many_limits_for_one_job_are_refused() -> None:
    many = [*place([Limit(rate=1)] * 4, "queue:q"), *place([Limit(rate=1)] * 3, "task:t")]
    with pytest.raises(ConfigurationError, match=r"can be under 6 limits; .* have 7"):
        lane_of(many, {})


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_long_name_is_cut_to_what_an_index_takes_and_stays_itself(one: str, other: str) -> None:
    assert len(short(one).encode("utf-8", "surrogatepass")) <= MAX_PART
    assert not set(short(one)) & {"\n", "\t"}
    if len(one.encode("utf-8", "surrogatepass")) <= MAX_PART and not set(one) & {"\n", "\t"}:
        assert short(one) == one
    tail = "x" * 200
    assert (short(tail + one) == short(tail + other)) is (
        (tail + one).replace("\n", " ").replace("\t", " ") == (tail + other).replace("\n", " ").replace("\t", " ")
    )
