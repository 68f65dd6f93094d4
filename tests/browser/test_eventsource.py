"""wire.md 1.11 and §4 (8, 9, 10): Chromium's own EventSource against a real server, told from the server's log."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.browser.place import Log, opened, site
from tests.http.site import Hand, Site, eventually, served

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.anyio, pytest.mark.servers("chromium")]


async def seen(page: "Page", count: int) -> list[list[Any]]:
    await page.wait_for_function(f"seen.length >= {count}", timeout=60_000)
    events: list[list[Any]] = await page.evaluate("seen")
    return events


async def start(base: str, task: str = "echo", **args: Any) -> str:
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": "alice"}) as client:
        answer = await client.post(f"/start/{task}", json=args)
        assert answer.status_code == 202, answer.text
        return str(answer.headers["location"])


async def test_sse_03_sse_08_every_event_once_in_order_and_no_reconnecting_for_ever(
    shop: Site, worker: Hand, browser: "Browser"
) -> None:
    """§4.9: the terminal event once, then at most one more request, answered 204; the cookie alone says who it is."""
    log = Log(shop.api)
    async with served(log) as base, opened(browser, base) as page:
        url = await start(base, value=1)
        await page.evaluate(f"watch('{url}/events')")
        await seen(page, 1)
        job = await worker.claim()
        for step in range(20):
            await worker.progress(job, step, 20, f"step {step}")
        await worker.done(job, "end")
        events = await seen(page, 23)
        assert [name for name, _, _ in events] == [
            "operation.snapshot",
            "operation.started",
            *["operation.progress"] * 20,
            "operation.succeeded",
        ]
        assert [int(id) for _, id, _ in events] == list(range(1, 24))
        assert [data["message"] for name, _, data in events if "progress" in name] == [f"step {n}" for n in range(20)]
        assert events[-1][2]["result"] == "end"
        await page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=60_000)
        assert log.asked == [None, "23"]
        assert log.started == [200, 204]
        assert log.cookies == ["session=alice"] * 2
        assert len(await page.evaluate("seen")) == 23


async def test_sse_05_it_resumes_after_the_server_has_started_again(
    shop: Site, worker: Hand, browser: "Browser", tmp_path: Path
) -> None:
    """§4.10: the browser comes back by itself with Last-Event-ID, to another server on the same database."""
    first, other = Log(shop.api), site(tmp_path)
    second = Log(other.api)
    async with contextlib.AsyncExitStack() as stack:
        kept = stack.enter_context(socket.socket())  # the port stays ours while nobody listens there
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))

        def listening() -> socket.socket:
            return socket.create_server(kept.getsockname(), reuse_port=True)

        async with served(first, listening()) as base:
            page = await stack.enter_async_context(opened(browser, base))
            url = await start(base, value=1)
            await page.evaluate(f"watch('{url}/events')")
            await seen(page, 1)
            job = await worker.claim()
            await worker.progress(job, 1, 3, "before")
            await seen(page, 3)
            shop.operations.close()
        await worker.progress(job, 2, 3, "while nobody answers")
        await worker.done(job, "end")
        async with served(second, listening()):
            events = await seen(page, 5)
            await page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=60_000)
    other.jobs.close()
    assert [int(id) for _, id, _ in events] == [1, 2, 3, 4, 5]
    assert (first.asked, first.started) == ([None], [200])
    assert (second.asked, second.started) == (["3", "5"], [200, 204])


@pytest.mark.parametrize("status", [503, 404])
async def test_sse_11_an_error_before_the_stream_ends_an_eventsource(
    shop: Site, browser: "Browser", status: int
) -> None:
    log = Log(shop.api, lambda path, number: status)
    async with served(log) as base, opened(browser, base) as page:
        await page.evaluate(f"watch('{await start(base, value=1)}/events')")
        await page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=60_000)
        assert await page.evaluate("errors") == 1
        assert log.started == [status]


async def test_sec_01_a_stranger_in_a_browser_is_told_nothing(shop: Site, browser: "Browser") -> None:
    log = Log(shop.api)
    async with served(log) as base:
        url = await start(base, value=1)
        for session in ("bob", None):
            async with opened(browser, base, session) as page:
                await page.evaluate(f"watch('{url}/events')")
                await page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=60_000)
                assert await page.evaluate("seen") == []
    assert log.started == [404, 401]


async def test_sse_02_what_is_no_line_end_arrives_in_one_event(shop: Site, worker: Hand, browser: "Browser") -> None:
    """§4.8: U+2028, U+2029, U+0085, VT, FF and CR LF inside a message."""
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf\r\ng\nh\ri\ud83d\ude00j\ufeff".encode("utf-16", "surrogatepass").decode(
        "utf-16"
    )
    async with served(Log(shop.api)) as base, opened(browser, base) as page:
        url = await start(base, value=text)
        await page.evaluate(f"watch('{url}/events')")
        await seen(page, 1)
        job = await worker.claim()
        await worker.progress(job, 1, 2, text)
        await worker.done(job, text)
        events = await seen(page, 4)
        assert [name for name, _, _ in events][1:] == ["operation.started", "operation.progress", "operation.succeeded"]
        assert events[2][2]["message"] == text
        assert events[3][2]["result"] == text
        await eventually(lambda: shop.service.watcher.open == 0)


async def test_sse_14_a_closed_page_frees_its_stream(shop: Site, browser: "Browser") -> None:
    async with served(Log(shop.api)) as base:
        async with opened(browser, base) as page:
            await page.evaluate(f"watch('{await start(base, value=1)}/events')")
            await seen(page, 1)
            assert shop.service.watcher.open == 1
        async with asyncio.timeout(60):
            await eventually(lambda: shop.service.watcher.open == 0)
