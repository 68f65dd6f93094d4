"""docs/how-to/events.md: its snippets, run as they stand, on Redis; and what the reference page says of an answer."""

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import pytest
from redis import Redis
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from offpath.core.answers import SCHEMA

DOCS = Path(__file__).parents[1] / "docs"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str, request: pytest.FixtureRequest
) -> Iterator[dict[str, Any]]:
    """The module that the page adds up to. Its topics and queues are of this run alone."""
    mine = uuid4().hex[:8]
    snippets = "\n".join(PYTHON.findall((DOCS / "how-to" / "events.md").read_text("utf-8")))
    for name in ('"orders"', '"user-updates"', '"invoices.done"'):
        snippets = snippets.replace(name, f'"{name[1:-1]}-{mine}"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OFFPATH_BROKER", redis_url)
    monkeypatch.setenv("OFFPATH_POLL", "0.05")
    module = type(sys)("page_about_events")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(snippets, "events.md", "exec"), module.__dict__)
    module.__dict__["mine"] = mine
    yield module.__dict__
    module.__dict__["jobs"].close()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(120):
        while not true():  # noqa: ASYNC110 - there is nothing to wait on in the module of the page
            await asyncio.sleep(0.02)


async def test_what_the_page_says_of_events_is_so(page: dict[str, Any], redis_url: str) -> None:
    jobs = page["jobs"]
    jobs.migrate()
    engine = create_engine("sqlite:///shop.db")
    try:
        with engine.begin() as connection:
            connection.execute(text("create table orders (id integer primary key, email text)"))
        with Session(engine) as session:
            page["place"](session, 1, "a@example.org")
        with Redis.from_url(redis_url) as redis:
            updates = f"user-updates-{page['mine']}"
            redis.xadd(updates, {"data": json.dumps({"userId": 3, "userData": {"name": "b"}})})
            redis.xadd(updates, {"data": json.dumps({"userId": "none"})})
            async with jobs.worker():
                await page["ask"]()
                await until(lambda: page["welcomed"] and page["updated"] and page["answers"])
                await until(lambda: jobs.count_sync(state="failed", task="offpath.receive"))
                await until(lambda: jobs.count_sync(state="succeeded", task="count"))
            [(_, answer)] = redis.xrange(f"invoices.done-{page['mine']}")
    finally:
        engine.dispose()
    reference = (DOCS / "reference" / "cloudevents.md").read_text("utf-8")
    [schema] = [json.loads(found) for found in re.findall(r"^```json\n(.*?)^```", reference, re.MULTILINE | re.DOTALL)]
    data = json.loads(answer[b"body"])
    jsonschema.validate(data, schema, format_checker=jsonschema.FormatChecker())
    assert answer[b"ce_dataschema"].decode() == schema["$id"] == SCHEMA
    assert answer[b"ce_subject"].decode() == data["id"]
    assert page["welcomed"] == ["orders/1 a@example.org"]
    assert page["updated"] == [(3, "b")]
    assert page["answers"] == [(None, {"order": 7, "pages": 2})]


def test_the_document_of_the_page_has_its_types(page: dict[str, Any]) -> None:
    said = page["jobs"].asyncapi()
    assert set(said["components"]["schemas"]) == {"OrderPlaced"}
    assert len(said["operations"]) == 7


def test_the_door_of_the_page_takes_events_and_no_plain_json(page: dict[str, Any]) -> None:
    jobs = page["jobs"]
    event = {"specversion": "1.0", "id": "1", "source": "/other", "type": "com.example.order.placed.v1"}
    event |= {"data": {"order": 1, "email": "a@example.org"}}
    told = {"content-type": "application/cloudevents+json"}
    with TestClient(page["api"]) as client:
        assert client.post("/events", json=event, headers=told).status_code == 401
        told["authorization"] = "Bearer the-senders-token"
        assert client.post("/events", json=event, headers=told).status_code == 202
        assert client.post("/events/elsewhere", json=event, headers=told).status_code == 202  # it is known
        told["content-type"] = "application/json"
        assert client.post("/events/user-updates", json={"userId": 1, "userData": {}}, headers=told).status_code == 400
        assert jobs.count_sync(task="thank") == 1
        assert jobs.count_sync(task="offpath.receive") == 0
