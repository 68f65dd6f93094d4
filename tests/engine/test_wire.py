"""What a worker and its child say to each other, in pieces of any size."""

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.engine.children import logs
from offpath.engine.children.wire import LENGTH, Frames, Garbled, frame

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=5),
    st.lists(st.integers(min_value=1, max_value=40), max_size=20),
)
def test_messages_arrive_as_they_were_sent_however_they_are_cut(sent: list[dict[str, Any]], cuts: list[int]) -> None:
    stream = b"".join(frame(message) for message in sent)
    frames, got = Frames(), []
    for cut in cuts:
        got += frames.feed(stream[:cut])
        stream = stream[cut:]
    got += frames.feed(stream)
    assert got == sent


@pytest.mark.parametrize("junk", [b"\xff" * 8, (3).to_bytes(LENGTH, "big") + b"{]}"])
def test_what_is_no_frame_is_refused(junk: bytes) -> None:
    with pytest.raises(Garbled):
        list(Frames().feed(junk))


def test_a_log_record_crosses_whatever_it_carries() -> None:
    circle: list[Any] = []
    circle.append(circle)
    record = logging.getLogger("x").makeRecord(
        "x",
        logging.INFO,
        "f.py",
        1,
        "\ud800 %s",
        ("\x00" * 100_000,),
        None,
        extra={"circle": circle, "big": "y" * 99_999},
    )
    said = json.loads(json.dumps(logs.packed(record)))
    assert len(said["msg"]) <= logs.MAX_TEXT + 1
    assert len(said["big"]) <= logs.MAX_EXTRA + 1
    assert said["circle"] == repr(circle)
    with pytest.MonkeyPatch.context() as patch:
        heard: list[logging.LogRecord] = []
        patch.setattr(logging.getLogger("x"), "handle", heard.append)
        patch.setattr(logging.getLogger("x"), "level", logging.INFO)
        logs.heard(said, {"job": "1"})
    assert heard[0].getMessage() == said["msg"]
    assert vars(heard[0])["offpath"] == {"job": "1"}
