"""Real autogenerate beside our tables: with the filter it proposes the user's own change and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations.ops import CreateTableOp, DropIndexOp, DropTableOp, MigrateOperation, OpContainer
from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, String, Table, create_engine

from offpath.integrations.sqlalchemy import alembic_include_object
from offpath.ports import Store
from tests.stores.kit import ROOT

Filter = Callable[[Any, Any, str, bool, Any], bool]


def proposed(database: Path, metadata: MetaData, include_object: Filter | None) -> list[MigrateOperation]:
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": include_object, "compare_type": True})
        script = produce_migrations(context, metadata)
    engine.dispose()
    assert script.upgrade_ops is not None
    return list(flat(script.upgrade_ops))


def flat(op: Any) -> Any:
    for inner in op.ops:
        if isinstance(inner, OpContainer):
            yield from flat(inner)
        else:
            yield inner


def models() -> MetaData:
    metadata = MetaData()
    Table("user", metadata, Column("id", Integer, primary_key=True), Column("email", String, index=True))
    return metadata


def documented() -> Filter:
    """The filter that docs/how-to/alembic.md gives to those who have no offpath where Alembic runs."""
    text = (ROOT / "docs" / "how-to" / "alembic.md").read_text("utf-8")
    source = text.split("the filter is one line", 1)[1].split("```python\n", 1)[1].split("```", 1)[0]
    space: dict[str, Any] = {}
    exec(source, space)
    found: Filter = space["include_object"]
    return found


@pytest.mark.parametrize("which", ["ours", "as documented"])
def test_autogenerate_leaves_our_tables_alone(store: Store, database: Path, which: str) -> None:
    include = alembic_include_object if which == "ours" else documented()
    [table, index] = proposed(database, models(), include)
    assert isinstance(table, CreateTableOp)
    assert (table.table_name, type(index).__name__) == ("user", "CreateIndexOp")


def test_without_the_filter_it_would_drop_them(store: Store, database: Path) -> None:
    dropped = {op.table_name for op in proposed(database, models(), None) if isinstance(op, DropTableOp | DropIndexOp)}
    assert {"offpath_job", "offpath_history", "offpath_operation", "offpath_event"} <= dropped


def test_what_the_filter_lets_through() -> None:
    metadata = MetaData()
    ours = Table("offpath_job", metadata, Column("id", Integer, primary_key=True), Column("task", String))
    Index("any_name", ours.c.task)
    theirs = Table("job", metadata, Column("id", Integer, primary_key=True), Column("j", ForeignKey("offpath_job.id")))
    for table, wanted in ((ours, False), (theirs, True)):
        assert alembic_include_object(table, table.name, "table", True, None) is wanted
        assert alembic_include_object(table.c.id, "id", "column", True, None) is wanted
        for constraint in table.constraints:
            assert alembic_include_object(constraint, None, "unique_constraint", False, None) is wanted
    assert not alembic_include_object(next(iter(ours.indexes)), "any_name", "index", True, None)
