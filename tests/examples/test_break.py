"""The bad night of `demo --break`, mended by somebody who has only the dashboard, and only the command line. What
docs/how-to/operate.md tells to do is what is done here; its pictures are made by the browser's walk."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from examples.accounts.demo.night import HOOK, ORDERS, WHY
from examples.accounts.processes import Child
from tests.dashboard.place import SHOTS, visiting

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

DEMO = "examples.accounts.demo"
KIND = "aiosmtplib.errors.SMTPDataError"
LOOK: dict[str, Any] = {"color_scheme": "light", "viewport": {"width": 1200, "height": 700}}


@contextlib.asynccontextmanager
async def night() -> AsyncIterator[Child]:
    """The demo, waiting for its operator."""
    clean = {name: "" for name in os.environ if name.startswith(("ACCOUNTS_", "OFFPATH_"))}
    demo = await Child.start(DEMO, "--break", env=clean)
    try:
        await demo.line("Ctrl-C ends it all", timeout=120)
        yield demo
    finally:
        code = await demo.stop()
    assert code == 0, "\n".join(demo.lines)
    assert not demo.said("NOT SO"), "\n".join(demo.lines)


@pytest.mark.timeout(240)
def test_the_command_line_alone_mends_it() -> None:
    """Each command, what it says, and what the receivers' books say afterwards, are claims of the demo itself."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ACCOUNTS_", "OFFPATH_"))}
    done = subprocess.run(
        [sys.executable, "-m", DEMO, "--break", "--auto"],
        env=env, capture_output=True, text=True, timeout=220, check=False,
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "NOT SO" not in text
    assert "Traceback" not in text
    for command in ("alerts list", "doctor", "jobs list", "jobs show", "queues resume low", "jobs retry", "tail --job"):
        assert f"offpath {command}" in text
    for claim in (
        f"{ORDERS} of {ORDERS} order confirmations",
        "queue low goes on",
        "exactly once",
        "the audit log has",
    ):
        assert claim in text


@pytest.mark.anyio
@pytest.mark.servers("chromium")
@pytest.mark.timeout(240)
async def test_the_dashboard_alone_mends_it(browser: "Browser") -> None:
    async with night() as demo:
        line = await demo.line("/dashboard/")
        base = line.split()[-1]
        async with visiting(browser, base, "dev-admin", **LOOK) as (page, seen):
            await sees(page)
            await understands(page)
            await resumes(page)
            await replays(page)
            await sends_again(page)
            await demo.line("exactly once, by the books", timeout=60)
            await looks_back(page)
            assert seen.complaints == []
        assert demo.said(f"{ORDERS} of {ORDERS} order confirmations have arrived")
        assert demo.said("Mended in")


async def sees(page: "Page") -> None:
    for alert in ("order confirmations fail", "a schedule is late", "a webhook endpoint is off"):
        await page.get_by_text(f"Alert {alert}").wait_for()
    dead = page.locator("a.tile.alarm", has_text="dead letters")
    assert str(ORDERS) in await dead.inner_text()
    await shot(page, "overview", 450)
    await dead.click()
    await page.wait_for_url("**/jobs?state=failed&outstanding=true")
    assert await page.locator("tbody tr", has_text="send_confirmation").count() == ORDERS


async def understands(page: "Page") -> None:
    """The error says what has changed, and what takes it back."""
    await page.locator("tbody tr th a").first.click()
    said = page.get_by_text(re.compile("no header field Delivery-Id"))
    await said.first.wait_for()
    await shot(page, "job", 335)
    [cure] = set(re.findall(r"curl -X POST (http://[\w.:]+/relay/old-names)", await page.inner_text("main")))
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert (await http.post(cure)).status_code == 204


async def resumes(page: "Page") -> None:
    await opens(page, "Queues")
    row = page.locator("tr", has=page.locator("a:text-is('low')"))
    assert WHY in await row.inner_text()
    await shot(page, "queues", 390)
    await row.get_by_role("button", name="Resume").click()
    await row.get_by_text("Pause…").wait_for()


async def replays(page: "Page") -> None:
    await opens(page, "Jobs")
    await page.check("input[value=failed]")
    await page.fill("input[name=error]", KIND)
    await page.check("input[name=outstanding]")
    await page.click("button:text-is('Filter')")
    await page.click("text=Retry them all…")
    await page.get_by_role("heading", name=f"Retry {ORDERS} jobs?").wait_for()
    await shot(page, "preview", 420)
    await page.click("#go")
    await page.locator(".state.is-succeeded").first.wait_for()


async def sends_again(page: "Page") -> None:
    await opens(page, "Webhooks")
    await page.locator(f"a[href*='webhooks/']:has-text('{HOOK}')").click()
    await page.get_by_text("the endpoint answered 410 Gone").first.wait_for()
    await shot(page, "webhook", 430)
    await page.click("button:text-is('Turn on')")
    await page.get_by_role("button", name="Turn off").wait_for()
    await page.get_by_role("button", name="Send again").first.click()


async def looks_back(page: "Page") -> None:
    """Nothing is dead any more, and the log has who did it."""
    await opens(page, "Overview")
    await page.locator(".tile:not(.alarm)", has_text="dead letters").wait_for()
    await opens(page, "Audit")
    await page.get_by_text("queue.resume").first.wait_for()
    for action in ("jobs.retry", "endpoint.enable", "endpoint.resend"):
        assert await page.get_by_text(action).count() > 0, action
    await shot(page, "audit", 540)


async def opens(page: "Page", name: str) -> None:
    await page.click(f"nav[aria-label=Pages] a:has-text('{name}')")


async def shot(page: "Page", name: str, height: int) -> None:
    """A picture of the window's upper part, for docs/how-to/operate.md (`docs/generate.py --screenshots`)."""
    folder = SHOTS / "operate"
    folder.mkdir(parents=True, exist_ok=True)
    clip: Any = {"x": 0, "y": 0, "width": LOOK["viewport"]["width"], "height": height}
    await page.screenshot(path=Path(folder, f"{name}.png"), clip=clip)
