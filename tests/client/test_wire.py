"""Both clients against a server that breaks off, stays silent, or is not there."""

import re

import pytest

from offpath.client import ForeignLink, Pace, Unreachable
from offpath.errors import ConfigurationError
from tests.client.both import QUICK, either
from tests.client.wire import ACCEPTED, DONE, EVENTS, WAIT, response, scripted

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", ["sync", "async"])]

UUID = re.compile(r'"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"')


async def test_idk_09_the_same_key_after_every_kind_of_loss(kind: str) -> None:
    half = b"HTTP/1.1 202 Accepted\r\nContent-Length: 500\r\n\r\n{"
    async with scripted([], [half], [b"nonsense\r\n\r\n"], [response("502 Bad Gateway")], [ACCEPTED]) as wire:
        async with either(kind, wire.url) as client:
            started = await client.start("post", "/api/reports", json={"title": "é"})
            assert started.it.url == f"{wire.url}/operations/7"
        keys = {asked.headers["idempotency-key"] for asked in wire.asked}
        assert len(wire.asked) == 5
        assert len(keys) == 1
        assert UUID.fullmatch(keys.pop())
        assert {asked.body for asked in wire.asked} == {'{"title": "é"}'.encode()}


async def test_idk_14_a_put_has_no_key_and_is_sent_once(kind: str) -> None:
    async with scripted([]) as wire, either(kind, wire.url) as client:
        with pytest.raises(Unreachable):
            await client.start("PUT", "/users/1", json={})
        assert [asked.headers.get("idempotency-key") for asked in wire.asked] == [None]
        assert wire.asked[0].headers["prefer"] == "respond-async"
    async with scripted([]) as wire, either(kind, wire.url) as client:
        with pytest.raises(Unreachable):
            await client.start("POST", "/reports", key=False)
        with pytest.raises(ConfigurationError, match="key="):
            await client.start("POST", "/reports", headers={"idempotency-key": "mine"})
        with pytest.raises(ConfigurationError, match="255"):
            await client.start("POST", "/reports", key='a"b')
        assert len(wire.asked) == 1


async def test_nobody_there_is_unreachable(kind: str) -> None:
    async with scripted() as wire:
        pass
    async with either(kind, wire.url, pace=Pace(first=0.01, patience=0)) as client:
        for act in ("result", "cancel", "delete", "refresh"):
            with pytest.raises(Unreachable):
                await client.operation("7").do(act)
        with pytest.raises(Unreachable):
            await client.operation("7").events()


async def test_sse_05_a_stream_byte_by_byte_and_broken_off(kind: str) -> None:
    """An id may be any text: it goes back as it came, in UTF-8."""
    frames = '\ufeffid: é1\r\nevent: operation.progress\r\ndata: {"message":\r\ndata: "\u2028\u0085"}\r\n\r\n'
    frames += "id: é2\r\ndata: cut off"
    pieces = [frames.encode()[n : n + 1] for n in range(len(frames.encode()))]
    end = b'id: 3\nevent: operation.succeeded\ndata: {"id":"7","status":"succeeded","done":true,"result":1}\n\n'
    async with scripted([EVENTS, *pieces], [EVENTS, end, WAIT]) as wire, either(kind, wire.url) as client:
        followed = client.operation("7", result=int)
        events = await followed.events()
        assert [(event.type, event.id) for event in events] == [
            ("operation.progress", "é1"),
            ("operation.succeeded", "3"),
        ]
        assert events[0].data == {"message": "\u2028\u0085"}
        sent = wire.asked[1].headers["last-event-id"]
        assert sent == "é1"
        assert await followed.do("result") == 1  # the last event had it
    assert len(wire.asked) == 2


@pytest.mark.parametrize("silent", [[EVENTS, WAIT], [WAIT]])
async def test_sse_09_a_proxy_that_keeps_the_bytes_means_polling(kind: str, silent: list[bytes | object]) -> None:
    pace = Pace(first=0.01, patience=60, heartbeat=0.15)
    async with scripted(list(silent), [DONE]) as wire, either(kind, wire.url, pace=pace) as client:
        [event] = await client.operation("7").events()
        assert event.data["result"] == {"n": 1}
        assert [asked.line.split()[1] for asked in wire.asked] == ["/operations/7/events", "/operations/7"]


async def test_pol_09_polls_survive_a_server_in_trouble(kind: str) -> None:
    trouble = [[], [response("500 Oops", b"<html>")], [response("503 Busy", b"", "Retry-After: 0")]]
    running = response("200 OK", b'{"id":"7","status":"hibernating","done":false,"new":{}}', "Retry-After: 0")
    async with scripted(*trouble, [running], [DONE]) as wire, either(kind, wire.url) as client:
        assert await client.operation("7", result=dict).do("result", timeout=60) == {"n": 1}
        assert len(wire.asked) == 5


async def test_sec_05_credentials_stay_on_their_origin(kind: str) -> None:
    async with (
        scripted() as other,
        scripted(
            [response("202 Accepted", b"{}", f"Location: {other.url}/operations/7")],
            [response("302 Found", b"", f"Location: {other.url}/operations/7")],
            [response("200 OK", f'{{"id":"7","done":true,"links":{{"result":"{other.url}/r"}}}}'.encode())],
        ) as wire,
    ):
        async with either(kind, wire.url) as client:
            with pytest.raises(ForeignLink):
                await client.start("POST", "/reports")
            with pytest.raises(Exception, match="302"):
                await client.operation("7").do("refresh")
            with pytest.raises(ForeignLink):
                await client.operation("7").do("result")
            with pytest.raises(ForeignLink):
                client.operation(f"{other.url}/operations/7")
            with pytest.raises(ForeignLink):
                await client.start("POST", f"{other.url}/reports")
        assert other.asked == []
        assert len(wire.asked) == 3
        assert QUICK.first < 1
