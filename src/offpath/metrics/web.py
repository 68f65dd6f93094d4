"""The pages of a web process, as ASGI applications: mount them, or add them as routes."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..app import Offpath
from ..errors import ConfigurationError
from ..http.home import at_home
from ..observe import meters
from ..observe.pulse import pulses
from . import health
from .look import Look, Seen

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Allow = Callable[[Scope], bool | Awaitable[bool]]

TOKEN = "OFFPATH_METRICS_TOKEN"  # noqa: S105
_NO_STORE = (b"cache-control", b"no-store")


class Metrics:
    """The page for Prometheus. From when one is made, this process counts what it does.

    token   who sends it as `Authorization: Bearer` may read (default: OFFPATH_METRICS_TOKEN)
    allow   a function of the ASGI scope, sync or async, that says who else may
    public  everyone may
    store   with what the database says; False: leave that to another process

    Without any of them only this machine may read, by its own name (127.0.0.1, localhost) and not through a proxy;
    others are answered 403. It says nothing of a job but the names of its task and queue. MissingExtraError when there
    is no prometheus-client.
    """

    def __init__(
        self,
        jobs: Offpath,
        *,
        token: str | None = None,
        allow: Allow | None = None,
        public: bool = False,
        store: bool = True,
    ) -> None:
        from . import page

        self._page = page.page
        token = os.environ.get(TOKEN) if token is None else token
        if token is not None and len(token) < 8:
            raise ConfigurationError(f"a token of metrics ({TOKEN}) has at least 8 characters")
        self._token = None if token is None else token.encode()
        self._allow, self._public = allow, public
        self._look = Look(lambda: jobs.store, jobs.queues.known, rules=lambda: jobs.registry.alerts) if store else None
        self._tally = meters.start()
        self.__name__ = "metrics"

    def page(self, accept: str = "") -> tuple[str, bytes]:
        """(content type, bytes) for a route of your own; `accept` is the request's. It may wait for the database, some
        seconds at most: not on an event loop."""
        seen: Seen | None = None if self._look is None else self._look.now()
        return self._page(meters.start(), pulses(), seen, accept)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _refuse(send, scope, 405, "GET is all there is", (b"allow", b"GET, HEAD"))
        elif not await self._may(scope):
            why = (
                f"metrics are for this machine by its own name, a bearer token ({TOKEN}) and whom allow= lets in"
                if self._token is None
                else "a bearer token is needed"
            )
            await _refuse(send, scope, 403, why)
        else:
            accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
            kind, body = await asyncio.to_thread(self.page, accept)
            await _send(send, scope, 200, kind.encode(), body)

    async def _may(self, scope: Scope) -> bool:
        if self._public:
            return True
        if self._token is not None and _bears(scope, self._token):
            return True
        if self._allow is not None:
            said = self._allow(scope)
            if bool(await said if inspect.isawaitable(said) else said):
                return True
        return self._token is None and at_home(scope)


class Health:
    """`/livez` and `/readyz` below where it is mounted, for everyone who reaches it: 200 or 503, and a reason.

    A database that answers late or not, or whose tables this version does not fit, is a reason not to be ready. Nothing
    else of it is told.
    """

    def __init__(self, jobs: Offpath) -> None:
        self._look = Look(lambda: jobs.store, counting=False)
        self.__name__ = "health"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        name = scope["path"].rstrip("/").rpartition("/")[2]
        if name == "livez":
            said = health.alive(pulses())
        elif name == "readyz":
            said = health.ready(pulses(), (await asyncio.to_thread(self._look.now)).error)
        else:
            await _refuse(send, scope, 404, "there are livez and readyz")
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _refuse(send, scope, 405, "GET is all there is", (b"allow", b"GET, HEAD"))
            return
        await _send(send, scope, said.status, said.kind.encode(), said.body)


def _bears(scope: Scope, token: bytes) -> bool:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, said = value.partition(b" ")
            return kind.lower() == b"bearer" and hmac.compare_digest(said.strip(), token)
    return False


async def _refuse(send: Send, scope: Scope, status: int, why: str, *more: tuple[bytes, bytes]) -> None:
    await _send(send, scope, status, health.PROBLEM.encode(), health.problem(status, why), *more)


async def _send(send: Send, scope: Scope, status: int, kind: bytes, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), _NO_STORE, *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
