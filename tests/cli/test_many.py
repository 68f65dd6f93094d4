"""`offpath queues …` and `offpath jobs cancel|retry|delete` to many at once."""

import contextlib
import importlib
import io
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offpath.cli import main
from offpath.core.outcome import Errored, error
from offpath.testing import drain_sync
from offpath.testing.stores.kit import Hand, new_job, put
from tests.nursery import Ended

from .test_cli import SHOP, one_sentence

APP = ("--app", "shop:jobs")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module, imported anew: commands run in this process, which is thirty times as quick as one each."""
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    yield tmp_path
    the(tmp_path).jobs.close()
    sys.modules.pop("shop", None)


def the(folder: Path) -> Any:
    """The user's module."""
    module = importlib.import_module("shop")
    assert str(module.__file__).startswith(str(folder))
    return module


def run(folder: Path, *args: str) -> Ended:
    """One command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(args)
    return Ended(code, out.getvalue(), err.getvalue())


def enqueue(folder: Path, code: str) -> list[str]:
    return [job.id for job in eval(f"[{code}]", {"shop": the(folder)})]


def work(folder: Path) -> None:
    drain_sync(the(folder).jobs, timeout=100)


def listed(folder: Path, *args: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = told(folder, "jobs", "list", *args)
    return rows


def told(folder: Path, *args: str) -> Any:
    """What a command prints with --json."""
    done = run(folder, *APP, *args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_queues_are_paused_listed_and_resumed(shop: Path) -> None:
    enqueue(shop, "shop.send.enqueue_sync('a'), shop.bad.enqueue_sync(1)")
    paused = told(shop, "queues", "pause", "mail", "--reason", "a deploy")
    assert {name: paused[name] for name in ("name", "paused", "reason", "ready", "running")} == {
        "name": "mail", "paused": True, "reason": "a deploy", "ready": 1, "running": 0,
    }  # fmt: skip
    work(shop)
    rows = [row for row in told(shop, "queues", "list") if not row["name"].startswith("offpath.")]
    assert [(row["name"], row["paused"], row["ready"]) for row in rows] == [("default", False, 0), ("mail", True, 1)]
    assert rows[1]["paused_at"].endswith("Z")
    text = run(shop, *APP, "queues", "list").stdout.splitlines()
    assert text[0].split() == [
        "name", "paused", "ready", "scheduled", "waiting", "running", "age", "rate", "backlog", "reason",
    ]  # fmt: skip
    assert (rows[0]["rate"] > 0, rows[0]["backlog"], rows[1]["backlog"]) == (True, 0.0, 0.0), "more workers help nobody"
    assert told(shop, "queues", "show", "default")["rate"] > 0
    assert text[2].split()[:4] == ["mail", "true", "1", "0"]
    assert run(shop, *APP, "queues", "resume", "mail").stdout == "mail goes on: 1 ready\n"
    assert run(shop, *APP, "queues", "resume", "mail").stdout == "mail was not paused: 1 ready\n"
    drained = run(shop, "--database", "sqlite:///shop.db", "queues", "drain", "mail", "--timeout", "30s")
    assert (drained.returncode, drained.stdout) == (0, "mail is paused: 1 ready\n")


def test_a_queue_that_nothing_has_is_said_to_be_so(shop: Path) -> None:
    """And done as asked all the same: a queue may be new."""
    enqueue(shop, "shop.send.using(queue='new').enqueue_sync('a')")
    for verb in ("pause", "pause", "show", "drain", "resume"):  # (a pause alone makes no name a known one)
        mistyped = run(shop, *APP, "queues", verb, "mial")
        assert (mistyped.returncode, mistyped.stderr) == (0, "offpath: no live job or task has queue mial yet\n"), verb
    assert told(shop, "queues", "pause", "mial")["paused"]
    blind = run(shop, "--database", "sqlite:///shop.db", "queues", "pause", "mail")
    assert blind.stderr == "offpath: no live job has queue mail yet; whether a task has, --app would tell\n"
    assert run(shop, *APP, "queues", "resume", "mail").stderr == "", "a task has it"
    assert run(shop, *APP, "queues", "pause", "new").stderr == "", "a job has it"
    assert run(shop, *APP, "queues", "pause", "offpath.bulk").stderr == "", "it is ours"


def test_a_drain_whose_time_is_up_is_a_failure(shop: Path) -> None:
    enqueue(shop, "shop.send.enqueue_sync('a')")
    hand = Hand(the(shop).jobs.store, tasks=["send@1"])
    hand.claim_one(queues=(("mail", 1),))
    hand.close()
    one_sentence(
        run(shop, *APP, "queues", "drain", "mail", "--timeout", "0"), 1, "1 jobs of queue 'mail' have not ended"
    )
    assert told(shop, "queues", "show", "mail")["paused"]


def test_many_are_counted_then_canceled_run_again_and_erased(shop: Path) -> None:
    enqueue(shop, "*shop.bad.enqueue_many_sync([shop.bad.call(n) for n in range(3)])")
    enqueue(shop, "shop.send.using(key='order:1').enqueue_sync('a'), shop.send.using(key='x').enqueue_sync('b')")
    counted = told(shop, "jobs", "cancel", "--key-prefix", "order:", "--dry-run")
    assert (counted["of"], [row["key"] for row in counted["sample"]]) == (1, ["order:1"])
    dry = run(shop, *APP, "jobs", "cancel", "--queue", "mail", "--dry-run")
    assert (dry.returncode, dry.stdout.splitlines()[-1]) == (0, "2 jobs would be canceled")
    assert len(dry.stdout.splitlines()) == 4, "a sample of them: two, and the names of the columns"
    one_sentence(run(shop, *APP, "jobs", "cancel", "--queue", "mail"), 2, "2 jobs will be canceled: say --yes")
    assert told(shop, "jobs", "cancel", "--queue", "mail", "--yes") == {"done": 2, "skipped": 0, "of": 2}
    work(shop)
    assert len(listed(shop, "--error", "ValueError", "--outstanding")) == 3
    assert listed(shop, "--older-than", "1h") == []
    done = run(shop, *APP, "jobs", "retry", "--state", "failed", "--max-attempts", "2", "--yes")
    assert (done.returncode, done.stdout) == (0, "3 jobs run again\n")
    assert listed(shop, "--outstanding", "--state", "failed") == []
    assert run(shop, *APP, "jobs", "retry", "--state", "failed", "--yes").stdout == "0 jobs run again\n"
    assert run(shop, *APP, "jobs", "delete", "--task", "bad", "--yes").stdout == "3 jobs erased\n"
    assert sorted(row["state"] for row in listed(shop)) == ["canceled", "canceled", "ready", "ready", "ready"]


def test_a_change_of_many_jobs_is_shown_and_not_run_again(shop: Path) -> None:
    """Why it is left out is said, whether others are run again or none."""
    jobs = the(shop).jobs
    said = {"action": "delete", "filter": {"queue": "mail"}, "reason": None, "max_attempts": None, "actor": "ann"}
    put(jobs.store, new_job(task="offpath.bulk", queue="offpath.bulk", args=json.dumps(said)))
    hand = Hand(jobs.store, tasks=["offpath.bulk@1"])
    [job] = hand.claim(1, queues=(("offpath.bulk", 1),))
    hand.say(job, Errored(error("raised", "no"), retryable=False))
    hand.close()
    for which in (["--task", "offpath.bulk"], ["--state", "failed"], ["--queue", "offpath.bulk", "--outstanding"]):
        none = run(shop, *APP, "jobs", "retry", *which, "--yes")
        assert (none.returncode, none.stdout) == (0, "0 jobs run again\n")
        assert "1 of task offpath.bulk" in none.stderr, which
        assert "ask for it anew" in none.stderr
    assert listed(shop, "--state", "failed", "--outstanding") == []
    assert run(shop, *APP, "jobs", "retry", "--task", "bad", "--yes").stderr == ""
    shown = told(shop, "jobs", "show", job.id)
    assert (shown["redacted"], shown["args"]) == (False, said)


def test_what_is_skipped_is_said_to_be_what_cannot_be_run_again(shop: Path) -> None:
    enqueue(shop, "shop.bad.using(key='k').enqueue_sync(1)")
    work(shop)
    enqueue(shop, "shop.bad.using(key='k').enqueue_sync(2)")
    skipped = run(shop, *APP, "jobs", "retry", "--task", "bad", "--yes")
    assert skipped.stdout == "0 jobs run again, 1 skipped\n"
    assert "`offpath jobs retry ID` says why" in skipped.stderr


def test_one_is_erased_and_shown_without_its_arguments(shop: Path) -> None:
    (id,) = enqueue(shop, "shop.send.enqueue_sync('ann@example.org')")
    one_sentence(run(shop, *APP, "jobs", "delete", id), 1, "has not ended")
    shown = run(shop, *APP, "jobs", "show", id).stdout
    assert "text, 15 characters" in shown
    assert "ann" not in shown
    data = told(shop, "jobs", "show", id)
    assert (data["args"], data["redacted"], data["retried_as"]) == ({"to": "text, 15 characters"}, True, None)
    assert told(shop, "jobs", "show", id, "--arguments")["args"] == {"to": "ann@example.org"}
    run(shop, *APP, "jobs", "cancel", id)
    assert told(shop, "jobs", "delete", id) == {"id": id, "deleted": True}
    one_sentence(run(shop, *APP, "jobs", "delete", id), 1, "no job")
    assert listed(shop) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["jobs", "cancel"], "say which: the id of a job, or filters"),
        (["jobs", "delete", "--yes"], "say which: the id of a job, or filters"),
        (["jobs", "cancel", "01890a5d-ac96-774b-bcce-b302099a8057", "--queue", "mail"], "not both"),
        (["jobs", "retry", "01890a5d-ac96-774b-bcce-b302099a8057", "--dry-run"], "not both"),
        (["jobs", "cancel", "--state", "failed", "--yes"], "failed ones cannot be meant"),
        (["jobs", "list", "--older-than", "soon"], "--older-than wants a duration"),
        (["jobs", "retry", "--queue", "mail", "--max-attempts", "0", "--yes"], "max_attempts"),
        (["queues", "drain", "mail", "--timeout", "-5"], "--timeout"),
        (["queues", "pause", ""], "queue must be text"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_2(shop: Path, args: list[str], said: str) -> None:
    assert run(shop, *APP, "migrate").returncode == 0
    done = run(shop, *APP, *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(("answer", "left", "code"), [("y", 0, 0), ("", 3, 1)])
def test_on_a_terminal_one_is_asked_and_sees_a_bar(shop: Path, answer: str, left: int, code: int) -> None:
    enqueue(shop, "*shop.send.enqueue_many_sync([shop.send.call('x') for _ in range(3)])")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "offpath", *APP, "jobs", "cancel", "--queue", "mail"]
    with subprocess.Popen(command, cwd=shop, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        seen = until(ours, b"Sure?")
        os.write(ours, answer.encode() + b"\n")
        seen += until(ours, None)
        assert process.stdout is not None
        said = process.stdout.read().decode()
        assert process.wait(100) == code
    os.close(ours)
    assert b"about to cancel 3 jobs" in seen
    assert seen.count(b"send") == 3, "a sample of them"
    assert (b"3/3" in seen, said) == ((True, "3 jobs canceled\n") if answer == "y" else (False, ""))
    assert len(listed(shop, "--state", "ready")) == left


def until(terminal: int, word: bytes | None) -> bytes:
    """What appears there, up to a word, or until nobody is left to write."""
    seen = b""
    while word is None or word not in seen:
        assert select.select([terminal], [], [], 100)[0], seen
        try:
            more = os.read(terminal, 1000)
        except OSError:  # Linux says so when the other side has closed
            return seen
        if not more:
            return seen
        seen += more
    return seen
