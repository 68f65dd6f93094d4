"""Every error of an application as `application/problem+json`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match
from starlette.types import Scope

from ...http.asgi import Answer, BodyLimit, CommitFirst, answer_to
from ...http.faults import OURS, allow_all, http_exception, validation_error
from ...http.messages import problem_response
from ...http.problems import BASE, Problems
from ...http.trace import TraceContext, Trust

_UNREADABLE = "There was an error parsing the body"
"""What FastAPI says of a body that is no JSON because it is no UTF-8, or too deep."""


def install_problem_handlers(
    app: FastAPI,
    *,
    problem_base: str = BASE,
    max_body: int | None = 1 << 20,
    larger: Mapping[str, int] | None = None,
    trust_trace: Trust = True,
) -> None:
    """Every error of the application as `application/problem+json`: what FastAPI and your handlers raise, what offpath
    raises, and whatever nobody foresaw, which becomes a fixed sentence with an id for the log. Bodies beyond
    `max_body` bytes are answered 413 before they are read (None: no limit), and `larger` has other limits for some
    paths, {"/files": 64 << 20}. And no answer leaves before the transactions in which its request has accepted work are
    committed. Jobs carry on the trace of the request that enqueues them, as far as `trust_trace` says (see
    `TraceContext`)."""
    problems = Problems(problem_base)

    async def on_http(request: Request, error: Exception) -> Any:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        if error.status_code == 400 and error.detail == _UNREADABLE:
            return Answer(problem_response(problems.problem("malformed-body")))
        headers = error.headers
        if error.status_code == 405:
            headers = allow_all(headers, lambda method: serves(app, request.scope, method))
        return Answer(http_exception(error.status_code, error.detail, headers))

    async def on_validation(request: Request, error: Exception) -> Any:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
        return Answer(validation_error(error.errors(), problems, error.body))

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)
    for kind in (*OURS, Exception):
        app.add_exception_handler(kind, ours(problems))
    app.add_middleware(cast(Any, CommitFirst), problems=problems)
    app.add_middleware(cast(Any, TraceContext), trust_trace=trust_trace)
    if max_body is not None:
        app.add_middleware(cast(Any, BodyLimit), limit=max_body, larger=larger)


def ours(problems: Problems) -> Callable[[Request, Exception], Coroutine[Any, Any, Any]]:
    async def handler(request: Request, error: Exception) -> Any:
        return answer_to(error, problems, request.scope)

    return handler


def serves(app: Any, scope: Scope, method: str) -> bool:
    """Whether the application has a route for the path of this request with another method."""
    return any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
