"""The stores under test. Every test here runs on each of them, unless it says in its name that it is one store's own
(`test_sqlite_…`, `test_postgres_…`) or asks for the `database` file. The suite itself is `offpath.testing.stores`; a
third store is one more branch in `databases`.
"""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import pytest

from offpath.stores.borrow import lookout
from offpath.stores.postgres import lanes
from offpath.stores.sqlite import SqliteStore
from offpath.testing.stores.fixtures import Build, Databases, Make, build, hand, heard, hire, make, store, with_tables
from tests import files, servers
from tests.conftest import missing

__all__ = ["Make", "build", "hand", "heard", "hire", "make", "store"]

SERVERS = {"postgres": servers.postgres, "postgres15": servers.postgres15}
OLD = frozenset(
    {
        "test_claim", "test_doctor", "test_enqueue", "test_flows", "test_keys", "test_lease", "test_schema",
        "test_settle", "test_upkeep",
    }
)  # fmt: skip
"""What runs on PostgreSQL 15 too, where it is installed: most of the SQL is in it, and half a second of processors for
each file, up to 4. (The others pass there as well; all take more than a minute.)"""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody polls here: what is looked for is looked for as long as it takes, on a machine that is held up too. Nor
    does a claim spare itself a sweep because those before it were slow."""
    monkeypatch.setattr(lookout, "PATIENCE", 60.0)
    monkeypatch.setattr(lanes, "CHEAP", 60.0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store_kind" in metafunc.fixturenames:
        marks = {"postgres": [pytest.mark.servers("postgres")]}
        metafunc.parametrize("store_kind", [pytest.param(kind, marks=marks.get(kind, [])) for kind in kinds(metafunc)])


def kinds(metafunc: pytest.Metafunc) -> list[str]:
    module = metafunc.module.__name__.rpartition(".")[2]
    for kind in ("sqlite", "postgres"):
        if any(name.startswith(f"test_{kind}_") for name in (module, metafunc.function.__name__)):
            return [kind]
    if "database" in inspect.signature(metafunc.function).parameters:
        return ["sqlite"]
    both = ["sqlite", "postgres"]
    return [*both, "postgres15"] if module in OLD and servers.DEBIAN_15.is_dir() else both


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The file of the test's SQLite store."""
    return tmp_path / "app.db"


@pytest.fixture
def databases(store_kind: str, request: pytest.FixtureRequest) -> Databases:
    """The test's own first (the file `database`, or `postgres_url` where it asks for that), then others."""
    if store_kind == "sqlite":
        return sqlite(request.getfixturevalue("database"))
    own = [request.getfixturevalue("postgres_url")] if "postgres_url" in request.fixturenames else []
    server = running(store_kind, request.config)
    return lambda: on(nullcontext(own.pop()) if own else server.database())


@pytest.fixture
def migrated(databases: Databases, store_kind: str, request: pytest.FixtureRequest) -> Databases:
    """The test's own first here too (`tables_url`). For whoever asks for an empty one, and for tests of SQLite's file,
    the tables are made anew."""
    if "postgres_url" in request.fixturenames or request.module.__name__.rpartition(".")[2].startswith("test_sqlite_"):
        return with_tables(databases)
    if store_kind == "sqlite":
        return sqlite(request.getfixturevalue("database"), tables=True)
    own = [request.getfixturevalue("tables_url")] if "tables_url" in request.fixturenames else []
    server = running(store_kind, request.config)
    return lambda: on(nullcontext(own.pop()) if own else server.database(servers.with_tables))


def running(kind: str, config: pytest.Config) -> servers.Server:
    server = SERVERS[kind]()
    if isinstance(server, servers.Unavailable):
        missing(config, kind, str(server))
    return server


@contextmanager
def on(database: AbstractContextManager[str]) -> Iterator[Build]:
    from offpath.stores.postgres.store import PostgresStore

    with database as url:
        yield partial(PostgresStore, url)


def sqlite(first: Path, *, tables: bool = False) -> Databases:
    number = 0

    @contextmanager
    def empty() -> Iterator[Build]:
        nonlocal number
        path = first.with_stem(f"{first.stem}{number or ''}")
        number += 1
        if tables:
            files.with_tables(path)
        yield partial(SqliteStore, str(path))
        for left in path.parent.glob(f"{path.name}*"):
            left.unlink()

    return empty


@pytest.fixture
def examples(store_kind: str) -> int:
    return 100 if store_kind == "sqlite" else 25
