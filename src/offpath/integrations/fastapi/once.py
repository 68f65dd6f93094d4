"""The two route classes: for routes that start operations, and for routes whose handlers run once for each
Idempotency-Key."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ClassVar, get_args, get_origin

import anyio.from_thread
from fastapi import Depends, params
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from ...errors import ConfigurationError
from ...http.describe import (
    Responses,
    key_parameter,
    keyed_responses,
    prefer_parameter,
    start_responses,
    waited_response,
)
from ...http.face import Face
from ...http.idempotency import METHODS
from ...http.once import Once
from ...http.reply import Reply
from ...http.unit import CURRENT, STREAMED, UNIT, Unit
from .accept import Accepted

WRAPPED = "__offpath_once__"


class StartRoute(APIRoute):
    """A route that starts operations: what it answers, errors included, depends on `Prefer`."""

    face: ClassVar[Face]
    acceptor: ClassVar[Callable[..., Any]]

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        said = dict(options.get("responses") or {})
        own = options.get("status_code") in (None, 200) or bool({"200", "2XX"} & {str(one).upper() for one in said})
        result = _result(endpoint, options)
        if not own and result not in (Any, Reply):
            said[200] = {"model": result}
        super().__init__(path, endpoint, **{**options, "responses": said})
        self.starts = _uses(self.dependant, type(self).acceptor)
        if self.starts:
            keyed = self._keyed()
            also: Responses = {} if own else {200: waited_response(keyed=bool(keyed), file=result is Reply)}
            self._describe([*keyed, prefer_parameter()], start_responses(keyed=bool(keyed)) | also)

    def _keyed(self) -> list[dict[str, Any]]:
        """The request field Idempotency-Key, where it means something."""
        return [] if METHODS.isdisjoint(self.methods or ()) else [key_parameter(self.face.service.keys.ttl)]

    def _describe(self, fields: list[dict[str, Any]], responses: Responses) -> None:
        """Unless the route says something else of them itself."""
        extra = dict(self.openapi_extra or {})
        said = list(extra.get("parameters", ()))
        known = {one.get("name") for one in said}
        self.openapi_extra = {**extra, "parameters": [*said, *(one for one in fields if one["name"] not in known)]}
        for status, response in responses.items():
            self.responses[status] = {**response, **self.responses.get(status, {})}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.starts:
            await super().handle(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "prefer" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Prefer")
            await send(message)

        try:
            await super().handle(scope, receive, sending)
        except HTTPException as error:  # 405, say: answered outside the route
            error.headers = {**(error.headers or {}), "Vary": "Prefer"}
            raise


class OnceRoute(StartRoute):
    """A route whose handler runs once for each Idempotency-Key."""

    identify: ClassVar[Callable[..., Any]]
    units: ClassVar[Once]

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        kind = options.get("response_class")
        kind = getattr(kind, "value", kind)  # FastAPI wraps what was not said
        if inspect.isgeneratorfunction(endpoint) or inspect.isasyncgenfunction(endpoint):
            raise ConfigurationError(STREAMED)
        if isinstance(kind, type) and issubclass(kind, StreamingResponse | FileResponse):
            raise ConfigurationError(STREAMED)
        asks: list[params.Depends] = list(options.get("dependencies") or ())
        identify = type(self).identify
        if not any(one.dependency is identify for one in asks):  # older FastAPIs copy routes
            asks.insert(0, Depends(identify))
        super().__init__(path, _begun(endpoint), **{**options, "dependencies": asks})
        if keyed := self._keyed():
            self._describe(keyed, keyed_responses())

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.units.serve(super().handle, scope, receive, send)


def start_class(here: Face, start: Callable[..., Any]) -> type[APIRoute]:
    class Here(StartRoute):
        face = here
        acceptor = staticmethod(start)

    return Here


def once_class(here: Face, start: Callable[..., Any], asking: Callable[..., Any]) -> type[APIRoute]:
    shared = Once(here.service)

    async def who(request: Request, caller: Any = Depends(asking)) -> None:
        unit: Unit = request.scope[UNIT]
        unit.caller = here.caller(caller)
        unit.read = request.body

    class Here(OnceRoute):
        face = here
        acceptor = staticmethod(start)
        identify = staticmethod(who)
        units = shared

    return Here


def _result(endpoint: Callable[..., Any], options: dict[str, Any]) -> Any:
    """The T of the `Accepted[T]` that the route says it returns, alone or among others; Any if it says none."""
    said = options.get("response_model", DefaultPlaceholder(None))
    if isinstance(said, DefaultPlaceholder):
        with suppress(NameError):  # annotations that are text mean something in their own module only
            said = inspect.signature(endpoint, eval_str=True).return_annotation
    kinds = (said, *get_args(said))
    return next((get_args(kind)[0] for kind in kinds if get_origin(kind) is Accepted), Any)


def _uses(dependant: Any, call: Callable[..., Any]) -> bool:
    return any(one.call is call or _uses(one, call) for one in dependant.dependencies)


def _begun(endpoint: Any) -> Any:
    """The endpoint, telling the request's unit when it begins and when it has ended."""
    if hasattr(endpoint, WRAPPED):
        return endpoint
    plain: Any = inspect.unwrap(endpoint)
    made: Any
    if inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(getattr(plain, "__call__", None)):  # noqa: B004

        @wraps(endpoint)
        async def in_loop(*args: Any, **kwargs: Any) -> Any:
            unit = CURRENT.get()
            if unit is None:  # called by hand
                return await endpoint(*args, **kwargs)
            await unit.begin()
            answer = await endpoint(*args, **kwargs)
            await unit.flush()
            return answer

        made = in_loop
    else:

        @wraps(endpoint)
        def in_thread(*args: Any, **kwargs: Any) -> Any:
            unit = CURRENT.get()
            if unit is None:
                return endpoint(*args, **kwargs)
            anyio.from_thread.run(unit.begin)
            answer = endpoint(*args, **kwargs)
            anyio.from_thread.run(unit.flush)
            return answer

        made = in_thread
    with suppress(NameError):  # annotations that are text mean something in their own module only
        made.__signature__ = inspect.signature(endpoint, eval_str=True)
    setattr(made, WRAPPED, True)
    return made
