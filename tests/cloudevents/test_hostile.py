"""Messages that are no events, or damaged: one exception with a sentence, never another one, never a hang."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.cloudevents import CloudEvent, decode, dumps, encode, loads, of_type
from offpath.codec import Data
from offpath.errors import ArgumentError, Unreadable
from offpath.ports.broker import Message
from tests.cloudevents.test_rules import KINDS, as_text, event

STRUCTURED = "application/cloudevents+json"


def refused(message: Message, kind: str = "kafka") -> str:
    with pytest.raises(Unreadable) as found:
        decode(message, kind)
    said = str(found.value)
    assert "\n" not in said
    assert len(said) < 400
    return said


def envelope(**more: object) -> bytes:
    return json.dumps({**json.loads(dumps(event(data=None))), **more}).encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is not JSON"),
        (b"not json", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"[]", "a batch"),
        (b"3", "it is no CloudEvent but 3"),
        (b"{}", "it has no specversion"),
        (b'{"a":"\xff"}', "it is not UTF-8: byte 0xff at 6"),
        ('{"id": "grün"}'.encode("utf-16"), "it is not UTF-8"),
        (b"\xef\xbb\xbf" + envelope(), "it is not JSON"),
        (envelope()[:-1] + b',"id":"2"}', "a member of it is there twice"),
        (envelope()[:-1] + b',"data":NaN}', "NaN or an infinite number"),
        (envelope()[:-1] + b',"data":-Infinity}', "NaN or an infinite number"),
        (envelope()[:-1] + b',"data":1e999}', "a number that is too large"),
        (envelope()[:-1] + b',"data":' + b"9" * 5000 + b"}", "it is not JSON: Exceeds the limit"),
        (envelope()[:-1] + b',"data":"\\u0000"}', "contains a NUL character"),
        (envelope()[:-1] + b',"data":"\\ud800"}', "a lone surrogate"),
        (envelope()[:-1] + b',"data":' + b"[" * 70 + b"]" * 70 + b"}", "nested more than 64 levels"),
        (envelope()[:-1] + b',"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested more than 64 levels"),
        (envelope()[:-1] + b',"data":' + b"[" * 100_000, "nested more than 64 levels"),
        (envelope()[:-1] + b',"data":"' + b"x" * (1 << 20) + b'"}', "more than 1,048,576"),
        (envelope(data=1, data_base64="AA=="), "both data and data_base64"),
        (envelope(data_base64="*"), "its data_base64 is no base64"),
        (envelope(data_base64="AA==AA=="), "its data_base64 is no base64"),
        (envelope(datacontenttype="application/json", data_base64="/w=="), "its data is not UTF-8"),
        (envelope(ext=1.5), "must be text, a whole number or a bool, not 1.5"),
        (envelope(ext={}), "must be text, a whole number or a bool, not {}"),
        (envelope(ext=2**31), "must fit into 32 bits"),
        (envelope(subject="a\nb"), r"U+000A"),
        (envelope(subject="\ufffe"), r"U+FFFE"),
        (envelope(source=3), "its attribute source must be text, not 3"),
        (envelope(id=True), "its attribute id must be text, not True"),
    ],
)  # fmt: skip
def test_structured_messages_that_are_none(body: bytes, said: str) -> None:
    for kind in KINDS:
        assert said in refused(Message(body, {}, STRUCTURED), kind)


def test_another_charset_than_utf_8() -> None:
    assert "JSON is read in UTF-8" in refused(Message(envelope(), {}, f"{STRUCTURED}; charset=latin-1"))
    assert decode(Message(envelope(), {}, f'{STRUCTURED}; charset="US-ASCII"'), "kafka").id


@pytest.mark.parametrize("kind", ["http", "kafka", "rabbitmq", "redis"])
def test_binary_messages_that_are_none(kind: str) -> None:
    good = encode(event(), kind)
    plain = refused(Message(b'{"userId":1}', {"x": "y"}, "application/json"), kind)
    assert "it is no CloudEvent: no header of it begins with" in plain
    assert "its data is not JSON" in refused(good._replace(body=b"{"), kind)
    assert "its data is not UTF-8" in refused(good._replace(body=b'"\xff"'), kind)
    assert "NaN" in refused(good._replace(body=b"NaN"), kind)
    assert "nested more than 64" in refused(good._replace(body=b"[" * 99 + b"]" * 99), kind)
    assert "more than 1,048,576" in refused(good._replace(body=b"0" * (1 << 21)), kind)
    assert "more than 1,048,576" in refused(good._replace(body=b"0" * (1 << 21), type="image/png"), kind)
    assert decode(good._replace(body=b'{"a":1,"a":2}'), kind).data == {"a": 2}


def test_a_header_in_two_spellings() -> None:
    good = encode(event(), "http")
    assert "is there twice" in refused(good._replace(headers={**good.headers, "CE-Id": "2"}), "http")


def test_what_is_read_can_be_written_again_in_every_way() -> None:
    came = loads(envelope(datacontenttype="text/plain", data={"json": "all the same"}))
    for kind in KINDS:
        assert decode(encode(came, kind, "structured"), kind) == came


# -- anything at all ---------------------------------------------------------------------------------------------------

text = st.text(max_size=12)
NAMES = ["id", "source", "specversion", "type", "time", "subject", "datacontenttype", "x", "X-y"]
names = st.sampled_from(NAMES) | text
values = st.sampled_from(["1.0", "2018-04-05T17:31:00Z", "application/json", "", "%C0%A0", '"']) | text
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
types = (
    st.none()
    | st.sampled_from(
        ["application/json", STRUCTURED, "application/cloudevents-batch+json", "text/plain", ";", "a/b;charset=x"]
    )
    | text
)


def either(message: Message, kind: str) -> CloudEvent[Any] | None:
    """The event, or None when it is said to be none."""
    try:
        came = decode(message, kind)
    except Unreadable:
        return None
    assert loads(dumps(came)) == came
    return came


@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.tuples(st.sampled_from(["ce-", "ce_", "cloudEvents_", "cloudEvents:", ""]), names), values),
    types,
    st.binary(max_size=40) | json_values.map(lambda v: json.dumps(v).encode("utf-8", "surrogatepass")),
)
def test_whatever_comes(kind: str, headers: Mapping[tuple[str, str], str], type: str | None, body: bytes) -> None:
    either(Message(body, {f"{prefix}{name}": value for (prefix, name), value in headers.items()}, type), kind)


@given(st.sampled_from(KINDS), st.dictionaries(names, json_values), json_values)
def test_whatever_is_in_the_envelope(kind: str, more: dict[str, Any], data: Any) -> None:
    body = {**json.loads(dumps(event(data=None))), "data": data, **more}
    either(Message(json.dumps(body).encode(), {}, STRUCTURED), kind)


characters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff").filter(
    lambda c: not 0xFDD0 <= ord(c) <= 0xFDEF and ord(c) & 0xFFFE != 0xFFFE
)
valid = st.text(characters, min_size=1, max_size=20)
finite: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | valid,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(valid, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(KINDS),
    st.sampled_from(["binary", "structured"]),
    st.fixed_dictionaries({"type": valid, "source": valid, "id": valid, "data": finite}),
    st.fixed_dictionaries({}, optional={"subject": valid, "partitionkey": valid}),
    st.dictionaries(
        st.from_regex(r"x[a-z0-9]{0,19}", fullmatch=True),
        st.text(characters, max_size=9) | st.booleans() | st.integers(-(2**31), 2**31 - 1),
        max_size=4,
    ),
)
def test_evt_01_every_event_comes_back(
    kind: str, mode: Any, required: dict[str, Any], optional: dict[str, Any], extensions: dict[str, Any]
) -> None:
    sent: CloudEvent[Any] = CloudEvent(**required, **optional, extensions=extensions)
    came = decode(encode(sent, kind, mode), kind)
    wanted = as_text(sent) if mode == "binary" and kind != "sqs" else sent
    assert came == (replace(wanted, datacontenttype=None) if sent.data is None else wanted)


@given(st.binary(max_size=30), st.sampled_from([None, "application/json", "text/plain", "image/png"]))
def test_whatever_is_wanted_of_the_data(body: bytes, type: str | None) -> None:
    message = encode(event(), "kafka")._replace(body=body, type=type)
    came = either(message, "kafka")
    if came is not None:
        for shape in (Data("x", int), Data("x", str), Data("x", bytes), Data("x", dict[str, int])):
            with contextlib.suppress(Unreadable, ArgumentError):
                of_type(came, shape)
