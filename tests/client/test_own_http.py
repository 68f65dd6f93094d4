"""`http=`: a client of the caller's own does the talking, and stays the caller's to close."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from offpath.client import AsyncClient, Client
from offpath.errors import ArgumentError, ConfigurationError

pytestmark = pytest.mark.anyio
FRAME = b'id: 1\nevent: operation.snapshot\ndata: {"id":"7","status":"running"}\n\n'


class Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """One event, and then no end."""

    closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield FRAME

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield FRAME

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def transport(stream: Stream, seen: list[httpx2.Request]) -> httpx2.MockTransport:
    def reply(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=stream)

    return httpx2.MockTransport(reply)


def test_sse_14_the_blocking_client_closes_its_stream_and_not_your_client() -> None:
    stream, seen = Stream(), []
    with httpx2.Client(transport=transport(stream, seen), headers={"X-Mine": "1"}) as http:
        with Client("https://api.example/v1", http=http, headers={"authorization": "me"}) as client:
            story = client.operation("7").events()
            next(story)
            assert not stream.closed
            story.close()
            assert stream.closed
        assert not http.is_closed
    assert seen[0].url == "https://api.example/v1/operations/7/events"
    assert (seen[0].headers["x-mine"], seen[0].headers["authorization"]) == ("1", "me")


async def test_sse_14_the_async_client_does_so_before_it_returns() -> None:
    stream, seen = Stream(), []
    async with httpx2.AsyncClient(transport=transport(stream, seen)) as http:
        async with AsyncClient("https://api.example", http=http) as client:
            story = client.operation("7").events()
            await anext(story)
            await story.aclose()
            assert stream.closed
        assert not http.is_closed


def test_what_cannot_be_sent_is_refused_before_it_is() -> None:
    with Client("https://api.example") as client:
        for value in (object(), float("nan"), "\ud800", {1, 2}):
            with pytest.raises(ArgumentError, match="json"):
                client.start("POST", "/reports", json=value)
        with pytest.raises(ConfigurationError, match="not both"):
            client.start("POST", "/reports", json={}, content=b"")
    for wrong in ("api.example", "ftp://api.example", "https://me@api.example"):
        with pytest.raises(ConfigurationError):
            Client(wrong)
    with pytest.raises(ConfigurationError, match="timeout"):
        Client("https://api.example", timeout=0)
