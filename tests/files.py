"""SQLite databases with offpath's tables in them: copies of one that was made once in this process. To make the tables
takes four times as long, most of it on the disk."""

import tempfile
from functools import cache
from pathlib import Path


def with_tables(path: Path) -> None:
    """Puts one there, where there is none yet."""
    if not path.exists():
        path.write_bytes(_made())


@cache
def _made() -> bytes:
    from offpath.stores.sqlite import SqliteStore

    with tempfile.TemporaryDirectory(prefix="offpath-tables-") as folder:
        path = Path(folder, "tables.db")
        store = SqliteStore(str(path), announce=lambda hints: None)
        store.migrate()
        store.close()
        assert [one.name for one in path.parent.iterdir()] == [path.name], "nothing is left in a log beside it"
        return path.read_bytes()
