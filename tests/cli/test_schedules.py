"""`offpath schedules …`: what it prints, in a table and as JSON, and its exit codes."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest

from offpath import Offpath, Schedule
from offpath.cli import main

SHOP = """
from offpath import Offpath, Schedule

jobs = Offpath("sqlite:///shop.db")

@jobs.schedule("daily-report", Schedule.cron("0 8 * * *", zone="Europe/Berlin"))
@jobs.task
async def report() -> None: ...
"""

Said = tuple[int, str, str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("OFFPATH_"):
            monkeypatch.delenv(name)
    (tmp_path / "shop_of_schedules.py").write_text(SHOP)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("shop_of_schedules", None)
    from shop_of_schedules import jobs  # type: ignore[import-not-found]

    jobs.migrate()

    def run(*words: str) -> Said:
        code = main(["--app", "shop_of_schedules:jobs", "schedules", *words])
        out = capsys.readouterr()
        return code, out.out, out.err

    run.jobs = jobs  # type: ignore[attr-defined]
    return run


def put(jobs: Offpath) -> None:
    task = jobs.registry.get("report")
    assert task is not None
    jobs.schedules.put("nightly", Schedule.at(time(3, 30), zone="Asia/Tokyo"), task.call()).result()


def test_explain_the_next_ten_runs_before_any_worker_has_been_there(run: Any) -> None:
    code, out, _ = run("explain", "daily-report")
    head, columns, *rows = out.splitlines()
    assert (code, head) == (0, "daily-report: 0 8 * * * Europe/Berlin (not written down yet)")
    assert columns.split() == ["Europe/Berlin", "UTC"]
    assert len(rows) == 10
    for row in rows:
        local, utc = row.split()
        assert local[10:19] == "T08:00:00"
        assert utc[10:] == ("T06:00:00Z" if local.endswith("+02:00") else "T07:00:00Z")


def test_one_that_no_worker_has_written_down_yet_is_shown(run: Any) -> None:
    """`explain` knew it, and `show` said that there was none of that name."""
    code, out, err = run("show", "daily-report", "--json")
    said = json.loads(out)
    assert (code, err, said["state"], said["task"]) == (0, "", "not written down yet", "report")
    assert (said["declared"], said["zone"], said["next_at"][-4:]) == (True, "Europe/Berlin", ":00Z")
    assert "not written down yet" in run("show", "daily-report")[1]


def test_as_json(run: Any) -> None:
    put(run.jobs)
    code, out, _ = run("explain", "nightly", "--runs", "2", "--json")
    said = json.loads(out)
    assert (code, len(said["runs"]), said["zone"], said["state"]) == (0, 2, "Asia/Tokyo", "active")
    assert said["runs"][0]["local"].endswith("T03:30:00+09:00")
    assert said["runs"][0]["utc"].endswith("T18:30:00Z")
    code, out, _ = run("list", "--json")
    [one] = json.loads(out)
    assert one | {"queue_paused": False, "waits_for": None} == json.loads(run("show", "nightly", "--json")[1])
    assert {"name", "when", "task", "state", "next_at", "last_job", "spec"} <= one.keys()
    assert json.loads(run("pause", "nightly", "--json")[1])["state"] == "paused"
    assert json.loads(run("resume", "nightly", "--json")[1])["state"] == "active"
    job = json.loads(run("run", "nightly", "--json")[1])
    assert (job["task"], job["state"], job["existing"]) == ("report", "ready", False)
    assert json.loads(run("delete", "nightly", "--json")[1]) == {"name": "nightly", "deleted": True}
    assert json.loads(run("list", "--json")[1]) == []


def test_for_people(run: Any) -> None:
    assert run("list") == (0, "", "offpath: no schedules\n")
    put(run.jobs)
    code, out, _ = run("list")
    assert code == 0
    assert out.splitlines()[0].split() == ["name", "when", "next_at", "state", "task", "last_at"]
    assert "at 03:30:00 Asia/Tokyo" in out
    assert run("pause", "nightly")[1] == "nightly is paused\n"
    assert "(paused)" in run("explain", "nightly")[1]
    assert run("resume", "nightly")[1].startswith("nightly runs next at 2")
    code, out, err = run("run", "nightly")
    assert (code, err) == (0, "")
    assert out.endswith(" runs nightly\n")
    code, out, err = run("run", "nightly")
    assert (code, out) == (1, "")
    assert "has not ended" in err
    assert "state" in run("show", "nightly")[1]
    assert run("delete", "nightly")[1] == "nightly is deleted\n"


def test_one_that_nobody_fires_is_late(run: Any) -> None:
    task = run.jobs.registry.get("report")
    run.jobs.schedules.put("old", Schedule.every(60, start=datetime(2026, 1, 1, tzinfo=UTC)), task.call()).result()
    with contextlib.closing(sqlite3.connect("shop.db")) as connection, connection:
        connection.execute("update offpath_schedule set next_at = 1")
    assert json.loads(run("show", "old", "--json")[1])["state"] == "late"
    assert " d" in run("list")[1].splitlines()[1].split("late")[1]


def test_one_is_late_as_soon_as_an_alert_says_so_and_why_is_shown(run: Any) -> None:
    """The alert rang after 5 s, and for the first minute the command it leads to said that all was well."""
    jobs = run.jobs
    jobs.schedules.put("often", Schedule.every(1), jobs.registry.get("report").call()).result()
    job = jobs.schedules.run_now("often").result()
    with contextlib.closing(sqlite3.connect("shop.db")) as connection, connection:
        connection.execute("update offpath_schedule set next_at = ?", (jobs.store.now() - 8_000_000,))
    said = json.loads(run("show", "often", "--json")[1])
    assert (said["state"], 8 <= said["behind"] < 60, said["queue_paused"]) == ("active", True, False)
    assert said["waits_for"] == job.id
    assert run("list")[1].splitlines()[0].split()[3:5] == ["state", "behind"]
    jobs.queues.pause_sync("default")
    jobs.alert("a schedule is late", schedule_late=5)
    said = json.loads(run("show", "often", "--json")[1])
    assert (said["state"], said["queue_paused"]) == ("late", True)


@pytest.mark.parametrize("verb", ["show", "explain", "pause", "resume", "run", "delete"])
def test_one_that_is_not_there(run: Any, verb: str) -> None:
    assert run(verb, "nobody") == (1, "", "offpath: no schedule 'nobody'\n")


def test_a_number_of_runs_that_is_none(run: Any) -> None:
    code, _, err = run("explain", "daily-report", "--runs", "0")
    assert code == 2
    assert "--runs" in err


def test_as_a_process(tmp_path: Path) -> None:
    """With a database alone, no application."""
    url = f"sqlite:///{tmp_path}/a.db"
    Offpath(url).migrate()
    words = [sys.executable, "-m", "offpath", "--database", url, "schedules", "list", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == []
