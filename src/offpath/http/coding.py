"""An entity tag of its own for each content coding (RFC 9110 §8.8.1, §8.8.3.3). ASGI, without a framework."""

from __future__ import annotations

import re

from .asgi import App, Message, Receive, Scope, Send

_CODED = re.compile(rb'\+(?:gzip|br|zstd|deflate|compress)"')
_STRONG = re.compile(rb'"[^"]*"')
_NAMES = (b"if-match", b"if-none-match")


class TagPerCoding:
    """ASGI middleware for applications that compress: `"3"` is `"3+gzip"` on a compressed answer, and either is `"3"`
    to the application, so that what a client has read compressed can be named in its `If-Match`. A weak tag could not.

    Add it after the middleware that compresses: `app.add_middleware(GZipMiddleware)`, then
    `app.add_middleware(TagPerCoding)`.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        known = [value for name, value in scope["headers"] if name == b"if-none-match"]
        if any(name in _NAMES and _CODED.search(value) for name, value in scope["headers"]):
            headers = [(n, _CODED.sub(b'"', v) if n in _NAMES else v) for n, v in scope["headers"]]
            scope = {**scope, "headers": headers}

        async def pass_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _tagged(message["status"], list(message.get("headers", ())), known)}
            await send(message)

        await self.app(scope, receive, pass_on)


def _tagged(status: int, headers: list[tuple[bytes, bytes]], known: list[bytes]) -> list[tuple[bytes, bytes]]:
    for index, (name, tag) in enumerate(headers):
        if name.lower() != b"etag" or _STRONG.fullmatch(tag) is None:
            continue
        if status == 304:  # of the representation that the client has
            coded = next((found[0] for line in known for found in _of(tag, line)), None)
        else:
            coding = next((value for field, value in headers if field.lower() == b"content-encoding"), b"")
            coded = tag[:-1] + b"+" + coding.strip().lower() + b'"'
            coded = coded if _CODED.search(coded) else None
        if coded is not None:
            headers[index] = (name, coded)
    return headers


def _of(tag: bytes, line: bytes) -> list[re.Match[bytes]]:
    """The coded forms of a tag in an If-None-Match line, unless the plain one is there too."""
    if tag in line:
        return []
    return list(re.finditer(re.escape(tag[:-1]) + _CODED.pattern, line))
