"""The site of these tests on both stores: `@pytest.mark.parametrize("store", STORES)`, then `site_on(…)`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import files
from tests.http.site import Site

STORES = ["sqlite", "postgres"]


@contextlib.contextmanager
def site_on(store: str, request: pytest.FixtureRequest, folder: Path, **options: Any) -> Iterator[Site]:
    site = Site(folder, **options)
    if store == "postgres":
        site.jobs.use_database(request.getfixturevalue("tables_url"))
    else:
        files.with_tables(site.path)
    try:
        yield site
    finally:
        site.jobs.close()
