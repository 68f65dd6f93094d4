"""wire.md 1.11: the bytes of an event stream; and the vectors for Prefer and cursors' own properties."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from offpath.http import sse
from offpath.http.cursor import BadCursor, Cursors
from offpath.http.prefer import parse
from tests.http.decoder import Decoder, Seen, decode

TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n")) | st.sampled_from(
    ["", " ", "\u2028", "\u2029", "\u0085", "\x0b\x0c\x1c\x1e", "\x00", "\ufeff", ": x", "data: y", "é" * 10]
)


def test_the_decoder_of_these_tests_is_right(conformance: Path) -> None:
    for case in json.loads((conformance / "sse" / "vectors.json").read_text())["cases"]:
        raw = case["raw"].encode()
        wanted = [Seen(event["type"], event["data"], event["lastEventId"]) for event in case["events"]]
        cuts = range(len(raw) + 1) if len(raw) < 500 else (0, 1, len(raw) // 2)
        for cut in cuts:
            decoder = Decoder()
            assert decoder.feed(raw[:cut]) + decoder.feed(raw[cut:]) == wanted, case["name"]
        assert decoder.retry == case.get("final_retry_ms", decoder.retry)
        assert decoder.id == case.get("final_last_event_id", decoder.id)


@given(lines=st.lists(TEXT, min_size=1), end=st.sampled_from(["\r\n", "\n", "\r"]), id=st.integers(0))
def test_sse_02_03_04_a_frame_says_what_was_put_in(lines: list[str], end: str, id: int) -> None:
    text = end.join(lines)
    frame = sse.frame("operation.output", text, id)
    assert decode(frame) == [Seen("operation.output", "\n".join(lines), str(id))]
    assert frame.count(b"\n\n") == 1
    assert b"\ndata: " in frame  # SSE-03
    assert b"\r" not in frame


@pytest.mark.parametrize("text", ["a\u2028b\u2029c\u0085d", "e\x0bf\x0cg", "h\r\ni", '{"a":"\u2028"}'])
def test_sse_02_httpx_sse_sees_one_event(text: str) -> None:
    body = sse.retry(2000) + sse.frame("operation.progress", text, 7) + sse.BEAT
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    events = list(EventSource(response).iter_sse())
    wanted = text.replace("\r\n", "\n")
    assert [(e.event, e.data, e.id) for e in events if e.data] == [("operation.progress", wanted, "7")]


def test_sse_10_retry_is_digits() -> None:
    decoder = Decoder()
    assert decoder.feed(sse.retry(1999)) == []
    assert decoder.retry == 1999


def test_sse_09_a_comment_is_no_event() -> None:
    decoder = Decoder()
    assert decoder.feed(sse.BEAT) == []
    assert decoder.comments == 1


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1e3", "٣", "0x1", " 1", "9" * 16, "1\x00", "op:7"])
def test_sse_07_what_is_no_number_of_ours(text: str) -> None:
    assert sse.last_event_id(text, None) is None
    assert sse.last_event_id(None, text) is None


def test_sse_12_the_header_wins() -> None:
    assert sse.last_event_id("3", "7") == 3
    assert sse.last_event_id(None, "7") == 7
    assert sse.last_event_id(None, None) is None


# ── Prefer ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_prf_01_02_vectors(conformance: Path) -> None:
    for case in json.loads((conformance / "prefer" / "vectors.json").read_text())["cases"]:
        said = parse(case["lines"])
        if "prefs" in case:
            assert said.prefs == case["prefs"], case
        assert said.params == case.get("params", {}), case
        assert said.neither == frozenset(case.get("neither", ())), case
        if "clamp" in case:
            assert said.wait(30) == 30


@given(st.lists(st.text()))
def test_prf_01_never_an_error(lines: list[str]) -> None:
    wait = parse(lines).wait(30)
    assert wait is None or 0 <= wait <= 30


def test_prf_01_junk_beside_a_preference() -> None:
    assert parse(['wait=3, "', "@@@, handling=strict; ;"]).prefs == {"wait": "3", "handling": "strict"}


# ── cursors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(mark=st.integers(0, 2**128 - 1), bound=st.lists(st.text()), other=st.lists(st.text()))
def test_lst_02_a_cursor_opens_for_its_own_question_only(mark: int, bound: list[str], other: list[str]) -> None:
    cursors = Cursors(b"secret")
    text = cursors.seal(mark, bound)
    assert cursors.open(text, bound) == mark
    if other != bound:
        with pytest.raises(BadCursor):
            cursors.open(text, other)
    with pytest.raises(BadCursor):
        Cursors(b"another").open(text, bound)


@given(st.text())
def test_lst_02_any_text_is_refused_cleanly(text: str) -> None:
    with pytest.raises(BadCursor):
        Cursors(b"secret").open(text, ())


def test_problem_cases(conformance: Path) -> None:
    """The generator's rules among them: `status` equals the HTTP status; inside an Operation it may differ."""
    cases: list[dict[str, Any]] = json.loads((conformance / "problem-details" / "cases.json").read_text())["cases"]
    assert {case["name"] for case in cases if case.get("http_status")}, "site.check and test_res_10 hold these"
