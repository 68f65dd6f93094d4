"""Webhooks as they are described in the OpenAPI document: what a receiver is sent, and what its answer means.

The routes here are never served. FastAPI describes `webhooks` and `callbacks` from routes, so these are some.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Header
from starlette.routing import BaseRoute

from ...core.events import TERMINAL
from ...errors import ConfigurationError
from ...http.schema import OperationEvent

_ANSWERS: dict[int | str, dict[str, Any]] = {
    410: {"description": "Do not send here again: the endpoint is disabled."},
    429: {"description": "Too many: it is tried again, and not before `Retry-After`."},
    "default": {"description": "Any other 2xx: received. Anything else is a failure; redirects are not followed."},
}


def described() -> APIRouter:
    """For `FastAPI(webhooks=…)`: one for each way in which an operation can end."""
    router = APIRouter()
    for event in sorted(TERMINAL):
        _add(router, f"operation.{event}", f"operation_{event}_webhook", f"An operation has {_WORDS[event]}", Any)
    return router


_WORDS = {"succeeded": "succeeded", "failed": "failed", "canceled": "been canceled"}


def callbacks(url: str, result: Any, name: str) -> list[BaseRoute]:
    """For `callbacks=` of a route whose request says where to send the end of its operation."""
    if not (url.startswith("{$") and "}" in url):
        raise ConfigurationError(f'a callback is described by an expression: "{{$request.body#/url}}", not {url!r}')
    router = APIRouter()
    _add(router, url, name, "The operation has ended", result)
    return router.routes


def _add(router: APIRouter, path: str, name: str, summary: str, result: Any) -> None:
    router.add_api_route(
        path,
        _receiver(result),
        methods=["POST"],
        name=name,
        operation_id=name,
        summary=summary,
        description="Signed as Standard Webhooks 1.0.0 says; `offpath.webhooks.verify` checks it.",
        status_code=204,
        response_model=None,
        response_description="Received",
        responses=_ANSWERS,
        openapi_extra={"security": []},  # who sends is told by the signature
    )


def _receiver(result: Any) -> Callable[..., Coroutine[Any, Any, None]]:
    async def receive(
        event: Any,
        webhook_id: Annotated[str, Header(alias="webhook-id", description="The same for every attempt")],
        webhook_timestamp: Annotated[int, Header(alias="webhook-timestamp", description="Of this attempt, Unix s")],
        webhook_signature: Annotated[str, Header(alias="webhook-signature", description="One or more, by spaces")],
    ) -> None: ...

    receive.__annotations__["event"] = OperationEvent[result]  # known at run time only
    return receive
