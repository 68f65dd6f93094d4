"""Fixtures of the HTTP tests: see site.py."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests import files
from tests.http.site import Hand, Site, hand


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """On SQLite, unless the test is marked as one for `site.BOTH` stores."""
    other = getattr(request, "param", "sqlite") == "postgres"
    made = Site(tmp_path, url=request.getfixturevalue("tables_url") if other else "")
    if not other:
        files.with_tables(made.path)
    yield made
    made.jobs.close()


@pytest.fixture
def worker(site: Site) -> Iterator[Hand]:
    with hand(site) as made:
        yield made


@pytest.fixture
async def alice(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client("alice") as client:
        yield client


@pytest.fixture
async def bob(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client("bob") as client:
        yield client
