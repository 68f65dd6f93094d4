"""The specification's own vectors: the JSON Schema, header values, and the scenarios of the conformance project."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from offpath.cloudevents import CloudEvent, decode, dumps, encode
from offpath.cloudevents.percent import decoded, encoded
from offpath.errors import Unreadable
from offpath.ports.broker import Message
from tests.cloudevents.test_rules import FULL, event


@pytest.fixture
def folder(conformance: Path) -> Path:
    return conformance / "cloudevents"


def test_evt_01_structured_events_are_valid_by_the_json_schema(folder: Path) -> None:
    schema = json.loads((folder / "cloudevents.schema.json").read_text())
    for one in (FULL, event(), event(data=None), event(data=b"\xff", datacontenttype="image/png"), event(data=[1])):
        jsonschema.validate(json.loads(dumps(one)), schema, format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""}, {"source": ""}, {"type": ""}, {"specversion": ""}, {"subject": ""}, {"time": ""},
        {"dataschema": ""}, {"datacontenttype": ""}, {"id": 3}, {"subject": 3}, {"data_base64": 3}, {"time": 3},
        {"type": None},
    ],
)  # fmt: skip
def test_what_the_schema_refuses_is_unreadable(folder: Path, wrong: dict[str, Any]) -> None:
    schema = json.loads((folder / "cloudevents.schema.json").read_text())
    body = {**json.loads(dumps(event(data=None))), **wrong}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, schema)
    with pytest.raises(Unreadable):
        decode(Message(json.dumps(body).encode(), {}, "application/cloudevents+json"), "http")


def test_evt_04_06_header_values(folder: Path) -> None:
    vectors = json.loads((folder / "header-encoding.json").read_text())
    assert vectors["cases"]
    for case in vectors["cases"]:
        assert encoded(case["value"]) == case["header"]
        assert decoded(case["header"], "ce-x") == case["value"]
    for header in vectors["decode_must_reject"]:
        with pytest.raises(Unreadable, match="is not UTF-8"):
            decoded(header, "ce-x")
    for case in vectors["decode_must_accept"]:
        assert decoded(case["header"], "ce-x") == case["value"]


def test_evt_06_bytes_that_are_not_utf_8_in_a_message() -> None:
    message = encode(event(), "http")
    for bad in ("%C0%A0", "%ED%A0%80", "%FF", "a%80b", "ÿ"):
        with pytest.raises(Unreadable, match=r"its header 'ce-subject' is not UTF-8"):
            decode(message._replace(headers={**message.headers, "ce-subject": bad}), "http")
    for good, said in (("%41bc", "Abc"), ("euro%e2%82%ac", "euro€"), ("100%", "100%"), ("%zz", "%zz")):
        assert decode(message._replace(headers={**message.headers, "ce-subject": good}), "http").subject == said
    raw = "grün".encode().decode("latin-1")  # as servers hand on what was never encoded
    assert decode(message._replace(headers={**message.headers, "ce-subject": raw}), "http").subject == "grün"


# -- the feature files -------------------------------------------------------------------------------------------------


def table(lines: list[str]) -> dict[str, str]:
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.strip()[:1] == "|"]
    return dict(row for row in rows if len(row) == 2 and row[0] != "key")  # type: ignore[misc]


def scenarios(text: str) -> list[tuple[str, str]]:
    """(name, body) of each scenario, outlines written out."""
    found = []
    for part in re.split(r"^\s*Scenario(?: Outline)?:", text, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        body, _, examples = body.partition("Examples:")
        rows = [line.strip().strip("|").strip() for line in examples.splitlines() if line.strip().startswith("|")]
        for value in rows[1:] or [""]:
            found.append((name.strip(), body.replace("<contentType>", value)))
    return found


def quoted(body: str) -> list[str]:
    """The texts between three quotation marks, without their indentation."""
    texts = re.findall(r'"""\n(.*?)\n\s*"""', body, flags=re.DOTALL)
    stripped = []
    for text in texts:
        lines = text.splitlines()
        indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        stripped.append("\n".join(line[indent:] for line in lines))
    return stripped


def checked(came: CloudEvent[Any], body: str, wanted: str) -> None:
    said = json.loads(dumps(came))
    attributes = table(body.partition("attributes are:")[2].partition("And the data")[0].splitlines())
    assert attributes
    assert {name: said[name] for name in attributes} == attributes
    assert came.data == json.loads(wanted)


def test_evt_04_05_the_http_scenarios(folder: Path) -> None:
    found = scenarios((folder / "http-protocol-binding.feature").read_text())
    assert len(found) == 4
    for _name, body in found:
        request, wanted = quoted(body)
        head, _, content = request.partition("\n\n")
        headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
        message = Message(content.encode(), headers, headers["Content-Type"])
        checked(decode(message, "http"), body, wanted)


def test_evt_07_the_kafka_scenarios(folder: Path) -> None:
    found = scenarios((folder / "kafka-protocol-binding.feature").read_text())
    assert len(found) == 3
    for _name, body in found:
        payload, wanted = quoted(body)
        headers = table(body.partition("Kafka headers:")[2].partition("When parsed")[0].splitlines())
        message = Message(payload.encode(), headers, headers.pop("content-type"))
        checked(decode(message, "kafka"), body, wanted)
