"""The file: who may read it, what happens when it cannot be opened, is something else, or its disk is full."""

import contextlib
import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from offpath.errors import SchemaError, StoreError, StoreUnavailable
from offpath.ports import Statement, Store, Verb
from offpath.stores import migrate
from offpath.stores.sqlite import SqliteStore
from offpath.stores.sqlite import connection as db
from tests.stores.kit import Hand, ask, live, new_job, perform, put, watched


def quiet(path: Path) -> SqliteStore:
    return SqliteStore(str(path), announce=lambda hints: None)


# ── the file itself ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_nobody_else_may_read_it(open_umask: None, store: Store, database: Path) -> None:
    put(store, new_job())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in database.parent.iterdir()}
    assert modes == {"app.db": 0o600, "app.db-wal": 0o600, "app.db-shm": 0o600}


def test_a_file_that_is_there_keeps_its_mode(database: Path) -> None:
    database.touch(0o640)
    store = quiet(database)
    store.open()
    assert stat.S_IMODE(database.stat().st_mode) == 0o640
    store.close()


def test_the_log_is_flushed_at_every_commit(store: Store) -> None:
    def asked(pragma: str) -> Verb[object]:
        return (yield Statement(f"pragma {pragma}", {}, lambda rows: rows[0][0]))

    assert perform(store, asked("synchronous")) == 2
    assert perform(store, asked("journal_mode")) == "wal"
    assert ask(store, asked("query_only")) == 1


@pytest.mark.parametrize("kind", ["a folder", "no folder", "under a file", "not a database"])
def test_a_path_that_cannot_be_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    match kind:
        case "a folder":
            path.mkdir()
        case "no folder":
            path = path / "app.db"
        case "under a file":
            path.touch()
            path = path / "app.db"
        case _:
            path.write_bytes(b"not a database at all" * 100)
    store = quiet(path)
    for call in (
        store.open,
        lambda: put(store, new_job()),
        lambda: ask(store, store.verbs.counts()),
        lambda: perform(store, store.verbs.prune(1)),
        lambda: store.lease().register("w", 1.0, "[]", ""),
        store.migrate,
    ):
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    store.close()


def test_it_is_opened_as_soon_as_it_can_be(tmp_path: Path) -> None:
    store = quiet(tmp_path / "later" / "app.db")
    with pytest.raises(StoreUnavailable):
        put(store, new_job())
    (tmp_path / "later").mkdir()
    put(store, new_job())
    assert ask(store, store.verbs.counts())[0][3] == 1
    store.close()


def test_nothing_is_opened_before_it_is_needed(database: Path) -> None:
    store = quiet(database)
    store.lease().close()
    store.close()
    assert not database.exists()


# ── the schema ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Newer(SqliteStore):
    """The next version of offpath."""

    more = "create table offpath_new (id integer);\ncreate index offpath_new_id on offpath_new (id);"

    def migrations(self) -> list[tuple[str, str]]:
        return [*super().migrations(), *migrate.script([("9999_more", self.more)])]


def newer(path: Path) -> Newer:
    return Newer(str(path), announce=lambda hints: None)


def test_an_empty_database_is_made_ready_and_then_left_alone(database: Path) -> None:
    store = quiet(database)
    store.open()
    assert store.migrate() == []
    names = [name for name, _ in store.migrations()]
    assert names[0] == "0001_initial"
    assert [int(name[:4]) for name in names] == sorted({int(name[:4]) for name in names})
    assert all("insert into offpath_migration" in text for _, text in store.migrations())
    store.close()


def test_looking_for_what_is_lacking_changes_nothing(database: Path) -> None:
    """Not even how the file of an application that has no tables of ours yet is kept."""
    store = quiet(database)
    assert store.lacking() == [name for name, _ in store.migrations()]
    assert not database.exists()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("create table theirs (id integer)")
    before = database.read_bytes()
    assert store.lacking() == [name for name, _ in store.migrations()]
    assert database.read_bytes() == before
    store.close()


def test_a_schema_that_is_too_old_is_the_operators_to_bring_forward(store: Store, database: Path) -> None:
    put(store, new_job())
    next_version = newer(database)
    for call in (
        next_version.open,
        lambda: put(next_version, new_job()),
        lambda: ask(next_version, next_version.verbs.counts()),
    ):
        with pytest.raises(SchemaError, match="lacks the migration 9999_more: run `offpath migrate`"):
            call()
    assert next_version.lacking() == ["9999_more"]
    assert next_version.migrate() == ["9999_more"]
    assert next_version.lacking() == []
    assert next_version.migrate() == []
    put(next_version, new_job())
    assert ask(next_version, next_version.verbs.counts())[0][3] == 2
    next_version.close()


def test_a_schema_that_is_too_new(database: Path) -> None:
    next_version = newer(database)
    next_version.open()
    next_version.close()
    store = quiet(database)
    for call in (store.open, store.migrate, store.lacking, lambda: put(store, new_job())):
        with pytest.raises(SchemaError, match=r"9999_more.*upgrade offpath"):
            call()
    store.close()


def test_a_migration_that_fails_leaves_nothing(store: Store, database: Path) -> None:
    broken = newer(database)
    broken.more = "create table offpath_new (id integer);\ncreate table offpath_job (id integer);"
    with pytest.raises(StoreError, match="already exists"):
        broken.migrate()
    connection = sqlite3.connect(database)
    assert connection.execute("select count(*) from sqlite_master where name = 'offpath_new'").fetchone() == (0,)
    connection.close()
    put(store, new_job())
    broken.close()


def test_tables_of_the_users_own_are_no_obstacle(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("create table job (id integer)")
    connection.commit()
    connection.close()
    store = quiet(database)
    put(store, new_job())
    store.close()


def test_which_migrations_are_missing() -> None:
    known = [("0001", "a"), ("0002", "b")]
    assert migrate.missing(known, []) == known
    assert migrate.missing(known, ["0001"]) == known[1:]
    with pytest.raises(SchemaError, match="0003"):
        migrate.missing(known, ["0001", "0002", "0003"])


# ── locked, and full ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_reading_never_waits_for_a_writer(store: Store, database: Path) -> None:
    new = new_job()
    put(store, new)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("begin immediate")
    assert live(store, new.job.id) == new.job
    other.close()


def test_callers_that_waited_together_share_one_commit(database: Path) -> None:
    groups: list[int] = []
    store = SqliteStore(str(database), announce=lambda hints: groups.append(1))
    store.open()
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("begin immediate")
    pending = [store.enqueue([watched()]) for _ in range(100)]
    other.execute("rollback")
    assert len({answer[0].id for answer in (p.result(60) for p in pending)}) == 100
    store.close()
    assert len(groups) <= 3, "the first that came, and those that came while it waited"
    other.close()


def test_a_lock_that_stays_says_what_it_may_be(database: Path) -> None:
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("begin immediate")
    mine = sqlite3.connect(database, isolation_level=None)
    with pytest.raises(StoreUnavailable, match=r"using\(tx=…\)"):
        db.begin(mine, patience=0.01)
    other.execute("rollback")
    db.begin(mine)
    assert mine.in_transaction
    mine.close()
    other.close()


def page_limit(pages: int) -> Verb[None]:
    yield Statement(f"pragma max_page_count={pages}", {}, lambda rows: None)


def test_a_full_database_refuses_and_recovers(store: Store) -> None:
    """What SQLite answers when the disk is full, brought about by a limit on the number of pages."""
    hand = Hand(store)
    kept = new_job()
    put(store, kept)
    perform(store, page_limit(1))  # no lower than what there is
    big = '{"text":"' + "x" * 200_000 + '"}'
    waiting = [store.enqueue([new_job(args=big)]) for _ in range(3)]
    for pending in waiting:
        with pytest.raises(StoreUnavailable, match="full"):
            pending.result(60)
    assert live(store, kept.job.id) == kept.job
    perform(store, page_limit(1_000_000))
    put(store, new_job(args=big))
    assert len(hand.claim(10)) == 2
    hand.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk; the limit on pages stands in for it")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_refuses_and_recovers(small_disk: Path) -> None:
    store = quiet(small_disk / "app.db")
    hand = Hand(store_opened(store))
    acked: list[str] = []
    big = '{"text":"' + "x" * 50_000 + '"}'
    put(store, watched())
    job = hand.claim_one()

    def fill() -> None:
        while True:
            acked.extend(said.id for said in put(store, new_job(args=big)))

    with pytest.raises(StoreUnavailable, match=r"full|I/O"):
        fill()
    with pytest.raises(StoreUnavailable):
        put(store, new_job(args=big))
    assert acked
    assert all(live(store, id) for id in acked), "reading goes on, and nothing that was acknowledged is gone"
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    put(store, new_job(args=big))
    assert hand.finish(job) == ["applied"]
    assert len(hand.claim(1000)) == len(acked) + 1
    hand.close()
    store.close()
    connection = sqlite3.connect(small_disk / "app.db")
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()


def store_opened(store: SqliteStore) -> SqliteStore:
    store.open()
    return store
