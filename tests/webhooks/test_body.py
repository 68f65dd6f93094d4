"""The bytes of an event."""

import json
from typing import Any

import pytest

from offpath.errors import ConfigurationError
from offpath.webhooks.body import LARGEST, check_type, payload


def test_whk_01_a_body_is_type_timestamp_and_data() -> None:
    body = payload("operation.succeeded", 1_700_000_000_123_456, '{"id":"1","n":1.0,"é":"ü"}')
    assert body == (
        '{"type":"operation.succeeded","timestamp":"2023-11-14T22:13:20.123456Z","data":{"id":"1","n":1.0,"é":"ü"}}'.encode()
    )


def test_whk_22_a_large_body_becomes_thin() -> None:
    asked = []

    def thin() -> str:
        asked.append(True)
        return '{"links":{}}'

    empty = len(payload("a", 0, '""'))
    fits = f'"{"x" * (LARGEST - empty)}"'
    assert len(payload("a", 0, fits, thin)) == LARGEST == 20_000
    assert not asked
    over = fits.replace("x", "xx", 1)
    assert json.loads(payload("a", 0, over, thin))["data"] == {"links": {}}
    assert len(payload("a", 0, over)) == LARGEST + 1
    umlauts = f'"{"ü" * (LARGEST // 2)}"'  # it is bytes that count
    assert json.loads(payload("a", 0, umlauts, thin))["data"] == {"links": {}}


@pytest.mark.parametrize("name", ["a", "operation.succeeded", "A_1.b.c9", "endpoint.test"])
def test_whk_18_an_event_type(name: str) -> None:
    assert check_type(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", "a-b", "a b", "a\n", "ä", "a*", "a" * 129, None, 7, b"a"]
)
def test_whk_18_what_is_no_event_type(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="event type"):
        check_type(name)
    with pytest.raises(ConfigurationError, match="event type"):
        payload(name, 0, "{}")
