"""The SDKs of the CloudEvents project, for Python and for Node.js, understand ours and we theirs, both ways and modes.

Where they depart from the specification, the test says so and takes a value that does not show it.
"""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings import amqp, http, kafka
from cloudevents.core.bindings.amqp import AMQPMessage
from cloudevents.core.bindings.http import HTTPMessage
from cloudevents.core.bindings.kafka import KafkaMessage
from cloudevents.core.v1.event import CloudEvent as Theirs

from offpath.cloudevents import CloudEvent, canonical, decode, encode
from offpath.ports.broker import Message

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


def event(**more: Any) -> CloudEvent[Any]:
    given: dict[str, Any] = {
        "type": "com.example.thing.done.v1",
        "source": "/things",
        "id": "019-1",
        "subject": 'a thing, "the" one: 100% Euro € 😀',
        "time": NOW,
        "dataschema": "https://example.org/schemas/thing",
        "partitionkey": "thing:1",
        "data": {"n": 1, "text": "grün 😀", "list": [1.5, None, True]},
    }
    return CloudEvent(**{**given, **more})


EVENTS = [
    event(),
    event(extensions={"text": "some thing", "number": "5"}),
    event(data=None, datacontenttype=None),
    event(data=b"\x00\xff\x80", datacontenttype="image/png"),
]


def attributes(event: CloudEvent[Any]) -> dict[str, Any]:
    """As the Python SDK has them."""
    found = {
        "specversion": "1.0",
        "type": event.type,
        "source": event.source,
        "id": event.id,
        "subject": event.subject,
        "time": event.time,
        "dataschema": event.dataschema,
        "partitionkey": event.partitionkey,
        "datacontenttype": event.datacontenttype if event.data is not None else None,
        **event.extensions,
    }
    return {name: value for name, value in found.items() if value is not None}


def read_by_them(kind: str, message: Message) -> Theirs:
    typed = {} if message.type is None else {"content-type": message.type}
    if kind == "http":
        came = http.from_http_event(HTTPMessage({**message.headers, **typed}, message.body))
    elif kind == "kafka":
        raw = {name: value.encode() for name, value in {**message.headers, **typed}.items()}
        came = kafka.from_kafka_event(KafkaMessage(raw, message.key, message.body))
    else:
        came = amqp.from_amqp_event(AMQPMessage(dict(typed), dict(message.headers), message.body))
    assert isinstance(came, Theirs)
    return came


def written_by_them(kind: str, mode: str, sent: Theirs) -> Message:
    if kind == "http":
        made = (http.to_binary_event if mode == "binary" else http.to_structured_event)(sent)
        headers = dict(made.headers)
        return Message(made.body, headers, headers.pop("content-type", None))
    if kind == "kafka":
        said = (kafka.to_binary_event if mode == "binary" else kafka.to_structured_event)(sent)
        headers = {name: value.decode() for name, value in said.headers.items()}
        key = said.key.decode() if isinstance(said.key, bytes) else said.key
        assert isinstance(said.value, bytes)
        return Message(said.value, headers, headers.pop("content-type", None), key)
    done = (amqp.to_binary_event if mode == "binary" else amqp.to_structured_event)(sent)
    headers = {name: canonical(value) for name, value in done.application_properties.items()}
    return Message(done.application_data, headers, done.properties.get("content-type"))


@pytest.mark.parametrize("kind", ["http", "kafka", "rabbitmq"])
@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("sent", EVENTS)
def test_evt_04_05_07_08_the_python_sdk_reads_ours(kind: str, mode: Any, sent: CloudEvent[Any]) -> None:
    came = read_by_them(kind, encode(sent, kind, mode))
    assert dict(came.get_attributes()) == attributes(sent)
    assert came.get_data() == sent.data


@pytest.mark.parametrize("kind", ["http", "kafka", "rabbitmq"])
@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("sent", EVENTS)
def test_evt_04_05_07_08_we_read_the_python_sdk(kind: str, mode: str, sent: CloudEvent[Any]) -> None:
    came = decode(written_by_them(kind, mode, Theirs(attributes(sent), sent.data)), kind)
    assert came == sent


def test_evt_08_an_amqp_time_may_be_a_number_and_extensions_have_types() -> None:
    sent = event(extensions={"number": 5, "yes": True})
    message = written_by_them("rabbitmq", "binary", Theirs(attributes(sent), sent.data))
    assert message.headers["cloudEvents_time"].isdecimal()
    assert decode(message, "rabbitmq").time == NOW
    assert decode(message, "rabbitmq").extensions == {"number": "5", "yes": "true"}
    colons = {name.replace("_", ":", 1): value for name, value in encode(event(), "rabbitmq").headers.items()}
    theirs = read_by_them("rabbitmq", encode(event(), "rabbitmq")._replace(headers=colons))
    assert theirs.get_id() == "019-1"


def ask_npm(folder: Path, **asked: list[Any]) -> dict[str, Any]:
    words = ["node", str(Path(__file__).with_name("sdk.mjs")), str(folder.parent)]
    done = subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_evt_04_05_07_the_npm_sdk_and_we_read_each_other(node_modules: Path) -> None:
    # Of its departures: in binary mode it hands header values on as they are, both ways (HTTP 3.1.3.2 asks for
    # percent-encoding); over Kafka it lets an event without data through to its sender and not back to itself.
    plain = [
        event(subject="a-thing"),
        event(subject="a-thing", extensions={"text": "something"}),
        event(subject="a-thing", data=["a", 1], datacontenttype="application/json"),
    ]
    ways = [(kind, mode, one) for kind in ("http", "kafka") for mode in ("binary", "structured") for one in plain]
    read, write = [], []
    for kind, mode, one in ways:
        message = encode(one, kind, mode)  # type: ignore[arg-type]
        headers = {**message.headers, "content-type": message.type}
        read.append([kind, {"headers": headers, "body": message.body.decode(), "key": message.key}])
        said = {**attributes(one), "time": "2026-01-02T03:04:05.678Z", "data": one.data}
        write.append([kind, mode, said])
    answer = ask_npm(node_modules, read=read, write=write)
    for (kind, _, one), came, made in zip(ways, answer["read"], answer["write"], strict=True):
        wanted = {**attributes(one), "time": "2026-01-02T03:04:05.678Z", "data": one.data}
        assert came == wanted
        headers = {name: value for name, value in made["headers"].items() if name.lower() != "content-type"}
        type = next(value for name, value in made["headers"].items() if name.lower() == "content-type")
        assert decode(Message(made["body"].encode(), headers, type, made["key"]), kind) == one
