"""EVT-12: the AsyncAPI document is valid, says what the application does, and has the schemas of its code."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel, Field, TypeAdapter

from offpath import Offpath
from offpath.cli import main
from offpath.cloudevents import CloudEvent, encode, loads, sealed
from offpath.cloudevents.attributes import moment
from offpath.errors import ConfigurationError


class Member(BaseModel):
    id: int
    joined_at: str = Field(alias="joinedAt")


class Renamed(BaseModel):
    id: int
    name: str
    members: list[Member] = []


@dataclass
class Closed:
    id: int
    why: str | None = None


RENAMED, CLOSED, PING, PICTURE = (f"com.example.{name}.v1" for name in ("renamed", "closed", "ping", "picture"))
BROKERS = {
    "redis": "rediss://user:hunter2@cache.example.org:6380/1",
    "rabbitmq": "amqp://user:hunter2@rabbit.example.org/shop",
    "kafka": "kafkas://user:hunter2@a.example.org:9092,b.example.org:9092?sasl=SCRAM-SHA-256",
    "sqs": "sqs://eu-central-1",
    "http": "https://hunter2@auth.example.org/events",
    "": "",
}


def application(broker: str, folder: Path) -> Offpath:
    jobs = Offpath(f"sqlite:///{folder}/a.db", broker=broker, group="auth", source="/accounts")
    renamed = jobs.event(RENAMED, data=Renamed, topic="organizations", description="An organization has a new name")
    jobs.event(CLOSED, data=Closed, published=False)
    jobs.event(PING)
    jobs.event(PICTURE, data=bytes, datacontenttype="image/png")

    @jobs.on(renamed)
    async def follow(event: CloudEvent[Renamed]) -> None:
        """Follow the names of organizations."""

    @jobs.on(CLOSED, topic="organizations", group="others")
    async def tidy(event: CloudEvent[Closed]) -> None: ...

    @jobs.on(queue="user-updates")
    async def apply_user_update(userId: int, userData: dict[str, object]) -> None:
        """Take updates of users."""

    @jobs.on(queue="other-updates")
    async def apply_more(userId: str) -> None: ...

    return jobs


Document = Callable[[str], dict[str, Any]]


@pytest.fixture
def document(tmp_path: Path) -> Document:
    return lambda kind: application(BROKERS[kind], tmp_path).asyncapi(title="Auth", version="2.1.0")


PARSE = """
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const { Parser } = createRequire(`${process.argv[1]}/`)("@asyncapi/parser");
const parser = new Parser();
const answer = {};
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(readFileSync(file, "utf8"));
  answer[file] = [document !== undefined, diagnostics.map((d) => `${d.path.join("/")}: ${d.message}`)];
}
process.stdout.write(JSON.stringify(answer));
"""


def test_evt_12_the_document_is_valid(document: Document, node_modules: Path, tmp_path: Path) -> None:
    files = []
    for kind in BROKERS:
        files.append(tmp_path / f"{kind or 'none'}.json")
        files[-1].write_text(json.dumps(document(kind)))
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps(Offpath(f"sqlite:///{tmp_path}/b.db").asyncapi()))
    words = ["node", "--input-type=module", "--eval", PARSE, "--", str(node_modules.parent), *map(str, [*files, empty])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert {file: said for file, (valid, said) in answer.items() if not valid or said} == {}


@pytest.mark.parametrize("kind", ["redis", "rabbitmq", "kafka"])
def test_evt_12_its_payload_schemas_are_those_of_the_code(document: Document, kind: str) -> None:
    said = document(kind)
    schemas, messages = said["components"]["schemas"], said["components"]["messages"]
    assert set(schemas) == {"Renamed", "Member", "Closed"}
    for model in (Renamed, Member, Closed):
        wanted: dict[str, Any] = TypeAdapter(model).json_schema(ref_template="#/components/schemas/{model}")
        wanted.pop("$defs", None)
        assert schemas[model.__name__] == wanted
    assert messages[RENAMED]["payload"] == {"$ref": "#/components/schemas/Renamed"}
    assert messages["apply_user_update"]["payload"] == {
        "type": "object",
        "additionalProperties": False,
        "required": ["userId", "userData"],
        "properties": {
            "userId": {"type": "integer", "title": "Userid"},
            "userData": {"type": "object", "title": "Userdata", "additionalProperties": True},
        },
    }
    assert messages["apply_more"]["payload"]["properties"] == {"userId": {"type": "string", "title": "Userid"}}
    assert "payload" not in messages[PING]
    assert "contentType" not in messages[PING]
    assert "payload" not in messages[PICTURE]
    assert messages[PICTURE]["contentType"] == "image/png"


@pytest.mark.parametrize("kind", list(BROKERS))
def test_evt_12_what_is_sent_is_what_the_document_says(document: Document, kind: str, tmp_path: Path) -> None:
    said = document(kind)
    event = application(BROKERS[kind], tmp_path).registry.events[RENAMED](
        Renamed(id=1, name="x", members=[Member(id=2, joinedAt="now")]), subject="organizations/1", partitionkey="1"
    )
    text = sealed(event, None, source="/accounts", id="1", time=moment("2026-01-01T00:00:00Z")).text
    message = encode(loads(text), kind or "sqs")
    described = said["components"]["messages"][RENAMED]
    parts = {"components": said["components"]}
    jsonschema.validate(json.loads(message.body), {**described["payload"], **parts})
    trait = said["components"]["messageTraits"]["CloudEvent"]
    if message.headers:
        jsonschema.validate(dict(message.headers), trait["headers"])
        jsonschema.validate(dict(message.headers), described["headers"])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({}, trait["headers"])
    else:
        assert "headers" not in trait
        assert (message.type or "").startswith(described["contentType"])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"data": {}}, {**described["payload"], **parts})


@pytest.mark.parametrize("kind", list(BROKERS))
def test_evt_12_its_operations_are_what_the_application_does(document: Document, kind: str) -> None:
    said = document(kind)
    actions = {name: each["action"] for name, each in said["operations"].items()}
    plain = {} if kind == "http" else {"receive.apply_user_update": "receive", "receive.apply_more": "receive"}
    assert actions == {
        f"send.{RENAMED}": "send",
        f"send.{PING}": "send",
        f"send.{PICTURE}": "send",
        "receive.follow": "receive",
        "receive.tidy": "receive",
        **plain,
    }
    assert said["operations"]["receive.follow"]["summary"] == "Follow the names of organizations."
    assert said["info"] == {"title": "Auth", "version": "2.1.0"}
    assert "hunter2" not in json.dumps(said)
    for each in said["operations"].values():
        channel = said["channels"][each["channel"]["$ref"].rpartition("/")[2]]
        for ref in each["messages"]:
            name = ref["$ref"].rpartition("/")[2]
            assert channel["messages"][name]["$ref"].rpartition("/")[2] in said["components"]["messages"]


def at(said: dict[str, Any], operation: str) -> dict[str, Any]:
    channel: dict[str, Any] = said["channels"][said["operations"][operation]["channel"]["$ref"].rpartition("/")[2]]
    return channel


def test_servers_and_bindings_of_each_broker(document: Document) -> None:
    redis, rabbit, kafka = document("redis"), document("rabbitmq"), document("kafka")
    sqs, http, none = document("sqs"), document("http"), document("")
    assert redis["servers"]["broker"] == {
        "host": "cache.example.org:6380",
        "protocol": "rediss",
        "security": [{"type": "userPassword"}],
    }
    assert at(redis, "receive.follow")["address"] == "organizations"
    assert rabbit["servers"]["broker"]["pathname"] == "/shop"
    route = at(rabbit, f"send.{RENAMED}")
    assert route["address"] == RENAMED
    assert route["bindings"]["amqp"]["exchange"]["name"] == "organizations"
    assert route["bindings"]["amqp"]["exchange"]["vhost"] == "shop"
    assert at(rabbit, "receive.follow") is route
    assert at(rabbit, "receive.apply_more")["bindings"]["amqp"]["queue"]["name"] == "other-updates"
    assert [server["host"] for server in kafka["servers"].values()] == ["a.example.org:9092", "b.example.org:9092"]
    assert kafka["servers"]["broker"]["protocol"] == "kafka-secure"
    assert kafka["servers"]["broker"]["security"] == [{"type": "scramSha256"}]
    groups = [
        kafka["operations"][f"receive.{name}"]["bindings"]["kafka"]["groupId"]["enum"] for name in ("follow", "tidy")
    ]
    assert groups == [["auth"], ["others"]]
    assert sqs["servers"]["broker"]["host"] == "sqs.eu-central-1.amazonaws.com"
    assert at(sqs, "receive.tidy")["address"] == "organizations--others"
    assert "organizations--" in at(sqs, f"send.{RENAMED}")["description"]
    assert http["servers"]["broker"]["security"] == [{"type": "http", "scheme": "bearer"}]
    assert "servers" not in at(http, "receive.follow")
    assert "servers" not in none
    assert at(none, "receive.follow")["address"] == "organizations"


def test_a_topic_that_is_consumed_for_no_group(tmp_path: Path) -> None:
    jobs = Offpath(f"sqlite:///{tmp_path}/a.db")

    @jobs.on("a.v1", topic="things")
    async def follow(event: CloudEvent[Any]) -> None: ...

    with pytest.raises(ConfigurationError, match="nothing says for which group"):
        jobs.asyncapi()


APPLICATION = """
from offpath import Offpath
jobs = Offpath("sqlite:///a.db", broker="redis://localhost", source="/shop")
jobs.event("com.example.ping.v1")
"""


def test_evt_12_the_command_line_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pinging_shop.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    assert main(["--app", "pinging_shop:jobs", "asyncapi"]) == 0
    text = capsys.readouterr().out
    assert text.count("\n") > 10
    assert json.loads(text)["info"] == {"title": "/shop", "version": "1.0.0"}
    assert main(["asyncapi", "--app", "pinging_shop:jobs", "--json", "--title", "Shop", "--api-version", "3"]) == 0
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert json.loads(text)["info"] == {"title": "Shop", "version": "3"}
    assert not (tmp_path / "a.db").exists()
    assert main(["asyncapi"]) == 2
    assert "--app module:attr" in capsys.readouterr().err
