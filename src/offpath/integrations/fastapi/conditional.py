"""Preconditions and patches as dependencies.

    patching = Patching(Thing, read_only=("/id", "/version"))

    @api.patch("/things/{id}", responses=patching.responses, openapi_extra=patching.openapi_extra)
    async def change(
        id: int, when: Preconditions, patch: Annotated[Patch[Thing], Depends(patch_body(patching))], session: Session
    ) -> Thing:
        async with session.begin():
            row = await session.get(ThingRow, id, with_for_update=True)     404 first
            when.check(strong(row.version))                                 412, 428
            after = patch.apply(Thing.model_validate(row))                  400, 409, 422

`add_options(api, "/things/{id}", patching)` answers OPTIONS. The whole of it: docs/how-to/patch.md.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from ...http.conditional import Conditions, PreconditionFailed
from ...http.messages import Declined, Refused
from ...http.patched import Patch, Patching
from ...http.problems import Problems
from .problems import ours

T = TypeVar("T")
_OURS = ours(Problems())


def preconditions(*, require_if_match: bool | None = None) -> Callable[..., Coroutine[Any, Any, Conditions]]:
    """A dependency: the request's preconditions, for the handler to `check`. A request without `If-Match` is 428 when
    that is required; False lets the last write win. None: required for PATCH, and for no other method."""

    async def conditions(
        request: Request,
        if_match: Annotated[str | None, Header(description="Only if this is the current version")] = None,
        if_none_match: Annotated[str | None, Header(description="Only if this is not the current version")] = None,
    ) -> Conditions:
        _answered(request.scope)
        return Conditions.of(request.scope, require_if_match)

    return conditions


Preconditions = Annotated[Conditions, Depends(preconditions())]
"""The preconditions of a request; a PATCH without `If-Match` is 428."""


def patch_body(patching: Patching[T]) -> Callable[[Request], Coroutine[Any, Any, Patch[T]]]:
    """A dependency: the patch that was sent. 415 with `Accept-Patch` for any other media type, 413 beyond the cap.

    Let who is asking be found out before (an earlier parameter, or a dependency of the router): strangers are answered
    401, not 415.
    """

    async def body(request: Request) -> Patch[T]:
        _answered(request.scope)
        return await patching.receive(request.scope, request.body)

    return body


def add_options(router: FastAPI | APIRouter, path: str, patching: Patching[Any]) -> None:
    """OPTIONS of a path that can be patched: `Allow` with what the router has there, and `Accept-Patch` (RFC 5789
    §3.1). It says nothing of any one resource, so nobody is asked who they are."""

    async def options() -> Response:
        here = [route for route in router.routes if getattr(route, "path", None) == whole]
        allow = {method for route in here for method in getattr(route, "methods", None) or ()}
        return Response(None, 204, {"Allow": ", ".join(sorted(allow)), "Accept-Patch": patching.accept_patch})

    whole = getattr(router, "prefix", "") + path
    router.add_api_route(path, options, methods=["OPTIONS"], include_in_schema=False)


def _answered(scope: Scope) -> None:
    """An application without `install_problem_handlers` still answers our own errors as problems."""
    handlers = scope.get("starlette.exception_handlers")
    if handlers is not None:
        for kind in (Declined, PreconditionFailed, Refused):
            handlers[0].setdefault(kind, _OURS)
