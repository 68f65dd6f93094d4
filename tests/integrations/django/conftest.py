"""One project on each database."""

from pathlib import Path

import pytest

from tests.integrations.django.project import Project


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers("postgres"))])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project whose database has no tables yet."""
    address: str = str(tmp_path / "db.sqlite3")
    if request.param == "postgresql":
        address = request.getfixturevalue("postgres_url")
    return Project(tmp_path, address)


@pytest.fixture
def project(empty: Project) -> Project:
    empty.migrate()
    return empty


@pytest.fixture
def sqlite_project(tmp_path: Path) -> Project:
    made = Project(tmp_path, str(tmp_path / "db.sqlite3"))
    made.migrate()
    return made


@pytest.fixture
def postgres_project(tmp_path: Path, postgres_url: str) -> Project:
    made = Project(tmp_path, postgres_url)
    made.migrate()
    return made
