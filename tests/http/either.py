"""The site of these tests on both stores: `@pytest.mark.parametrize("store", STORES)`, then `site_on(…)`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.site import Site

STORES = ["sqlite", "postgres"]


@contextlib.contextmanager
def site_on(store: str, request: pytest.FixtureRequest, folder: Path, **options: Any) -> Iterator[Site]:
    site = Site(folder, **options)
    if store == "postgres":
        site.jobs.use_database(request.getfixturevalue("postgres_url"))
    site.jobs.migrate()
    try:
        yield site
    finally:
        site.jobs.close()
