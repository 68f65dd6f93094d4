"""The door for CloudEvents that other services POST: what the broker "http" is on the receiving side.

    POST /events             a CloudEvent, structured or binary, for whoever asks for its type
    POST /events/{address}   the same, with the address it was published to

    202  its jobs are committed, or were before: the sender may forget it
    204  nobody here asks for events of its type
    400  it cannot be read, or what it says fits no handler: the sender should not send it again, and keep it
    401  without the token
    413  415  longer than `cap`; a batch, or another format than JSON
    503  the database is away: send it again

Source: CloudEvents HTTP Protocol Binding 1.0.2; RFC 6750 (the token); wire.md EVT-04 to EVT-06.
"""

from __future__ import annotations

import hmac
import random
from collections.abc import Sequence
from hashlib import sha256

from ..app import Offpath
from ..core.checks import whole
from ..errors import ConfigurationError
from ..ports import Message, Received
from .asgi import Receive, Scope, Send, read_body, send_response
from .faults import response_to
from .messages import Refused, Response, problem_response
from .problems import BASE, Problems, plain

KIND = "http"
CAP = 1024 * 1024
STRUCTURED = "application/cloudevents+json"
_ONCE = ("content-type", "message-id", "reply-to", "correlation-id")


class Door:
    """An ASGI application: all there is to do, for any framework's routes.

    token    what senders show as `Authorization: Bearer`; several while one replaces another
    public   whoever reaches it may send
    cap      bytes of a body
    """

    def __init__(
        self, jobs: Offpath, *, token: str | Sequence[str] | None = None, public: bool = False, cap: int = CAP
    ) -> None:
        tokens: list[object] = [token] if isinstance(token, str) else list(token or ())
        if not public and not tokens:
            raise ConfigurationError(
                "Inbox needs to know who may send: give token=…, the one in the sender's broker URL, or public=True"
            )
        if public and tokens:
            raise ConfigurationError("Inbox is either public or asks for a token, not both")
        self._jobs = jobs
        self._tokens = [_digest(_token(one)) for one in tokens]
        self._cap = whole(cap, 1, 64 * 1024 * 1024, "cap")
        self._problems = Problems(BASE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._take(scope, receive)
        except Exception as error:
            response = response_to(error, self._problems, scope["path"], random.random())
        await send_response(response, scope, send)

    async def _take(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] != "POST":
            return problem_response(plain(405), ("Allow", "POST"))
        headers: dict[str, str] = {}
        for raw, value in scope["headers"]:
            name = raw.decode("latin-1").lower()
            if name in headers and (name in _ONCE or name.startswith("ce-")):
                raise Refused(plain(400, f"{name}: given twice"))
            headers[name] = value.decode("latin-1")
        if self._tokens and not self._knows(headers.get("authorization", "")):
            return problem_response(plain(401), ("WWW-Authenticate", "Bearer"))
        type = headers.get("content-type")
        bare = (type or "").partition(";")[0].strip().lower()
        if bare.startswith("application/cloudevents") and bare != STRUCTURED:
            return problem_response(plain(415, f"one event at a time, as {STRUCTURED} or with ce- headers"))
        message = Message(
            await read_body(receive, self._cap),
            {name: value for name, value in headers.items() if name.startswith("ce-")},
            type,
            id=headers.get("message-id"),
            reply_to=headers.get("reply-to"),
            correlation=headers.get("correlation-id"),
        )
        where = str(scope.get("path_params", {}).get("address", "")).strip("/")
        received = Received(message, None, scope["path"], where)
        (taken,) = await self._jobs.take(KIND, [received], keep=False)
        if taken.outcome == "unreadable":
            return problem_response(plain(400, taken.why))
        return Response(204 if taken.outcome == "unwanted" else 202)

    def _knows(self, authorization: str) -> bool:
        """In a time that does not say how much of it is right."""
        scheme, _, given = authorization.partition(" ")
        shown = _digest(given.strip().encode("latin-1"))
        right = [hmac.compare_digest(shown, one) for one in self._tokens]
        return scheme.lower() == "bearer" and any(right)


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()


def _token(given: object) -> bytes:
    if not isinstance(given, str) or not given.strip() or not (given.isascii() and given.isprintable()):
        raise ConfigurationError("a token of Inbox must be printable ASCII")
    return given.strip().encode()


def paths(path: object) -> tuple[str, str]:
    """The two paths of the door."""
    if not isinstance(path, str) or not path.startswith("/") or path.rstrip("/") == "" or "{" in path:
        raise ConfigurationError(f"the path of Inbox must look like /events, not {path!r}")
    bare = path.rstrip("/")
    return bare, bare + "/{address:path}"
