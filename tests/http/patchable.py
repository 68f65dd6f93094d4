"""A small application whose things can be patched; its routes stand for anyone's own. No database: one version each."""

import contextlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, cast

import httpx
from fastapi import Depends, FastAPI, HTTPException
from pydantic import JsonValue
from starlette.responses import JSONResponse, Response

from offpath.integrations.fastapi import (
    Conditions,
    Patch,
    Patching,
    Preconditions,
    add_options,
    install_problem_handlers,
    patch_body,
    preconditions,
    strong,
)
from tests.http.site import checked_client

JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"


@dataclass
class Thing:
    document: Any
    version: int = 1


class Patchable:
    """`patching`: of what its documents are; any JSON value when it is not given."""

    def __init__(self, patching: Patching[Any] | None = None, *, lenient: bool = False) -> None:
        self.patching: Patching[Any] = patching or Patching(cast(Any, JsonValue))
        self.things: dict[str, Thing] = {}
        self.api = api = FastAPI()
        install_problem_handlers(api)
        Body = Annotated[Patch[Any], Depends(patch_body(self.patching))]
        Asked = Annotated[Conditions, Depends(preconditions(require_if_match=False if lenient else None))]

        @api.get("/things/{name}")
        async def read(name: str, when: Preconditions) -> Response:
            thing = self._find(name)
            about = {"ETag": strong(thing.version), "Cache-Control": "no-cache"}
            if when.unmodified(about["ETag"]):
                return Response(None, 304, about)
            return JSONResponse(self._shown(thing), headers=about)

        @api.patch("/things/{name}", responses=self.patching.responses, openapi_extra=self.patching.openapi_extra)
        async def change(name: str, when: Asked, patch: Body) -> Response:
            thing = self._find(name)
            when.check(strong(thing.version))
            thing.document = patch.apply(thing.document)
            thing.version += 1
            return JSONResponse(self._shown(thing), headers={"ETag": strong(thing.version)})

        @api.put("/things/{name}")
        async def put(name: str, body: Annotated[Any, Depends(_body)], when: Preconditions) -> Response:
            thing = self.things.get(name)
            when.check(strong(thing.version) if thing else None)
            self.things[name] = Thing(body, thing.version + 1 if thing else 1)
            return Response(None, 204)

        add_options(api, "/things/{name}", self.patching)

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
        return checked_client(None, transport=transport, base_url="http://site.test")

    def _find(self, name: str) -> Thing:
        with contextlib.suppress(KeyError):
            return self.things[name]
        raise HTTPException(404)

    def _shown(self, thing: Thing) -> Any:
        return self.patching.adapter.dump_python(thing.document, mode="json", by_alias=True)


async def _body() -> Any:
    return {}


async def send(
    client: httpx.AsyncClient, patch: Any, media: str = JSON_PATCH, name: str = "x", **headers: str
) -> httpx.Response:
    content = patch if isinstance(patch, bytes) else json.dumps(patch).encode()
    named = {"content-type": media, "if-match": "*"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return await client.patch(f"/things/{name}", content=content, headers=named)
