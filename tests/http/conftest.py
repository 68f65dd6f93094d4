"""Fixtures of the HTTP tests: see site.py."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.http.site import Site, opened, worker

__all__ = ["worker"]


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with opened(request, tmp_path) as made:
        yield made


@pytest.fixture
async def alice(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client("alice") as client:
        yield client


@pytest.fixture
async def bob(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.client("bob") as client:
        yield client
