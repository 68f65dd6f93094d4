"""Fixtures of the tests in a browser: see place.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.place import site
from tests.http.site import Hand, Site, hand


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Site]:
    made = site(tmp_path)
    yield made
    made.jobs.close()


@pytest.fixture
def worker(shop: Site) -> Iterator[Hand]:
    with hand(shop) as made:
        yield made
