"""What a task may raise about itself: a wrong word is our error, so the attempt fails like any other."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from offpath import errors
from offpath.errors import Cancel, ConfigurationError, MissingExtraError, OffpathError, Problem, ResultTimeout, Snooze
from tests.core.values import wild


def test_every_error_hangs_on_the_tree_that_is_drawn() -> None:
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert all(issubclass(kind, OffpathError) for kind in kinds)
    assert errors.__doc__ is not None
    for kind in kinds:
        assert f" {kind.__name__}" in errors.__doc__, f"{kind.__name__} is missing from the drawing"


def test_they_are_also_what_python_calls_them() -> None:
    with pytest.raises(ImportError, match=r'pip install "offpath\[http\]"'):
        raise MissingExtraError("the HTTP face", "http")
    assert issubclass(ResultTimeout, TimeoutError)


@given(wild)
def test_snooze_takes_a_delay(value: Any) -> None:
    try:
        taken = Snooze(value)
    except ConfigurationError:
        return
    assert 0 <= taken.seconds < 10**9
    assert Snooze(timedelta(minutes=5)).seconds == 300.0


@given(wild)
def test_cancel_takes_a_reason(value: Any) -> None:
    if isinstance(value, str):
        assert Cancel(value).reason == value
    else:
        with pytest.raises(ConfigurationError, match="reason in words"):
            Cancel(value)


@given(wild, wild, wild, wild)
def test_a_problem_is_text_and_an_error_status(title: Any, status: Any, detail: Any, kind: Any) -> None:
    try:
        taken = Problem(title=title, status=status, detail=detail, type=kind)
    except ConfigurationError:
        return
    assert isinstance(taken.title, str)
    assert 400 <= taken.status <= 599
    assert isinstance(str(taken), str)
    assert Problem(title="Gone", status=410).status == 410
