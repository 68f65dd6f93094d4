"""wire.md 1.13, what an event is and how each broker carries it."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import BaseModel

from offpath.cloudevents import CloudEvent, canonical, completed, decode, dumps, encode, loads, sealed, traced
from offpath.cloudevents.event import MAX_BYTES
from offpath.core.trace import Trace
from offpath.errors import ArgumentError, ConfigurationError, Unreadable
from offpath.ports.broker import Message

KINDS = ("http", "kafka", "rabbitmq", "redis", "sqs")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
TEXT = 'Euro € 😀 100% "quoted" a+b;c,d\'e'


def event(**more: Any) -> CloudEvent[Any]:
    given: dict[str, Any] = {"type": "com.example.thing.done.v1", "source": "/things", "id": "019-1", "data": {"n": 1}}
    return CloudEvent(**{**given, **more})


FULL = event(
    subject=TEXT,
    time=NOW,
    dataschema="https://example.org/schemas/thing",
    partitionkey="thing:ü",
    extensions={"number": -(2**31), "yes": True, "no": False, "text": TEXT, "empty": ""},
)
"""With every attribute; values that need care in a header."""


def as_text(event: CloudEvent[Any]) -> CloudEvent[Any]:
    """As it is after binary mode, which has text only."""
    from dataclasses import replace

    return replace(event, extensions={name: canonical(value) for name, value in event.extensions.items()})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_evt_01_it_arrives_as_it_was_sent_however_often(kind: str, mode: Any) -> None:
    message = encode(FULL, kind, mode)
    assert encode(FULL, kind, mode) == message
    came = decode(message, kind)
    binary = mode == "binary" and kind != "sqs"
    assert came == (as_text(FULL) if binary else FULL)
    assert came.id == FULL.id == message.id
    assert decode(encode(came, kind, mode), kind) == came


def test_evt_01_what_is_left_open_is_filled_in_once() -> None:
    made = completed(CloudEvent(type="a"), source="/orders", id="1", time=NOW)
    assert (made.source, made.id, made.time) == ("/orders", "1", NOW)
    again = completed(made, source="/others", id="2", time=NOW + timedelta(days=1))
    assert again == made
    assert json.loads(dumps(made))["specversion"] == "1.0"
    with pytest.raises(ArgumentError, match=r'source="/orders"'):
        completed(CloudEvent(type="a"), source="", id="1", time=NOW)
    for wrong in ("not a uri", "/ü", 'a"b'):
        with pytest.raises(ArgumentError, match="must be a URI or a path"):
            completed(CloudEvent(type="a"), source=wrong, id="1", time=NOW)
    with pytest.raises(ArgumentError, match="absolute URI"):
        completed(CloudEvent(type="a", source="/a", dataschema="schemas/x"), source="", id="1", time=NOW)


@pytest.mark.parametrize("missing", ["id", "source", "type", "specversion"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_evt_01_without_a_required_attribute_it_is_none(missing: str, kind: str, mode: Any) -> None:
    message = encode(event(), kind, mode)
    if message.headers:
        headers = {name: value for name, value in message.headers.items() if not name.endswith(missing)}
        message = message._replace(headers=headers)
    else:
        body = json.loads(message.body)
        del body[missing]
        message = message._replace(body=json.dumps(body).encode())
    with pytest.raises(Unreadable, match=f"no {missing}"):
        decode(message, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", ["0.3", "1.1", "2.0", "1", ""])
def test_another_version_is_said_to_be_one(kind: str, version: str) -> None:
    message = encode(event(), kind)
    if message.headers:
        headers = {n: (version if n.endswith("specversion") else v) for n, v in message.headers.items()}
        message = message._replace(headers=headers)
    else:
        message = message._replace(body=message.body.replace(b'"1.0"', json.dumps(version).encode()))
    with pytest.raises(Unreadable, match=r"its specversion is .*; this version of offpath reads 1.0"):
        decode(message, kind)


@pytest.mark.parametrize(
    "name",
    ["Upper", "under_score", "da-sh", "ü", "a" * 21, "", "data", "id", "time", "partitionkey", "datacontenttype", 3],
)
def test_evt_03_names_of_attributes(name: Any) -> None:
    with pytest.raises(ArgumentError, match="is no name for one: \\[a-z0-9\\], at most 20 characters"):
        event(extensions={name: "x"})
    assert event(extensions={"a" * 20: "x", "0a": "y"})


@pytest.mark.parametrize("name", ["under_score", "a" * 21, "ü"])
@pytest.mark.parametrize("kind", KINDS)
def test_evt_03_a_foreign_name_that_is_none_is_told(name: str, kind: str) -> None:
    message = encode(event(), kind)
    if message.headers:
        prefix = next(iter(message.headers)).removesuffix("id")
        message = message._replace(headers={**message.headers, prefix + name: "x"})
    else:
        message = message._replace(body=json.dumps({**json.loads(message.body), name: "x"}).encode())
    with pytest.raises(Unreadable, match="is no name for one"):
        decode(message, kind)


def test_evt_04_http_binary() -> None:
    message = encode(FULL, "http")
    assert message.body == b'{"n":1}'
    assert message.type == "application/json"
    assert "ce-datacontenttype" not in message.headers
    names = "id source specversion type subject time dataschema partitionkey number yes no text empty"
    assert set(message.headers) == {f"ce-{name}" for name in names.split()}
    assert message.headers["ce-time"] == "2026-01-02T03:04:05.678901Z"
    assert message.headers["ce-number"] == "-2147483648"
    assert message.headers["ce-yes"] == "true"
    assert all(value.isascii() and value.isprintable() and " " not in value for value in message.headers.values())
    shouted = message._replace(headers={name.upper(): value for name, value in message.headers.items()})
    assert decode(shouted, "http") == as_text(FULL)
    old = message._replace(headers={**message.headers, "ce-subject": r'"say \"hi\" %41"'})
    assert decode(old, "http").subject == 'say "hi" A'


def test_evt_05_http_structured_has_everything_in_the_body() -> None:
    message = encode(FULL, "http", "structured")
    assert message.type == "application/cloudevents+json; charset=utf-8"
    assert not message.headers
    body = json.loads(message.body)
    assert body["data"] == {"n": 1}
    assert body["number"] == -(2**31)
    assert body["yes"] is True
    loud = message._replace(type="Application/CloudEvents+JSON;charset=UTF-8", headers={"ce-id": "another"})
    assert decode(loud, "http") == FULL


@pytest.mark.parametrize("kind", KINDS)
def test_evt_05_a_batch_nobody_asked_for(kind: str) -> None:
    body = f"[{dumps(event())}]".encode()
    for type in ("application/cloudevents-batch+json", "application/cloudevents+json"):
        with pytest.raises(Unreadable, match="a batch of events, which nobody asked for"):
            decode(Message(body, {}, type), kind)
    with pytest.raises(Unreadable, match=r"its format is application/cloudevents\+avro"):
        decode(Message(b"", {}, "application/cloudevents+avro"), kind)


def test_evt_07_kafka_binary() -> None:
    message = encode(FULL, "kafka")
    assert message.headers["ce_subject"] == TEXT
    assert message.headers["ce_partitionkey"] == message.key == "thing:ü"
    assert message.type == "application/json"
    assert encode(event(), "kafka").key is None
    structured = encode(FULL, "kafka", "structured")
    assert structured.key == "thing:ü"
    assert json.loads(structured.body)["partitionkey"] == "thing:ü"
    assert decode(encode(event(), "kafka")._replace(key="3"), "kafka").partitionkey is None


def test_evt_08_amqp_binary() -> None:
    message = encode(FULL, "rabbitmq")
    assert {name[:12] for name in message.headers} == {"cloudEvents_"}
    assert message.type == "application/json"
    colons = {name.replace("cloudEvents_", "cloudEvents:"): value for name, value in message.headers.items()}
    assert decode(message._replace(headers={**colons, "x-death": "1"}), "rabbitmq") == as_text(FULL)
    with pytest.raises(Unreadable, match="is there twice"):
        decode(message._replace(headers={**message.headers, "cloudEvents:id": "2"}), "rabbitmq")
    stamped = {**message.headers, "cloudEvents_time": canonical(NOW)}
    assert decode(message._replace(headers=stamped), "rabbitmq").time == NOW
    stamped["cloudEvents_time"] = canonical(1_767_323_045_678)
    assert decode(message._replace(headers=stamped), "rabbitmq").time == NOW.replace(microsecond=678000)


def test_what_a_broker_with_types_hands_on_is_canonical_text() -> None:
    assert [canonical(value) for value in (True, False, 7, "x", b"\xc3\xbc", NOW)] == [
        "true", "false", "7", "x", "ü", "2026-01-02T03:04:05.678901Z",
    ]  # fmt: skip
    assert canonical(datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-02T00:00:00+02:00"
    bad = encode(event(), "kafka")
    with pytest.raises(Unreadable, match=r"U\+DCFF"):
        decode(bad._replace(headers={**bad.headers, "ce_subject": canonical(b"\xff")}), "kafka")


def test_sqs_has_room_for_structured_mode_only() -> None:
    message = encode(FULL, "sqs")
    assert not message.headers
    assert message.type == "application/cloudevents+json; charset=utf-8"
    assert decode(message._replace(type=None), "sqs") == FULL


def test_evt_09_at_most_64_kib() -> None:
    room = MAX_BYTES - len(sealed(event(data="", time=NOW), None, source="", id="", time=NOW).text)
    fits = sealed(event(data="x" * room, time=NOW), None, source="", id="", time=NOW)
    assert len(fits.text) == MAX_BYTES
    with pytest.raises(ArgumentError, match=r"takes 65,537 bytes.*more than 65,536.*publish a link to it"):
        sealed(event(data="x" * (room + 1), time=NOW), None, source="", id="", time=NOW)
    raw = event(data=b"x" * 50_000, datacontenttype="image/png")
    with pytest.raises(ArgumentError, match="publish a link to it"):
        sealed(raw, None, source="", id="", time=NOW)
    large = loads(dumps(event(data="x" * 200_000)))  # others may send more, and we take it
    assert len(large.data) == 200_000


def test_obs_04_the_trace_in_which_its_sending_began() -> None:
    trace = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1, "vendor=1")
    sent = traced(event(), trace)
    for kind in KINDS:
        came = decode(encode(sent, kind), kind)
        assert came.extensions == {
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate": "vendor=1",
        }
    assert traced(sent, trace._replace(span_id="1" * 16)) == sent
    assert traced(event(), None) == event()
    assert "tracestate" not in traced(event(), trace._replace(state="")).extensions


class Thing(BaseModel):
    n: int
    when: datetime | None = None


DATA = [
    ("application/json", {"n": 1}, b'{"n":1}', {"n": 1}),
    ("application/json", Thing(n=1, when=NOW), None, {"n": 1, "when": "2026-01-02T03:04:05.678901Z"}),
    ("application/json; charset=utf-8", [1, 2.5, "ü"], '[1,2.5,"ü"]'.encode(), [1, 2.5, "ü"]),
    ("application/vnd.thing+json", "text", b'"text"', "text"),
    ("text/json", True, b"true", True),
    ("application/json", None, b"", None),
    ("text/plain", "grün", "grün".encode(), "grün".encode()),
    ("image/png", b"\x00\xff", b"\x00\xff", b"\x00\xff"),
    (None, b"\x00\xff", b"\x00\xff", b"\x00\xff"),
]


@pytest.mark.parametrize(("type", "data", "body", "back"), DATA)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_data_of_each_kind(type: str | None, data: Any, body: bytes | None, back: Any, kind: str, mode: Any) -> None:
    kept = loads(sealed(event(data=data, datacontenttype=type), None, source="", id="", time=NOW).text)
    message = encode(kept, kind, mode)
    if mode == "binary" and kind != "sqs":
        assert message.type == (None if data is None else type)
        if body is not None:
            assert message.body == body
    else:
        member = json.loads(message.body)
        if isinstance(back, bytes) and not isinstance(data, str):
            assert base64.b64decode(member["data_base64"]) == back
    assert decode(message, kind).data == back


def test_data_that_cannot_be_sent() -> None:
    def refused(data: object, type: str | None = "application/json") -> str:
        with pytest.raises(ArgumentError) as found:
            sealed(event(data=data, datacontenttype=type), None, source="", id="", time=NOW)
        assert found.value.argument == "data"
        return found.value.reason

    assert 'bytes need a datacontenttype of their own, as in datacontenttype="image/png"' in refused(b"x")
    assert "must be bytes or text when datacontenttype is 'text/csv'" in refused([1], "text/csv")
    assert "NaN" in refused({"n": float("nan")})
    assert "NUL" in refused("a\0b")
    assert "nested" in refused(json.loads("[" * 70 + "]" * 70))
    assert "lone surrogate" in refused("\ud800")


def test_a_kind_of_broker_that_is_none() -> None:
    for wrong in ("amqp", "", "KAFKA"):
        with pytest.raises(ConfigurationError, match="no broker of the kind"):
            encode(event(), wrong)
        with pytest.raises(ConfigurationError, match="no broker of the kind"):
            decode(Message(b""), wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2018-04-05T17:31:00Z", datetime(2018, 4, 5, 17, 31, tzinfo=UTC)),
        ("2018-04-05t17:31:00z", datetime(2018, 4, 5, 17, 31, tzinfo=UTC)),
        ("2018-04-05 17:31:00.5+02:00", datetime(2018, 4, 5, 15, 31, 0, 500_000, UTC)),
        ("2018-04-05T17:31:00.123456789Z", datetime(2018, 4, 5, 17, 31, 0, 123_456, UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times(text: str, said: datetime) -> None:
    assert loads(json.dumps({**json.loads(dumps(event())), "time": text})).time == said


@pytest.mark.parametrize(
    "text",
    [
        "2018-04-05",
        "20180405T173100Z",
        "2018-04-05T17:31:00",
        "2018-13-05T17:31:00Z",
        "now",
        "",
        5,
        "2018-W14-4T00:00:00Z",
    ],
)
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(Unreadable, match="its time"):
        loads(json.dumps({**json.loads(dumps(event())), "time": text}))
