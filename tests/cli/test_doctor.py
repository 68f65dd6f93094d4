"""`offpath doctor`, on real databases in real trouble (issue 4: a long transaction of somebody else's is named)."""

import contextlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from offpath import Offpath
from offpath.app.doctor import secrets
from offpath.cli import main
from offpath.cli.doctor import wrapped
from offpath.core.job import State
from offpath.core.options import DAY, SECOND
from offpath.core.outcome import Errored, error
from offpath.core.schedule import sign
from offpath.ports import Statement, Store, Verb
from offpath.privacy import Secret
from offpath.stores.postgres.doctor import masked, switched_on
from offpath.stores.postgres.store import PostgresStore
from offpath.stores.sqlite import SqliteStore, connection
from offpath.testing.stores.schedules import a_row, keep
from tests.conftest import missing
from tests.nursery import Ended, offpath
from tests.stores.kit import Hand, erase, fresh, lose, new_job, now, perform, put
from tests.stores.test_postgres_pooler import pooled_url

__all__ = ["pooled_url"]

Found = dict[str, list[dict[str, Any]]]


class Doctor:
    """Asks about one database; `code` is what the last answer exited with."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url, self.capsys, self.code = url, capsys, -1

    def __call__(self, *flags: str) -> Found:
        self.code = main(["--database", self.url, "doctor", "--json", *flags])
        out, err = self.capsys.readouterr()
        assert err == ""
        checks: Found = {}
        for check in json.loads(out):
            assert list(check) == ["check", "state", "detail", "remedy"]
            assert (check["state"] == "ok") == (check["remedy"] is None)
            checks.setdefault(check["check"], []).append(check)
        assert self.code == int(any(check["state"] == "problem" for found in checks.values() for check in found))
        return checks


def one(found: Found, name: str, state: str, *said: str) -> dict[str, Any]:
    """The only check of that name, in this state, with these words in what it says."""
    [check] = found[name]
    assert check["state"] == state, check
    for words in said:
        assert words in f"{check['detail']} → {check['remedy']}", check
    return check


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers("postgres"))])
def home(request: pytest.FixtureRequest, path: Path) -> Iterator[tuple[str, Store]]:
    """The URL of a database with tables, and a store on it."""
    store: Store
    if request.param == "sqlite":
        url, store = f"sqlite:///{path}", SqliteStore(str(path), announce=lambda hints: None)
    else:
        url = request.getfixturevalue("tables_url")
        store = PostgresStore(url, announce=lambda hints: None)
    store.open()
    yield url, store
    store.close()


@pytest.fixture
def doctor(home: tuple[str, Store], capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(home[0], capsys)


@pytest.fixture
def store(home: tuple[str, Store]) -> Store:
    return home[1]


@pytest.fixture
def tables(tables_url: str, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Of a PostgreSQL database with our tables."""
    return Doctor(tables_url, capsys)


# -- what every database can tell --------------------------------------------------------------------------------------


def test_nothing_is_wrong(doctor: Doctor, store: Store) -> None:
    hand = Hand(store)
    put(store, new_job(), new_job(state=State.SCHEDULED, run_at=now() + DAY))
    found = doctor()
    hand.close()
    assert doctor.code == 0
    assert {name for name, checks in found.items() if checks[0]["state"] != "ok"} <= {"database"}  # an old SQLite
    one(found, "workers", "ok", "1 worker alive, for mail@1")
    one(found, "waiting", "ok", "more than")
    for name in ("schema", "tasks", "orphans", "failed", "long transactions"):
        one(found, name, "ok")


def test_of_what_a_worker_knows_tasks_are_named_alone(doctor: Doctor, store: Store) -> None:
    hand = Hand(store, tasks=["mail@1", sign("daily", "685d2b797c6f41be")])
    found = doctor()
    hand.close()
    assert one(found, "workers", "ok")["detail"] == "1 worker alive, for mail@1"


def test_findings_are_wrapped_to_a_terminal_and_what_is_to_be_copied_is_whole() -> None:
    path, head = "/a/" + "long/" * 12 + "path", "warning  failed  "
    text = f"40 jobs failed in the last 24 hours, the newest of them in {path}: look there"
    assert wrapped(head, text, None, len(head)) == [head + text]
    assert wrapped(head, text, 30, len(head)) == [head + text], "there is no room for anything"
    lines = wrapped(head, text, 60, len(head))
    assert all(len(line) <= 60 for line in lines if path not in line)
    assert any(path in line for line in lines)
    assert [line[: len(head)] for line in lines[1:]] == [" " * len(head)] * (len(lines) - 1)
    assert " ".join(line[len(head) :] for line in lines) == text


@pytest.mark.parametrize(("names", "said"), [(["sec"], "sec takes a"), (["sec", "two"], "sec, two take a")])
def test_one_task_takes_a_secret_and_two_take_one(names: list[str], said: str) -> None:
    jobs = Offpath("sqlite:///unused.db", secret_keys=None)

    async def takes(token: Secret[str]) -> None: ...

    for name in names:
        jobs.task(name=name)(takes)
    [check] = secrets(jobs)
    assert check.detail.startswith(said)


def test_jobs_and_no_worker_is_a_problem(doctor: Doctor, store: Store) -> None:
    one(doctor(), "workers", "warning", "no worker is alive")
    put(store, new_job(), new_job())
    found = doctor()
    one(found, "workers", "problem", "no worker is alive, and 2 jobs not ended", "offpath --app module:attr worker`")
    assert "tasks" not in found, "whether anybody knows them cannot be said"
    assert doctor.code == 1


def test_dead_and_late_workers_are_told_apart(doctor: Doctor, store: Store) -> None:
    dead, other = Hand(store, 60.0), Hand(store)
    put(store, new_job())
    dead.claim_one()
    dead.lease.renew(dead.id, -1.0)
    late = one_of(doctor(), "workers", "warning")
    assert "has run out, and nobody has judged it yet" in late["detail"]
    lose(dead, other)
    held = one_of(doctor(), "workers", "warning")
    assert "1 job held by dead workers: test" in held["detail"]
    dead.close()
    other.close()


def one_of(found: Found, name: str, state: str) -> dict[str, Any]:
    [check] = [check for check in found[name] if check["state"] == state]
    return check


def test_a_lease_that_is_about_to_lapse_is_said_before_it_does(
    doctor: Doctor, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFPATH_LEASE", "1800")
    hand, other = Hand(store, 1800.0), Hand(store, 1800.0)
    one(doctor(), "leases", "ok")
    hand.lease.renew(hand.id, 500.0)
    one(doctor(), "leases", "warning", "is about to lapse, the next in", "gets CPU time")
    assert doctor.code == 0, "nothing has happened yet"
    hand.close()
    other.close()


def test_an_index_that_is_missing_is_named(doctor: Doctor, store: Store) -> None:
    one(doctor(), "indexes", "ok")

    def drop() -> Verb[None]:
        yield Statement("drop index offpath_job_due", {}, lambda rows: None)

    perform(store, drop())
    one(doctor(), "indexes", "problem", "there is no index offpath_job_due", "create index")
    assert doctor.code == 1

    def drop_more() -> Verb[None]:
        for name in ("offpath_job_key", "offpath_history_failed", "offpath_job_attempt_ended"):
            yield Statement(f"drop index {name}", {}, lambda rows: None)

    perform(store, drop_more())
    remedy = one(doctor(), "indexes", "problem", "offpath_job_attempt_ended")["remedy"]
    assert remedy.count("create ") == 4
    if doctor.url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(doctor.url.removeprefix("sqlite:///"))) as operator:
            operator.executescript(remedy)
    else:
        with psycopg.connect(doctor.url, autocommit=True) as operator:
            for statement in remedy.split("; "):  # as psql does it; beside whoever writes
                operator.execute(statement.encode())
    one(doctor(), "indexes", "ok")


@pytest.mark.parametrize(
    ("seconds", "state", "worst"),
    [
        (30, State.READY, "ok"),
        (90, State.READY, "warning"),
        (90, State.SCHEDULED, "warning"),
        (900, State.READY, "problem"),
    ],
)
def test_jobs_that_are_due_and_not_run(doctor: Doctor, store: Store, seconds: int, state: State, worst: str) -> None:
    hand = Hand(store)
    due = now() - seconds * SECOND
    put(store, new_job(queue="mail", state=state, run_at=due), new_job(queue="other"))
    check = one(doctor(), "waiting", worst)
    hand.close()
    if worst != "ok":
        said = re.search(r"due in queue mail has waited for (\d+) s", check["detail"])
        assert said is not None, check["detail"]
        assert seconds <= int(said[1]) <= (now() - due) / SECOND + 1


def test_a_pause_is_told_with_its_reason(doctor: Doctor, store: Store) -> None:
    """The cure was to see whether it is paused, which the database knows."""
    put(store, new_job(queue="the low one", run_at=now() - 90 * SECOND))
    said = one(doctor(), "waiting", "warning")
    assert "is paused" not in said["detail"]
    perform(store, store.verbs.pause("the low one", "load test"))
    said = one(doctor(), "waiting", "warning", "`offpath queues resume 'the low one'`")
    assert said["detail"].endswith("it is paused, 'load test'")


def test_schedules_that_nobody_fires(doctor: Doctor, store: Store) -> None:
    """With no worker there was "no job either", and all was well."""
    keep(store, a_row("soon", next_at=now() + DAY), a_row("resting", paused=True, next_at=now() - DAY))
    assert "schedules" not in doctor()
    keep(store, a_row("nightly", next_at=now() - DAY))
    found = doctor()
    assert one(found, "schedules", "warning", "1 schedule should have fired more than 60 s ago: nightly", "worker`")
    assert one(found, "workers", "problem", "no schedule makes one")
    assert doctor.code == 1
    hand = Hand(store)
    one(doctor(), "schedules", "warning", "`offpath schedules show nightly`")
    hand.close()


def test_jobs_that_no_worker_knows(doctor: Doctor, store: Store) -> None:
    hand = Hand(store, tasks=["mail@1", "push@2"])
    later = now() + DAY
    put(store, new_job(), new_job(task="push"), new_job(task="push"))
    put(store, new_job(task="fax", state=State.SCHEDULED, run_at=later))
    fax, push = doctor()["tasks"]
    hand.close()
    assert (fax["state"], push["state"]) == ("warning", "problem")
    assert "1 job of fax@1, which no worker knows" in fax["detail"]
    assert "2 jobs of push@1" in push["detail"]
    assert fax["remedy"].endswith("`offpath jobs cancel --task fax`")
    assert "--task push`, `offpath jobs cancel ID`" in push["remedy"], "there are good ones of that task, too"


def test_running_jobs_of_nobody(doctor: Doctor, store: Store) -> None:
    hand = Hand(store)
    put(store, new_job(), new_job())
    assert len(hand.claim(2)) == 2
    one(doctor(), "orphans", "ok")
    erase(store, "offpath_worker", hand.id)
    one(doctor(), "orphans", "warning", "2 running jobs of workers that are not registered any more")
    hand.close()


def test_dead_letters_of_the_last_day(doctor: Doctor, store: Store) -> None:
    hand = Hand(store)
    put(store, new_job(), new_job(), new_job(task="push"))
    letters = []
    for job in hand.claim(3, tasks='["mail@1", "push@1"]'):
        letters.append(job.id)
        assert hand.say(job, Errored(error("raised", "no"), retryable=False)) == "applied"
    hand.close()
    one(doctor(), "failed", "warning", "3 jobs failed in the last 24 hours: mail 2, push 1", "jobs list --state failed")

    for letter in letters[1:]:
        perform(store, store.verbs.retry(letter, fresh()))
    one(doctor(), "failed", "warning", "1 job failed in the last 24 hours")
    perform(store, store.verbs.retry(letters[0], fresh()))
    one(doctor(), "failed", "ok", "3 jobs failed in the last 24 hours, and all were run again")

    def age() -> Verb[None]:
        sql = "update offpath_history set finished_at = finished_at - cast(:by as bigint)"
        yield Statement(sql, {"by": DAY}, lambda rows: None)

    perform(store, age())
    one(doctor(), "failed", "ok")


def test_a_change_of_many_jobs_that_failed_is_asked_for_anew(doctor: Doctor, store: Store) -> None:
    """It is never run again, so nobody is sent to do that."""
    hand = Hand(store)
    put(store, new_job(task="offpath.bulk"))
    [job] = hand.claim(1, tasks='["offpath.bulk@1"]')
    assert hand.say(job, Errored(error("raised", "no"), retryable=False)) == "applied"
    hand.close()
    one(doctor(), "failed", "ok")
    one(doctor(), "changes", "warning", "1 change of many jobs failed in the last 24 hours", "ask for it anew")
    perform(store, store.verbs.delete(job.id))
    assert "changes" not in doctor()


# -- the command -------------------------------------------------------------------------------------------------------


def run(folder: Path, *args: str) -> Ended:
    return offpath(args, folder)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "say which jobs"),
        (["--database", "sqlite:///typo.db"], "no database at sqlite:///typo.db"),
        (["--database", "sqlite:///text.db"], "text.db"),
        (["--database", "sqlite:///new.db"], "9999_future"),
        (["--database", "postgresql://127.0.0.1:1/y"], "start the server, or correct the URL"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence_and_exit_2(tmp_path: Path, args: list[str], said: str) -> None:
    (tmp_path / "text.db").write_text("this is not a database, it is a text file\n" * 100)
    newer(tmp_path / "new.db")
    done = run(tmp_path, *args, "doctor")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"offpath: [^\n]*{said}[^\n]*\n", done.stderr), done.stderr
    assert not (tmp_path / "typo.db").exists()


def newer(path: Path) -> None:
    store = SqliteStore(str(path), announce=lambda hints: None)
    store.migrate()
    store.close()
    opened = sqlite3.connect(path)
    with opened:
        opened.execute("insert into offpath_migration values ('9999_future', 0)")
    opened.close()


@pytest.mark.parametrize("long", ["-1", "nan"])
def test_a_time_that_is_none(path: Path, capsys: pytest.CaptureFixture[str], long: str) -> None:
    newer(path)
    assert main(["--database", f"sqlite:///{path}", "doctor", "--long", long]) == 2
    assert "--long must be a number" in capsys.readouterr().err


def test_tables_that_are_missing_are_said_and_not_made(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.touch(0o600)
    found = Doctor(f"sqlite:///{path}", capsys)()
    one(found, "schema", "problem", "lacks 0001_initial", "offpath migrate")
    one(found, "file mode", "ok")
    assert "workers" not in found
    assert path.read_bytes() == b""


def test_the_applications_own_database_for_people(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from offpath import Offpath\njobs = Offpath('sqlite:///shop.db')\n")
    store = SqliteStore(str(tmp_path / "shop.db"), announce=lambda hints: None)
    put(store, new_job(queue="a\x1b[31mb", run_at=now() - 90 * SECOND))
    store.close()
    done = run(tmp_path, "--app", "shop:jobs", "doctor")
    assert done.returncode == 1, done
    lines = done.stdout.splitlines()
    at = lines[0].index("SQLite")
    checks = [line for line in lines if line[0] != " "]
    assert [line.split()[0] for line in checks].count("problem") == 1
    assert all(line[at - 1] == " " and line[at] != " " for line in lines), "in columns"
    assert all(line[at:].startswith("→ ") for line in lines if line not in checks)
    assert "\x1b" not in done.stdout
    assert "a\\x1b[31mb" in done.stdout


# -- what only SQLite can tell -----------------------------------------------------------------------------------------


@pytest.fixture
def sqlite_doctor(path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    SqliteStore(str(path), announce=lambda hints: None).migrate()
    return Doctor(f"sqlite:///{path}", capsys)


@pytest.mark.parametrize("step", [0, 1])
def test_sqlite_that_is_too_old(path: Path, sqlite_doctor: Doctor, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    here = sqlite3.sqlite_version_info
    monkeypatch.setattr(connection, "SAFE_VERSION", (*here[:2], here[2] + step))
    one(sqlite_doctor(), "database", "warning" if step else "ok", sqlite3.sqlite_version, str(path))


def test_sqlite_a_file_that_others_may_read(path: Path, sqlite_doctor: Doctor) -> None:
    one(sqlite_doctor(), "file mode", "ok", "0600")
    path.chmod(0o640)
    one(sqlite_doctor(), "file mode", "warning", "0640", f"chmod 0600 {path}*")


def test_sqlite_a_journal_that_makes_readers_wait(path: Path, sqlite_doctor: Doctor) -> None:
    one(sqlite_doctor(), "journal", "ok")
    with contextlib.closing(sqlite3.connect(path)) as owner:
        owner.execute("pragma journal_mode=delete")
    one(sqlite_doctor(), "journal", "warning", "journal mode delete", "start a worker")


def test_sqlite_a_log_that_never_begins_anew(path: Path, sqlite_doctor: Doctor) -> None:
    reader = sqlite3.connect(path)
    reader.execute("select count(*) from offpath_job").fetchall()
    one(sqlite_doctor(), "log", "ok")
    os.truncate(f"{path}-wal", 300 << 20)  # a hole: nothing is read beyond what was committed
    one(sqlite_doctor(), "log", "warning", "300 MiB", "reader that does not end")
    reader.close()


def test_sqlite_a_transaction_that_keeps_all_others_from_writing(path: Path, sqlite_doctor: Doctor) -> None:
    one(sqlite_doctor(), "long transactions", "ok")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("begin immediate")
    one(sqlite_doctor("--long", "0.1"), "long transactions", "problem", "more than 0.1 s", f"fuser {path}")
    writer.close()
    one(sqlite_doctor("--long", "0.1"), "long transactions", "ok")


# -- what only PostgreSQL can tell -------------------------------------------------------------------------------------


def test_a_long_transaction_of_somebody_elses_is_named(tables_url: str, tables: Doctor) -> None:
    with psycopg.connect(tables_url, application_name="billing") as other:
        one(tables(), "long transactions", "ok", "60 s")
        other.execute("update offpath_job set\n    queue = queue  where 'secret' = repeat('x', 200) || repeat('y', 20)")
        one(tables(), "long transactions", "ok", "60 s")
        check = one(tables("--long", "0"), "long transactions", "problem")
        pid = other.info.backend_pid
        assert f'process {pid} (user offpath, application "billing", idle in transaction)' in check["detail"]
        assert re.search(r" open since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, \d+ s, and holds ", check["detail"])
        assert "RowExclusiveLock on offpath_job: " in check["detail"]
        query = check["detail"].partition("offpath_job: ")[2]
        assert query == "update offpath_job set queue = queue where … = repeat(…, …) || repeat(…, …)"
        assert f"select pg_terminate_backend({pid})" in check["remedy"]
        [remedy] = re.findall(r"select .*", check["remedy"])
        with psycopg.connect(tables_url, autocommit=True) as operator:
            operator.execute(remedy.encode())
            while operator.execute("select 1 from pg_stat_activity where pid = %s", [pid]).fetchone():
                pass  # it goes by itself
        with pytest.raises(psycopg.OperationalError):
            other.execute("select 1")
    one(tables("--long", "0"), "long transactions", "ok")


def test_an_old_snapshot_is_named_wherever_it_has_read(tables_url: str, tables: Doctor) -> None:
    """It keeps vacuum from our tables without having touched them."""
    with psycopg.connect(tables_url, application_name="report") as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("select 1")
        check = one(tables("--long", "0"), "long transactions", "problem", 'application "report"')
        assert check["detail"].endswith("and holds a snapshot that holds up vacuum: select …")


def test_a_prepared_transaction_that_nobody_ends_is_named(
    tables_url: str, tables: Doctor, request: pytest.FixtureRequest
) -> None:
    """No process holds it, so pg_stat_activity knows nothing of it."""
    with psycopg.connect(tables_url, autocommit=True) as other:
        if other.execute("show max_prepared_transactions").fetchone() == ("0",):
            missing(request.config, "postgres-prepared", "max_prepared_transactions is 0")
        other.execute("begin; lock table offpath_job in access exclusive mode; prepare transaction 'it''s lost'")
        try:
            one(tables(), "long transactions", "ok", "60 s")
            found = tables("--long", "0")
            check = one(found, "long transactions", "problem", "'it''s lost' (user offpath)", "as offpath: rollback")
            assert re.search(r" since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ, \d+ s, and holds Acc", check["detail"])
            assert "AccessExclusiveLock on offpath_job" in check["detail"]
            one(found, "jobs", "problem", "locked", "pg_prepared_xacts")
            assert "rollback prepared 'it''s lost' (or" in check["remedy"]
        finally:
            other.execute("rollback prepared 'it''s lost'")
    one(tables("--long", "0"), "long transactions", "ok")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select 'canary', 4242, 'it''s canary'", "select …, …, …"),
        ("select E'it\\'s canary'", "select …"),
        ("select $$canary$$, $a$can'ary$a$, $1", "select …, …, $1"),
        ("insert into t1 (\"it's\", b2) values (1.5e3, 'canary", 'insert into t1 ("it\'s", b2) values (…, …'),
        ("select a -- canary\n, b /* canary */ from c", "select a , b from c"),
        ("select " + ", ".join("abc" * 4 for _ in range(20)), "select " + "abcabcabcabc, " * 5 + "ab…"),
        ("", ""),
    ],
)
def test_the_values_in_somebody_elses_statement_are_not_shown(query: str, said: str) -> None:
    shown = masked(query)
    assert shown[:73] == said[:73]
    assert "canary" not in shown
    assert len(shown) <= 80


def test_what_was_switched_off_is_switched_on_where_that_was(
    admin: psycopg.Connection, tables_url: str, tables: Doctor
) -> None:
    admin.autocommit = True
    name = urlsplit(tables_url).path[1:]
    admin.execute(f"alter database {name} set track_counts = off".encode())
    try:
        check = one_of(tables(), "vacuum", "problem")
    finally:
        admin.execute(f"alter database {name} reset track_counts".encode())
    assert (check["detail"], check["remedy"]) == (
        "track_counts is off on this server: dead rows stay",
        "alter database … reset track_counts",
    )
    for source in ("configuration file", "default"):
        assert switched_on("autovacuum", source) == "alter system set autovacuum = on; select pg_reload_conf()"
    assert "command line" in switched_on("autovacuum", "command line")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////nowhere/app.db", "there is no database at sqlite:////nowhere/app.db"),
        ("postgresql://u:geheim@127.0.0.1:1/shop", "127.0.0.1"),
    ],
)
def test_a_database_that_is_away_is_a_finding(url: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--database", url, "doctor", "--json"]) == 2
    out, err = capsys.readouterr()
    [check] = json.loads(out)
    assert err == ""
    assert (check["check"], check["state"]) == ("database", "problem")
    assert said in check["detail"]
    assert "correct the URL" in check["detail"]
    assert check["remedy"] is not None
    assert "geheim" not in out


@pytest.mark.parametrize(("lock", "state"), [("AccessShare", "warning"), ("RowExclusive", "problem")])
def test_whoever_only_reads_and_is_at_it_is_a_warning(tables_url: str, tables: Doctor, lock: str, state: str) -> None:
    mode = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", lock).lower()
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(tables_url) as dump,
        psycopg.connect(tables_url, autocommit=True) as gate,
    ):
        gate.execute("select pg_advisory_lock(7)")
        dump.execute(f"lock table offpath_job in {mode} mode".encode())
        reading = pool.submit(dump.execute, "select pg_advisory_lock(7)")
        while not gate.execute("select 1 from pg_locks where locktype = 'advisory' and not granted").fetchone():
            assert not reading.done()
        check = one(tables("--long", "0"), "long transactions", state, " active) ", f"holds {lock}Lock on offpath_job")
        assert tables.code == int(state == "problem"), check
        gate.close()
        reading.result()


def test_tables_that_somebody_has_locked_do_not_stop_the_doctor(tables_url: str, tables: Doctor) -> None:
    with psycopg.connect(tables_url) as other:
        other.execute("lock table offpath_job in access exclusive mode")
        found = tables("--long", "0")
        one(found, "long transactions", "problem", "AccessExclusiveLock on offpath_job", str(other.info.backend_pid))
        one(found, "jobs", "problem", "locked")
        assert "workers" not in found


@pytest.fixture
def admin(request: pytest.FixtureRequest, tables_url: str) -> Iterator[psycopg.Connection]:
    """A superuser in the same database."""
    url = urlsplit(tables_url)
    netloc = f"postgres:{url.password}@{url.netloc.rpartition('@')[2]}"
    try:
        opened = psycopg.connect(url._replace(netloc=netloc).geturl())
    except psycopg.OperationalError as e:
        missing(request.config, "postgres-superuser", str(e))
    with opened:
        yield opened


def test_what_we_may_not_see_is_said(admin: psycopg.Connection, tables: Doctor) -> None:
    admin.execute("select count(*) from offpath_job")
    check = one(tables("--long", "0"), "long transactions", "warning", "grant pg_read_all_stats to offpath")
    assert str(admin.info.backend_pid) in check["detail"]
    admin.rollback()
    one(tables("--long", "0"), "long transactions", "ok")


def test_a_right_that_is_missing_is_said_by_the_check_that_needs_it(admin: psycopg.Connection, tables: Doctor) -> None:
    admin.autocommit = True
    admin.execute("revoke execute on function pg_stat_get_dead_tuples(oid) from public")
    try:
        found = tables()
    finally:
        admin.execute("grant execute on function pg_stat_get_dead_tuples(oid) to public")
    one(found, "vacuum", "warning", "could not be looked at", "permission denied for function", "grant pg_monitor to")
    one(found, "connections", "ok")


def test_an_empty_database_is_looked_at_too(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    doctor = Doctor(postgres_url, capsys)
    with psycopg.connect(postgres_url) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("select 1")
        found = doctor("--long", "0")
    one(found, "database", "ok", "PostgreSQL 1", "answers at postgresql://offpath@")
    one(found, "schema", "problem", "lacks 0001_initial", "offpath migrate")
    one(found, "long transactions", "problem")
    assert "history" not in found
    with psycopg.connect(postgres_url) as other:
        assert other.execute("select count(*) from pg_class where relname ~ 'offpath'").fetchone() == (0,)


def test_a_direct_connection_hears(tables: Doctor) -> None:
    one(tables(), "listening", "ok", "was heard")


def test_behind_a_pooler_nothing_is_heard(tables: Doctor, pooled_url: str) -> None:
    tables.url = pooled_url
    found = tables()
    one(found, "listening", "warning", "pooler", "lead to the server itself")
    for name in ("long transactions", "history", "vacuum", "connections"):
        one(found, name, "ok")


def test_days_of_history_that_are_missing_or_past(tables_url: str, tables: Doctor) -> None:
    one(tables(), "history", "ok", "days ahead")
    with psycopg.connect(tables_url, autocommit=True) as owner:
        for day in ("20200101", "20200102"):
            values = f"from ('{day}') to ('{day}'::date + 1)"
            sql = f"create table offpath_history_{day} partition of offpath_history for values {values}"
            owner.execute(sql.encode())
        one(tables(), "history", "warning", "2 partitions", "upkeep drops them")
        found = owner.execute("select relname from pg_class where relname ~ '^offpath_history_[0-9]+$'").fetchall()
        for (name,) in found:
            owner.execute(f"drop table {name}".encode())
        one(tables(), "history", "warning", "no partition for tomorrow")


def test_vacuum_that_does_not_come(tables_url: str, tables: Doctor) -> None:
    one(tables(), "vacuum", "ok")
    with psycopg.connect(tables_url, autocommit=True) as owner:
        owner.execute("alter table offpath_event set (autovacuum_enabled = off)")
        one(tables(), "vacuum", "problem", "offpath_event", 'alter table "public".offpath_event reset')
        owner.execute(
            "insert into offpath_event select gen_random_uuid(), 1, 'queued', 0, '{}' from generate_series(1, 60000)"
        )
        owner.execute("delete from offpath_event")
        owner.execute("select pg_stat_force_next_flush()")
        check = one_of(tables(), "vacuum", "warning")
        assert "offpath_event has 60,000 dead rows and 0 live ones" in check["detail"]


def test_an_index_that_is_there_and_not_used_is_a_problem(tables_url: str, tables: Doctor) -> None:
    with psycopg.connect(tables_url, autocommit=True) as owner:
        owner.execute(
            "insert into offpath_ticket select g::text, gen_random_uuid(), '', '', 0 from generate_series(1, 2) g"
        )
        owner.execute("drop index offpath_job_due")
        with pytest.raises(psycopg.errors.UniqueViolation):  # what is left is there, and is not used
            owner.execute("create unique index concurrently offpath_job_due on offpath_ticket (expires_at)")
    one(
        tables(), "indexes", "problem", "the index offpath_job_due is invalid", 'reindex index "public".offpath_job_due'
    )


@pytest.mark.parametrize(("ahead", "state"), [(0.0, "ok"), (5.0, "warning"), (-300.0, "problem")])
def test_a_clock_that_differs_from_the_databases(
    tables: Doctor, monkeypatch: pytest.MonkeyPatch, ahead: float, state: str
) -> None:
    ours = time.time
    monkeypatch.setattr("offpath.stores.postgres.doctor.time", SimpleNamespace(time=lambda: ours() + ahead))
    one(tables(), "clock", state, "the clocks of this host and of the database differ by")


def test_a_right_to_few_connections(tables_url: str, tables: Doctor) -> None:
    one(tables(), "connections", "ok", "of the server are free")
    name = urlsplit(tables_url).path[1:]
    with psycopg.connect(tables_url, autocommit=True) as owner:
        owner.execute(f"alter database {name} connection limit 8".encode())
        try:
            one(tables(), "connections", "warning", "of the 8 connections of this database are free", "up to 9")
        finally:
            owner.execute(f"alter database {name} connection limit -1".encode())


def test_another_schema_is_another_home(postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(f"from offpath import Offpath\njobs = Offpath({postgres_url!r}, schema='work')\n")
    PostgresStore(postgres_url, announce=lambda hints: None, schema="work").migrate()
    with psycopg.connect(postgres_url) as other:
        other.execute("lock table work.offpath_event in share mode")
        done = run(tmp_path, "--app", "shop:jobs", "doctor")
        assert done.returncode == 0, done
        done = run(tmp_path, "--app", "shop:jobs", "doctor", "--long", "0")
    assert done.returncode == 1
    assert "ShareLock on offpath_event" in done.stdout


@pytest.mark.parametrize("name", ["broker", "transport"])
def test_a_broker_is_asked_and_its_silence_has_a_cure(
    name: str, tmp_path: Path, redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor = Doctor(f"sqlite:///{tmp_path / 'jobs.db'}", capsys)
    assert main(["--database", doctor.url, "migrate"]) == 0
    capsys.readouterr()
    monkeypatch.setenv("OFFPATH_BROKER", redis_url)
    monkeypatch.setenv("OFFPATH_TRANSPORT", redis_url)
    found = doctor()
    one(found, "broker", "ok", "redis answers")
    one(found, "transport", "ok", "redis answers")
    monkeypatch.setenv(f"OFFPATH_{name.upper()}", "redis://:geheim@127.0.0.1:1")
    said = one(doctor(), name, "problem", "127.0.0.1", f"OFFPATH_{name.upper()}")
    assert "geheim" not in str(said)
