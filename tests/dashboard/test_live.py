"""Pages that look again by themselves take nothing away: neither focus, nor what was typed, nor what is unfolded."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from offpath import Schedule
from offpath.errors import JobFailed
from tests.dashboard.place import ONCE, Board, visiting
from tests.http.site import served

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.anyio, pytest.mark.servers("chromium")]
FOCUSED = "document.activeElement.outerHTML"


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Board, str]]:
    board = Board(tmp_path_factory.mktemp("live"))
    await asyncio.to_thread(board.jobs.migrate)
    async with board.jobs.worker():
        for one in range(3):
            with contextlib.suppress(JobFailed):
                await (await board.breaks.enqueue(text=f"no {one}")).result(timeout=60)
    await board.jobs.schedules.put("nightly", Schedule.cron("0 3 * * *"), board.breaks.call(text="x"))
    board.operations.dashboard._refresh = 0.2
    async with served(board.api) as base:
        yield board, f"{base}/dashboard/"
    board.jobs.close()


async def looks(page: "Page", times: int = 2) -> None:
    """The page has looked again so often since."""
    before = await page.evaluate("Number(document.body.dataset.looked ?? 0)")
    await page.wait_for_function("n => Number(document.body.dataset.looked ?? 0) >= n", arg=before + times)


async def test_focus_stays_on_links_and_buttons(browser: "Browser", place: Any) -> None:
    board, base = place
    async with visiting(browser, base) as (page, seen):
        for path, target in (
            ("jobs", "tbody th a >> nth=1"),
            ("schedules", "button:has-text('Run now')"),
            ("", ".wrong a >> nth=0"),
            ("queues", "tbody a.button >> nth=0"),
        ):
            await page.goto(base + path)
            await page.focus(target)
            before = await page.evaluate(FOCUSED)
            await page.evaluate("window.kept = document.activeElement")
            await looks(page)
            assert await page.evaluate("document.activeElement === kept"), (path, before, await page.evaluate(FOCUSED))
        await page.goto(base + "jobs")
        await page.focus("tbody th a >> nth=0")
        href = await page.evaluate("document.activeElement.getAttribute('href')")
        await board.breaks.enqueue(text="one more, above it")
        await page.wait_for_selector("tbody tr:nth-child(4)")
        assert await page.evaluate("document.activeElement.getAttribute('href')") == href
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/{href.removeprefix('./')}")
        assert seen.complaints == []


async def test_what_was_typed_stays_when_the_field_is_left(browser: "Browser", place: Any) -> None:
    board, base = place
    await board.breaks.using(queue="critical").enqueue(text="x")
    async with visiting(browser, base) as (page, _):
        await page.goto(base + "queues/one?name=critical")
        await page.fill("#reason", "the relay is down")
        await page.keyboard.press("Tab")
        await looks(page)
        assert await page.input_value("#reason") == "the relay is down"
        assert await page.evaluate("document.activeElement.textContent") == "Pause"
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/queues")
        assert (await board.jobs.queues.load("critical")).reason == "the relay is down"


async def test_what_is_new_is_shown_and_what_is_gone_is_gone(browser: "Browser", place: Any) -> None:
    board, base = place
    async with visiting(browser, base) as (page, seen):
        await page.goto(base + "queues/one?name=other")
        assert await page.locator("button:has-text('Pause')").count() == 1
        await page.focus("button:has-text('Pause')")
        await board.jobs.queues.pause("other", reason="rain")
        await page.get_by_text("rain").wait_for()
        assert await page.locator("button:has-text('Pause')").count() == 0
        assert await page.evaluate("document.activeElement.id") == "main", "and not lost at the top of the page"
        await board.jobs.queues.resume("other")
        await page.locator("button:has-text('Pause')").wait_for()
        assert await page.get_by_text("rain").count() == 0
        await page.goto(base)
        await page.click("#table-throughput summary")
        await looks(page)
        assert await page.evaluate("document.getElementById('table-throughput').open")
        assert seen.complaints == []


async def test_hold_still_is_remembered(browser: "Browser", place: Any) -> None:
    _, base = place
    async with visiting(browser, base) as (page, _):
        await page.goto(base + "jobs")
        await page.check("#still")
        await page.goto(base + "queues")
        assert await page.is_checked("#still")


async def test_on_a_phone_the_open_page_is_in_sight(browser: "Browser", place: Any) -> None:
    _, base = place
    async with visiting(browser, base, viewport={"width": 390, "height": 800}) as (page, _):
        await page.goto(base + "audit")
        await page.wait_for_selector("body[data-ready]")
        box = await page.locator("nav a[aria-current=page]").bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= 390 - box["width"]
        assert await page.evaluate("getComputedStyle(document.querySelector('nav ul')).scrollbarWidth") != "none"


async def test_a_long_name_leaves_the_buttons_in_sight(browser: "Browser", place: Any) -> None:
    board, base = place
    name = "q" * 200
    await board.breaks.using(queue=name).enqueue(text="x")
    await board.jobs.queues.pause(name, reason="because-of-" + "y" * 150)
    await board.jobs.schedules.put("s" * 200, Schedule.cron("0 3 * * *"), board.breaks.call(text="x"))
    for width in (1280, 1000, 800, 390):
        async with visiting(browser, base, viewport={"width": width, "height": 800}) as (page, _):
            for path in ("queues", "schedules"):
                await page.goto(base + path)
                edge = await page.evaluate("document.querySelector('.scroll').getBoundingClientRect().right")
                for button in await page.locator("td.actions button, td.actions a").all():
                    box = await button.bounding_box()
                    assert box is not None
                    assert box["x"] + box["width"] <= edge, (path, width)
                if width > 390:
                    tall = await page.evaluate("document.querySelector('tbody th .t').getBoundingClientRect().height")
                    assert tall < 30, "what is short stays on its line"


LONG = "a.rather.long.name.of.a.service.that.somebody.has.chosen.with.care." * 3


def long_task(board: Board) -> Any:
    return board.jobs.registry.get(LONG) or board.jobs.task(name=LONG, retry=ONCE)(board.breaks.fn)


async def test_long_names_leave_errors_in_sight(browser: "Browser", place: Any) -> None:
    """One of them would push the last column of all rows out of the table."""
    board, base = place
    job = await long_task(board).using(queue=LONG, key="seen").enqueue(text="x")
    async with board.jobs.worker(queues=[LONG]):
        with contextlib.suppress(JobFailed):
            await job.result(timeout=60)
    async with visiting(browser, base, viewport={"width": 1280, "height": 800}) as (page, _):
        await page.goto(base + "jobs")
        room, cell = page.locator("#jobs"), page.locator("td[data-name='Key and error']", has_text="seen")
        inside, seen = await room.bounding_box(), await cell.bounding_box()
        assert inside is not None
        assert seen is not None
        assert seen["x"] + seen["width"] <= inside["x"] + inside["width"] + 1


async def test_on_a_phone_long_reasons_leave_the_state_and_long_names_are_whole(browser: "Browser", place: Any) -> None:
    board, base = place
    await long_task(board).using(queue=LONG).enqueue(text="x")
    await board.jobs.queues.pause(LONG, reason=LONG)
    async with visiting(browser, base, viewport={"width": 360, "height": 740}) as (page, _):
        for path in ("queues", "jobs", "audit"):
            await page.goto(base + path)
            over = await page.evaluate(OVER)
            assert over == [], path
        await page.goto(base + "queues")
        pill = await page.locator("tr", has_text="a.rather.long").locator(".state.is-paused").bounding_box()
        assert pill is not None
        assert pill["width"] > 2 * pill["height"], "a pill, and no circle"


OVER = """() => [...document.querySelectorAll("td *, tbody th *")]
    .filter((one) => {
        const box = one.getBoundingClientRect();
        return box.width && (box.right > innerWidth || box.left < 0);
    })
    .map((one) => one.outerHTML.slice(0, 200))"""
