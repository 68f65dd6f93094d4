"""`make`: an application on the test's database, once on each store, with a broker: Valkey unless the test says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath

from .kit import Make


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db" if request.param == "sqlite" else str(request.getfixturevalue("tables_url"))


@pytest.fixture
def make(url: str, unique: str, request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Offpath] = []

    def one(broker: str | None = None, **settings: Any) -> Offpath:
        broker = request.getfixturevalue("redis_url") if broker is None else broker
        given = {"source": "/shop", "topic": unique, "poll": 0.1} | settings
        jobs = Offpath(url, broker=broker, **given)
        jobs.migrate()
        made.append(jobs)
        return jobs

    yield one
    for jobs in made:
        jobs.close()
