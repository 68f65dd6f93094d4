"""A10, A14: the reference application's server bounds what the parser would take without an end."""

import asyncio
import json
import socket
from typing import Any

import pytest

from examples.accounts.webserver import HEAD, Parser, SlowParser, listen, serving

PARSERS = pytest.mark.parametrize("parser", [Parser, SlowParser])
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    body = json.dumps([name.decode() for name, _ in scope["headers"]]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def say(url: str, *pieces: bytes) -> tuple[bytes, int]:
    """The answer, and how many bytes the server took before it hung up."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sent, answer = 0, b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
        async with asyncio.timeout(60):
            answer = await reader.read()
    except ConnectionError:
        pass
    writer.close()
    return answer, sent


def refused(answer: bytes) -> bool:
    """Whether it is a problem in every respect, and the last answer of its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().lower().split("\r\n")
    problem = json.loads(body)
    assert status == "http/1.1 400 bad request"
    assert dict(line.split(": ") for line in lines) == {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        "content-length": str(len(body)),
        "connection": "close",
    }
    assert problem.pop("detail")
    return bool(problem == {"type": "about:blank", "title": "Bad Request", "status": 400})


@PARSERS
async def test_res_06_sec_06_the_head_of_a_request_has_an_end(parser: type[Parser | SlowParser]) -> None:
    sock, url = listen(0)
    async with serving(echo, sock, lifespan=False, parser=parser):
        for start, endless in (
            (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-Y: " + b"a" * 1_000 + b"\r\n"),
            (b"GET / HTTP/1.1\r\nX: ", b"a" * 1_000),
            (b"GET /", b"a" * 1_000),
        ):
            answer, sent = await say(url, start + endless, *[endless] * 64_000)
            assert sent < 32 << 20, "what the sockets' buffers hold, and no more"
            assert answer == b"" or refused(answer)
            answer, _ = await say(url, start.ljust(HEAD + 1, b"a"))
            assert refused(answer), "nothing was left unread, so that the answer is not lost to a reset"
        whole = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"a" * (HEAD - 1_000) + b"\r\n\r\n"
        answer, _ = await say(url, whole)
        assert answer.startswith(b"HTTP/1.1 200 ")
        halves = (
            POST + b"Connection: close\r\nContent-Length: 200000\r\n\r\n" + b"a" * 100_000,
            b"a" * 100_000,
        )
        answer, _ = await say(url, *halves)
        assert answer.startswith(b"HTTP/1.1 200 "), "a body is no part of it"


@PARSERS
@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(POST + b'Idempotency-Key: "a\x00b"\r\n\r\n', id="byte"),
        pytest.param(POST + b"Idempotency-Key : 1\r\n\r\n", id="name"),
        pytest.param(POST + b"Content-Length: -1\r\n\r\n", id="negative"),
        pytest.param(POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", id="lengths"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="chunk"),
        pytest.param(b"GET / HTTQ/1.1\r\n\r\n", id="protocol"),
    ],
)
async def test_res_06_what_the_parser_refuses_is_a_problem(parser: type[Parser | SlowParser], request_: bytes) -> None:
    sock, url = listen(0)
    async with serving(echo, sock, lifespan=False, parser=parser):
        answer, _ = await say(url, request_)
    assert refused(answer)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"BREW / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", id="method"),
        pytest.param(POST + b'Idempotency-Key: "a\x01b"\r\nConnection: close\r\n\r\n', id="byte"),
    ],
)
async def test_res_06_what_only_the_quick_parser_refuses(request_: bytes) -> None:
    sock, url = listen(0)
    async with serving(echo, sock, lifespan=False):
        answer, _ = await say(url, request_)
        assert refused(answer)
    sock, url = listen(0)
    async with serving(echo, sock, lifespan=False, parser=SlowParser):
        answer, _ = await say(url, request_)
        assert answer.startswith(b"HTTP/1.1 200 "), "it is the application's to refuse"


@PARSERS
async def test_res_06_an_answer_that_has_begun_is_cut_off(parser: type[Parser | SlowParser]) -> None:
    async def early(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"four", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    sock, url = listen(0)
    async with serving(early, sock, lifespan=False, parser=parser):
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            async with asyncio.timeout(60):
                await reader.readuntil(b"four")
                writer.write(b"zz\r\n")
                assert await reader.read() == b""
        finally:
            writer.close()


async def test_a14_fields_after_the_body_are_not_heard() -> None:
    sock, url = listen(0)
    async with serving(echo, sock, lifespan=False):
        answer, _ = await say(
            url,
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n",
            b"0\r\nAuthorization: Bearer dev-admin\r\n\r\n",
        )
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == ["host", "transfer-encoding", "connection"]


async def test_its_answers_are_not_held_back() -> None:
    """An answer is two writes; with Nagle's algorithm the second waits 40 ms for the client's acknowledgement."""
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def met(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    sock, _ = listen(0)
    async with await asyncio.start_server(met, sock=sock):
        _, writer = await asyncio.open_connection(*sock.getsockname())
        assert await asyncio.wait_for(found, 60)
        writer.close()
