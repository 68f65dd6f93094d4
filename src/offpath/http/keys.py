"""Idempotency-Keys of one face: its rules, one request's key, and what is under way in this process."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from ..core.options import SECOND
from ..errors import ConfigurationError
from ..observe import meters
from ..ports import Remembered, Reservation
from .idempotency import FIELD, METHODS, BadKey, Verbatim, decide, fingerprint, parse, scope_of, unpack
from .messages import Caller, Refused
from .problems import Problems

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

BODY = "offpath.body"
"""Member of an ASGI scope: the `Digest` of the request's body."""


@dataclass(slots=True)
class Keys:
    """ttl        seconds for which an answer is remembered
    lease      seconds for which a process that works on a key in no transaction is believed alive
    strict     only a String of RFC 9651 is a key
    store_5xx  remember what a handler answers with 500 and above
    session    makes the sessions of `once` routes (SQLAlchemy); None: their work is in another database
    """

    ttl: float = 86_400.0
    lease: float = 15.0
    strict: bool = False
    store_5xx: bool = False
    session: Callable[..., Any] | None = None
    _under_way: set[tuple[str, str]] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, ticket: Ticket) -> bool:
        """Whether nobody in this process works on it; if so, we do, until `leave`."""
        key = ticket.scope, ticket.key
        with self._guard:
            if key in self._under_way:
                return False
            self._under_way.add(key)
            return True

    def leave(self, ticket: Ticket) -> None:
        with self._guard:
            self._under_way.discard((ticket.scope, ticket.key))


class Ticket:
    """One request's key. `used` once an acceptance has been remembered under it, `answer` when it was known."""

    __slots__ = ("answer", "fingerprint", "holder", "key", "scope", "ttl", "used")

    def __init__(self, caller: Caller, key: str, fingerprint: str, ttl: float) -> None:
        self.scope = scope_of(caller.tenant, caller.id)
        self.key = key
        self.fingerprint = fingerprint
        self.ttl = ttl
        self.holder = uuid.uuid4().hex
        self.used = False
        self.answer: Verbatim | None = None

    def reservation(self, lease: float = 0.0) -> Reservation:
        at = round(lease * SECOND), round(self.ttl * SECOND)
        return Reservation(self.scope, self.key, self.fingerprint, self.holder, *at)


def speaks(scope: Scope, names: Collection[bytes]) -> bool:
    """Whether the request has one of these fields."""
    for name, _ in scope["headers"]:  # noqa: SIM110 - each request comes through here; `any` takes twice as long
        if name in names:
            return True
    return False


def lines_of(scope: Scope) -> list[str]:
    """The lines of the field, where it means something."""
    if scope["method"] not in METHODS:
        return []
    return [value.decode("latin-1") for name, value in scope["headers"] if name == FIELD]


async def ticket_for(
    keys: Keys, problems: Problems, caller: Caller, scope: Scope, lines: list[str], read: Callable[[], Awaitable[bytes]]
) -> Ticket:
    """`read` gives the whole body. Refused (400) for what is no key."""
    try:
        key = parse(lines, strict=keys.strict)
    except BadKey as error:
        raise Refused(problems.problem("idempotency-key-invalid", str(error))) from None
    body = await _digest(scope, read)
    kind = b",".join(value for name, value in scope["headers"] if name == b"content-type")
    made = fingerprint(scope["method"], scope["path"], scope.get("query_string", b""), kind, body)
    return Ticket(caller, key, made, keys.ttl)


def require(problems: Problems, scope: Scope) -> None:
    """Refused (400) for a request that must have a key and has none (IDK-03)."""
    if scope["method"] in METHODS and not lines_of(scope):
        document = problems.problem("idempotency-key-required")
        raise Refused(document, ("Link", f'<{document["type"]}>; rel="describedby"'))


def known(problems: Problems, found: Remembered | None, fingerprint: str, soon: tuple[str, str]) -> Verbatim:
    """The answer to replay to a request whose key is not free; Refused: 422 for another request under the same key,
    409 while the first is unfinished."""
    said = decide(found, fingerprint)
    if meters.on is not None:
        meters.on.add("offpath_idempotency_total", (said,))
    match said:
        case "replay" if found is not None:
            return unpack(found)
        case "mismatch":
            raise Refused(problems.problem("idempotency-key-reused"))
        case _:
            raise Refused(problems.problem("idempotency-key-in-use"), soon)


# ── the body ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Digest:
    """Takes the place of `receive`, and hashes what passes: a form is gone once it has been parsed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._hash = hashlib.sha256()
        self.whole = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not self.whole:
            self._hash.update(message.get("body", b""))
            self.whole = not message.get("more_body", False)
        return message

    @property
    def value(self) -> bytes:
        return self._hash.digest()


def watch_body(scope: Scope, receive: Receive) -> Receive:
    """The `receive` to go on with, for a request with a key."""
    if BODY in scope:
        return receive
    digest = scope[BODY] = Digest(receive)
    return digest


async def _digest(scope: Scope, read: Callable[[], Awaitable[bytes]]) -> bytes:
    digest = scope.get(BODY)
    if digest is None or not digest.whole:
        try:
            body = await read()
        except RuntimeError as error:  # Starlette: "Stream consumed"
            raise ConfigurationError(
                "the body was read before the Idempotency-Key: use install_problem_handlers, which counts it"
            ) from error
        if digest is None:
            return hashlib.sha256(body).digest()
    return bytes(digest.value)
