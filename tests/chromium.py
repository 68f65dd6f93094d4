"""A real browser for tests: Debian's Chromium, found, or installed by whoever asks first, and driven by Playwright.

Playwright's own browsers are not downloaded: what a distribution ships is what users have, and it comes from one place.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests import debian

if TYPE_CHECKING:
    from playwright.async_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")

FLAGS = [
    "--no-sandbox",  # root has no other way
    "--disable-gpu",
    "--disable-dev-shm-usage",  # /dev/shm is tiny in containers
    "--disable-quic",
    "--no-first-run",
    # nothing but the page under test speaks to the network
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
]


def chromium() -> Path | debian.Unavailable:
    """The browser's program."""
    return debian.program("chromium", *NAMES)


@contextlib.asynccontextmanager
async def launched(program: Path) -> AsyncIterator["Browser"]:
    """A running browser. Playwright gives it a new, empty profile each time."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        try:
            yield running
        finally:
            await running.close()
