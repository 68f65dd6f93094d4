"""Fixtures of the tests that need an application: import them by name."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.webhooks.place import House, Inbox, file_url, receiving

Build = Callable[..., House]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Applications on one SQLite file; closed at the end."""
    made: list[House] = []

    def build(url: str | None = None, **options: Any) -> House:
        house = House(url or file_url(tmp_path), **options)
        if url is not None:
            house.jobs.migrate()
        made.append(house)
        return house

    yield build
    for house in made:
        house.jobs.close()


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    async with receiving() as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database, on each store."""
    return str(request.getfixturevalue("tables_url")) if request.param == "postgres" else file_url(tmp_path)
