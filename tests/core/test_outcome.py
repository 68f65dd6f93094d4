"""A stored error is plain, bounded JSON text that every store can hold, whatever an exception said."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.core.outcome import MAX_DETAIL, MAX_TRACEBACK, clean, error

nasty = st.text(st.characters(), max_size=50) | st.text(
    st.sampled_from('\x00\ud800\udfff\u202e\x1b\r\n"\\é'), max_size=50
)


def loadable(text: str) -> dict[str, object]:
    assert "\x00" not in text
    assert "\\u0000" not in text, "jsonb refuses it"
    text.encode("utf-8")  # raises on a lone surrogate
    loaded = json.loads(text)
    json.dumps(loaded, ensure_ascii=False).encode("utf-8")  # and none hides in an escape
    assert isinstance(loaded, dict)
    return loaded


@given(nasty, nasty, nasty, nasty, nasty, nasty, st.integers(1, 100))
def test_any_text_makes_valid_json(a: str, b: str, c: str, d: str, e: str, f: str, times: int) -> None:
    said = error(
        "raised",
        a * times,
        detail=b * times,
        type=c * times,
        exception=d * times,
        traceback=e * 10 * times,
        status=500,
        reason=f * times,
        requested_at=17,
    )
    read = loadable(said)
    assert len(said) < 2 * (4 * MAX_DETAIL + MAX_TRACEBACK) + 1000
    assert read["kind"] == "raised"
    assert read["public"] is False
    assert read["requested_at"] == 17


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200))
def test_ordinary_text_is_kept_as_it_is(text: str) -> None:
    assert clean(text) == text
    assert json.loads(error("raised", text))["title"] == text


@given(st.text(st.sampled_from("\x00\ud800ab"), max_size=60), st.integers(1, 50), st.booleans())
def test_cutting_is_to_the_limit_escapes_included(text: str, limit: int, end: bool) -> None:
    cut = clean(text, limit, keep_end=end)
    assert len(cut) <= limit + 1
    if len(cut) > limit:
        assert (cut[0] if end else cut[-1]) == "…"


def test_a_traceback_keeps_its_end_and_a_detail_its_beginning() -> None:
    read = json.loads(error("raised", "Failed", detail="a" * 5000 + "z", traceback="a" * 50_000 + "the cause"))
    assert read["detail"] == "a" * MAX_DETAIL + "…"
    assert read["traceback"].endswith("the cause")
    assert read["traceback"].startswith("…")


@pytest.mark.parametrize("absent", ["detail", "status", "type", "class", "traceback"])
def test_what_was_not_said_is_not_there(absent: str) -> None:
    assert absent not in json.loads(error("timeout", "Timed out"))
