"""When there is something to tell: once up, once down, and nothing in between."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core.alerts import (
    FORGOTTEN,
    LISTED,
    NAMED,
    AlertRow,
    Rule,
    alert,
    detail,
    gone,
    judge,
    lateness,
    rate,
    rule,
)
from offpath.errors import ConfigurationError


def news(one: Rule, values: list[int]) -> list[tuple[int, str]]:
    """(which value, what was told)"""
    told, raised = [], False
    for at, value in enumerate(values):
        said = judge(one, raised, value)
        if said is not None:
            told.append((at, said))
            raised = said == "raised"
    return told


def test_it_rings_above_and_is_well_at_the_lower_threshold() -> None:
    one = rule("x", {"dead_letters": 10, "within": 60, "clear": 4})
    assert news(one, [0, 10, 11, 50, 10, 11, 5, 11, 4, 10, 11]) == [(2, "raised"), (8, "resolved"), (10, "raised")]


@given(st.integers(0, 50), st.integers(0, 50), st.lists(st.integers(0, 60), max_size=40))
def test_news_alternate_and_each_is_true(above: int, clear: int, values: list[int]) -> None:
    one = rule("x", {"dead_letters": above, "within": 1, "clear": min(clear, above)})
    told = news(one, values)
    assert [said for _, said in told] == ["raised", "resolved"] * (len(told) // 2) + ["raised"] * (len(told) % 2)
    for at, said in told:
        assert values[at] > one.above if said == "raised" else values[at] <= one.clear
    ends = [*(at for at, _ in told), len(values)]
    for (begin, said), end in zip([(-1, "resolved"), *told], ends, strict=True):
        between = values[begin + 1 : end]
        assert all(value > one.clear for value in between) if said == "raised" else max(between, default=0) <= one.above


def test_thresholds_and_their_halves() -> None:
    assert rule("x", {"dead_letters": 0, "within": 60}) == Rule("x", "dead_letters", 0, 0, 60_000_000)
    assert rule("x", {"dead_letters": 11, "within": 1, "queue": "q", "task": "t"}, "pager") == Rule(
        "x", "dead_letters", 11, 5, 1_000_000, "q", "t", "pager"
    )
    assert rule("x", {"age": 300, "queue": "q"}) == Rule("x", "age", 300_000_000, 150_000_000, 0, "q")
    assert rule("x", {"age": 300, "clear": 0}).clear == 0
    assert rule("x", {"dead_letters": 5, "within": 1}).most >= 50
    assert rule("x", {"error_rate": 0.2, "within": 60, "task": "t"}) == Rule(
        "x", "error_rate", 200, 100, 60_000_000, None, "t", at_least=20
    )
    assert rule("x", {"workers": 3}).clear == 3
    assert rule("x", {"endpoints_disabled": 0}) == Rule("x", "endpoints_disabled", 0, 0)


def test_too_few_workers_ring_from_below() -> None:
    one = rule("x", {"workers": 2, "clear": 3})
    assert news(one, [3, 2, 1, 2, 0, 3, 2]) == [(2, "raised"), (5, "resolved")]


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 100))
def test_a_rate_is_of_enough_attempts(failed: int, more: int, at_least: int) -> None:
    ended = failed + more
    found = rate(failed, ended, at_least)
    assert 0 <= found <= 1000
    assert found == (0 if ended < at_least else failed * 1000 // ended)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "say one of dead_letters=…, age=…, depth=…"),
        ({"dead_letters": 1, "within": 1, "age": 1}, "say one of"),
        ({"dead_letters": 1}, "within what time"),
        ({"dead_letters": 1, "within": 0}, "longer than 0"),
        ({"dead_letters": -1, "within": 1}, "dead_letters must be a whole number"),
        ({"dead_letters": 1.5, "within": 1}, "dead_letters must be a whole number"),
        ({"dead_letters": 3, "within": 1, "clear": 4}, "clear must not be above dead_letters"),
        ({"age": -1}, "age must be a duration"),
        ({"age": 1, "clear": 2}, "clear must not be above age"),
        ({"age": 1, "within": 5}, "within does not go with age, which takes queue"),
        ({"age": 1, "task": "t"}, "task does not go with age"),
        ({"depth": -1}, "depth must be a whole number"),
        ({"depth": 5, "clear": 6}, "clear must not be above depth"),
        ({"workers": 0}, "workers must be 1 or more"),
        ({"workers": 3, "clear": 2}, "clear no less than that"),
        ({"workers": 3, "queue": "q"}, "queue does not go with workers, which takes nothing else"),
        ({"error_rate": 0.5}, "within what time"),
        ({"error_rate": 20, "within": 60}, "error_rate must be a number from 0 to 1"),
        ({"error_rate": 0.5, "within": 60, "at_least": 0}, "at_least must be a whole number"),
        ({"schedule_late": -1}, "schedule_late must be a duration"),
        ({"endpoints_disabled": True}, "endpoints_disabled must be a whole number"),
        ({"age": 1, "queue": ""}, "queue must be text"),
        ({"ages": 1}, "there is no 'ages'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        rule("x", given)


def test_what_is_told() -> None:
    at, since = 1_700_000_000_500_000, 1_700_000_000_000_000
    letters = rule("x", {"dead_letters": 1, "within": 90, "queue": "q", "task": "t"})
    assert alert(letters, "resolved", 0, at, since) == {
        "alert": "x", "news": "resolved", "kind": "dead_letters", "value": 0, "above": 1, "within": 90.0, "queue": "q",
        "task": "t", "at": "2023-11-14T22:13:20.500000Z", "raised_at": "2023-11-14T22:13:20Z",
    }  # fmt: skip
    told = alert(rule("y", {"age": 60}), "raised", 61_500_000, at, None)
    assert (told["value"], told["above"], told["raised_at"]) == (61.5, 60.0, told["at"])
    assert "within" not in told


@pytest.mark.parametrize("given", [{"schedule_late": 30}, {"endpoints_disabled": 0}])
def test_what_rings_is_named_where_it_has_a_name(given: dict[str, Any]) -> None:
    told = alert(rule("x", given), "raised", 3, 0, None, ["nightly", "weekly"])
    assert told["detail"] == "nightly, weekly"
    assert alert(rule("x", given), "resolved", 0, 0, 0)["detail"] == ""
    assert "detail" not in alert(rule("x", {"depth": 1}), "raised", 3, 0, None)


def test_the_first_few_are_named_and_the_others_counted() -> None:
    names = [f"s{n}" for n in range(LISTED)]
    assert detail([]) == ""
    assert detail(names[:NAMED]) == "s0, s1, s2, s3, s4"
    assert detail(names[: NAMED + 1]) == "s0, s1, s2, s3, s4 and 1 more"
    assert detail(names[:-1]) == f"s0, s1, s2, s3, s4 and {LISTED - NAMED - 1} more"
    assert detail(names) == f"s0, s1, s2, s3, s4 and at least {LISTED - NAMED} more", "no more are counted"


def test_what_nobody_watches_is_forgotten_once_it_is_well_or_long_past() -> None:
    now = 2 * FORGOTTEN
    old, lately = now - FORGOTTEN - 1, now - FORGOTTEN
    rows = [AlertRow("well", 2, None, 0), AlertRow("long", 1, old, 3), AlertRow("new", 1, lately, 3)]
    assert [row.name for row in gone(rows, frozenset(), now)] == ["well", "long"]
    assert [row.name for row in gone(rows, frozenset({"long"}), now)] == ["well"]
    assert gone(rows, None, now) == [], "it is not known who watches what"


def test_a_schedule_is_late_when_an_alert_says_so_and_after_a_minute_at_the_latest() -> None:
    minute = 60_000_000
    assert lateness([]) == lateness([rule("x", {"age": 5}), rule("y", {"schedule_late": 600})]) == minute
    assert lateness([rule("x", {"schedule_late": 30}), rule("y", {"schedule_late": 5})]) == 5_000_000
