"""Which jobs are meant: what is said, checked, and what must not be meant by a slip of the pen."""

from datetime import timedelta
from typing import Any

import pytest

from offpath.core.ids import uuid7
from offpath.core.job import LIVE, TERMINAL, State
from offpath.core.selection import JobFilter, narrowed, oldest_id, parted, select
from offpath.errors import ConfigurationError

NOW = 1_700_000_000_000_000


def test_what_is_said_is_what_is_meant() -> None:
    assert select({}, NOW) == JobFilter()
    said = {"state": "failed", "queue": "mail", "task": "send", "owner": "o", "key_prefix": "a:", "error": "timeout"}
    assert select(said, NOW) == JobFilter((5,), "mail", "send", "o", "a:", None, "timeout")
    assert select({"state": ["ready", "scheduled", "ready"]}, NOW).states == (0, 2)
    assert select({"older_than": timedelta(seconds=2)}, NOW).before == NOW - 2_000_000
    assert select({"older_than": 0}, NOW).before == NOW
    assert select({"older_than": 10**10}, NOW).before == 0, "longer than there has been time"
    assert select({"outstanding": True}, NOW).outstanding


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ({"sate": "failed"}, "no filter 'sate'; there are state, queue"),
        ({"state": "dead"}, "a state is one of scheduled, waiting"),
        ({"state": ["failed", 5]}, "not 5"),
        ({"state": 5}, "not 5"),
        ({"state": []}, "names no state"),
        ({"queue": ""}, "queue must be text"),
        ({"queue": 3}, "queue must be text"),
        ({"key_prefix": "a\x00"}, "control characters"),
        ({"older_than": -1}, "older_than must be a duration"),
        ({"older_than": "7d"}, "older_than must be a duration"),
        ({"outstanding": "yes"}, "outstanding must be True or False"),
    ],
)
def test_what_means_nothing_is_refused(which: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        select(which, NOW)


def test_what_can_only_be_done_to_some() -> None:
    assert narrowed(JobFilter(queue="a"), LIVE, LIVE, "cancel_many").states == (0, 1, 2, 3)
    assert narrowed(JobFilter((2,)), LIVE, LIVE, "cancel_many").states == (2,)
    assert narrowed(JobFilter(queue="a"), TERMINAL, {State.FAILED}, "retry_many").states == (5,)
    assert narrowed(JobFilter((4,)), TERMINAL, {State.FAILED}, "retry_many").states == (4,)
    with pytest.raises(ConfigurationError, match=r"cancel_many is for jobs that are scheduled, .*; failed ones cannot"):
        narrowed(JobFilter((2, 5)), LIVE, LIVE, "cancel_many")
    with pytest.raises(
        ConfigurationError, match=r"delete_many needs to be told which jobs: .*state succeeded and failed and canceled"
    ):
        narrowed(JobFilter(), TERMINAL, TERMINAL, "delete_many")


def test_what_lives_has_no_error_and_has_not_been_run_again() -> None:
    assert parted(JobFilter()) == ((0, 1, 2, 3), (4, 5, 6))
    assert parted(JobFilter((2, 5))) == ((2,), (5,))
    assert parted(JobFilter(error="timeout")) == ((), (5,))
    assert parted(JobFilter((2, 5), outstanding=True)) == ((), (5,))


def test_ids_before_a_moment_are_smaller() -> None:
    low, high = bytes(10), b"\xff" * 10
    assert uuid7(NOW - 1000, high) < oldest_id(NOW) <= uuid7(NOW, low)
