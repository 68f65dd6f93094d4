"""An application whose dashboard is tested: real store, real worker, and people who may do different things."""

import contextlib
import html
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
from fastapi import Depends, FastAPI, Header

from offpath import Context, Offpath, Retry, Task
from offpath.admin import Admin
from offpath.integrations.fastapi import Acceptor, Caller, Operations, install_problem_handlers
from offpath.webhooks import Webhooks

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

ONCE = Retry(max_attempts=1)
EVERYTHING = frozenset({"offpath.read", "offpath.write", "offpath.arguments"})
PEOPLE = {
    "keeper": Caller("keeper", "acme", EVERYTHING),
    "reader": Caller("reader", "acme", frozenset({"offpath.read"})),
    "nobody": Caller("nobody", "acme"),
}
SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    violations.push(event.violatedDirective + " " + event.blockedURI);
});
"""


def caller_of(authorization: Annotated[str | None, Header()] = None) -> Caller | None:
    return PEOPLE.get((authorization or "").removeprefix("Bearer "))


class Board:
    """The application; `mount`: below which path the dashboard is."""

    def __init__(self, folder: Path, url: str = "", mount: str = "/dashboard", **options: Any) -> None:
        self.jobs = Offpath(url or f"sqlite:///{folder / 'board.db'}", poll=0.05, lease=5.0)
        options.setdefault("caller", caller_of)
        options.setdefault("admin", Admin(trace_url="https://traces.example/{trace_id}"))
        self.webhooks = Webhooks(self.jobs, key="k" * 32, operations_url="https://api.example/operations",
                                 allow_private=True)  # fmt: skip
        options.setdefault("webhooks", self.webhooks)
        self.operations = Operations(self.jobs, **options)
        self.api = FastAPI()
        self.api.state.stranger = True  # pages are for people: their refusals are no problem documents
        self.api.include_router(self.operations.router)
        install_problem_handlers(self.api)
        self.api.mount(mount, self.operations.dashboard)

        @self.jobs.task(name="breaks", retry=ONCE)
        async def breaks(text: str) -> None:
            raise RuntimeError(text)

        @self.jobs.task(name="counts")
        async def counts(ctx: Context, to: int) -> int:
            for one in range(to):
                await ctx.progress(one + 1, of=to, unit="rows")
            return to

        self.breaks, self.counts = breaks, counts

        async def work(task: str, accept: Annotated[Acceptor, Depends(self.operations.acceptor)], label: str = "",
                       args: dict[str, Any] | None = None) -> Any:  # fmt: skip
            """As a request would start it: such a job is watched."""
            return await accept.using(label=label)(self.task(task), **(args or {}))

        self.api.add_api_route("/work/{task}", work, methods=["POST"], status_code=202)

    def task(self, name: str) -> Task[..., Any]:
        found = self.jobs.registry.get(name)
        assert found is not None
        return found

    def client(self, who: str | None = "keeper", **more: Any) -> httpx.AsyncClient:
        """As a program would ask, or, with `who=None`, as a browser that has not signed in."""
        headers = {"Authorization": f"Bearer {who}"} if who else {}
        transport = httpx.ASGITransport(self.api, **more)
        return httpx.AsyncClient(transport=transport, base_url="http://board.test/dashboard/", headers=headers)


def field(page: str, name: str = "form") -> str:
    """What a hidden field of a page says."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, page[:2000]
    return html.unescape(found[1])


async def send(client: httpx.AsyncClient, path: str, page: str, headers: Any = None, **form: str) -> httpx.Response:
    """Send a form as the browser does that shows `page`."""
    data = {"form": field((await client.get(page)).text), **form}
    return await client.post(path, data=data, headers={"Sec-Fetch-Site": "same-origin", **(headers or {})})


class Seen:
    """What went wrong in the pages of a browser context."""

    def __init__(self) -> None:
        self.dialogs: list[str] = []
        self.complaints: list[str] = []

    async def watch(self, page: "Page") -> None:
        async def dialog(one: Any) -> None:
            self.dialogs.append(f"{page.url}: {one.message}")
            await one.dismiss()

        page.on("dialog", dialog)

        def console(one: Any) -> None:
            if one.type == "error":
                self.complaints.append(f"{page.url}: {one.text}")

        page.on("console", console)
        page.on("pageerror", lambda one: self.complaints.append(f"{page.url}: {one}"))
        await page.add_init_script(WATCH)


@contextlib.asynccontextmanager
async def visiting(
    browser: "Browser", base: str, token: str = "keeper", **look: Any
) -> AsyncIterator[tuple["Page", Seen]]:
    """A page of a browser that has signed in at `base`, the dashboard's URL with a slash at its end."""
    context: BrowserContext = await browser.new_context(**look)
    context.set_default_timeout(30_000)  # ms
    try:
        page, seen = await context.new_page(), Seen()
        await seen.watch(page)
        await page.goto(base)
        await page.fill("[name=credential]", token)
        await page.click("text=Sign in >> nth=-1")
        await page.wait_for_selector("nav[aria-label=Pages]")
        yield page, seen
    finally:
        await context.close()


async def violations(page: "Page") -> list[str]:
    said: list[str] = await page.evaluate("window.violations")
    return said


Maker = Callable[..., Board]
