"""One request to a `once` route: reserve its key, let the handler work, remember what was answered, commit, and only
then send. The framework says who asks and when its handler begins; what the work stands in is a `Work`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

from ..errors import ConfigurationError
from ..observe import meters
from ..ports import Reservation, Reserved
from .accept import Acceptance
from .asgi import App, Message, Receive, Scope, Send, answer_to
from .faults import OURS
from .idempotency import Verbatim, pack
from .keys import Ticket, known, lines_of, require, ticket_for, watch_body
from .messages import Caller, Refused, Replayed
from .service import Service

UNIT = "offpath.unit"
"""Member of an ASGI scope: the request's `Unit`."""

CURRENT: ContextVar[Unit | None] = ContextVar("offpath.unit", default=None)
"""The same for a handler that is given no scope, in whatever thread it runs."""

MOST = 1 << 20  # bytes of an answer
NOT_YET = frozenset({412, 428, 429})
"""The same request is to be sent again, with the right version or later: nobody wants to hear that for a day."""

STREAMED = (
    "a route of operations.once cannot answer with a stream or a file: its bytes are kept, and sent after the commit"
)


class Work(Protocol):
    """What a handler's work stands in."""

    session: Any

    async def open(self) -> Any:
        """The handler's session, its transaction begun."""
        ...

    async def reserve(self, key: Reservation) -> Reserved: ...
    async def flush(self) -> None:
        """Write what the handler's session still holds back, while the handler can be told that it is refused."""
        ...

    async def keep(self, said: Kept | None, accepted: list[Acceptance], *, good: bool) -> None:
        """Make it durable: what the handler did when it went well, and the answer."""
        ...

    async def drop(self) -> None:
        """As if there had been no request. Also after `keep`, when there is only something to close."""
        ...


class Kept(NamedTuple):
    """What is to be remembered, and under which reservation."""

    key: Reservation
    fence: int
    answer: tuple[int, str, str, str | None]


class Unit:
    """`required`: a request without a key is refused. Whoever knows them sets `caller` and `read` (the whole body)
    before `start`."""

    def __init__(self, service: Service, work: Work, scope: Scope, *, required: bool = False) -> None:
        self.service = service
        self.scope = scope
        self.accepted: list[Acceptance] = []
        self.caller: Caller | None = None
        self.read: Callable[[], Awaitable[bytes]] | None = None
        self.began = False  # the handler: what is answered from then on is its answer
        self.over = False  # what was to be kept is, and answers may pass
        self.failure: BaseException | None = None
        self._work = work
        self._required = required
        self._started = False
        self._refused = False
        self._ticket: Ticket | None = None
        self._fence = 0

    # ── before the handler ───────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Reserve the key, if there is one, before anything is done. Replayed, or Refused: the handler must not run."""
        if self._started:
            return
        self._started = True
        service, scope = self.service, self.scope
        if self._required:
            require(service.problems, scope)
        lines = lines_of(scope)
        if not lines:
            return
        if self.caller is None or self.read is None:
            raise ConfigurationError("a once route must know who is asking before its handler begins")
        ticket = await ticket_for(service.keys, service.problems, self.caller, scope, lines, self.read)
        if not service.keys.enter(ticket):
            if meters.on is not None:
                meters.on.add("offpath_idempotency_total", ("busy",))
            raise Refused(service.problems.problem("idempotency-key-in-use"), service.soon())
        self._ticket = ticket  # to be left, whatever comes
        reserved = await self._work.reserve(self._reservation(ticket))
        if not reserved.fence:
            raise Replayed(known(service.problems, reserved.found, ticket.fingerprint, service.soon()))
        self._fence = reserved.fence

    def _reservation(self, ticket: Ticket) -> Reservation:
        return ticket.reservation(0.0 if self.service.keys.session else self.service.keys.lease)

    async def begin(self) -> None:
        """The handler's first word."""
        await self.start()
        self.began = True

    async def session(self) -> Any:
        """The handler's session. ConfigurationError when the application gave nothing that makes one."""
        await self.start()
        return await self._work.open()

    async def flush(self) -> None:
        await self._work.flush()

    @contextmanager
    def accepting(self, tx: object) -> Iterator[None]:
        """While an operation is being started. One that is refused leaves the key free."""
        if tx is None or tx is not self._work.session:
            raise ConfigurationError(
                "in a route of operations.once an operation is started in the route's own transaction: "
                "accept.using(tx=session), with the session from operations.session"
            )
        try:
            yield
        except Exception:
            self._refused = True
            raise

    # ── after it ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def finish(self, answer: Verbatim) -> None:
        """The handler's answer is there: keep it and what was done, or drop both."""
        status = answer.status
        good = status < 400
        if not self.began or (not good and self._refused) or status in NOT_YET:
            await self._end(self._work.drop())
        elif good or (self._fence and (status < 500 or self.service.keys.store_5xx)):
            await self._end(self._work.keep(self._kept(answer), self.accepted if good else [], good=good))
        else:
            await self._end(self._work.drop())

    def _kept(self, answer: Verbatim) -> Kept | None:
        if self._ticket is None:
            return None
        return Kept(self._reservation(self._ticket), self._fence, pack(answer))

    async def _end(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            self.failure = error
            raise
        self.over = True
        self._leave()

    async def close(self) -> None:
        """Whatever has happened: nothing is left behind. Not to be interrupted."""
        await asyncio.shield(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
        try:
            await self._work.drop()
        finally:
            self._leave()

    def _leave(self) -> None:
        """From now on whoever asks is told by the store."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self.service.keys.leave(ticket)


class _Outgoing:
    """Takes the place of `send`: an answer passes once what it says has been kept."""

    def __init__(self, unit: Unit, send: Send) -> None:
        self._unit = unit
        self._send = send
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._size = 0

    async def __call__(self, message: Message) -> None:
        if self._unit.over:
            await self._send(message)
        elif message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body" and self._start is not None:
            part: bytes = message.get("body", b"")
            self._parts.append(part)
            self._size += len(part)
            if self._size > MOST:
                raise ConfigurationError(f"an answer of operations.once may have at most {MOST} bytes")
            if not message.get("more_body", False):
                await self._whole(self._start)
        else:
            raise ConfigurationError(STREAMED)

    async def _whole(self, start: Message) -> None:
        body = b"".join(self._parts)
        await self._unit.finish(Verbatim(start["status"], list(start.get("headers", ())), body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


async def serve(unit: Unit, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Run `app`, which ends in the handler."""
    if lines_of(scope):
        receive = watch_body(scope, receive)
    scope[UNIT] = unit
    mine = CURRENT.set(unit)
    refusal: Exception | None = None
    try:
        await app(scope, receive, _Outgoing(unit, send))
    except Exception as error:
        if unit.failure is not None:
            raise unit.failure from None  # whatever was made of it on its way through the application
        if unit.over or not isinstance(error, OURS):
            raise
        refusal = error  # in an application that has no handler for ours
    finally:
        CURRENT.reset(mine)
        await unit.close()
    if refusal is not None:
        await answer_to(refusal, unit.service.problems, scope)(scope, receive, send)
