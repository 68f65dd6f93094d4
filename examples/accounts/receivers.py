"""What stands at the other end: a mail server and an HTTP receiver that write down what reaches them.

The demo and the tests count side effects here, outside the database, where offpath cannot flatter itself.
Run by itself (`python -m examples.accounts.receivers`) it prints what arrives, for use beside `dev.py serve`.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope

from . import webserver


@dataclass(frozen=True)
class Letter:
    """One e-mail as it was received. `id` is its Message-ID, `trace` its `traceparent`; `at` is time.monotonic()."""

    id: str
    to: tuple[str, ...]
    subject: str
    text: str
    at: float
    trace: str = ""


@dataclass(frozen=True)
class Call:
    """One HTTP call as it was received. `id` is its Idempotency-Key (or Webhook-Id), `trace` its `traceparent`; `at` is
    time.monotonic()."""

    id: str
    path: str
    body: Any
    at: float
    trace: str = ""


@dataclass
class Received:
    """Everything that arrived, in order, and what was turned away while `refusing_mail` or `refusing_calls`.

    refusal   what mail is turned away with
    gone      paths whose calls are turned away, with 410
    switches  what else a POST to a path does: a call to one of these is an order to us, and written down nowhere
    """

    letters: list[Letter] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    refused: list[Letter | Call] = field(default_factory=list)
    refusing_mail: bool = False
    refusing_calls: bool = False
    refusal: str = "451 4.3.0 try again later"
    gone: set[str] = field(default_factory=set)
    switches: dict[str, Callable[[], None]] = field(default_factory=dict)
    on_arrival: Callable[[Letter | Call], None] | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def duplicates(self) -> int:
        """How many arrivals carry an id that has been seen before."""
        ids = [letter.id for letter in self.letters] + [call.id for call in self.calls]
        return len(ids) - len(set(ids))

    def add(self, arrival: Letter | Call, *, refused: bool = False) -> None:
        if refused:
            self.refused.append(arrival)
        elif isinstance(arrival, Letter):
            self.letters.append(arrival)
        else:
            self.calls.append(arrival)
        if self.on_arrival and not refused:
            self.on_arrival(arrival)
        self._changed.set()

    async def until(self, condition: Callable[["Received"], bool], timeout: float | None = 60) -> None:
        """Wait until the condition holds; it is looked at again after every arrival. TimeoutError otherwise.
        `timeout`: seconds; None waits for ever."""
        async with asyncio.timeout(timeout):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


class MailServer:
    """What aiosmtpd asks about each message."""

    def __init__(self, received: Received) -> None:
        self.received = received

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        content = envelope.content or b""
        message = message_from_bytes(content if isinstance(content, bytes) else content.encode(), policy=default)
        assert isinstance(message, EmailMessage)
        letter = Letter(
            id=str(message["Message-ID"] or ""),
            to=tuple(envelope.rcpt_tos),
            subject=str(message["Subject"] or ""),
            text=message.get_content() if not message.is_multipart() else "",
            at=time.monotonic(),
            trace=str(message["traceparent"] or ""),
        )
        refused = self.received.refusing_mail
        self.received.add(letter, refused=refused)
        return self.received.refusal if refused else "250 2.0.0 accepted"


async def http_receiver(received: Received, scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that takes every POST: 204, or 503 while it refuses, or 410 where somebody is gone."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    try:
        content = json.loads(body)
    except ValueError:
        content = body.decode("utf-8", "replace")
    path = scope["path"]
    status = 410 if path in received.gone else 503 if received.refusing_calls else 204
    if switch := received.switches.get(path):
        switch()
        status = 204
    else:
        id = headers.get("idempotency-key") or headers.get("webhook-id", "")
        call = Call(id, path, content, time.monotonic(), headers.get("traceparent", ""))
        received.add(call, refused=status != 204)
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def receivers(smtp_port: int = 0, http_port: int = 0) -> AsyncIterator[tuple[Received, str, str]]:
    """Both of them, inside the block: (what they received, SMTP URL, HTTP URL). Port 0: any free one."""
    received = Received()
    loop = asyncio.get_running_loop()
    mail = await loop.create_server(
        lambda: SMTP(MailServer(received), hostname="sink", loop=loop), webserver.HOST, smtp_port, family=socket.AF_INET
    )
    sock, http_url = webserver.listen(http_port)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await http_receiver(received, scope, receive, send)

    try:
        async with webserver.serving(app, sock, lifespan=False):
            yield received, f"smtp://{webserver.HOST}:{mail.sockets[0].getsockname()[1]}", http_url
    finally:
        mail.close()


async def main(smtp_port: int, http_port: int) -> None:
    async with receivers(smtp_port, http_port) as (received, smtp_url, http_url):
        received.on_arrival = lambda arrival: print(f"\n{arrival}", flush=True)
        print(f"receiving e-mail at {smtp_url} and POST at {http_url}; Ctrl-C ends", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.accounts.receivers", description=__doc__)
    parser.add_argument("--smtp-port", type=int, default=1025)
    parser.add_argument("--http-port", type=int, default=1026)
    ports = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(ports.smtp_port, ports.http_port))
