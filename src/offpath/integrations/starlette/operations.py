"""What an application configures: its operations over HTTP, and `accept` for its own endpoints."""

from __future__ import annotations

import inspect
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, cast, overload

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, NoMatchFound, Route, request_response
from starlette.types import Receive, Scope, Send

from ...app import Offpath
from ...core.checks import check_name
from ...core.options import AcceptGiven, CallOptions, check_names
from ...errors import ConfigurationError
from ...http.accept import BLOCKING, DUE, Acceptance, Start, accept, accept_sync, check_words, refuse_safe
from ...http.asgi import (
    Answer,
    Nowhere,
    answer,
    answer_to,
    only_asked_slashed,
    request_of,
    segmented,
    segments,
    unnamable,
)
from ...http.asked import ASKS, Asked, as_asked
from ...http.face import NOBODY, PUBLIC, Face, Options
from ...http.faults import allow_all, http_exception
from ...http.handlers import get_events, get_events_by_ticket
from ...http.hold import Preferred, Promise
from ...http.idempotency import Verbatim
from ...http.keys import require, speaks
from ...http.messages import Caller
from ...http.once import Once
from ...http.pages import Pages
from ...http.routes import COLLECTION, ROUTES, allow, beyond
from ...http.routes import Route as Row
from ...http.tickets import offered
from ...http.unit import UNIT, Unit
from ...http.works import bound_args
from ...tasks import Linked, Task
from .problems import serves

if TYPE_CHECKING:
    from ...admin import Admin
    from ...dashboard import Dashboard
    from ...webhooks.facade import Webhooks

P = ParamSpec("P")
T = TypeVar("T")
Asking = Callable[[Request], Any | Awaitable[Any]]


class Accepted(Response):
    """A 202. `id` of the operation, `location` its absolute URL; `replayed` when an earlier request with the same
    Idempotency-Key started it. With `Prefer: wait=N` the client gets the result instead, when it is ready in time: let
    go of what you hold before you return it."""

    def __init__(self, acceptance: Acceptance, location: str, preferred: Preferred | None = None) -> None:
        self.id = acceptance.job
        self.location = location
        self.status_code = 202
        self.background: BackgroundTask | None = None
        self.body = acceptance.body
        self.raw_headers = acceptance.headers
        self.replayed = acceptance.replayed
        self._check = acceptance.check
        self._preferred = preferred

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        unit: Unit | None = scope.get(UNIT)
        if unit is None:
            await self._check()
        if self._preferred is None:
            await super().__call__(scope, receive, send)
            return
        made = Promise(self.id, self.status_code, self.raw_headers, bytes(self.body), {})
        if unit is not None:  # what is remembered is the 202
            await unit.finish(Verbatim(made.status, made.headers, made.body, made.id))
        await self._preferred.answer(made, _nothing, scope, receive, send)
        if self.background is not None:
            await self.background()


async def _nothing() -> None: ...


async def _lenient() -> bool:
    """What `handling=strict` means for a body, only its endpoint knows."""
    return False


class Acceptor:
    """Starts operations for one request; `sync` is for endpoints that are plain functions.

    A request with an Idempotency-Key starts one operation, however often it is sent: its first `accept` has the key.
    When that one is known, `accept` gives the answer that was given before; with `tx=`, it leaves your endpoint with an
    exception that becomes that answer.
    """

    def __init__(self, face: Face, asked: Asked) -> None:
        self._face = face
        self._asked = asked
        self._start, self._preferred, self._unit = asked

    @property
    def prefers_async(self) -> bool:
        """Whether the client asked for an operation (`respond-async`), or to wait for one (`wait=N`)."""
        return self._preferred is not None and self._preferred.wish.wants_operation

    @overload
    async def __call__(self, flow: Linked[Any], /) -> Accepted: ...
    @overload
    async def __call__(self, task: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Accepted: ...
    def __call__(self, work: Any, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Accepted]:
        """Enqueue a task with its arguments, or a flow, and give the 202 to return. ArgumentError when an argument
        cannot be stored, StoreUnavailable when the database cannot take it; nothing is left behind then.
        ConfigurationError in a `def` endpoint, which cannot await: that is what `sync` is for."""
        if _get_running_loop() is None:
            raise ConfigurationError(BLOCKING)
        return self._accept(work, args, kwargs)

    async def _accept(self, work: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Accepted:
        with self._unit.accepting(self._start.tx) if self._unit is not None else nullcontext():
            made = await accept(self._face.service, work, bound_args(work, args, kwargs), self._start)
        return Accepted(made, f"{self._start.base}/{made.job}", self._preferred)

    @overload
    def sync(self, flow: Linked[Any], /) -> Accepted: ...
    @overload
    def sync(self, task: Task[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Accepted: ...
    def sync(self, work: Any, /, *args: Any, **kwargs: Any) -> Accepted:
        """The same, blocking."""
        with self._unit.accepting(self._start.tx) if self._unit is not None else nullcontext():
            made = accept_sync(self._face.service, work, bound_args(work, args, kwargs), self._start)
        return Accepted(made, f"{self._start.base}/{made.job}", self._preferred)

    def using(self, *, tx: object | None = None, label: str = "", **options: Unpack[AcceptGiven]) -> Acceptor:
        """With options for this call: `tx`, your open transaction, to be committed before the endpoint returns;
        `label`, the client's word for it; and those of `CallOptions`. A key, label or callback URL that cannot be
        one is a 422."""
        check_words(options.get("key"), label, options.get("callback"))
        if label:
            check_name(label, "label")
        try:
            given = CallOptions(owner=self._start.options.owner, **options)
        except TypeError:
            check_names(options, AcceptGiven, "tx", "label")
            raise
        start = self._start._replace(tx=tx, label=label, options=given)
        return Acceptor(self._face, self._asked._replace(start=start))


class _Slashed(Route):
    """A path with a slash at the end, which is none of ours and is redirected to from nowhere."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.NONE, {}) if only_asked_slashed(scope) else super().matches(scope)


class Operations(Pages):
    """The operations of `jobs` over HTTP. `caller` is a function of the request, sync or async, that says who is
    asking: a `Caller`, text, a number, or an object with `.id` and perhaps `.tenant`; None is 401. With `webhooks`
    their routes are there too, and with `admin` those of the admin API. The other options are `http.face.Options`.
    """

    def __init__(
        self,
        jobs: Offpath,
        *,
        caller: Asking | None = None,
        public: bool = False,
        webhooks: Webhooks | None = None,
        admin: Admin | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._face = Face(jobs, caller=caller, public=public, **options)
        self._admin, self._public = admin, public
        self._units = Once(self._face.service)
        self._asking: Asking = caller if caller is not None else lambda request: PUBLIC
        rows = ROUTES
        if webhooks is not None:
            rows = (*rows, *webhooks.routes)
            self._face.service.callbacks = webhooks.admit
        if admin is not None:
            rows = (*rows, *admin.routes)
        self.routes: list[Route] = [
            _Segmented(
                path, _Endpoint(self, rows, path), methods=methods.split(", "), name=f"{self._face.prefix}{path}"
            )
            for path, methods in allow(rows).items()
        ]
        self.routes += [_Slashed(path, cast(Any, Nowhere(allow(rows)))) for path in beyond(rows)]

    async def caller(self, request: Request) -> Caller:
        """Who is asking, by the function given. Refused (401) for nobody."""
        said = self._asking(request)
        return self._face.caller(await said if inspect.isawaitable(said) else said)

    async def acceptor(self, request: Request) -> Acceptor:
        """What starts operations for this request. Its Idempotency-Key stands for its whole body: read that through
        this same `request`."""
        refuse_safe(request.method)
        if self._face.guards_starts:
            self._face.cookies(request.scope)
        who = await self.caller(request)
        scope = request.scope
        unit: Unit | None = scope.get(UNIT)
        due = scope.get(DUE) if unit is None else unit.accepted
        plain = Asked(Start(who, self.base(scope), CallOptions(owner=who.id), "", None, due), None, unit)
        if not speaks(scope, ASKS):
            return Acceptor(self._face, plain)
        return Acceptor(self._face, await as_asked(self._face.service, plain, scope, request.body, _lenient))

    def require_key(self, request: Request) -> None:
        """For an endpoint that wants one: a POST or PATCH without an Idempotency-Key is answered 400."""
        require(self._face.service.problems, request.scope)

    def once(self, endpoint: Callable[[Request], Awaitable[Response]]) -> OnceEndpoint:
        """`Route("/users", operations.once(create_user), methods=["POST"])`: the endpoint runs once for each
        Idempotency-Key, in one transaction with the answer that is remembered; see `session`."""
        return OnceEndpoint(self, endpoint)

    async def session(self, request: Request) -> Any:
        """In an endpoint of `once`: a session of `session=`, whose transaction is the route's: it is committed with
        the answer before that is sent, and 400 and above take back what the endpoint wrote."""
        unit: Unit | None = request.scope.get(UNIT)
        if unit is None:
            raise ConfigurationError("operations.session is for endpoints of operations.once")
        return await unit.session()

    def base(self, scope: Scope) -> str:
        """The absolute URL of the collection of operations."""

        def find() -> str:
            try:
                return str(scope["app"].url_path_for(self._face.prefix + COLLECTION))
            except NoMatchFound:
                raise ConfigurationError("put operations.routes into the application that accepts work") from None

        return self._face.base(scope, find)

    @cached_property
    def dashboard(self) -> Dashboard:
        """Pages over the admin API: `Mount("/dashboard", operations.dashboard)`. The `caller` says who may look and who
        may change, as for the API; with `public` it is open to this machine alone, and changes nothing.

        ConfigurationError without `admin`; MissingExtraError without the extra `dashboard`.
        """
        from .dashboard import dashboard

        return dashboard(self._face, self._admin, None if self._public else self.caller)

    def close(self) -> None:
        """End every held poll and stream now (under uvicorn that happens by itself)."""
        self._face.close()


class OnceEndpoint:
    """An endpoint as an ASGI application that runs it once for each Idempotency-Key."""

    def __init__(self, operations: Operations, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        if not inspect.iscoroutinefunction(endpoint):
            raise ConfigurationError("an endpoint of operations.once is an async function")
        self.__name__ = getattr(endpoint, "__name__", "once")  # what Starlette calls the route by
        self._operations = operations
        self._endpoint = endpoint
        self._app = request_response(self._run)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._operations._units.serve(self._app, scope, receive, send)

    async def _run(self, request: Request) -> Response:
        unit: Unit = request.scope[UNIT]
        unit.caller = await self._operations.caller(request)
        unit.read = request.body
        await unit.begin()
        answer = await self._endpoint(request)
        await unit.flush()
        return answer


class _Segmented(Route):
    """A path of ours: a slash inside of a segment is no end of it, and its errors are problems."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.methods is not None and scope["method"] not in self.methods:
            allow = {"Allow": ", ".join(sorted(self.methods))}
            headers = allow_all(allow, lambda method: serves(scope["app"], scope, method))
            await Answer(http_exception(405, None, headers))(scope, receive, send)
            return
        await super().handle(scope, receive, send)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if unnamable(scope):
            return Match.NONE, {}
        match, child = super().matches(segmented(scope))
        return match, {**child, "path_params": segments(child["path_params"])} if child else child


class _Endpoint:
    """The rows of one path as an ASGI application."""

    def __init__(self, operations: Operations, rows: Sequence[Row], path: str) -> None:
        self._operations = operations
        self._path = path
        self._handlers = {method: row.handler for row in rows if row.path == path for method in row.methods.split()}
        self._open = {method for row in rows if row.path == path and row.open for method in row.methods.split()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operations = self._operations
        handler = self._handlers[scope["method"]]
        try:
            operations._face.door(scope, self._path)
            if scope["method"] in self._open:
                caller = PUBLIC
            elif handler is get_events and offered(scope["query_string"]):
                caller, handler = NOBODY, get_events_by_ticket
            else:
                caller = await operations.caller(Request(scope, receive))
        except HTTPException as error:
            await Answer(http_exception(error.status_code, error.detail, error.headers))(scope, receive, send)
            return
        except Exception as error:
            await answer_to(error, operations._face.service.problems, scope)(scope, receive, send)
            return

        def make() -> Any:
            return request_of(scope, receive, scope["path_params"], caller, operations.base(scope))

        await answer(operations._face.service, handler, make, scope, receive, send)
