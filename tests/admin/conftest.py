"""The HTTP tests' site, with the admin API and callers who may more or less; a worker played by hand."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from offpath.admin import Admin
from tests.admin.place import caller_of
from tests.http.site import Site, opened, worker

__all__ = ["worker"]


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    admin = Admin(trace_url="https://traces.test/{trace_id}")
    with opened(request, tmp_path, caller=caller_of, admin=admin) as made:
        yield made


@pytest.fixture
async def root(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client("root") as client:
        yield client


@pytest.fixture
async def reader(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client("reader") as client:
        yield client
