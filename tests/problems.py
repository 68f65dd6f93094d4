"""Every refusal that any test sees is held against RFC 9457: the ASGI applications in this process are wrapped at one
place (`watch`), clients of servers in other processes call `held_against`.

What is wrong is kept until the end of the test, which then fails (`judge`): an application swallows exceptions, and the
test may not have looked at the answer at all.
"""

import functools
import gzip
import json
import os
import sys
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any

import jsonschema

MEDIA_TYPE = "application/problem+json"
WATCHED = "offpath.tests.watched"
wrong: list[str] = []


@functools.cache
def schema() -> dict[str, Any]:
    """RFC 9457's, appendix A, from the conformance vectors; without that folder only what we ask for ourselves."""
    told = os.environ.get("OFFPATH_CONFORMANCE")
    folder = Path(told) if told else Path(__file__).parents[2] / "shared" / "conformance"
    path = folder / "problem-details" / "problem.schema.json"
    said: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"type": "object"}
    return said


def held_against(method: str, where: str, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> list[str]:
    """What is wrong with an answer of 400 or above; headers by lower-case name."""
    found = dict(headers)
    name = f"{method} {where} → {status}"
    if found.get("content-type") != MEDIA_TYPE:
        return [f"{name}: Content-Type is {found.get('content-type')!r}: {body[:200]!r}"]
    said = [] if "no-store" in found.get("cache-control", "") else [f"{name}: it may be cached (POL-02)"]
    if method == "HEAD":
        return said
    try:
        document = json.loads(body)
        jsonschema.validate(document, schema())
    except (ValueError, jsonschema.ValidationError) as error:
        return [*said, f"{name}: {error}"]
    if document.get("status") != status:
        said.append(f"{name}: its status member is {document.get('status')!r}")
    if not document.get("title") or ":" not in document.get("type", ""):
        said.append(f"{name}: without a title, or its type is no absolute URI: {document}")
    return said


def watch() -> None:
    """Once Starlette has been imported, every application made from it is watched; called before each test."""
    wrong.clear()
    module = sys.modules.get("starlette.applications")
    if module is None or hasattr(module.Starlette, WATCHED):
        return
    inner = module.Starlette.__call__

    async def call(self: Any, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or WATCHED in scope or not _ours(self):
            await inner(self, scope, receive, send)
            return
        scope[WATCHED] = True  # what is mounted inside answers through the outer one
        begun: dict[str, Any] = {}
        body = bytearray()

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                begun.update(message)
            elif begun.get("status", 0) >= 400:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in begun["headers"]]
                    text = gzip.decompress(body) if ("content-encoding", "gzip") in headers else bytes(body)
                    wrong.extend(held_against(scope["method"], scope["path"], begun["status"], headers, text))
            await send(message)

        await inner(self, scope, receive, sending)

    module.Starlette.__call__ = call
    setattr(module.Starlette, WATCHED, True)


def _ours(app: Any) -> bool:
    """Of a stranger (a receiver of webhooks, an application that only shares our session) nothing is asked."""
    return not getattr(app.state, "stranger", False)


def judge() -> None:
    said, wrong[:] = wrong[:], []
    assert not said, "\n".join(said)
