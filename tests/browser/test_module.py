"""offpath.js in Chromium: the whole way of an operation over fetch and over EventSource with tickets, and the page of
the reference application."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from examples.accounts import watch
from tests.browser.place import Log, opened
from tests.examples.conftest import running
from tests.http.site import Hand, Site, eventually, served

if TYPE_CHECKING:
    from playwright.async_api import Browser, Request

pytestmark = [pytest.mark.anyio, pytest.mark.servers("chromium")]

FOLLOW = """async (options) => {
    globalThis.story = [];
    globalThis.operation = await client.start("POST", "/start/echo", {json: {value: 1}});
    (async () => {
        for await (const event of operation.events(options)) story.push([event.type, event.id, operation.status]);
        globalThis.outcome = await operation.result();
    })();
    return operation.url;
}"""


@pytest.mark.parametrize("ticket", [False, True])
async def test_sse_05_sec_05_start_follow_break_resume_and_result(
    shop: Site, worker: Hand, browser: "Browser", ticket: bool
) -> None:
    """The connection breaks on the way; with tickets the next one needs a new ticket."""
    log = Log(shop.api)
    async with served(log) as base, opened(browser, base, session=None) as page:
        await page.evaluate(FOLLOW, {"ticket": ticket})
        await page.wait_for_function("story.length === 1")
        job = await worker.claim()
        for step in range(3):
            await worker.progress(job, step, 3)
            await page.wait_for_function(f"story.length === {step + 3}")
            if step == 1:
                log.cut()
        await worker.done(job, {"n": 1})
        await page.wait_for_function("globalThis.outcome")
        assert await page.evaluate("outcome") == {"n": 1}
        story = await page.evaluate("story")
        assert [int(id) for _, id, _ in story] == [1, 2, 3, 4, 5, 6]
        assert [status for *_, status in story] == ["queued", *["running"] * 4, "succeeded"]
        assert len(log.asked) == 2
        assert len(set(log.tickets)) == len(log.tickets) == (2 if ticket else 0)
        assert log.asked[1] == (None if ticket else "4")  # an EventSource is told in the URL


async def test_can_01_cancel_and_the_reason(shop: Site, browser: "Browser") -> None:
    async with served(shop.api) as base, shop.jobs.worker(), opened(browser, base, session=None) as page:
        await page.evaluate("""async () => {
            globalThis.operation = await client.start("POST", "/start/gated", {json: {}});
        }""")
        await asyncio.wait_for(shop.began.wait(), 60)
        said = await page.evaluate("""async () => {
            await operation.cancel("changed my mind");
            try { await operation.result({timeout: 60}); } catch (error) { return [error.name, error.problem.reason]; }
        }""")
        assert said == ["OperationCanceled", "changed my mind"]
        await page.evaluate("operation.delete()")
        refused = await page.evaluate("client.operation(operation.id).refresh().catch((error) => error.status)")
        assert refused == 404


async def test_sse_11_without_streams_it_polls(shop: Site, worker: Hand, browser: "Browser") -> None:
    log = Log(shop.api, lambda path, number: 503)
    async with served(log) as base, opened(browser, base, session=None) as page:
        await page.evaluate(FOLLOW, {})
        await page.wait_for_function("story.length === 1")
        await worker.done(await worker.claim(), "end")
        await page.wait_for_function("globalThis.outcome")
        assert await page.evaluate("outcome") == "end"
        assert log.started == [503]


async def test_the_page_of_the_reference_application(browser: "Browser", tmp_path: Path) -> None:
    """Under its own policy, with nothing from elsewhere: start, progress, result; then cancel."""
    async with running(tmp_path) as world:
        page = await browser.new_page()
        page.set_default_timeout(90_000)
        asked: list[Request] = []
        page.on("request", lambda request: asked.append(request))
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        answer = await page.goto(f"{world.base_url}/watch")
        assert answer is not None
        assert answer.headers["content-security-policy"] == watch.POLICY
        await page.fill("[name=rows]", "4")
        await page.fill("[name=delay]", "50")
        await page.click("text=Start")
        await page.get_by_text("the result:").wait_for()
        assert '"rows":4' in (await page.text_content("#result") or "")
        assert await page.get_attribute("#cancel", "disabled") is not None
        lines = await page.locator("#events li").all_text_contents()
        assert [line for line in lines if "operation.succeeded" in line] == lines[-1:]
        assert (await page.text_content("#status") or "").startswith("succeeded")

        await page.fill("[name=rows]", "1000")
        await page.fill("[name=delay]", "100")
        await page.click("text=Start")
        await page.locator("#events li", has_text="operation.progress").first.wait_for()
        await page.click("#cancel")
        await page.get_by_text("canceled: The operation was canceled: asked on the page").wait_for()

        await page.fill("[name=token]", "nobody")
        await page.click("text=Start")
        await page.get_by_text("401").wait_for()
        assert {request.url.split("/", 3)[2] for request in asked} == {world.base_url.split("/", 3)[2], ""} - {""}
        assert [text for text in complaints if "401" not in text] == []
        await page.close()


async def test_the_page_works_below_a_prefix(browser: "Browser") -> None:
    """Its own files are found relative to it; nothing is asked at the root."""
    from fastapi import FastAPI

    inner, outer = FastAPI(), FastAPI()
    inner.state.stranger = outer.state.stranger = True  # they have the page alone, and the page has its own words
    watch.install(inner)
    outer.mount("/accounts", inner)
    async with served(outer) as base:
        page = await browser.new_page()
        page.set_default_timeout(90_000)
        paths: list[str] = []
        page.on("response", lambda response: paths.append(f"{response.status} {response.url.removeprefix(base)}"))
        await page.goto(f"{base}/accounts/watch")
        await page.click("text=Start")
        await page.get_by_text("404").wait_for()
        await eventually(lambda: any("reports" in path for path in paths))
        assert sorted(path for path in paths if not path.startswith("200 data:")) == [
            "200 /accounts/static/offpath.js",
            "200 /accounts/static/watch.css",
            "200 /accounts/static/watch.js",
            "200 /accounts/watch",
            "404 /accounts/api/reports",
        ]
        await page.close()
