"""What a batch may be, and what its function may say."""

from datetime import timedelta
from typing import Any

import pytest

from offpath.core.batches import Batch, alone, answers, batch
from offpath.core.options import MAX_CRASHES
from offpath.errors import ConfigurationError, ResultError
from tests.core.values import a_job


def test_what_a_batch_may_be() -> None:
    assert batch(100, 0.5) == Batch(100, 0.5)
    assert batch(1, 0) == Batch(1, 0.0)
    assert batch(10_000, timedelta(minutes=1)) == Batch(10_000, 60.0)


@pytest.mark.parametrize(
    ("size", "wait", "said"),
    [
        (0, 1, "size must be a whole number from 1 to 10000"),
        (10_001, 1, "size must be a whole number"),
        (2.5, 1, "size must be a whole number"),
        (True, 1, "size must be a whole number"),
        (10, -1, "wait .seconds. must be a number from 0 to 3600"),
        (10, 3601, "wait .seconds. must be a number"),
        (10, float("nan"), "wait .seconds. must be a number"),
        (10, "1", "wait .seconds. must be a number"),
        (10, timedelta(days=1), "wait .seconds. must be a number"),
    ],
)
def test_what_a_batch_may_not_be(size: Any, wait: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        batch(size, wait)


def test_only_a_suspect_runs_alone() -> None:
    assert [alone(a_job(crashes=crashes)) for crashes in range(MAX_CRASHES)] == [False, False, True]


def test_answers() -> None:
    assert list(answers("index", None, 3)) == [None, None, None]
    assert list(answers("index", [1, ValueError()][:1], 1)) == [1]
    assert list(answers("index", ("a", "b"), 2)) == ["a", "b"]
    assert list(answers("index", [], 0)) == []


@pytest.mark.parametrize("returned", [[1], [1, 2, 3], "ab", {"a": 1, "b": 2}, 7, iter([1, 2])])
def test_what_is_no_answer(returned: Any) -> None:
    with pytest.raises(ResultError, match=r"index.*(2 jobs|must return None, or a list)"):
        answers("index", returned, 2)
