"""Real autogenerate beside our tables on PostgreSQL: it leaves partitions, their indexes and other schemas alone."""

from collections.abc import Iterator

import pytest
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations.ops import CreateTableOp, DropTableOp, MigrateOperation
from sqlalchemy import Engine, create_engine

from offpath.integrations.sqlalchemy import alembic_include_object
from offpath.stores.postgres.store import PostgresStore
from tests.stores.test_sqlite_alembic import Filter, documented, flat, models


@pytest.fixture(params=["public", "offpath"])
def schema(request: pytest.FixtureRequest, postgres_url: str) -> str:
    store = PostgresStore(postgres_url, announce=lambda hints: None, schema=request.param)
    store.migrate()
    store.close()
    return str(request.param)


@pytest.fixture
def engine(postgres_url: str, schema: str) -> Iterator[Engine]:
    """Alembic looks into the schema that comes first on the search path, ours."""
    options = {"options": f"-c search_path={schema},public"}
    engine = create_engine(postgres_url.replace("postgresql", "postgresql+psycopg", 1), connect_args=options)
    yield engine
    engine.dispose()


def proposed(engine: Engine, include_object: Filter | None, schemas: bool) -> list[MigrateOperation]:
    with engine.connect() as connection:
        options = {"include_object": include_object, "include_schemas": schemas, "compare_type": True}
        script = produce_migrations(MigrationContext.configure(connection, opts=options), models())
    assert script.upgrade_ops is not None
    return list(flat(script.upgrade_ops))


@pytest.mark.parametrize("schemas", [False, True])
@pytest.mark.parametrize("which", ["ours", "as documented"])
def test_autogenerate_leaves_partitions_and_schemas_alone(engine: Engine, which: str, schemas: bool) -> None:
    include = alembic_include_object if which == "ours" else documented()
    [table, index] = proposed(engine, include, schemas)
    assert isinstance(table, CreateTableOp)
    assert (table.table_name, type(index).__name__) == ("user", "CreateIndexOp")


def test_without_the_filter_it_would_drop_partitions(engine: Engine) -> None:
    dropped = {op.table_name for op in proposed(engine, None, True) if isinstance(op, DropTableOp)}
    assert {"offpath_job", "offpath_history", "offpath_history_never"} <= dropped
    assert [name for name in dropped if name.startswith("offpath_history_2")]
