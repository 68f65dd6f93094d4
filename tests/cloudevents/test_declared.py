"""Declared types of events, the data they carry, and events as the argument of a task."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from offpath import Context, Offpath
from offpath.cloudevents import CloudEvent, decode, dumps, encode, loads, of_type, sealed
from offpath.codec import Data, schemas
from offpath.core.answers import told
from offpath.engine.outbox import answer
from offpath.engine.post import Post
from offpath.errors import ArgumentError, BrokerRefused, ConfigurationError, Unreadable
from offpath.ports import Consumer, Outgoing, Source
from offpath.tasks import EventType

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TYPE = "com.example.organization.renamed.v1"


class Renamed(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    id: int
    new_name: str = Field(alias="newName")
    tags: list[str] = []


@dataclass
class Closed:
    id: int
    at: datetime


@pytest.fixture
def jobs(tmp_path: Path) -> Offpath:
    return Offpath(f"sqlite:///{tmp_path}/a.db", source="/accounts")


def text_of(event: CloudEvent[Any], shape: Data | None = None) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(sealed(event, shape, source="/accounts", id="019", time=NOW).text)
    return said


# -- declaring ---------------------------------------------------------------------------------------------------------


def test_evt_02_a_declared_type_makes_events_of_it(jobs: Offpath) -> None:
    schema = "https://example.org/schemas/renamed.v1.json"
    declared = jobs.event(TYPE, data=Renamed, topic="organizations", description="It was renamed", dataschema=schema)
    assert jobs.registry.events == {TYPE: declared}
    made = declared(Renamed(id=1, new_name="b"), subject="organizations/1", partitionkey="org:1", extensions={"a": 1})
    assert text_of(made, declared.shape) == {
        "id": "019",
        "source": "/accounts",
        "specversion": "1.0",
        "type": TYPE,
        "datacontenttype": "application/json",
        "dataschema": schema,
        "subject": "organizations/1",
        "time": "2026-01-02T03:04:05Z",
        "partitionkey": "org:1",
        "a": 1,
        "data": {"id": 1, "newName": "b", "tags": []},
    }
    assert "dataschema" not in text_of(jobs.event("a.v1", data=Closed)(Closed(1, NOW)))  # none is made up


def test_its_data_is_checked_by_its_type(jobs: Offpath) -> None:
    declared = jobs.event(TYPE, data=Renamed)
    with pytest.raises(ArgumentError, match=r"argument 'data'.*newName"):
        text_of(declared({"id": 1}), declared.shape)  # type: ignore[arg-type]
    assert text_of(declared({"id": 1, "newName": "b"}), declared.shape)["data"]["newName"] == "b"  # type: ignore[arg-type]
    nothing = jobs.event("com.example.ping.v1")
    assert "data" not in text_of(nothing(), nothing.shape)
    with pytest.raises(ArgumentError, match="argument 'data'"):
        text_of(nothing(3), nothing.shape)  # type: ignore[call-overload]
    picture = jobs.event("com.example.picture.v1", data=bytes, datacontenttype="image/png")
    assert text_of(picture(b"\xff"), picture.shape)["data_base64"] == "/w=="


def test_one_type_is_declared_in_one_way(jobs: Offpath) -> None:
    jobs.event(TYPE, data=Renamed)
    again = jobs.event(TYPE, data=Renamed)  # its module was imported twice
    assert jobs.registry.events[TYPE] is again
    with pytest.raises(ConfigurationError, match=f"event {TYPE} is declared twice, in different ways"):
        jobs.event(TYPE, data=Closed)
    with pytest.raises(ConfigurationError, match="declared twice"):
        jobs.event(TYPE, data=Renamed, topic="other")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "its type must be text"),
        ({"name": "a\nb"}, "its type .* has the character U\\+000A"),
        ({"name": 3}, "its type must be text"),
        ({"topic": 3}, "its topic must be text"),
        ({"description": None}, "its description must be text"),
        ({"dataschema": "schemas/x"}, "its dataschema must be an absolute URI"),
        ({"datacontenttype": ""}, "its datacontenttype must be text"),
        ({"datacontenttype": "text/csv"}, "what is text/csv is bytes or str here"),
        ({"data": bytes}, 'bytes need a datacontenttype, as in datacontenttype="image/png"'),
        ({"data": type}, "cannot be stored|no JSON form"),
        ({"published": 1}, "published must be True or False"),
    ],
)
def test_what_cannot_be_declared(jobs: Offpath, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        jobs.event(**{"name": TYPE, "data": Renamed, **given})
    assert not jobs.registry.events


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Closed(1, NOW), {"id": 1, "at": "2026-01-02T03:04:05Z"}),
        (Renamed(id=1, new_name="b"), {"id": 1, "newName": "b", "tags": []}),
        ([Closed(1, NOW)], [{"id": 1, "at": "2026-01-02T03:04:05Z"}]),
        (NOW, "2026-01-02T03:04:05Z"),
        ("text", "text"),
        (1.5, 1.5),
        ({"a": {"b": None}}, {"a": {"b": None}}),
    ],
)
def test_an_event_of_no_declared_type(data: object, said: object) -> None:
    assert text_of(CloudEvent(type="a", data=data))["data"] == said


# -- reading -----------------------------------------------------------------------------------------------------------


def came(data: Any, type: str | None = "application/json") -> CloudEvent[Any]:
    return CloudEvent(type=TYPE, source="/accounts", id="1", data=data, datacontenttype=type)


def test_data_is_read_as_the_type_that_is_wanted() -> None:
    wanted = Data("event", Renamed)
    assert of_type(came({"id": 1, "newName": "b"}), wanted).data == Renamed(id=1, new_name="b")
    assert of_type(came(b'{"id":1,"newName":"b"}', None), wanted).data == Renamed(id=1, new_name="b")
    assert of_type(came({"id": 1, "at": "2026-01-02T03:04:05Z", "later": "more"}), Data("e", Closed)).data == Closed(
        1, NOW
    )
    assert of_type(came(b"\xff", "image/png"), Data("e", bytes)).data == b"\xff"
    assert of_type(came(b"\xff", "image/png"), Data("e", bytes | None)).data == b"\xff"
    assert of_type(came("grün".encode(), "text/plain"), Data("e", str)).data == "grün"
    assert of_type(came(None), Data("e", dict[str, int] | None)).data is None
    assert of_type(came(b"\xff", "image/png"), Data("e", Any)).data == b"\xff"
    assert of_type(came("/w=="), Data("e", bytes)).data == b"\xff"


def test_data_that_does_not_fit_is_told() -> None:
    with pytest.raises(ArgumentError, match=r"argument 'data'.*newName"):
        of_type(came({"id": 1}), Data("event", Renamed))
    with pytest.raises(ArgumentError, match="argument 'data'"):
        of_type(came(None), Data("event", Renamed))
    with pytest.raises(Unreadable, match="its data is 'image/png', which cannot be read as"):
        of_type(came(b"\xff", "image/png"), Data("event", Renamed))
    with pytest.raises(Unreadable, match="its data is not UTF-8"):
        of_type(came(b"\xff", "text/plain"), Data("event", str))
    with pytest.raises(Unreadable, match="its data is not JSON"):
        of_type(came(b"{", None), Data("event", Renamed))


# -- as the argument of a task -----------------------------------------------------------------------------------------


def test_a_task_takes_an_event_and_its_job_keeps_it_as_structured_json(jobs: Offpath) -> None:
    @jobs.task
    async def follow(ctx: Context, event: CloudEvent[Renamed]) -> None: ...

    @jobs.task
    async def any_of_them(event: CloudEvent[Any], also: CloudEvent[Closed] | None = None) -> None: ...

    sent = CloudEvent[Renamed](type=TYPE, source="/a", id="1", data=Renamed(id=1, new_name="b"), time=NOW)
    stored = follow.bind(sent)
    assert json.loads(stored) == {"event": json.loads(dumps(came({"id": 1, "newName": "b", "tags": []}))) | {
        "source": "/a", "time": "2026-01-02T03:04:05Z"}}  # fmt: skip
    assert follow.decode(stored) == {"event": sent}
    assert any_of_them.decode(stored)["event"].data == {"id": 1, "newName": "b", "tags": []}
    wire = decode(encode(loads(json.dumps(json.loads(stored)["event"])), "kafka"), "kafka")
    assert follow.decode(f'{{"event":{dumps(wire)}}}') == {"event": sent}
    picture = CloudEvent(type=TYPE, source="/a", id="1", data=b"\xff", datacontenttype="image/png")
    assert any_of_them.decode(any_of_them.bind(picture))["event"] == picture


def test_an_event_that_does_not_fit_the_task(jobs: Offpath) -> None:
    @jobs.task
    async def follow(event: CloudEvent[Renamed]) -> None: ...

    def refused(stored: str) -> str:
        with pytest.raises(ArgumentError) as found:
            follow.decode(stored)
        assert found.value.argument == "event"
        return found.value.reason

    good = dumps(came({"id": 1, "newName": "b"}))
    assert follow.decode(f'{{"event":{good}}}')
    assert "its data" in refused(f'{{"event":{good.replace("newName", "name")}}}')
    assert "its specversion is '2.0'" in refused(f'{{"event":{good.replace("1.0", "2.0")}}}')
    assert "must be a CloudEvent, not 3" in refused('{"event":3}')
    for wrong in (3, {"type": "a"}, came({"id": 1}), CloudEvent(type="a", data=Renamed(id=1, new_name="b"))):
        with pytest.raises(ArgumentError) as found:
            follow.bind(wrong)  # type: ignore[arg-type]
        assert found.value.argument == "event"


def test_without_pydantic_plain_types_do(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["pydantic"] = None
from offpath import Offpath
from offpath.cloudevents import CloudEvent
from offpath.errors import ArgumentError, MissingExtraError
jobs = Offpath("sqlite:///a.db", source="/a")

@jobs.task
async def follow(event: CloudEvent[dict[str, int]]) -> None: ...

sent = CloudEvent(type="a", source="/a", id="1", data={"n": 1})
assert follow.decode(follow.bind(sent)) == {"event": sent}
for wrong in (3, CloudEvent(type="a", source="/a", id="1", data={"n": "x"})):
    try:
        follow.bind(wrong)
    except ArgumentError as error:
        print(error)
jobs.event("a.v1", data=dict)
try:
    jobs.asyncapi()
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert "must be a CloudEvent, not 3" in first
    assert "its data must be int, not str" in second
    assert 'pip install "offpath[http]"' in third


# -- the end of a job --------------------------------------------------------------------------------------------------


class Kept:
    """A broker that keeps what it is given."""

    kind = "kafka"

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    async def open(self) -> None: ...

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[BrokerRefused | None]:
        self.sent += outgoing
        return [None] * len(outgoing)

    async def consume(self, source: Source) -> Consumer:
        raise AssertionError("nobody consumes here")

    async def close(self) -> None: ...


SECRET = "s3cret-of-alice@example.org"


def ended(error: Mapping[str, Any] | None, result: str | None) -> Any:
    from types import SimpleNamespace

    from offpath.core.job import State

    return SimpleNamespace(
        id="01980000-0000-7000-8000-000000000001", task="greet", state=State.FAILED if error else State.SUCCEEDED,
        attempt=1, finished_at=1_767_323_045_000_000, key=None, result=result,
        error=None if error is None else json.dumps(error), options=None, owner=SECRET,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "result", "type"),
    [
        (None, json.dumps({"to": SECRET}), "dev.offpath.job.succeeded.v1"),
        ({"kind": "raised", "detail": SECRET, "traceback": SECRET}, None, "dev.offpath.job.failed.v1"),
    ],
)
async def test_evt_02_10_the_end_of_a_job_is_told_with_nothing_secret_in_its_attributes(
    error: Mapping[str, Any] | None, result: str | None, type: str
) -> None:
    broker = Kept()
    old = ended(error, result)
    await answer(Post("kafka", lambda: broker), "/accounts", "answers", "019-a", told(old), "c-1")
    [out] = broker.sent
    event = decode(out.message, "kafka")
    assert (event.type, event.subject, event.id, event.source) == (type, old.id, "019-a", "/accounts")
    assert event.time is not None
    assert event.dataschema == "urn:offpath:schemas:job-ended:v1"
    assert SECRET not in str({**out.message.headers, "key": out.message.key, "where": (out.address, out.subject)})
    if error is not None:
        assert SECRET not in out.message.body.decode()  # what is not public of an error stays here


def test_evt_10_an_event_has_no_attribute_that_nobody_gave_it(jobs: Offpath) -> None:
    declared = jobs.event(TYPE, data=Renamed)
    made = declared(Renamed(id=1, new_name=SECRET))
    headers = encode(loads(json.dumps(text_of(made, declared.shape))), "kafka").headers
    assert set(headers) == {"ce_id", "ce_source", "ce_specversion", "ce_type", "ce_time"}
    assert SECRET not in str(headers)


def test_an_event_type_shows_itself() -> None:
    assert repr(EventType(TYPE, Renamed)) == f"<event {TYPE}>"


# -- schemas -----------------------------------------------------------------------------------------------------------


class Half(BaseModel):
    """An alias that is for writing only: what is written by it could not be read back."""

    n: int = Field(serialization_alias="N")


class Whole(BaseModel):
    half: Half
    renamed: Renamed | None = None


def test_schemas_say_how_data_is_written_and_read() -> None:
    shapes = {"a": Data("a", Whole), "b": Data("b", Renamed), "c": Data("c", list[Half])}
    found, classes = schemas({name: (shape, "serialization") for name, shape in shapes.items()}, "#/x/")
    assert found["b"] == {"$ref": "#/x/Renamed"}
    assert found["a"] == {"$ref": "#/x/Whole.fields"}
    assert found["c"]["items"] == {"$ref": "#/x/Half.fields"}
    assert set(classes) == {"Renamed", "Whole.fields", "Half.fields", "Renamed.fields"}
    assert json.loads(shapes["c"].encode([Half(n=1)])) == [{"n": 1}]
    assert set(classes["Half.fields"]["properties"]) == {"n"}
    assert set(classes["Renamed"]["properties"]) == {"id", "newName", "tags"}
    written = json.loads(shapes["a"].encode(Whole(half=Half(n=1), renamed=Renamed(id=1, new_name="b"))))
    assert set(written["renamed"]) == set(classes["Renamed.fields"]["properties"]) == {"id", "new_name", "tags"}
    text, _ = schemas({"t": (Data("t", datetime), "validation")}, "#/x/")
    assert text["t"] == {"type": "string", "format": "date-time"}


def test_a_batch_of_events(jobs: Offpath) -> None:
    @jobs.batch(size=10)
    async def follow(events: list[CloudEvent[Renamed]]) -> None: ...

    sent = CloudEvent(type=TYPE, source="/a", id="1", data=Renamed(id=1, new_name="b"))
    assert json.loads(follow.bind(sent))["events"]["specversion"] == "1.0"
    assert follow.decode(follow.bind(sent)) == {"events": sent}
