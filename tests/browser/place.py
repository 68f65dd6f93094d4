"""What a browser is shown in these tests: a page of its own, the module, and operations for whoever has the cookie.

`Log` sits in front of the application and remembers each request for events: what a browser did is asserted from what
its server saw. It can also answer in the application's place.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs

from fastapi import Cookie, Header
from fastapi.responses import HTMLResponse, Response

from offpath.integrations.fastapi import Caller
from tests.http.site import Site

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

MODULE = Path(__file__).parents[2] / "src" / "offpath" / "client" / "offpath.js"

PAGE = """<!doctype html><meta charset="utf-8"><title>test</title><link rel="icon" href="data:,">
<script type="module" src="/page.js"></script>"""
SCRIPT = """
import * as offpath from "/offpath.js";
globalThis.offpath = offpath;
globalThis.client = new offpath.Client(location.origin, {pace: {first: 0.05}, headers: {Authorization: "alice"}});
globalThis.names = ["snapshot", "queued", "started", "progress", "retrying", "requeued", "canceling", "succeeded",
    "failed", "canceled"];
globalThis.watch = (url) => {
    globalThis.seen = [];
    globalThis.errors = 0;
    globalThis.source = new EventSource(url);
    for (const name of names)
        source.addEventListener("operation." + name,
            (event) => seen.push([event.type, event.lastEventId, JSON.parse(event.data)]));
    source.onmessage = (event) => seen.push([event.type, event.lastEventId, event.data]);
    source.onerror = () => errors++;
};
globalThis.ready = true;
"""


def caller_of(
    authorization: Annotated[str | None, Header()] = None, session: Annotated[str | None, Cookie()] = None
) -> Caller | None:
    """By header, as programs do, or by cookie, as browsers do."""
    name = authorization or session
    return Caller(name) if name else None


def site(folder: Path) -> Site:
    made = Site(folder, caller=caller_of)
    api = made.api

    @api.get("/page")
    async def page() -> Response:
        return HTMLResponse(PAGE)

    @api.get("/page.js")
    async def script() -> Response:
        return Response(SCRIPT, media_type="text/javascript")

    @api.get("/offpath.js")
    async def module() -> Response:
        return Response(MODULE.read_bytes(), media_type="text/javascript")

    return made


@contextlib.asynccontextmanager
async def opened(browser: "Browser", base: str, session: str | None = "alice") -> AsyncIterator["Page"]:
    """The test's page, for a browser with this session cookie and nothing else to show who it is."""
    context = await browser.new_context()
    context.set_default_timeout(90_000)  # ms
    if session:
        await context.add_cookies([{"name": "session", "value": session, "url": base}])
    page = await context.new_page()
    try:
        await page.goto(f"{base}/page")
        await page.wait_for_function("globalThis.ready")
        yield page
    finally:
        await context.close()


@dataclass
class Log:
    """An ASGI application: `app` with a record of who asked for events, and with what.

    instead  path and number of the request for it → a status to answer with; None: let it pass
    """

    app: Any
    instead: Callable[[str, int], int | None] = lambda path, number: None
    asked: list[str | None] = field(default_factory=list)
    cookies: list[str | None] = field(default_factory=list)
    tickets: list[str] = field(default_factory=list)
    started: list[int] = field(default_factory=list)
    streams: list[asyncio.Task[Any]] = field(default_factory=list)

    def cut(self) -> None:
        """The connection of the last stream breaks, in the middle of its chunks."""
        self.streams[-1].cancel()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/events"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append(headers.get("last-event-id"))
        self.cookies.append(headers.get("cookie"))
        self.tickets += parse_qs(scope["query_string"].decode()).get("ticket", [])
        task = asyncio.current_task()
        assert task is not None
        self.streams.append(task)

        async def noted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.started.append(message["status"])
            await send(message)

        status = self.instead(scope["path"], len(self.asked))
        if status is None:
            await self.app(scope, receive, noted)
        else:
            await noted({"type": "http.response.start", "status": status, "headers": []})
            await noted({"type": "http.response.body", "body": b""})
