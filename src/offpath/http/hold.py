"""`Prefer` on a request that starts work (RFC 7240): the 202 as it was asked for, or the result itself when it is ready
in time. The wait comes after the commit, and holds neither a database connection nor a thread."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.events import TERMINAL
from ..ports import EventRow, OperationRow
from . import operations, sse
from .asgi import Receive, Scope, Send, send_response, unless_gone
from .handlers import result_of
from .idempotency import REPLAYED, Headers
from .messages import Caller, Response, problem_response
from .operations import done, dumps, etag
from .prefer import Wish
from .service import Service

PREFER = b"prefer"


class Promise(NamedTuple):
    """A 202 that is about to leave; `extra` are members that its body has beside the operation's."""

    id: str
    status: int
    headers: Headers
    body: bytes
    extra: Mapping[str, Any]


class Preferred(NamedTuple):
    """How one caller wants to be answered. `base` is the absolute URL of the collection of operations."""

    service: Service
    wish: Wish
    caller: Caller
    base: str

    async def answer(
        self, made: Promise, release: Callable[[], Awaitable[None]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """`release` is awaited before a wait, to let go of what the request holds. Sends nothing to who has left."""
        wish, waited = self.wish, False
        leave = None if wish.wait is None else self.service.free_seat(self.caller)
        if wish.wait is not None and leave is not None:
            waited = True
            try:
                await release()
                ready = await unless_gone(self._ready(made, wish.wait), receive)
            finally:
                leave()
            if ready is None:
                return
            if isinstance(ready, Response):
                await send_response(ready, scope, send)
                return
            made = ready
        headers, body = made.headers, made.body
        if wish.minimal:
            body = b""
            headers = [(name, b"0" if name == b"content-length" else value) for name, value in headers]
        if applied := wish.applied(waited=waited):
            headers = [*headers, (b"preference-applied", applied.encode())]
        await send({"type": "http.response.start", "status": made.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _ready(self, made: Promise, seconds: float) -> Response | Promise:
        """The plain result once there is one; else the 202 with the operation as it stands by then."""
        service = self.service
        row = await service.sight(made.id, self.caller)
        if row is None:
            return made  # who starts may not read; or `offpath.testing` has done it on the spot, and nothing is stored
        if not done(row):

            async def events(after: int, limit: int) -> list[EventRow]:
                return await service.events(made.id, after, limit)

            def enough(page: Sequence[EventRow]) -> bool:
                return any(event.type in TERMINAL for event in page)

            await sse.until(service.watcher, made.id, row.seq, seconds, service.poll, events, enough)
            if not await service.trusts(self.caller):
                return made
            row = await service.sight(made.id, self.caller) or row
        if not done(row):
            return self._again(made, row)
        plain = self._result(row)
        headers = [*plain.headers, ("Vary", "Prefer"), ("Preference-Applied", self.wish.applied(result=True))]
        if REPLAYED in made.headers:
            headers.append(("Idempotency-Replayed", "?1"))
        return Response(plain.status, headers, plain.body)

    def _result(self, row: OperationRow) -> Response:
        if operations.status(row) == "succeeded":
            return result_of(self.service, row)
        return problem_response(json.loads(self.service.document(row, self.base))["error"])

    def _again(self, made: Promise, now: OperationRow) -> Promise:
        body = self.service.document(now, self.base).encode()
        if made.extra:
            body = body[:-1] + b"," + dumps(made.extra).encode()[1:]
        fresh = {
            b"etag": etag(now).encode(),
            b"retry-after": self.service.retry_after(now)[1].encode(),
            b"content-length": b"%d" % len(body),
        }
        headers = [(name, fresh.get(name, value)) for name, value in made.headers]
        return made._replace(headers=headers, body=body)


def wanted(scope: Scope) -> list[str]:
    """The lines of the field."""
    return [value.decode("latin-1") for name, value in scope["headers"] if name == PREFER]
