"""An application on a fresh database, and a tally of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from offpath import Offpath
from offpath.observe import meters


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> meters.Tally:
    """What is counted from here on, and nothing from before."""
    made = meters.Tally()
    monkeypatch.setattr(meters, "on", made)
    return made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database, on each store."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def jobs(url: str) -> Iterator[Offpath]:
    made = Offpath(url, poll=0.05)
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Offpath]:
    """On SQLite, where the store does not matter."""
    made = Offpath(f"sqlite:///{tmp_path}/jobs.db", poll=0.05)
    made.migrate()
    yield made
    made.close()
