"""Chromium over an application in which a lot goes on: every page in light, dark and narrow, live, with buttons,
without JavaScript, by keyboard; what is done there is in the audit log with who did it.

Screenshots are build output: build/screenshots.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dashboard.place import SHOTS, Seen, violations, visiting
from tests.dashboard.town import Town, town
from tests.examples.conftest import lent
from tests.http.site import eventually

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.anyio, pytest.mark.servers("chromium")]
AXE = """async () => {
    const said = await axe.run(document, {resultTypes: ["violations"]});
    return said.violations.filter((one) => ["serious", "critical"].includes(one.impact))
        .map((one) => one.id + ": " + one.nodes.map((node) => node.target.join(" ")).slice(0, 4).join(", "));
}"""
CONTRAST = AXE.replace('{resultTypes: ["violations"]}', '{runOnly: ["color-contrast"]}')
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 800}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    folder = tmp_path_factory.mktemp("dashboard")
    with lent(request, folder) as url:
        async with town(request.param, url if request.param == "postgres" else "", folder) as made:
            yield made


@pytest.fixture(scope="module")
async def working(place: Town) -> AsyncIterator[None]:
    """A worker, for the tests from here on."""
    async with place.board.jobs.worker():
        yield


@contextlib.asynccontextmanager
async def inside(browser: "Browser", place: Town, **look: Any) -> AsyncIterator[tuple["Page", Seen]]:
    """A page, signed in; of which nothing is complained at the end."""
    async with visiting(browser, place.base, **look) as (page, seen):
        yield page, seen
        assert (seen.complaints, seen.dialogs) == ([], [])


def every_page(place: Town) -> dict[str, str]:
    ids = place.ids
    return {
        "overview": "", "jobs": "jobs", "filtered": "jobs?state=failed", "none": "jobs?queue=no-such-queue",
        "failed": f"jobs/{ids['failed']}", "flow": f"jobs/{ids['flow']}", "watched": f"jobs/{ids['watched']}",
        "bulk": "jobs/bulk?action=retry&state=failed", "queues": "queues", "queue": "queues/one?name=mail",
        "schedules": "schedules", "schedule": "schedules/one?name=nightly%20report", "workers": "workers",
        "webhooks": "webhooks", "endpoint": f"webhooks/{ids['endpoint']}", "disabled": f"webhooks/{ids['disabled']}",
        "health": "health", "audit": "audit", "sign-in": "sign-in",
    }  # fmt: skip


async def test_every_page_in_every_look(browser: "Browser", place: Town, node_modules: Path) -> None:
    """200, no complaint of the console, nothing against the policy, nothing serious to axe, no sideways scrolling."""
    axe = (node_modules / "axe-core" / "axe.min.js").read_text()
    SHOTS.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    async with inside(browser, place, color_scheme="light", viewport=DESK) as (page, _):
        links = await page.eval_on_selector_all("nav[aria-label=Pages] a", "all => all.map((one) => one.href)")
        assert {link.removeprefix(place.base) for link in links} <= set(every_page(place).values())
        for number, (name, path) in enumerate(every_page(place).items()):
            answer = await page.goto(place.base + path)
            assert answer is not None
            assert answer.status == 200, path
            assert await violations(page) == [], path
            if place.store == "sqlite":
                await page.evaluate(axe)  # by the debugger, which the policy does not bind
            for look, scheme, size in (("light", "light", DESK), ("dark", "dark", DESK), ("narrow", "dark", PHONE)):
                await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                await page.set_viewport_size(size)  # type: ignore[arg-type]
                wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{path} is {wide} px too wide"
                if place.store == "sqlite":
                    await page.screenshot(path=SHOTS / f"{look}-{number:02}-{name}.png")
                    said = {"light": AXE, "dark": CONTRAST, "narrow": "[]"}[look]
                    if serious := await page.evaluate(said):
                        found[f"{path} {look}"] = serious
        assert found == {}


async def test_the_overview_says_what_is_wrong_and_leads_there(browser: "Browser", place: Town) -> None:
    async with inside(browser, place) as (page, _):
        await page.wait_for_selector("#wrong")
        text = await page.inner_text(".wrong")
        for said in ("mail is late", "21 min", "4 dead letters", "1 worker died", "1 schedule", "1 queue", "1 webhook"):
            assert said in text, said
        links = await page.eval_on_selector_all(".wrong a", "all => all.map((one) => one.href)")
        rows = {}
        for link in links:
            await page.goto(link)
            rows[link.removeprefix(place.base)] = await page.locator("tbody tr").count()
        assert rows["jobs?state=failed&outstanding=true"] == 4
        assert rows["workers?state=lost"] == rows["schedules?state=late"] == rows["queues?state=paused"] == 1
        assert rows["webhooks?enabled=false"] == rows["schedules?state=paused"] == 1
        await page.goto(f"{place.base}jobs/{place.ids['failed']}")
        assert await page.locator("#trace-last pre").is_visible(), "the traceback is seen without a click"
        assert "the peer closed the connection" in await page.inner_text("#trace-last pre")


async def test_the_flow_is_drawn_and_all_goes_by_keyboard(browser: "Browser", place: Town) -> None:
    async with inside(browser, place) as (page, _):
        await page.goto(f"{place.base}jobs/{place.ids['flow']}")
        nodes = page.locator("svg.graph a")
        assert await nodes.count() >= 4
        target = await nodes.first.get_attribute("href")
        await nodes.first.click()
        assert target is not None
        assert page.url.endswith(target.rpartition("/")[2])
        await page.goto(place.base + "jobs")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        await page.keyboard.press("g")
        await page.keyboard.press("q")
        await page.wait_for_url("**/queues")
        await page.keyboard.press("/")
        await page.keyboard.type(place.ids["failed"])
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/jobs/{place.ids['failed']}")


async def test_a26_it_cannot_be_framed(browser: "Browser", place: Town) -> None:
    page = await browser.new_page()
    await page.set_content(f'<iframe src="{place.base}sign-in" name="inner"></iframe>')
    frame = page.frame("inner")
    assert frame is not None
    assert "Sign in to offpath" not in await frame.content()
    await page.close()


async def test_signing_in_and_out(browser: "Browser", place: Town) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{place.base}jobs?state=failed")
    await page.fill("[name=credential]", "no-such-token")
    await page.keyboard.press("Enter")
    await page.get_by_text("That is not accepted here.").wait_for()
    await page.fill("[name=credential]", "keeper")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/jobs?state=failed")
    assert "Signed in as keeper" in await page.inner_text(".who")
    await page.click("text=Sign out")
    await page.wait_for_url("**/sign-in")
    await page.goto(f"{place.base}jobs")
    assert "/sign-in" in page.url
    await page.fill("[name=credential]", "reader")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/jobs")
    await page.goto(f"{place.base}jobs/{place.ids['failed']}")
    assert "read-only" in await page.inner_text(".who")
    assert await page.locator("main form[method=post]").count() == 0
    await context.close()


async def test_without_javascript_all_can_be_read_and_done(browser: "Browser", place: Town) -> None:
    job = await place.board.breaks.enqueue(text="no")
    await place.board.jobs.cancel(job.id)
    async with inside(browser, place, java_script_enabled=False) as (page, _):
        for path in ("", "queues", "audit"):
            answer = await page.goto(place.base + path)
            assert answer is not None
            assert answer.status == 200
        await page.goto(f"{place.base}jobs?state=canceled")
        await page.click(f'a[href$="jobs/{job.id}"]')
        await page.click("summary:text-is('Erase…')")
        await page.click("text=Erase this job")
        await page.get_by_text(f"Job {job.id} was erased.").wait_for()
    assert await place.acts(job.id) == [("keeper", "job.delete")]


# ── what is done there ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_lists_and_jobs_are_live_and_jobs_are_canceled_and_retried(
    browser: "Browser", place: Town, working: None
) -> None:
    async with inside(browser, place) as (page, _):
        await page.goto(place.base + "jobs?task=import_rows")
        answer = await place.http.post("/work/import_rows", json={"to": 10_000})
        id = answer.headers["location"].rpartition("/")[2]
        row = page.locator("tr", has=page.locator(f'a[href$="jobs/{id}"]'))
        await row.locator(".is-running").wait_for()
        await page.goto(f"{place.base}jobs/{id}")
        await page.locator("#progress-words", has_text="of 10").wait_for()
        first = await page.text_content("#progress-words")
        await page.wait_for_function(
            "(first) => document.getElementById('progress-words').textContent !== first", arg=first
        )
        await page.fill("#reason", "asked in a test")
        await page.click("button:text-is('Cancel')")
        await page.get_by_text("It was asked to stop.").wait_for()
        await page.locator(".state.is-canceled").wait_for()
        assert await place.acts(id) == [("keeper", "job.cancel")]

        id = place.ids["failed"]
        await page.goto(f"{place.base}jobs/{id}")
        assert "4714" not in await page.inner_text("#arguments-head >> xpath=../..")
        await page.click("text=Show values")
        assert "4714" in (await page.text_content("#arguments") or "")
        await page.goto(f"{place.base}jobs/{id}")
        await page.click("button:text-is('Retry')")
        await page.get_by_text("It runs again, as this new job.").wait_for()
        again = page.url.rpartition("/")[2]
        assert again != id
        assert await place.acts(id) == [("keeper", "job.arguments"), ("keeper", "job.retry")]
        await place.ended(again)  # it fails as well, and is a dead letter like those below


async def test_many_with_a_preview(browser: "Browser", place: Town, working: None) -> None:
    """How many, which, then a job of its own that ends."""
    jobs = [await place.board.breaks.enqueue(text=f"{n}") for n in range(3)]
    for job in jobs:
        await place.ended(job.id)
    async with inside(browser, place) as (page, _):
        await page.goto(f"{place.base}jobs?state=failed&outstanding=true&task=breaks")
        await page.click("text=Delete them all…")
        assert await page.locator("tbody tr").count() == 3
        assert (await page.text_content("#go") or "").split() == ["Delete", "3", "jobs"]
        await page.click("#go")
        await page.get_by_text("A job of its own does that now").wait_for()
        bulk = page.url.rpartition("/")[2]
        await page.locator(".state.is-succeeded").first.wait_for()
    assert [one async for one in place.board.jobs.list(task="breaks", state="failed")] == []
    assert ("keeper", "jobs.delete") in [(one.actor, one.action) async for one in place.board.jobs.audit(limit=50)], (
        bulk
    )


async def test_queues_and_schedules_are_paused_resumed_and_run(browser: "Browser", place: Town, working: None) -> None:
    async with inside(browser, place) as (page, _):
        await page.goto(place.base + "queues")
        await page.click("[aria-label='Pause payments…']")
        await page.fill("#reason", "the bank is closed")
        await page.click("button:text-is('Pause')")
        await page.get_by_text("payments is paused.").wait_for()
        row = page.locator("tr", has_text="payments")
        assert "the bank is closed" in await row.inner_text()
        await page.click("[aria-label='Resume: payments']")
        await page.get_by_text("payments goes on.").wait_for()
        assert await place.acts("payments") == [("keeper", "queue.pause"), ("keeper", "queue.resume")]
        said = [one.data async for one in place.board.jobs.audit(target="payments", action="queue.pause")]
        assert said[0]["reason"] == "the bank is closed"

        name = "nightly report"
        await page.goto(place.base + "schedules")
        await page.click(f"[aria-label='Pause: {name}']")
        await page.get_by_text(f"{name} is paused.").wait_for()
        await page.click(f"[aria-label='Resume: {name}']")
        await page.get_by_text(f"{name} goes on.").wait_for()
        await page.click(f"[aria-label='Run now: {name}']")
        await page.get_by_text("It runs now, as this job.").wait_for()
        assert name in await page.inner_text("dl.facts >> nth=-1")
        made = page.url.rpartition("/")[2]
    assert await place.ended(made) == "succeeded"
    acts = [("keeper", f"schedule.{verb}") for verb in ("pause", "resume", "run")]
    assert await place.acts(name) == acts


async def test_an_endpoint_is_tested_sent_to_again_turned_off_and_on(
    browser: "Browser", place: Town, working: None
) -> None:
    id = place.ids["endpoint"]
    async with inside(browser, place) as (page, _):
        await page.goto(place.base + "webhooks")
        await page.click(f"a[href$='webhooks/{id}']")
        await page.click("button:text-is('Send a test')")
        await page.get_by_text("A test is on its way.").wait_for()
        [letter] = await place.inbox.got(1)
        assert letter.path == "/acme"
        await page.locator("td[data-name=Delivery] .state.is-delivered").wait_for()  # the page looks again by itself
        await page.click("text=Send again")
        await page.get_by_text("1 on the way again.").wait_for()
        await place.inbox.got(2)
        await page.click("button:text-is('Turn off')")
        await page.get_by_text("Nothing more is sent to it.").wait_for()
        await page.locator("h1 + .is-disabled").wait_for()
        await page.click("button:text-is('Turn on')")
        await page.get_by_text("It is sent to again.").wait_for()
        await page.locator("h1 + .is-enabled").wait_for()
    acts = [("keeper", f"endpoint.{verb}") for verb in ("test", "resend", "disable", "enable")]
    assert await place.acts(id) == acts
    await eventually(lambda: len(place.inbox.letters) == 2)
