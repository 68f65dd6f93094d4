"""What commands say to somebody who is in a hurry: cause, cure and the right exit code."""

import contextlib
import logging
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from offpath.cli import alerts, main
from offpath.core.alerts import rule
from offpath.core.ids import at_moment
from offpath.errors import StoreUnavailable
from offpath.stores.sqlite import connection
from offpath.testing.stores.kit import fresh, new_job, put

from .conftest import Shop


def test_a_list_of_failures_says_when_and_why(shop2: Shop) -> None:
    id = shop2.module.bad.enqueue_sync(n=1).id
    shop2.work()
    (row,) = shop2.told("jobs", "list", "--state", "failed")
    head, line = shop2.run("jobs", "list", "--state", "failed", app=False).stdout.splitlines()
    assert head.split() == ["id", "task", "state", "queue", "attempt", "at", "error"]
    assert row["finished_at"] in line
    assert line.startswith(id)
    assert "ValueError: no " in line
    sample = shop2.run("jobs", "retry", "--state", "failed", "--dry-run").stdout
    assert "ValueError: no " in sample


def test_an_error_that_nothing_has_ended_with_is_answered_with_those_there_are(shop2: Shop) -> None:
    for n in range(2):
        shop2.module.bad.enqueue_sync(n=n)
    shop2.work()
    for args in (("jobs", "list"), ("jobs", "retry", "--dry-run")):
        said = shop2.run(*args, "--error", "Value", app=False)
        assert (said.returncode, "ValueError (2)" in said.stderr) == (0, True)
        assert "ValueError" not in shop2.run(*args, "--error", "Value", "--queue", "mail").stderr
    assert shop2.told("jobs", "list", "--error", "Value") == []


def test_show_says_how_long_it_took_and_how_long_it_is_kept(shop2: Shop) -> None:
    ids = [shop2.module.send.enqueue_sync(to="a").id, shop2.module.bad.enqueue_sync(n=1).id]
    assert shop2.told("jobs", "show", ids[0])["since_due"] is None
    shop2.work()
    good, bad = (shop2.told("jobs", "show", id) for id in ids)
    assert good["since_due"] >= 0
    kept = datetime.fromisoformat(good["expires_at"]) - datetime.fromisoformat(good["finished_at"])
    assert round(kept / timedelta(days=1), 3) == 7
    assert (bad["expires_at"], bad["seconds"]) == (None, None), (
        "dead letters stay; of what nobody watches no start is kept"
    )
    assert "since_due" in shop2.run("jobs", "show", ids[0]).stdout


def test_the_beginning_of_an_id_will_do_and_so_will_capitals(shop2: Shop) -> None:
    store, at = shop2.module.jobs.store, 1_700_000_000_000_000
    ids = [at_moment(at, "7001-8000-000000000001"), at_moment(at, "7001-8000-000000000002")]
    old = at_moment(at - 10**12, "7001-8000-000000000003")
    for id in (*ids, old):
        put(store, new_job(id=id))
    assert shop2.told("jobs", "show", ids[0].upper())["id"] == ids[0]
    assert shop2.told("jobs", "show", old[:8])["id"] == old
    assert shop2.told("jobs", "cancel", ids[1][:-1] + "2")["id"] == ids[1]
    both = shop2.run("jobs", "delete", ids[0][:20])
    assert (both.returncode, all(id in both.stderr for id in ids)) == (2, True)
    for args in (("jobs", "attempts", ids[0][:13]), ("tail", "--job", ids[0][:30]), ("flows", "show", ids[0][:9])):
        assert "say more of its id" in shop2.run(*args).stderr
    assert shop2.run("tail", "--job", ids[1], "--json", app=False).returncode == 0
    for nothing in ("01", "ffffffff", "0189zzzz", fresh(), ids[0] + "0"):
        assert shop2.run("jobs", "show", nothing).returncode == 1


def test_what_has_ended_by_itself_cannot_be_stopped(shop2: Shop) -> None:
    id = shop2.module.bad.enqueue_sync(n=1).id
    shop2.work()
    done = shop2.run("jobs", "cancel", id)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"offpath: job {id} has failed already: there is nothing to stop\n"
    assert shop2.run("jobs", "cancel", id, "--json").returncode == 1
    waits = shop2.module.send.enqueue_sync(to="a").id
    for _ in range(2):
        assert shop2.run("jobs", "cancel", waits).stdout == f"{waits} is canceled\n"


def test_states_that_cannot_be_meant_are_told_in_the_words_of_the_command(shop2: Shop) -> None:
    for verb, state in (("retry", "running"), ("delete", "ready"), ("cancel", "failed")):
        done = shop2.run("jobs", verb, "--state", state)
        assert (done.returncode, done.stderr.startswith(f"offpath: jobs {verb} is for jobs that are ")) == (2, True)
        assert "_many" not in done.stderr


def test_a_queue_says_what_is_in_it_in_the_words_of_the_list(shop2: Shop) -> None:
    assert shop2.run("queues", "pause", "mail").stdout == "mail is paused: nothing in it\n"
    shop2.module.send.using(delay=900).enqueue_sync(to="a")
    shop2.module.send.enqueue_sync(to="b")
    assert shop2.run("queues", "resume", "mail").stdout == "mail goes on: 1 ready, 1 scheduled\n"


def test_alerts_are_read_the_right_way_round(shop2: Shop) -> None:
    jobs = shop2.module.jobs
    jobs.alert("few", workers=2)
    jobs.alert("old", queue="mail", age=timedelta(minutes=5))
    jobs.alert("bad", error_rate=0.1, within=600, task="send")
    words = {row["name"]: row["rings"] for row in shop2.told("alerts", "list")}
    assert words == {
        "few": "fewer than 2", "old": "more than 5 min in queue mail",
        "bad": "more than 10 % of task send within 10 min",
    }  # fmt: skip
    old = next(row for row in shop2.told("alerts", "list") if row["name"] == "old")
    assert (old["queue"], old["within"], old["above"]) == ("mail", None, 300.0)
    assert "fewer than 2" in shop2.run("alerts", "list").stdout
    assert alerts.spoken({"kind": rule("x", {"age": 9}).kind, "now": 720.0}) == "12 min"


def test_a_worker_of_a_queue_that_nobody_knows_says_so(shop2: Shop, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        shop2.module.jobs.make_worker("mail,nosuchq:3,offpath.events")
    assert [one.getMessage() for one in caplog.records if "unknown_queues" in one.getMessage()] == [
        "worker.unknown_queues queues=nosuchq"
    ]


def test_a_database_that_is_not_there_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--database", f"sqlite:///{tmp_path}/typo.db", "jobs", "list"]) == 2
    assert "correct the URL, or run `offpath migrate`" in capsys.readouterr().err


def test_a_locked_database_points_to_the_doctor(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    with (
        contextlib.closing(sqlite3.connect(path)) as other,
        contextlib.closing(sqlite3.connect(path, timeout=0)) as ours,
    ):
        other.execute("begin immediate")
        with pytest.raises(StoreUnavailable, match=r"`offpath doctor` says how to find it"):
            connection.begin(ours, 0)


@pytest.mark.parametrize("command", ["jobs list", "doctor", "queues pause"])
def test_an_unknown_flag_shows_the_usage_of_its_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*command.split(), *(["mail"] if command == "queues pause" else []), "--nope", "\x1b[31m"])
    said = capsys.readouterr().err
    assert (end.value.code, said.startswith(f"usage: offpath {command} ")) == (2, True)
    assert "unrecognized arguments: --nope \\x1b[31m" in said


def test_an_export_that_is_cut_off_is_not_whole(opened: Any, store_url: str) -> None:
    if not store_url.startswith("sqlite"):
        pytest.skip("a pipe knows nothing of stores")
    shop = opened()
    for n in range(30):
        shop.module.send.using(owner="ann").enqueue_sync(to=f"{n}" * 10_000)
    command = [sys.executable, "-m", "offpath", "--database", store_url, "export", "--owner", "ann"]
    with subprocess.Popen(command, cwd=shop.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert b"not all of it was written" in process.stderr.read()
        assert process.wait(100) == 1
