"""The dashboard for a FastAPI application: who is asking is what its `caller` dependency says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...admin import Admin
from ...dashboard import Dashboard, Unknown
from ...errors import ConfigurationError
from ...http.face import Face
from ...http.messages import Caller, Refused

SAID = "offpath.dashboard.caller"
"""Where the answer is kept in a scope."""


def dashboard(face: Face, admin: Admin | None, asking: Callable[..., Any] | None) -> Dashboard:
    """`asking`: None with `public`, where nobody says who is asking."""
    if admin is None:
        raise ConfigurationError("the dashboard shows what the admin API says: Operations(…, admin=Admin())")
    ask = None if asking is None else _Probe(face, asking).ask
    return Dashboard(admin, face.service, ask=ask, origin=face.origin)


class _Probe:
    """A route that is not in any application: its dependencies are those of the application that the request is in,
    with what that one puts in their place (`dependency_overrides`)."""

    def __init__(self, face: Face, asking: Callable[..., Any]) -> None:
        async def endpoint(request: Request, said: Any = Depends(asking)) -> Response:
            request.scope[SAID] = face.caller(said)
            return Response()

        self._endpoint = endpoint
        self._routes: dict[Any, APIRoute] = {}

    async def ask(self, scope: Any) -> Caller:
        """Unknown for what the dependency refuses; what else it raises, as it is."""
        app = scope.get("app")
        route = self._routes.get(app)
        if route is None:
            route = self._routes[app] = _Asking(
                "/", self._endpoint, methods=["GET"], response_model=None, dependency_overrides_provider=app
            )
        inner = {**scope, "method": "GET", "path_params": {}}
        inner.pop(SAID, None)
        await route.app(inner, _nothing, _swallow)
        said = inner.get(SAID)
        if isinstance(said, Exception):
            raise said
        if not isinstance(said, Caller):
            raise Unknown
        return said


class _Asking(APIRoute):
    """What goes wrong is kept, not answered."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await inner(request)
            except HTTPException as error:
                request.scope[SAID] = error if error.status_code >= 500 else Unknown(error.status_code)
            except Refused as error:
                request.scope[SAID] = Unknown(error.document["status"])
            except Exception as error:
                request.scope[SAID] = error
            return Response()

        return handler


async def _nothing() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _swallow(message: Any) -> None:
    """Nobody waits for this answer."""
