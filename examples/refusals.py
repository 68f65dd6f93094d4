"""What a service's own database refuses, as problem+json. What FastAPI, the routes and offpath raise, offpath's own
handlers know."""

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from .databases import passes

log = logging.getLogger("examples")


def install(api: FastAPI) -> None:
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
