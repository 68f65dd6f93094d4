"""The values of `messages` ↔ ASGI: what every ASGI framework shares, without one."""

from __future__ import annotations

import asyncio
import re
import signal as signals
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, MutableMapping
from contextlib import aclosing
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

from ..errors import ConfigurationError, UncommittedError
from ..observe import signal
from .accept import DUE, Acceptance
from .faults import Withheld, response_to
from .idempotency import FIELD, METHODS
from .keys import speaks, watch_body
from .messages import Caller, Refused, Request, Response, problem_response
from .problems import Problems, plain
from .routes import Handler
from .service import Service

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
R = TypeVar("R")

KEYED = frozenset({FIELD})
OUR_BODIES = 64 * 1024  # bytes; the routes take next to none


def going_down() -> bool:
    """Has uvicorn been told to stop? It waits for open responses and tells them nothing, so they have to look: its
    handler of SIGTERM is a method of the server."""
    server = getattr(signals.getsignal(signals.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True


# ── where we are ─────────────────────────────────────────────────────────────────────────────────────────────────────


def root(scope: Scope, base_url: str | None, trusted_hosts: Collection[str]) -> str:
    """The absolute URL under which this application's paths begin, as the client reaches it, without a slash at the
    end: `base_url` when configured; else the Host the client sent, only if it is one of `trusted_hosts`; else the
    address the server listens on. Never a Host nobody vouched for (ACC-11)."""
    outer: str = scope.get("app_root_path", scope.get("root_path", ""))
    mount = scope.get("root_path", "")[len(outer) :]
    if base_url is not None:
        return f"{base_url}{mount}"
    scheme: str = scope.get("scheme", "http")
    if trusted_hosts:
        host = next((value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"), "")
        name, _, port = host.rpartition(":")
        if host in trusted_hosts or (name in trusted_hosts and port.isascii() and port.isdigit()):
            return f"{scheme}://{host}{outer}{mount}"
    host, port = scope.get("server") or ("", None)
    if not host or "/" in host:  # none, or the path of a Unix socket
        raise ConfigurationError("the server has no address of its own to build links from: give base_url=")
    name = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(scheme)
    return f"{scheme}://{name}{'' if port in (None, usual) else f':{port}'}{outer}{mount}"


def request_of(scope: Scope, receive: Receive, params: Mapping[str, str], caller: Caller, base: str) -> Request:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return Request(scope["method"], params, query, headers, caller, base, lambda: read_body(receive, OUR_BODIES))


async def read_body(receive: Receive, cap: int) -> bytes:
    """The whole body; Refused with 413 as soon as it is longer than `cap` bytes, with 400 when it ends early: what was
    cut off says something else (RFC 9112 section 8)."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(plain(400, "the body ended early"))
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > cap:
            raise Refused(plain(413))
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


# ── answering ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Answer:
    """A response as an ASGI application, which is all that a Starlette exception handler has to return. `mistake`: of
    the application's programmer, raised once the client has its answer, for the server to tell."""

    def __init__(self, response: Response, mistake: Exception | None = None) -> None:
        self.response, self.mistake = response, mistake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(self.response, scope, send)
        if self.mistake is not None:
            raise Withheld(str(self.mistake)) from self.mistake


def answer_to(error: Exception, problems: Problems, scope: Scope) -> Answer:
    """The answer to a request that ended in `error`."""
    mistake = error if isinstance(error, UncommittedError) else None
    return Answer(response_to(error, problems, scope["path"], 0.5), mistake)


NOWHERE = Answer(problem_response(plain(404)))


class Nowhere:
    """A path below a collection of ours that no row of the table has (404), or not with this method (405).

    `allow`: methods by path, as `routes.allow` has them.
    """

    def __init__(self, allow: Mapping[str, str]) -> None:
        self._known = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + r"\Z"), said) for path, said in allow.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = () if unnamable(scope) else self._known
        said = next((methods for path, methods in known if path.search(scope["path"])), None)
        refusal = problem_response(plain(404)) if said is None else problem_response(plain(405), ("Allow", said))
        await send_response(refusal, scope, send)


def only_asked_slashed(scope: Scope) -> bool:
    """The client sent no slash at the end; a router asks, before it redirects to one, whether that would be served.
    No: what it would redirect to is NOWHERE, and under a Host that nobody checked."""
    raw: bytes | None = scope.get("raw_path")
    return raw is not None and scope["path"].endswith("/") and not raw.endswith((b"/", b"%2f", b"%2F"))


_INSIDE = "\x00"  # no name has it


def unnamable(scope: Scope) -> bool:
    """The client has sent what stands for a slash inside of a segment: no name has that, and no route of ours."""
    return _INSIDE in scope["path"]


def segmented(scope: Scope) -> Scope:
    """For a router to match: a slash inside of a segment (`%2F`) is no end of it. Servers decode the path first; what
    the client sent is in `raw_path`, where the server tells it. See `segments`."""
    raw: bytes = scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        return scope
    parts = [unquote(part) for part in raw.decode("latin-1").split("/")]
    path: str = scope["path"]
    if not path.endswith("/".join(parts)):  # something between the server and us has changed one of the two
        return scope
    before = path[: len(path) - len("/".join(parts))]
    return {**scope, "path": before + "/".join(part.replace("/", _INSIDE) for part in parts)}


def segments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The path parameters of a scope that was made by `segmented`."""
    return {name: one.replace(_INSIDE, "/") if isinstance(one, str) else one for name, one in params.items()}


async def answer(
    service: Service, handler: Handler, make: Callable[[], Request], scope: Scope, receive: Receive, send: Send
) -> None:
    """Run one of our routes to its end. Whatever happens before the first byte becomes a problem."""
    try:
        response = await handler(service, make())
    except Exception as error:
        response = response_to(error, service.problems, scope["path"], service.random())
    try:
        await _give(service, response, scope, receive, send)
    finally:
        if response.leave is not None:
            response.leave()


async def _give(service: Service, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    response: Response | None = answer
    if answer.held is not None:
        try:
            response = await unless_gone(_await(answer.held()), receive)
        except Exception as error:
            response = response_to(error, service.problems, scope["path"], service.random())
    if response is None:
        return  # the client left
    if response.stream is None or scope["method"] == "HEAD":
        await send_response(response, scope, send)
        return
    try:
        await unless_gone(_pour(response, send, service.patience), receive)
    except Exception as error:  # the database went away, say: the client comes back and is told then
        signal("http.failed", route=scope["path"], error=str(error), exc_info=error)


async def send_response(response: Response, scope: Scope, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if response.stream is None and response.status >= 200 and response.status not in (204, 304):
        headers.append((b"content-length", str(len(response.body)).encode()))
    body = b"" if scope["method"] == "HEAD" else response.body
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _pour(response: Response, send: Send, patience: float) -> None:
    assert response.stream is not None  # noqa: S101 - the caller looked
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async with aclosing(response.stream()) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            try:
                async with asyncio.timeout(patience):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                return  # a reader this slow resumes by id; the server drops the connection
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(work: Coroutine[Any, Any, R], receive: Receive) -> R | None:
    """What `work` gives; None, with the work cancelled, when the client leaves first."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _await(waiting: Awaitable[R]) -> R:
    return await waiting


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


MAX_FIELDS = 100  # header fields of a request
MAX_HEADERS = 32 * 1024  # bytes of them together


class BodyLimit:
    """ASGI middleware: a body beyond `limit` bytes, declared or chunked, is a 413 problem before it is buffered
    (`larger`: other limits, by path); a request with more than MAX_FIELDS header fields, or MAX_HEADERS bytes of them,
    a 431 before anything looks at them."""

    def __init__(self, app: App, limit: int = 1024 * 1024, larger: Mapping[str, int] | None = None) -> None:
        self.app = app
        self.limit = limit
        self.larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.larger.get(scope["path"], self.limit)
        headers, declared, total = scope["headers"], b"", 0
        for name, value in headers:
            total += len(name) + len(value)
            if name == b"content-length":
                declared = value
        if total > MAX_HEADERS or len(headers) > MAX_FIELDS:
            await self._refuse(431, scope, send)
            return
        if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
            await self._refuse(413, scope, send)
            return
        size = 0
        started = refused = False

        async def count() -> Message:
            nonlocal size, refused
            if refused:
                return {"type": "http.disconnect"}
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                refused = True
                if not started:
                    await self._refuse(413, scope, send)
                raise _TooLarge
            return message

        async def pass_on(message: Message) -> None:
            nonlocal started
            if refused and not started:
                return  # what the application makes of its broken request: the client has its answer
            started = True
            await send(message)

        try:
            await self.app(scope, count, pass_on)
        except Exception:
            if not refused or started:
                raise

    async def _refuse(self, status: int, scope: Scope, send: Send) -> None:
        # The rest of the body is not read, so the connection cannot be used again.
        await send_response(problem_response(plain(status), ("Connection", "close")), scope, send)


# ── a 202 never precedes its commit ──────────────────────────────────────────────────────────────────────────────────


class CommitFirst:
    """ASGI middleware: looks at what a request has accepted in its own transactions as the answer begins, whatever
    that answer is made of. Refusals (400 and above) pass: they promise nothing. An `Accepted` has looked by itself
    and promises its own operation alone; of another one, undone with its savepoint perhaps, it says nothing."""

    def __init__(self, app: App, problems: Problems) -> None:
        self.app = app
        self.problems = problems

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        due: list[Acceptance] = []
        scope[DUE] = due
        if scope["method"] in METHODS and speaks(scope, KEYED):
            receive = watch_body(scope, receive)
        withheld: Exception | None = None

        async def pass_on(message: Message) -> None:
            nonlocal withheld
            if withheld is not None:
                return  # what the application makes of it: the client is told below
            if due and message["type"] == "http.response.start" and message["status"] < 400:
                alone = any(one.bond is None for one in due)
                try:
                    for one in due:
                        await one.check(200 if alone else message["status"])
                except Exception as error:
                    withheld = error
                    raise  # through the application: whoever holds the transaction open must roll it back
            await send(message)

        try:
            await self.app(scope, receive, pass_on)
        except Exception:
            if withheld is None:
                raise
        if withheld is not None:
            await answer_to(withheld, self.problems, scope)(scope, receive, send)


class _TooLarge(Exception):
    """Ends the reading of a body that has already been answered with 413."""
