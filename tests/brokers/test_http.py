"""HTTP as a broker, and the door on the other side."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, model_validator
from starlette.applications import Starlette

from offpath import Offpath
from offpath.brokers.address import parse
from offpath.brokers.http import HttpBroker
from offpath.brokers.http import broker as make
from offpath.cloudevents import CloudEvent, dumps, encode
from offpath.engine.outbox import Undeliverable, answer
from offpath.engine.post import SLOW_PAGE, Away, Post
from offpath.errors import BrokerRefused, BrokerUnavailable, ConfigurationError
from offpath.integrations import starlette
from offpath.integrations.fastapi import Inbox
from offpath.ports.broker import Message, Outgoing, Source
from tests.webhooks.wire import Server, server

TYPE = "com.example.order.paid.v1"
EVENT = CloudEvent(type=TYPE, source="/shop", id="e-1", data={"n": 5}, subject="Zoë", partitionkey="order:1")
MESSAGE = Message(b"{}", {"ce-id": "1"}, "application/json", "k", "1", "answers", "q-7")
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


def saying(status: int, *lines: str, body: str = "") -> bytes:
    head = [f"HTTP/1.1 {status} X", *lines, "Connection: close", f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(head).encode()


@asynccontextmanager
async def sending(url: str) -> AsyncIterator[HttpBroker]:
    made = make(parse(url))
    try:
        await made.open()
        yield made
    finally:
        await made.close()


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def at(to: Server, token: str = "") -> str:
    return f"http://{token}127.0.0.1:{to.port}/in"


async def test_a_message_is_posted_to_its_address_with_the_token() -> None:
    async with server(saying(202)) as other, sending(at(other, "to%20ken@")) as broker:
        sent = [Outgoing("orders/é", TYPE, MESSAGE), Outgoing("", TYPE, Message(b"x"))]
        assert await broker.publish(sent) == [None, None]
        first, second = sorted(other.requests, key=lambda one: one.body, reverse=True)[::-1]
        if first.body == b"x":
            first, second = second, first
        assert first.line == "POST /in/orders/%C3%A9 HTTP/1.1"
        assert second.line == "POST /in HTTP/1.1"
        assert first["authorization"] == "Bearer to ken"
        assert [first[name] for name in ("ce-id", "content-type", "message-id", "reply-to", "correlation-id")] == [
            "1", "application/json", "1", "answers", "q-7",
        ]  # fmt: skip


@pytest.mark.parametrize("status", [400, 409, 410, 413, 415, 422, 431])
async def test_what_the_other_side_will_never_take_is_refused_and_its_neighbours_go_on(status: int) -> None:
    said = [saying(202), saying(status, body="no \x1b such thing"), saying(202)]

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said.pop(0))

    async with server(answer) as other, sending(at(other)) as broker:
        one, two, three = await broker.publish([Outgoing("", TYPE, MESSAGE)] * 3)  # one key: in this order
        assert one is three is None
        assert isinstance(two, BrokerRefused)
        assert f"answered {status}: no   such thing" in str(two)


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 408, 429, 500, 503])
async def test_what_can_be_put_right_or_passes_loses_nothing(status: int) -> None:
    async with server(saying(status, "Retry-After: 7")) as other, sending(at(other, "secret-word@")) as broker:
        with pytest.raises(BrokerUnavailable, match=str(status)) as said:
            await broker.publish([Outgoing("", TYPE, MESSAGE)])
        assert said.value.retry_after == (7.0 if status in (408, 429, 500, 503) else None)
        assert "secret-word" not in str(said.value)


async def test_nobody_there_nobody_answering_and_headers_that_cannot_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        async with sending(f"http://127.0.0.1:{port}/?timeout=0.2") as broker:
            with pytest.raises(BrokerUnavailable, match="no answer in time"):
                await broker.publish([Outgoing("", TYPE, MESSAGE)])
    async with sending(f"http://127.0.0.1:{port}/") as broker:
        with pytest.raises(BrokerUnavailable, match="nobody answers"):
            await broker.publish([Outgoing("", TYPE, MESSAGE)])
        for bad in ({"a b": "c"}, {"ce-x": "two\r\nlines"}, {"ce-x": "é"}):
            (refused,) = await broker.publish([Outgoing("", TYPE, Message(b"", bad))])
            assert "cannot be sent over HTTP" in str(refused)
        with pytest.raises(ConfigurationError, match="Inbox"):
            await broker.consume(Source("x", "topic", "g"))
    with pytest.raises(BrokerUnavailable, match="closed"):
        await broker.publish([])
    for url, why in (("http://u:p@h/", "one token"), ("http://h/?wait=1", "not 'wait'"), ("http://h/?ca=x", "TLS")):
        with pytest.raises(ConfigurationError, match=why):
            make(parse(url))


# ── the door ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class House:
    """An application with a handler, and its door."""

    def __init__(self, folder: Path) -> None:
        self.jobs = jobs = Offpath(f"sqlite:///{folder}/jobs.db", source="/here")

        @jobs.on(TYPE)
        async def paid(event: CloudEvent[dict[str, int]]) -> None:
            assert event.data


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    async with made.jobs:
        yield made


def client(app: Any, token: str | None = "t-1") -> httpx.AsyncClient:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t", headers=headers)


def binary(event: CloudEvent[Any]) -> tuple[dict[str, str], bytes]:
    message = encode(event, "http")
    return {**message.headers, "content-type": message.type or ""}, message.body


@pytest.fixture(params=["fastapi", "starlette"])
def app(request: pytest.FixtureRequest, house: House) -> Any:
    if request.param == "fastapi":
        made = FastAPI()
        made.include_router(Inbox(house.jobs, token=["t-1", "t-2"]).router)
        return made
    return Starlette(routes=starlette.Inbox(house.jobs, token=["t-1", "t-2"]).routes)


async def test_evt_05_an_event_becomes_a_job_once_structured_or_binary(house: House, app: Any) -> None:
    headers, body = binary(EVENT)
    structured = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    async with client(app) as sender:
        assert (await sender.post("/events/orders", headers=headers, content=body)).status_code == 202
        again = await sender.post("/events", headers=structured, content=dumps(EVENT))
        assert (again.status_code, again.content) == (202, b"")
        other = await sender.post("/events", headers=headers | {"ce-type": "x.y"})
        assert other.status_code == 204
    assert await house.jobs.count() == 1


async def test_what_cannot_be_taken_is_a_problem(house: House, app: Any) -> None:
    headers, body = binary(EVENT)
    structured = {"Content-Type": "application/cloudevents+json"}
    misfit = json.loads(dumps(EVENT)) | {"id": "e-2", "data": {"n": "many"}}
    double = [*headers.items(), ("ce-id", "e-9")]
    cases: list[tuple[int, dict[str, Any]]] = [
        (400, {"headers": structured, "content": b"{"}),
        (400, {"headers": structured, "content": b"\xff"}),
        (400, {"headers": headers | {"ce-specversion": "2.0"}, "content": body}),
        (400, {"headers": headers | {"ce-subject": "%C0%A0"}, "content": body}),
        (400, {"headers": structured, "content": json.dumps(misfit)}),
        (400, {"headers": double, "content": body}),
        (400, {"json": {"userId": 5}}),
        (413, {"headers": headers, "content": b"x" * (2**20 + 1)}),
        (415, {"headers": {"Content-Type": "application/cloudevents-batch+json"}, "content": b"[]"}),
    ]
    async with client(app) as sender:
        for status, words in cases:
            answer = await sender.post("/events", **words)
            assert answer.status_code == status, words
            assert answer.headers["content-type"] == "application/problem+json"
        wrong = await sender.get("/events")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert await house.jobs.count() == 0


async def test_what_a_handler_of_ours_cannot_take_is_the_senders_to_keep(house: House, app: Any) -> None:
    """A bug in a validator is no reason to send it again and again; and an answer that nothing would carry is none to
    refuse what it asks for."""

    class Buggy(BaseModel):
        n: int

        @model_validator(mode="before")
        @classmethod
        def look(cls, data: Any) -> Any:
            return {"n": data["m"]["n"]}

    @house.jobs.on("com.example.order.lost.v1")
    async def lost(event: CloudEvent[Buggy]) -> None: ...

    headers, body = binary(EVENT)
    async with client(app) as sender:
        answer = await sender.post("/events", headers=headers | {"ce-type": "com.example.order.lost.v1"}, content=body)
        assert answer.status_code == 400
        assert "KeyError" in answer.text
        assert (await sender.post("/events", headers=headers | {"reply-to": "q"}, content=body)).status_code == 202
    assert await house.jobs.count() == 1


async def test_who_has_no_token_is_not_let_in(house: House, app: Any) -> None:
    headers, body = binary(EVENT)
    for token in (None, "", "t-3", "t-1 t-2", "ü"):
        async with client(app, None) as sender:
            shown = {} if token is None else {b"Authorization": f"Bearer {token}".encode("latin-1")}
            given = {name.encode(): value.encode() for name, value in headers.items()} | shown
            answer = await sender.post("/events", headers=given, content=body)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    async with client(app, "t-2") as sender:
        assert (await sender.post("/events", headers=headers, content=body)).status_code == 202
    assert await house.jobs.count() == 1


async def test_a_public_door_and_doors_that_cannot_be(house: House) -> None:
    app = Starlette(routes=starlette.Inbox(house.jobs, public=True, path="/in", cap=100).routes)
    headers, body = binary(EVENT)
    async with client(app, None) as sender:
        assert (await sender.post("/in", headers=headers, content=body)).status_code == 202
        assert (await sender.post("/in", headers=headers, content=b"x" * 101)).status_code == 413
    for words in ({}, {"token": ""}, {"token": "t", "public": True}, {"token": "é"}, {"token": "t", "path": "in"}):
        with pytest.raises(ConfigurationError):
            Inbox(house.jobs, **words)


async def test_from_one_application_to_the_other(house: House, app: Any) -> None:
    """The broker of one against the door of the other, over a real connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    serving = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    running = asyncio.create_task(serving.serve(sockets=[listener]))
    try:
        port = listener.getsockname()[1]
        async with sending(f"http://t-1@127.0.0.1:{port}/events") as broker:
            out = Outgoing("orders", TYPE, encode(EVENT, "http"))
            assert await broker.publish([out, out]) == [None, None]
        async with sending(f"http://t-9@127.0.0.1:{port}/events") as broker:
            with pytest.raises(BrokerUnavailable, match="token"):
                await broker.publish([out])
    finally:
        serving.should_exit = True
        await running
    assert await house.jobs.count() == 1


# ── addresses that a stranger has chosen ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["..", "../../admin/users", "a/../../x", "./x", "a/.", "//../x"])
async def test_an_address_never_leads_out_of_the_urls_path(address: str) -> None:
    async with server(saying(202)) as other, sending(at(other, "t@")) as broker:
        (refused,) = await broker.publish([Outgoing(address, TYPE, MESSAGE, True, True)])
        assert "cannot be a path under" in str(refused)
        assert await broker.publish([Outgoing("%2e%2e/..x/\\..", TYPE, MESSAGE, True, True)]) == [None]
        assert [one.line for one in other.requests] == ["POST /in/%252e%252e/..x/%5C.. HTTP/1.1"]


@pytest.mark.parametrize("status", [301, 403, 404, 405])
async def test_an_answer_that_leads_nowhere_is_refused(status: int) -> None:
    async with server(saying(status)) as other, sending(at(other)) as broker:
        (refused,) = await broker.publish([Outgoing("who", TYPE, MESSAGE, True, True)])
        assert isinstance(refused, BrokerRefused)


async def test_what_had_its_answer_before_the_trouble_is_told() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = {"/in/bad": 503, "/in/no": 400}.get(other.requests[-1].line.split()[1], 202)
        writer.write(saying(status))

    async with server(answer) as other, sending(at(other)) as broker:
        sent = [Outgoing(address, TYPE, MESSAGE) for address in ("a", "no", "b", "bad", "c")]  # one key
        with pytest.raises(BrokerUnavailable) as said:
            await broker.publish(sent)
        assert said.value.confirmed == (0, 2)
        assert len(other.requests) == 4


async def test_one_answer_to_a_bad_address_stops_nobody_and_costs_attempts() -> None:
    """The connection that all lines share stays, and nobody waits."""
    made: list[HttpBroker] = []
    begun, ended = asyncio.Event(), asyncio.Event()

    async def other_side(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = other.requests[-1].line.split()[1]
        if path == "/in/good":
            begun.set()
            await ended.wait()
        writer.write(saying({"/in/good": 202, "/in/nowhere": 404}.get(path, 500)))

    def opened() -> HttpBroker:
        made.append(make(parse(at(other))))
        return made[-1]

    async with server(other_side) as other:
        post = Post("http", opened)
        good = asyncio.create_task(post.send([Outgoing("good", TYPE, MESSAGE)]))
        await begun.wait()
        for to, error in (("nowhere", Undeliverable), ("broken", BrokerUnavailable), ("../../x", Undeliverable)):
            with pytest.raises(error):
                await answer(post, "/a", to, "e", {"finishedAt": 1, "state": "succeeded", "id": "x", "task": "t"}, None)
        ended.set()
        assert await good == [None]
        assert await post.send([Outgoing("good", TYPE, MESSAGE)]) == [None]
        assert len(made) == 1
        assert post.page == SLOW_PAGE
        await post.close()


async def test_pages_shrink_until_they_fit_into_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is known to be there is not sent again."""
    monkeypatch.setattr("offpath.engine.post.QUICK", 0.0)

    async def other_side(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(saying(503 if len(other.requests) % 3 == 0 else 202, "Retry-After: 0"))

    async with server(other_side) as other:
        post = Post("http", lambda: make(parse(at(other))))
        left = [Outgoing(str(n), TYPE, MESSAGE) for n in range(20)]
        pages: list[int] = []
        while left:
            pages.append(post.page)
            try:
                await post.send(left[: post.page])
                del left[: pages[-1]]
            except Away as away:
                left = [one for place, one in enumerate(left) if place not in away.confirmed]
                post._until = 0.0
        assert pages[:5] == [20, 10, 5, 2, 2]
        ok = [one.line for n, one in enumerate(other.requests, 1) if n % 3]
        assert len(ok) == len(set(ok)) == 20
        await post.close()
