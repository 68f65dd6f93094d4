"""The command `offpath`, as its own process: exit codes, what it prints, and where it looks."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offpath import __version__
from offpath.cli import main
from offpath.cli.reload import snapshot
from offpath.stores.statements import migrations
from tests.nursery import OFFPATH, Ended, nursery, offpath

MIGRATIONS = [name for name, _ in migrations("offpath.stores.sqlite")]

SHOP = """
from offpath import Offpath, Queue, Retry

jobs = Offpath("sqlite:///shop.db", queues=[Queue("mail", weight=2)])
empty = Offpath("sqlite:///empty.db")
number = 3

@jobs.task(queue="mail")
async def send(to: str) -> str:
    return to.upper()

@jobs.task(retry=Retry(max_attempts=1))
def bad(n: int) -> None:
    raise ValueError("no \\x1b[31m")
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def run(folder: Path, *args: str, **more: str) -> Ended:
    return offpath(args, folder, **more)


def one_sentence(done: Ended, code: int, said: str) -> None:
    """The error is one line on stderr, never a traceback, and the exit code is as documented."""
    assert done.returncode == code, done
    assert re.fullmatch(rf"offpath: [^\n]*{said}[^\n]*\n", done.stderr), done.stderr
    assert done.stdout == ""


def enqueue(folder: Path, code: str) -> list[str]:
    script = f"import shop\nfor job in [{code}]: print(job.id)"
    done = nursery(*OFFPATH).run(["-c", script], folder, os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def listed(folder: Path, *args: str) -> list[dict[str, Any]]:
    done = run(folder, "--app", "shop:jobs", "jobs", "list", "--json", *args)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


# -- asked wrongly -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["worker"], "say which application"),
        (["jobs", "list"], "say which jobs"),
        (["migrate"], "say which jobs"),
        (["--app", "shop", "worker"], "module:attr"),
        (["--app", ":jobs", "worker"], "module:attr"),
        (["--app", "nothing:jobs", "worker"], "no module 'nothing'"),
        (["--app", "shop.tasks:jobs", "worker"], "shop"),
        (["--app", "shop:nothing", "worker"], "nothing is not there"),
        (["--app", "shop:number", "worker"], "is a int, not an Offpath"),
        (["--app", "shop:empty", "worker"], "no tasks"),
        (["--app", "shop:jobs", "--app-dir", "nowhere", "worker"], "no such directory"),
        (["--app", "shop:jobs", "worker", "--queues", "a:b"], "queues look like"),
        (["--app", "shop:jobs", "worker", "--queues", ""], "names no queue"),
        (["--app", "shop:jobs", "worker", "--queues", " , "], "names no queue"),
        (["--app", "shop:jobs", "worker", "--until-empty"], "no database at sqlite:///shop.db"),
        (["--app", "shop:jobs", "--database", "sqlite:///typo.db", "worker", "--until-empty"], "no database at"),
        (["--app", "shop:jobs", "worker", "--concurrency", "0"], "concurrency"),
        (["--app", "shop:jobs", "worker", "--reload", "--until-empty"], "cannot go with it"),
        (["--database", "mysql://x", "jobs", "list"], "must look like"),
        (["--database", "postgresql://127.0.0.1:1/y", "jobs", "list"], "start the server, or correct the URL"),
        (["--database", "sqlite:////nowhere/x.db", "jobs", "list"], "no database at"),
        (["--database", "sqlite:////nowhere/x.db", "migrate"], "nowhere/x.db"),
        (["--app", "shop:jobs", "--database", "sqlite:////nowhere/x.db", "worker"], "nowhere/x.db"),
        (["--database", "sqlite:///typo.db", "jobs", "list"], "no database at sqlite:///typo.db"),
        (["--app", "shop:jobs", "jobs", "list", "--limit", "0"], "--limit"),
        (["--app", "shop:jobs", "jobs", "list", "--after", "x"], "--after"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_2(shop: Path, args: list[str], said: str) -> None:
    one_sentence(run(shop, *args), 2, said)


@pytest.mark.parametrize(
    "args", [[], ["dance"], ["jobs"], ["worker", "--concurrency", "x"], ["jobs", "list", "--state", "asleep"], ["--x"]]
)
def test_unknown_flags_show_the_usage_and_exit_2(shop: Path, args: list[str]) -> None:
    done = run(shop, *args)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: offpath")


def test_a_schema_that_is_too_new_is_one_sentence(shop: Path) -> None:
    assert run(shop, "--app", "shop:jobs", "migrate").returncode == 0
    with sqlite3.connect(shop / "shop.db") as connection:
        connection.execute("insert into offpath_migration values ('9999_future', 0)")
    connection.close()
    for args in (["worker"], ["jobs", "list"], ["migrate"], ["migrate", "--check"], ["migrate", "--check", "--json"]):
        one_sentence(run(shop, "--app", "shop:jobs", *args), 2, "9999_future")


def test_an_error_inside_the_users_module_shows_where(shop: Path) -> None:
    (shop / "broken.py").write_text("import not_installed_anywhere\n")
    done = run(shop, "--app", "broken:jobs", "worker")
    assert done.returncode != 0
    assert 'broken.py", line 1' in done.stderr


def test_a_file_that_is_no_database(shop: Path) -> None:
    (shop / "shop.db").write_text("this is not a database, it is a text file\n" * 100)
    one_sentence(run(shop, "--app", "shop:jobs", "jobs", "list"), 2, "shop.db")


# -- migrate -----------------------------------------------------------------------------------------------------------


def test_migrate_prints_checks_and_applies(shop: Path) -> None:
    shown = run(shop, "--app", "shop:jobs", "migrate", "--print")
    assert shown.returncode == 0
    assert "create table offpath_job" in shown.stdout
    assert not (shop / "shop.db").exists()
    assert run(shop, "--app", "shop:jobs", "migrate", "--check").returncode == 1
    checked = run(shop, "--app", "shop:jobs", "migrate", "--check", "--json")
    assert (checked.returncode, json.loads(checked.stdout)) == (1, MIGRATIONS)
    assert not (shop / "shop.db").exists()
    applied = run(shop, "--app", "shop:jobs", "migrate", "--json")
    names = json.loads(applied.stdout)
    assert names == MIGRATIONS
    assert json.loads(run(shop, "--app", "shop:jobs", "migrate", "--json").stdout) == []
    assert run(shop, "--app", "shop:jobs", "migrate").stdout == "nothing to do\n"
    assert run(shop, "--app", "shop:jobs", "migrate", "--check").stdout == "nothing to do\n"
    checked = run(shop, "--app", "shop:jobs", "migrate", "--check", "--json")
    assert (checked.returncode, json.loads(checked.stdout), checked.stderr) == (0, [], "")


def test_the_printed_sql_makes_the_same_tables_and_can_be_used_instead(shop: Path) -> None:
    other = ("--database", "sqlite:///other.db", "migrate")
    by_hand = sqlite3.connect(shop / "other.db")
    by_hand.executescript(run(shop, *other, "--print").stdout)
    assert run(shop, *other, "--check").returncode == 0
    assert run(shop, *other).stdout == "nothing to do\n"
    run(shop, "--app", "shop:jobs", "migrate")
    made = sqlite3.connect(shop / "shop.db")
    query = "select name, sql from sqlite_schema where name not like 'sqlite%' order by 1"
    assert made.execute(query).fetchall() == by_hand.execute(query).fetchall() != []
    made.close()
    by_hand.close()


def test_a_check_does_not_make_an_applications_database_ready(shop: Path) -> None:
    (shop / "shop.db").touch()
    assert run(shop, "--app", "shop:jobs", "migrate", "--check").returncode == 1
    assert (shop / "shop.db").read_bytes() == b""


def test_a_check_says_how_much_is_lacking(shop: Path) -> None:
    check = ("--app", "shop:jobs", "migrate", "--check")
    (shop / "shop.db").touch()
    assert f"no tables of offpath yet (none of {len(MIGRATIONS)} migrations): run `off" in run(shop, *check).stderr
    run(shop, "--app", "shop:jobs", "migrate")
    with contextlib.closing(sqlite3.connect(shop / "shop.db")) as connection:
        for said in ("", " and 1 more"):
            with connection:
                connection.execute(
                    "delete from offpath_migration where name = (select max(name) from offpath_migration)"
                )
            [(count,)] = connection.execute("select count(*) from offpath_migration")
            assert f"lacks the migration {MIGRATIONS[count]}{said}: run `offpath migrate`" in run(shop, *check).stderr


# -- worker ------------------------------------------------------------------------------------------------------------


def test_a_worker_runs_until_empty(shop: Path) -> None:
    enqueue(shop, "shop.send.enqueue_sync('a'), shop.bad.enqueue_sync(1), shop.send.using(delay=900).enqueue_sync('b')")
    done = run(shop, "--app", "shop:jobs", "worker", "--until-empty", "--queues", "mail:3", "--concurrency", "2")
    assert done.returncode == 0, done.stderr
    assert "worker.started" in done.stderr
    assert "concurrency=2" in done.stderr
    assert sorted(row["state"] for row in listed(shop)) == ["ready", "scheduled", "succeeded"]
    done = run(shop, "worker", "--app", "shop:jobs", "--until-empty", OFFPATH_LOG_LEVEL="error")
    assert sorted(row["state"] for row in listed(shop)) == ["failed", "scheduled", "succeeded"]
    assert "worker.started" not in done.stderr
    assert "attempt.exhausted" in done.stderr
    assert "\x1b" not in done.stderr


LOGGED = """
import logging, sys
{setup}
@jobs.task
def hello() -> None:
    logging.getLogger("shop").warning("hello")
"""
FORMAT = "logging.basicConfig(format='mine %(levelname)s %(message)s', level='WARNING', stream=sys.{stream})"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_app_that_logs_its_own_way_keeps_it_and_nothing_is_said_twice(shop: Path, stream: str) -> None:
    (shop / "shop.py").write_text(SHOP + LOGGED.format(setup=FORMAT.format(stream=stream)))
    enqueue(shop, "shop.hello.enqueue_sync()")
    done = run(shop, "--app", "shop:jobs", "worker", "--until-empty")
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if "hello" in line] == ["mine WARNING hello"]
    assert all(line.startswith("mine WARNING") for line in lines), lines
    assert done.stdout + done.stderr == getattr(done, stream)


@pytest.mark.parametrize("how", ["--log-format=json", "OFFPATH_LOG_FORMAT"])
def test_a_format_that_is_asked_for_is_that_of_every_line(shop: Path, how: str) -> None:
    (shop / "shop.py").write_text(SHOP + LOGGED.format(setup=FORMAT.format(stream="stdout")))
    enqueue(shop, "shop.hello.enqueue_sync()")
    flags, variables = ([how], {}) if how.startswith("-") else ([], {how: "json"})
    done = run(shop, "--app", "shop:jobs", "worker", "--until-empty", *flags, **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    said = [json.loads(line) for line in done.stderr.splitlines()]
    [hello] = [line for line in said if line["message"] == "hello"]
    assert hello["task"] == "hello"


def test_a_format_that_there_is_not_is_one_sentence(shop: Path) -> None:
    one_sentence(run(shop, "worker", OFFPATH_APP="shop:jobs", OFFPATH_LOG_FORMAT="xml"), 2, "json or text, not 'xml'")


def test_a_worker_that_was_given_no_name_of_a_queue_does_not_serve_all(shop: Path) -> None:
    one_sentence(run(shop, "worker", OFFPATH_APP="shop:jobs", OFFPATH_QUEUES=""), 2, "names no queue")


def test_a_worker_that_makes_a_new_database_says_so(shop: Path) -> None:
    with started(shop, "--app", "shop:jobs", "--database", "sqlite:///typo.db", "worker") as process:
        line = until(process, "store.created")
        assert "WARNING" in line
        assert "typo.db" in line
        until(process, "worker.started")
        process.terminate()
        assert process.stderr is not None
        rest = process.stderr.read()
        assert process.wait(timeout=100) == 0, rest


def test_what_no_worker_knows_is_said_before_the_end(shop: Path) -> None:
    enqueue(shop, "shop.send.enqueue_sync('a')")
    (shop / "shop.py").write_text(SHOP.replace("def send", "def deliver"))
    done = run(shop, "--app", "shop:jobs", "worker", "--until-empty")
    assert done.returncode == 0, done.stderr
    assert re.search("WARNING .*worker.unknown task=send version=1 jobs=1", done.stderr), done.stderr


def test_flags_beat_variables(shop: Path) -> None:
    enqueue(shop, "shop.send.enqueue_sync('a')")
    variables = {"OFFPATH_APP": "shop:jobs", "OFFPATH_QUEUES": "other", "OFFPATH_CONCURRENCY": "7"}
    done = run(shop, "worker", "--until-empty", **variables)
    assert "queues=other" in done.stderr
    assert "concurrency=7" in done.stderr
    done = run(shop, "worker", "--until-empty", "--queues", "mail", "--concurrency", "3", **variables)
    assert "queues=mail" in done.stderr
    assert "concurrency=3" in done.stderr
    assert listed(shop)[0]["state"] == "succeeded"


def test_the_database_flag_beats_the_application_and_the_variable_does_not(shop: Path) -> None:
    other = "sqlite:///other.db"
    assert run(shop, "--database", other, "migrate").returncode == 0
    enqueue(shop, "shop.send.enqueue_sync('a')")
    assert len(listed(shop)) == 1
    assert json.loads(run(shop, "--app", "shop:jobs", "--database", other, "jobs", "list", "--json").stdout) == []
    there = run(shop, "--app", "shop:jobs", "jobs", "list", "--json", OFFPATH_DATABASE=other)
    assert len(json.loads(there.stdout)) == 1
    assert json.loads(run(shop, "jobs", "list", "--json", OFFPATH_DATABASE=other).stdout) == []


def test_the_module_is_looked_for_where_app_dir_says(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert run(elsewhere, "--database", "sqlite:///shop.db", "migrate").returncode == 0
    one_sentence(run(elsewhere, "--app", "shop:jobs", "worker", "--until-empty"), 2, "no module")
    done = run(elsewhere, "--app", "shop:jobs", "--app-dir", str(shop), "worker", "--until-empty")
    assert done.returncode == 0, done.stderr


# -- jobs --------------------------------------------------------------------------------------------------------------


def test_list_filters_and_pages(shop: Path) -> None:
    ids = enqueue(
        shop, "shop.send.enqueue_sync('a'), shop.bad.enqueue_sync(1), shop.send.using(delay=900).enqueue_sync('b')"
    )
    newest_first = sorted(ids, reverse=True)  # ids of one millisecond are in no particular order
    rows = listed(shop)
    assert [row["id"] for row in rows] == newest_first
    assert set(rows[0]) >= {"id", "task", "state", "queue", "attempt"}
    assert [row["id"] for row in listed(shop, "--task", "bad")] == [ids[1]]
    assert [row["id"] for row in listed(shop, "--queue", "mail")] == sorted((ids[0], ids[2]), reverse=True)
    assert [row["id"] for row in listed(shop, "--state", "scheduled")] == [ids[2]]
    assert len(listed(shop, "--state", "scheduled", "--state", "ready")) == 3
    assert [row["id"] for row in listed(shop, "--limit", "2")] == newest_first[:2]
    assert [row["id"] for row in listed(shop, "--limit", "2", "--after", newest_first[1])] == newest_first[2:]
    text = run(shop, "--database", "sqlite:///shop.db", "jobs", "list").stdout
    assert text.splitlines()[0].split() == ["id", "task", "state", "queue", "attempt", "at", "error"]
    assert len(text.splitlines()) == 4
    nothing = run(shop, "--app", "shop:jobs", "jobs", "list", "--task", "none")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "offpath: no jobs\n")


def test_show_retry_and_cancel(shop: Path) -> None:
    (id,) = enqueue(shop, "shop.bad.enqueue_sync(7)")
    app = ("--app", "shop:jobs", "jobs")
    one_sentence(run(shop, *app, "retry", id), 1, "has not ended")
    run(shop, "--app", "shop:jobs", "worker", "--until-empty")
    shown = json.loads(run(shop, *app, "show", id, "--json", "--arguments").stdout)
    assert (shown["id"], shown["state"], shown["args"], shown["result"]) == (id, "failed", {"n": 7}, None)
    assert shown["error"]["kind"] == "raised"
    text = run(shop, *app, "show", id).stdout
    assert "state" in text
    [said] = [line for line in text.splitlines() if line.startswith("error ")]
    assert said.endswith(r" ValueError: no \x1b[31m")
    assert '\n  File "' in text  # the traceback, as one reads it
    assert "\x1b" not in text
    new = json.loads(run(shop, *app, "retry", id, "--json").stdout)
    assert (new["retry_of"], new["state"]) == (id, "ready")
    canceled = json.loads(run(shop, *app, "cancel", new["id"], "--reason", "enough", "--json").stdout)
    assert (canceled["state"], canceled["error"]["detail"]) == ("canceled", "enough")
    one_sentence(run(shop, *app, "cancel", id), 1, f"job {id} has failed already: there is nothing to stop")
    one_sentence(run(shop, *app, "retry", id), 1, f"was run again already, as {new['id']}; --again runs it once more")
    assert "runs bad again" in run(shop, *app, "retry", id, "--again").stdout
    for verb in ("show", "retry", "cancel"):
        one_sentence(run(shop, *app, verb, "01890a5d-ac96-774b-bcce-b302099a8057"), 1, "no job")
        one_sentence(run(shop, *app, verb, "nonsense"), 1, "no job nonsense")


def test_a_retry_whose_key_a_live_job_has_is_none(shop: Path) -> None:
    app = ("--app", "shop:jobs", "jobs")
    (old,) = enqueue(shop, "shop.bad.using(key='k').enqueue_sync(7)")
    run(shop, "--app", "shop:jobs", "worker", "--until-empty")
    (live,) = enqueue(shop, "shop.bad.using(key='k').enqueue_sync(8)")
    one_sentence(run(shop, *app, "retry", old), 1, f"nothing was enqueued: the live job {live} has the key of {old}")
    done = run(shop, *app, "retry", old, "--json")
    data = json.loads(done.stdout)
    assert (done.returncode, data["id"], data["existing"]) == (1, live, True)
    assert len(listed(shop)) == 2
    run(shop, *app, "cancel", live)
    done = run(shop, *app, "retry", old, "--json")
    assert (done.returncode, json.loads(done.stdout)["existing"], done.stderr) == (0, False, "")


def test_a_reader_that_goes_away_is_no_error(shop: Path) -> None:
    enqueue(shop, "*shop.send.enqueue_many_sync([shop.send.call('x' * 50) for _ in range(2000)])")
    command = [sys.executable, "-m", "offpath", "--app", "shop:jobs", "jobs", "list", "--limit", "2000"]
    with subprocess.Popen(command, cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


# -- around ------------------------------------------------------------------------------------------------------------


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"offpath {__version__}\n"
    for command in ([], ["worker"], ["migrate"], ["jobs"], ["jobs", "list"], ["jobs", "show"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--help"])
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith("usage: offpath")


def test_what_reload_watches(tmp_path: Path) -> None:
    for name in ("a.py", "pkg/b.py", ".hidden/c.py", "__pycache__/d.py", "venv/lib/e.py", "note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    before = snapshot(str(tmp_path))
    assert {str(Path(path).relative_to(tmp_path)) for path in before} == {"a.py", "pkg/b.py"}
    os.utime(tmp_path / "a.py", ns=(1, 1))
    assert snapshot(str(tmp_path)) != before


def test_reload_starts_again_when_the_source_changes(shop: Path) -> None:
    with started(shop, "--app", "shop:jobs", "worker", "--reload") as process:
        assert process.stderr is not None
        until(process, "worker.started")
        (shop / "shop.py").write_text(SHOP + "\n\n@jobs.task\ndef more() -> None: ...\n")
        until(process, "shop.py changed, starting the worker again")
        assert "tasks=4" in until(process, "worker.started")
        process.terminate()
        rest = process.stderr.read()
        assert process.wait(timeout=100) == 0, rest
        assert "worker.stopped" in rest


@contextlib.contextmanager
def started(folder: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """`offpath` that goes on until it is told to stop; killed when the test has failed."""
    command = [sys.executable, "-m", "offpath", *args]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], said: str) -> str:
    """The next line with these words; the suite's timeout ends a wait for one that never comes."""
    assert process.stderr is not None
    for line in process.stderr:
        if said in line:
            return line
    raise AssertionError(f"ended without saying {said!r}")
