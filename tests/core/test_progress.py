"""Progress only rises, stays below 100 while the job runs, and never fails a job over a character."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offpath.core.progress import MAX_NUMBER, MAX_TEXT, Progress, advance, as_json
from offpath.errors import ArgumentError
from tests.core.values import wild

counts = st.integers(0, MAX_NUMBER) | st.floats(0, MAX_NUMBER)
words = st.none() | st.text(st.characters(), max_size=20)
steps = st.lists(st.tuples(counts, st.none() | counts, words, words), min_size=1, max_size=20)


@given(steps)
@example([(float(MAX_NUMBER), 5e-324, None, None)])
@example([(1.0, 0.0, None, None), (0, 0, "", "")])
def test_percent_never_falls_and_never_reaches_100(said: list[Any]) -> None:
    last: Progress | None = None
    for current, of, unit, message in said:
        line = advance(last, current, of, unit, message)
        assert line.current == current
        if line.percent is None:
            assert line.total is None
        else:
            assert 0 <= line.percent <= 99
        if last is not None:
            assert (line.percent or 0) >= (last.percent or 0)
            assert of is not None or line.total == last.total
        last = line


@given(counts, st.none() | counts, words, words)
def test_it_is_json_every_store_takes(current: float, of: float | None, unit: str | None, message: str | None) -> None:
    text = as_json(advance(None, current, of, unit, message))
    read = json.loads(text)
    assert set(read) <= {"current", "total", "unit", "message", "percent"}
    assert "\\u0000" not in text
    text.encode("utf-8")
    json.dumps(read, allow_nan=False)


@given(wild, wild, wild, wild)
def test_what_is_no_progress_is_an_argument_error(current: Any, of: Any, unit: Any, message: Any) -> None:
    try:
        line = advance(None, current, of, unit, message)
    except ArgumentError:
        return
    assert math.isfinite(line.current)
    assert math.isfinite(line.total or 0)


@pytest.mark.parametrize("argument", ["current", "of", "unit", "message"])
def test_the_argument_is_named(argument: str) -> None:
    bad: dict[str, Any] = {"current": 1, argument: object()}
    with pytest.raises(ArgumentError) as refused:
        advance(None, **bad)
    assert refused.value.argument == argument


def test_what_is_not_said_again_stays() -> None:
    first = advance(None, 3, 12, "pages", "rendering")
    assert first == Progress(3, 12, "pages", "rendering", 25)
    assert advance(first, 6) == Progress(6, 12, "pages", "rendering", 50)
    assert advance(first, 1) == Progress(1, 12, "pages", "rendering", 25)
    assert advance(first, 12).percent == 99
    assert advance(None, 3) == Progress(3, None, None, None, None)


def test_a_long_message_is_cut() -> None:
    message = advance(None, 1, message="x" * 5000 + "\ud800").message
    assert message is not None
    assert len(message) <= MAX_TEXT + 1
    with pytest.raises(ArgumentError, match="message"):
        advance(None, 1, message=7)  # type: ignore[arg-type]
