"""The table of routes in FastAPI: endpoints, their dependencies, their description."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import cache
from typing import Any, ClassVar

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, NoMatchFound
from starlette.types import ASGIApp, Receive, Scope, Send

from ...errors import ConfigurationError
from ...http.asgi import Answer, answer, only_asked_slashed, request_of, segmented, segments, unnamable
from ...http.describe import parameters, responses
from ...http.face import NOBODY, Face
from ...http.faults import allow_all, http_exception, validation_error
from ...http.handlers import get_events, get_events_by_ticket
from ...http.messages import Caller, Refused, problem_response
from ...http.routes import COLLECTION, Handler, Route
from ...http.tickets import offered
from .problems import serves

STACK = "fastapi_inner_astack"
"""Where FastAPI keeps, in the scope, what ends a request's `yield` dependencies."""


@cache
def _warn_once() -> None:
    warnings.warn(
        f"this FastAPI has no scope[{STACK!r}]: the dependencies of a held poll or a stream of offpath (the database "
        "session that says who is asking, say) stay open until its last byte",
        RuntimeWarning,
        stacklevel=2,
    )


def base(face: Face, scope: Scope) -> str:
    """The absolute URL of the collection of operations, as this client reaches it."""

    def find() -> str:
        try:
            return str(scope["app"].url_path_for(face.prefix + "list_operations"))
        except NoMatchFound:
            raise ConfigurationError("include operations.router in the application that accepts work") from None

    return face.base(scope, find)


class Router(APIRouter):
    """Steps aside at one look from requests that are not for it: every request to the routes included after it would
    otherwise be held against each of its own."""

    heads: tuple[str, ...] = (COLLECTION,)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        for head in self.heads:
            if head in scope["path"]:
                return (Match.NONE, {}) if only_asked_slashed(scope) else super().matches(scope)
        return Match.NONE, {}


class _Route(APIRoute):
    """Ends the dependencies before the answer begins: a held poll or a stream must not keep the database session open
    that said who is asking. (FastAPI would end them after the last byte.) Its errors are problems."""

    face: ClassVar[Face]
    allow: ClassVar[Mapping[str, str]]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if unnamable(scope):
            return Match.NONE, {}
        match, child = super().matches(segmented(scope))
        return match, {**child, "path_params": segments(child["path_params"])} if child else child

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        allow = next((methods for path, methods in self.allow.items() if self.path.endswith(path)), None)
        if allow is not None and scope["method"] not in allow.split(", "):
            headers = allow_all({"Allow": allow}, lambda method: serves(scope["app"], scope, method))
            await Answer(http_exception(405, None, headers))(scope, receive, send)
            return
        try:
            self.face.door(scope, self.path)
        except Refused as error:
            await Answer(problem_response(error.document, *error.headers))(scope, receive, send)
            return
        await super().handle(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            scope = request.scope
            outer = scope.get(STACK)
            if outer is None:
                _warn_once()
            try:
                async with AsyncExitStack() as stack:
                    if outer is not None:
                        scope[STACK] = stack
                    return await inner(request)
            except HTTPException as error:
                return _Answering(Answer(http_exception(error.status_code, error.detail, error.headers)))
            except RequestValidationError as error:
                return _Answering(Answer(validation_error(error.errors(), self.face.service.problems, error.body)))
            finally:
                if outer is not None:
                    scope[STACK] = outer

        return handler


def route_class(here: Face, methods: Mapping[str, str]) -> type[APIRoute]:
    """`methods`: by path, what the `Allow` of a 405 says."""

    class Here(_Route):
        face = here
        allow = methods

    return Here


def _by_ticket(here: Face, methods: Mapping[str, str]) -> type[APIRoute]:
    """Of a route that is only there for requests with a ticket in their query."""

    class Here(_Route):
        face = here
        allow = methods

        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            return super().matches(scope) if offered(scope.get("query_string", b"")) else (Match.NONE, {})

    return Here


class _Answering(Response):
    """An ASGI application where FastAPI wants a Response."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _endpoint(face: Face, handle: Handler, asking: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Response]]:
    async def endpoint(request: Request, caller: Any = Depends(asking)) -> Response:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            def make() -> Any:
                return request_of(scope, receive, scope["path_params"], face.caller(caller), base(face, scope))

            await answer(face.service, handle, make, scope, receive, send)

        return _Answering(app)

    return endpoint


def _nobody() -> Caller:
    return NOBODY


def add(router: APIRouter, face: Face, route: Route, asking: Callable[..., Any]) -> None:
    """The first method is described in the OpenAPI document, HEAD is there all the same."""
    if route.handler is get_events:  # first: who has a ticket is not asked anything else
        router.add_api_route(
            route.path,
            _endpoint(face, get_events_by_ticket, _nobody),
            methods=route.methods.split(),
            name=f"{face.prefix}{route.name}.ticket",
            include_in_schema=False,
            route_class_override=_by_ticket(face, {route.path: ", ".join(route.methods.split())}),
        )
    endpoint = _endpoint(face, route.handler, asking)
    for index, method in enumerate(route.methods.split()):
        router.add_api_route(
            route.path,
            endpoint,
            methods=[method],
            name=face.prefix + route.name if index == 0 else f"{face.prefix}{route.name}.{method}",
            operation_id=f"{route.name}" if index == 0 else f"{route.name}_{method.lower()}",
            summary=route.doc,
            description="",
            response_class=Response,
            response_model=None,
            status_code=next(iter(route.answers)),  # or FastAPI describes a 200 as well
            responses=responses(route),
            include_in_schema=route.shown and index == 0,
            openapi_extra={
                "parameters": list(parameters(route)),
                **({} if route.takes is None else {"requestBody": dict(route.takes)}),
            },
        )
