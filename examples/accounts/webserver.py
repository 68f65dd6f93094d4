"""uvicorn on a socket of our own, in a program that has more to do when it is asked to stop."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator, Generator
from typing import Any

import anyio
import httpx2
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HOST = "127.0.0.1"
HEAD = 64 * 1024  # bytes of a request line and its header fields


class Refusal:
    """What a parser refuses never comes to the application: it is answered here, as a problem (RFC 9457) like all else.
    uvicorn's own answer is plain text. An answer that has begun is cut off; a second one would be taken for its body.
    """

    transport: asyncio.Transport
    cycle: Any

    def send_400_response(self, msg: str) -> None:
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            problem = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": msg}
            body = json.dumps(problem).encode()
            head = (
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


class SlowParser(Refusal, H11Protocol):
    """uvicorn's parser in Python, which takes some of what the quick one refuses. `serving` sets its limit on heads."""


class Parser(Refusal, HttpToolsProtocol):
    """uvicorn's quick parser, with an end to the head of a request: a client that never ends one would fill the memory
    (uvicorn's other parser, h11, has this limit). Fields that come after the body are not heard: uvicorn would put them
    among those that came before it.
    """

    head: int | None = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.head = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.head is not None and not self.transport.is_closing():
            self.head += len(data)
            if self.head > HEAD:
                self.send_400_response("The head of the request is too long.")


class Server(uvicorn.Server):
    """`signals`: SIGINT and SIGTERM stop it. Unlike uvicorn's own it does not raise the signal once more after its
    shutdown, which would end the process before the rest is tidied up, and not with exit code 0.
    """

    def __init__(self, config: uvicorn.Config, *, signals: bool) -> None:
        super().__init__(config)
        self.signals = (signal.SIGINT, signal.SIGTERM) if signals else ()
        self.stopping = anyio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        before = {number: signal.signal(number, self.handle_exit) for number in self.signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def on_tick(self, counter: int) -> bool:
        stop = await super().on_tick(counter)
        if stop:
            self.stopping.set()
        return stop


def listen(port: int) -> tuple[socket.socket, str]:
    """A listening socket and its URL; port 0 means any free one. OSError when the port is taken."""
    # That it is TCP is said, or asyncio does not turn Nagle's algorithm off, and answers are 40 ms late.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock, f"http://{HOST}:{sock.getsockname()[1]}"


@contextlib.asynccontextmanager
async def serving(
    app: Any,
    sock: socket.socket,
    *,
    signals: bool = False,
    lifespan: bool = True,
    grace: int = 5,
    parser: type[Parser | SlowParser] = Parser,
) -> AsyncIterator[Server]:
    """Serve an ASGI application inside the block; `await server.stopping.wait()` there waits for a signal.

    Requests still running at the end have `grace` seconds. Whatever the `parser`, what it refuses is a problem.
    """
    config = uvicorn.Config(
        app,
        http=parser,
        h11_max_incomplete_event_size=HEAD,
        log_level="warning",
        access_log=False,
        lifespan="on" if lifespan else "off",
        timeout_graceful_shutdown=grace,
    )
    server = Server(config, signals=signals)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [sock])
        try:
            yield server
        finally:
            server.should_exit = True


async def answers(url: str) -> None:
    """Return when a server really answers a GET of this."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
        while True:
            with contextlib.suppress(httpx2.TransportError):
                (await http.get(url)).raise_for_status()
                return
            await anyio.sleep(0.02)
