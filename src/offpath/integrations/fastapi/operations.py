"""What an application configures: its operations over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Unpack, cast

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.routing import BaseRoute

from ...app import Offpath
from ...core.options import CallOptions
from ...errors import ConfigurationError
from ...http.accept import DUE, Start, refuse_safe
from ...http.asgi import NOWHERE, Nowhere
from ...http.asked import ASKS, Asked, as_asked
from ...http.describe import Responses, start_responses
from ...http.face import PUBLIC, Face, Options
from ...http.faults import OURS
from ...http.handlers import get_operation
from ...http.keys import require, speaks
from ...http.messages import Caller
from ...http.pages import Pages
from ...http.routes import PARAMETER, ROUTES, allow, beyond, heads
from ...http.unit import UNIT, Unit
from .accept import Acceptor
from .deliveries import callbacks, described
from .once import once_class, start_class
from .problems import ours
from .routing import Router, add, base, route_class
from .strict import refuse_unknown

if TYPE_CHECKING:
    from ...admin import Admin
    from ...dashboard import Dashboard
    from ...webhooks.facade import Webhooks


class Operations(Pages):
    """The operations of `jobs` over HTTP.

    caller         a dependency that says who is asking: a `Caller`, text, a number, or an object with `.id` and
                   perhaps `.tenant`. An operation is seen by whoever started it and nobody else (404).
    public         instead of a caller: everyone sees every operation
    tags           in the OpenAPI document
    webhooks       whose routes are there too, and whose rules hold for callback URLs
    admin          whose routes are there too: the admin API, for those who have its permissions

    The other options are `http.face.Options`.

    acceptor       a dependency: what starts operations (`Acceptor`)
    route          a route class for routes that take it: `APIRouter(route_class=operations.route)`. Their answers,
                   errors included, say `Vary: Prefer`, and their description has the request fields
    once           a route class for handlers that a request with an Idempotency-Key runs once: work and answer are one
                   commit, and whoever sends it again is given the same answer. See `session`
    """

    def __init__(
        self,
        jobs: Offpath,
        *,
        caller: Callable[..., Any] | None = None,
        public: bool = False,
        tags: Sequence[str] = ("operations",),
        webhooks: Webhooks | None = None,
        admin: Admin | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._face = face = Face(jobs, caller=caller, public=public, **options)
        self._asking = asking = _everyone if caller is None else caller
        self._admin, self._caller = admin, caller
        self.acceptor = _acceptor(face, caller)
        self.route = start_class(face, self.acceptor)
        self.once = once_class(face, self.acceptor, asking)
        rows = ROUTES
        if webhooks is not None:
            rows = (*rows, *webhooks.routes)
            face.service.callbacks = webhooks.admit
        if admin is not None:
            rows = (*rows, *admin.routes)
        router = Router(route_class=route_class(face, allow(rows)), tags=list(tags))
        router.heads = heads(rows)
        self.router: APIRouter = router
        for route in rows:
            add(self.router, face, route, _everyone if route.open else asking)
        for path in beyond(rows):
            router.add_route(path, cast(Any, Nowhere(allow(rows))), include_in_schema=False)

    async def session(self, request: Request) -> Any:
        """A dependency of routes of the class `once`: a session of `session=`, whose transaction is the route's. It
        begins when the handler's arguments are made, and is committed with the answer before that is sent; 400 and
        above take back what the handler wrote. The handler may commit or not: what it commits stands with the answer.

        `Annotated[AsyncSession, Depends(operations.session)]`
        """
        unit: Unit | None = request.scope.get(UNIT)
        if unit is None:
            raise ConfigurationError("operations.session is for routes of APIRouter(route_class=operations.once)")
        return await unit.session()

    async def require_key(self, request: Request) -> None:
        """A dependency: a POST or PATCH without an Idempotency-Key is answered 400."""
        require(self._face.service.problems, request.scope)

    def view(self, path: str, summary: str, *, tags: Sequence[str] = ("operations",)) -> APIRouter:
        """GET of an operation under one more path, for clients that know an older one: "/jobs/{operation_id}/status".

        The words of the path name it in the OpenAPI document.
        """
        if "{" + PARAMETER + "}" not in path:
            raise ConfigurationError(f"a view's path must contain {{{PARAMETER}}}, not {path!r}")
        (row,) = (row for row in ROUTES if row.handler is get_operation)
        name = "_".join(part for part in path.split("/") if part and "{" not in part)
        row = row._replace(name=name, path=path, doc=summary)
        router = APIRouter(route_class=route_class(self._face, allow([row])), tags=list(tags))
        add(router, self._face, row, self._asking)
        router.add_route(path + "/", cast(Any, NOWHERE), include_in_schema=False)
        return router

    @cached_property
    def dashboard(self) -> Dashboard:
        """Pages over the admin API: `app.mount("/dashboard", operations.dashboard)`. The `caller` says who may look
        and who may change, as for the API; with `public` it is open to this machine alone, and changes nothing.

        ConfigurationError without `admin`; MissingExtraError without the extra `dashboard`.
        """
        from .dashboard import dashboard

        return dashboard(self._face, self._admin, self._caller)

    def close(self) -> None:
        """End every held poll and stream now (under uvicorn that happens by itself)."""
        self._face.close()

    @property
    def webhook_docs(self) -> APIRouter:
        """The webhooks that announce the end of an operation, for the OpenAPI document:
        `FastAPI(…, webhooks=operations.webhook_docs)`. It describes them; it sends nothing."""
        return described()

    def callback_docs(self, url: str, result: Any = Any, *, name: str = "operation_ended") -> list[BaseRoute]:
        """The same for a URL that the start request carries:
        `callbacks=operations.callback_docs("{$request.body#/webhookUrl}", Export)` at the route.

        url     a runtime expression in braces (OAS 3.1.1, Runtime Expressions)
        result  the type of the task's result
        name    of the callback; another one for each route, because operation ids are made from it
        """
        return callbacks(url, result, name)

    @property
    def responses(self) -> Responses:
        """For `responses=` of a route that accepts work."""
        return start_responses()


async def _everyone() -> Caller:
    return PUBLIC


def _acceptor(face: Face, asking: Callable[..., Any] | None) -> Callable[..., Coroutine[Any, Any, Acceptor]]:
    service = face.service
    handler = ours(service.problems)
    known: set[int] = set()

    def begin(request: Request, said: Any) -> Asked:
        scope = request.scope
        refuse_safe(scope["method"])
        handlers = scope.get("starlette.exception_handlers")
        if handlers is not None and id(handlers[0]) not in known:
            # An application without `install_problem_handlers` still answers our own errors as problems.
            known.add(id(handlers[0]))
            for kind in OURS:
                handlers[0].setdefault(kind, handler)
        who = face.caller(said)
        if face.guards_starts:
            face.cookies(scope)
        unit: Unit | None = scope.get(UNIT)
        due = scope.get(DUE) if unit is None else unit.accepted
        return Asked(Start(who, base(face, scope), owned_by(who.id), "", None, due), None, unit)

    async def more(request: Request, plain: Asked) -> Asked:
        return await as_asked(service, plain, request.scope, request.body, lambda: refuse_unknown(request))

    async def acceptor(request: Request, caller: Any = Depends(asking)) -> Acceptor:
        """Who starts operations here, and where they will be found."""
        asked = begin(request, caller)
        return Acceptor(face, await more(request, asked) if speaks(request.scope, ASKS) else asked)

    async def open_acceptor(request: Request) -> Acceptor:
        """The same where everyone is the same: a dependency less to solve for each request."""
        asked = begin(request, PUBLIC)
        return Acceptor(face, await more(request, asked) if speaks(request.scope, ASKS) else asked)

    return open_acceptor if asking is None else acceptor


@lru_cache(maxsize=1024)
def owned_by(owner: str) -> CallOptions:
    return CallOptions(owner=owner)
