"""Errors as RFC 9457 problem+json. offpath's handlers cover what FastAPI, our routes and offpath itself raise; here is
what they cannot know: our database's own refusals. `documented` says in the OpenAPI document which a route may give.
"""

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from offpath.integrations.fastapi import install_problem_handlers, problem_responses

from .database import passes
from .settings import settings

log = logging.getLogger("accounts")
documented = problem_responses


def install(api: FastAPI) -> None:
    install_problem_handlers(api, larger={"/api/files": settings().max_upload})
    for kind in (DBAPIError, PoolTimeout):
        api.add_exception_handler(kind, database_unavailable)


async def database_unavailable(request: Request, error: Exception) -> JSONResponse:
    """Full, locked for too long, gone: the client may simply come again. Whatever else it says is our own mistake."""
    if not passes(error):
        raise error
    log.error("%s %s: the database refused: %s", request.method, request.url.path, error)
    body = {"type": "about:blank", "title": "Service Unavailable", "status": 503}
    headers = {"Retry-After": "5", "Cache-Control": "no-store"}
    return JSONResponse(body, 503, headers=headers, media_type="application/problem+json")
