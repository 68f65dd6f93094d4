"""wire.md 1.11, conformance/sse: the client's decoder, fed at every split point."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offpath.client.decoder import Decoder, Message


def decode(pieces: Sequence[bytes]) -> tuple[list[Message], Decoder]:
    decoder = Decoder()
    return [message for piece in pieces for message in decoder.feed(piece)], decoder


def cases(conformance: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((conformance / "sse" / "vectors.json").read_text())["cases"]
    assert len(found) > 15
    return found


def splits(raw: bytes) -> list[list[bytes]]:
    """Whole; in two at every offset (of a long text: near its ends and line ends); byte by byte; in threes."""
    if len(raw) < 400:
        at = list(range(1, len(raw)))
    else:
        at = [n for n in range(1, len(raw)) if n < 50 or n > len(raw) - 50 or raw[n - 1] in b"\r\n" or n % 97 == 0]
    chance = random.Random(9)
    some = sorted(chance.sample(range(1, len(raw)), min(5, len(raw) - 1)))
    threes = [raw[n : n + 3] for n in range(0, len(raw), 3)]
    mixed = [raw[a:b] for a, b in zip([0, *some], [*some, len(raw)], strict=True)]
    single = [raw[n : n + 1] for n in range(len(raw))]
    return [[raw], single, threes, mixed, *([raw[:n], raw[n:]] for n in at), [b"", raw, b""]]


def test_sse_02_the_vectors_at_every_split_point(conformance: Path) -> None:
    for case in cases(conformance):
        raw = case["raw"].encode()
        expected = [Message(one["type"], one["data"], one["lastEventId"]) for one in case["events"]]
        for pieces in splits(raw):
            seen, decoder = decode(pieces)
            assert seen == expected, (case["name"], pieces)
            if "final_last_event_id" in case:
                assert decoder.last_id == case["final_last_event_id"], case["name"]
            if "final_retry_ms" in case:
                assert decoder.retry == case["final_retry_ms"], case["name"]


def test_sse_04_a_retry_of_any_length_is_read_and_none_of_other_signs() -> None:
    for text, expected in {"0": 0, "0003000": 3000, "\u0663": None, "1 ": None, "-1": None, "": None}.items():
        assert decode([f"retry:{text}\n".encode()])[1].retry == expected, text
    assert (decode([b"retry: " + b"9" * 5_000 + b"\n"])[1].retry or 0) > 10**9


def test_sse_05_an_id_from_before_is_kept_until_another_comes() -> None:
    decoder = Decoder("7")
    assert decoder.feed(b"data: a\n\nid: 8\ndata: b\n\n") == [
        Message("message", "a", "7"),
        Message("message", "b", "8"),
    ]
    assert decoder.feed(b"id: 9\ndata: cut off") == []
    assert decoder.last_id == "8"


def test_sse_02_bytes_that_are_no_utf8_become_replacement_characters() -> None:
    assert decode([b"data: a\xffb\xe2\x82\n\n"])[0] == [Message("message", "a\ufffdb\ufffd", "")]
