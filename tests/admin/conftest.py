"""A site with the admin API, on SQLite, or on both stores for tests marked `site.BOTH`; a worker played by hand."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from offpath.admin import Admin
from tests.admin.place import caller_of
from tests.http.site import Hand, Site, hand


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    other = getattr(request, "param", "sqlite") == "postgres"
    url = request.getfixturevalue("postgres_url") if other else ""
    made = Site(tmp_path, url=url, caller=caller_of, admin=Admin(trace_url="https://traces.test/{trace_id}"))
    made.jobs.migrate()
    yield made
    made.jobs.close()


@pytest.fixture
def worker(site: Site) -> Iterator[Hand]:
    with hand(site) as made:
        yield made


@pytest.fixture
async def root(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client("root") as client:
        yield client


@pytest.fixture
async def reader(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client("reader") as client:
        yield client
