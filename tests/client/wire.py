"""A server that says, byte by byte, what a test wrote down: for what no well-behaved server does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

WAIT = object()
"""In a script's answer: say nothing more until the client has left."""


@dataclass
class Asked:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """`script`: for each connection's request, in order, the pieces of its answer; then the connection is closed."""

    script: list[list[bytes | object]]
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.asked.append(Asked(line, headers, body))
            for piece in self.script.pop(0) if self.script else []:
                if piece is WAIT:
                    await reader.read()
                    break
                assert isinstance(piece, bytes)
                writer.write(piece)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def scripted(*script: list[bytes | object]) -> AsyncIterator[Wire]:
    """Answers close their connection, so each request is a new one."""
    wire = Wire(list(script))
    server = await asyncio.start_server(wire._serve, "127.0.0.1", 0)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for answer in wire.script:  # the server's own address is known only now
        answer[:] = [
            piece.replace(b"BASE", wire.url.encode()) if isinstance(piece, bytes) else piece for piece in answer
        ]
    try:
        yield wire
    finally:
        server.close()


def response(status: str, body: bytes = b"", *headers: str, kind: str = "application/json") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


EVENTS = response("200 OK", kind="text/event-stream")
ACCEPTED = response("202 Accepted", b'{"id":"7","status":"queued","done":false}', "Location: BASE/operations/7")
DONE = response("200 OK", b'{"id":"7","status":"succeeded","done":true,"result":{"n":1}}')
