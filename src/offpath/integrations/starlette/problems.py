"""Every error of an application as a problem, and what a request says of its own conditions and patch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match
from starlette.types import Scope

from ...http.asgi import Answer, BodyLimit, CommitFirst, answer_to
from ...http.conditional import Conditions
from ...http.faults import OURS, allow_all, http_exception
from ...http.patched import Patch, Patching
from ...http.problems import BASE, Problems
from ...http.trace import TraceContext, Trust

T = TypeVar("T")


def preconditions(request: Request, *, require_if_match: bool | None = None) -> Conditions:
    """The request's preconditions, to be checked once the current version is known. Without `If-Match`: 428 when it is
    required; None: it is for PATCH, and for no other method."""
    return Conditions.of(request.scope, require_if_match)


async def patch_body(request: Request, patching: Patching[T]) -> Patch[T]:
    """The patch that was sent. Refused: 415 with `Accept-Patch` for another media type, 413 beyond the cap."""
    return await patching.receive(request.scope, request.body)


def install_problem_handlers(
    app: Starlette,
    *,
    problem_base: str = BASE,
    max_body: int | None = 1 << 20,
    larger: Mapping[str, int] | None = None,
    trust_trace: Trust = True,
) -> None:
    """Every error of the application as `application/problem+json`, the unforeseen ones as a fixed sentence with an id
    for the log. Bodies beyond `max_body` bytes are answered 413 before they are read (None: no limit), and `larger` has
    other limits for some paths, {"/files": 64 << 20}. And no answer leaves before the transactions in which its request
    has accepted work are committed. Jobs carry on the trace of the request that enqueues them, as far as `trust_trace`
    says (see `TraceContext`)."""
    problems = Problems(problem_base)

    async def on_http(request: Request, error: Exception) -> Any:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        headers = error.headers
        if error.status_code == 405:
            headers = allow_all(headers, lambda method: serves(app, request.scope, method))
        return Answer(http_exception(error.status_code, error.detail, headers))

    async def on_ours(request: Request, error: Exception) -> Any:
        return answer_to(error, problems, request.scope)

    app.add_exception_handler(HTTPException, on_http)
    for kind in (*OURS, Exception):
        app.add_exception_handler(kind, on_ours)
    app.add_middleware(cast(Any, CommitFirst), problems=problems)
    app.add_middleware(cast(Any, TraceContext), trust_trace=trust_trace)
    if max_body is not None:
        app.add_middleware(cast(Any, BodyLimit), limit=max_body, larger=larger)


def serves(app: Any, scope: Scope, method: str) -> bool:
    """Whether the application has a route for the path of this request with another method."""
    return any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
