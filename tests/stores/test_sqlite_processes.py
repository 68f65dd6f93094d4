"""Several processes on one file: they take turns, and none loses what it was told, killed, forked or leaving."""

import sqlite3
from pathlib import Path

from offpath.ports import Store
from offpath.stores.statements import migrations
from tests.stores.kit import Child, ask, live, new_job, put

CHILD = "tests.stores.child"


def child(verb: str, path: Path) -> Child:
    return Child(CHILD, verb, str(path))


def test_two_processes_never_claim_the_same_job(store: Store, database: Path) -> None:
    jobs = [new_job() for _ in range(200)]
    put(store, *jobs)
    children = [child("claim", database) for _ in range(2)]
    assert [one.hear() for one in children] == ["here", "here"]
    for one in children:
        one.tell()
    claimed = [[id for line in iter(one.hear, "") for id in line.split()] for one in children]
    assert sorted(claimed[0] + claimed[1]) == [new.job.id for new in jobs]
    assert [one.end() for one in children] == [0, 0]


def test_the_last_of_another_process_to_leave_does_not_take_the_log_along(store: Store, database: Path) -> None:
    """Closing a descriptor of the file drops this process's locks on it. Were a second connection opened that way, the
    other process would think at its end that it is alone, and delete the log that we go on writing to."""
    put(store, new_job())
    ask(store, store.verbs.counts())  # a second connection: the reader's
    store.lease().judge()  # and a third
    other = child("visit", database)
    assert live(store, other.hear())
    other.tell()
    assert other.end() == 0
    after = new_job()
    put(store, after)
    seen = child("visit", database)  # whoever comes now must find it
    seen.hear()
    with_their_eyes = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    assert with_their_eyes.execute("select count(*) from offpath_job where id = ?", (after.job.id,)).fetchone() == (1,)
    with_their_eyes.close()
    seen.tell()
    assert seen.end() == 0
    log = Path(f"{database}-wal")
    assert log.exists()
    assert log.stat().st_nlink == 1


def test_two_migrations_at_once(tmp_path: Path) -> None:
    """One waits for the other, then finds nothing to do."""
    for n in range(2):
        path = tmp_path / f"{n}.db"
        children = [child("migrate", path) for _ in range(3)]
        assert [one.hear() for one in children] == ["here"] * 3
        for one in children:
            one.tell()
        every = " ".join(name for name, _ in migrations("offpath.stores.sqlite"))
        assert sorted(one.hear() for one in children) == ["", "", every]
        assert [one.end() for one in children] == [0] * 3
        connection = sqlite3.connect(path)
        assert connection.execute("select count(*) from offpath_job").fetchone() == (3,)
        connection.close()


def test_kill_9_loses_nothing_that_was_acknowledged(database: Path, make: object) -> None:
    from offpath.stores.sqlite import SqliteStore

    acked: list[str] = []
    for n in range(8):
        one = child("enqueue", database)
        acked += [one.hear() for _ in range(20 + 37 * n)]
        one.process.kill()
        acked += [line for line in iter(one.hear, "") if len(line) == 36]  # a torn last line was no answer
        one.end()
    store = SqliteStore(str(database), announce=lambda hints: None)
    store.open()
    connection = sqlite3.connect(database)
    there = {row[0] for row in connection.execute("select id from offpath_job")}
    assert set(acked) - there == set()
    assert len(acked) > 1000
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    connection.close()
    put(store, new_job())
    store.close()


def test_a_fork_after_start_goes_on_in_both(database: Path) -> None:
    one = child("fork_idle", database)
    said = list(iter(one.hear, ""))
    assert one.end() == 0, said
    assert said[1:] == ["child 0", "jobs 4"]
    assert len(said[0].split()) == 2


def test_a_fork_in_the_middle_of_writing_goes_on_in_both(database: Path) -> None:
    one = child("fork_busy", database)
    said = list(iter(one.hear, ""))
    assert one.end() == 0, said
    assert said[:12] == [f"child {n} 0" for n in range(12)]
    assert said[12:] == ["missing 0 more 12"]
