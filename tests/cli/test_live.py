"""`offpath top` and `offpath tail`: on a real terminal, across processes that are killed, and by rows made by hand."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections import Counter
from pathlib import Path

import pytest

from offpath.cli import screen, tail
from offpath.cli.following import LAP, Seen, Told, text
from offpath.cli.picture import Camera
from offpath.cli.tail import Watcher
from offpath.core.alerts import AlertRow
from offpath.core.outcome import Errored, Snoozed, error
from offpath.ports.recent import EndRow, RunRow
from offpath.testing.stores.kit import POLICY, Hand, fresh, now, perform

from .conftest import Shop

BOOM = Errored(error("raised", "Boom", exception="ValueError"))


def offpath(*args: str) -> list[str]:
    return [sys.executable, "-m", "offpath", *args]


def events(watcher: Watcher) -> list[tuple[str, str]]:
    found = sorted(watcher.look(), key=lambda one: one.order)
    return [(one.data["event"], one.data.get("job", "")) for one in found]


def test_tail_tells_each_thing_once(shop2: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "SHARE", 0)  # each look sees what runs, however slow the machine is
    jobs = shop2.module.jobs
    watcher = Watcher(jobs, now() - LAP, None, None)
    assert events(watcher) == []
    id = shop2.module.send.enqueue_sync(to="a").id
    hand = Hand(jobs.store, tasks=["send@1"])
    job = hand.claim_one(queues=(("mail", 1),))
    assert events(watcher) == [("enqueued", id), ("started", id)]
    assert events(watcher) == []
    hand.say(job, Snoozed(0))
    assert events(watcher) == [("snoozed", id)]
    job = hand.claim_one(queues=(("mail", 1),))
    hand.say(job, BOOM, POLICY._replace(backoff=POLICY.backoff.fixed(0)))
    assert events(watcher) == [("retried", id)]
    job = hand.claim_one(queues=(("mail", 1),))
    assert events(watcher) == [("started", id)]
    hand.finish(job)
    assert events(watcher) == [("succeeded", id)]
    assert events(watcher) == []
    assert events(Watcher(jobs, now() - 60_000_000, "another", None)) == []
    hand.close()


def test_tail_tells_nothing_of_an_alert_that_nobody_watches(shop2: Shop) -> None:
    """docs/how-to/alerts.md: nothing is told of it. As soon as somebody watches it again, it is told."""
    store = shop2.module.jobs.store
    perform(store, store.verbs.move_alert(AlertRow("gone", 0, None, 0), now(), 7, None))
    perform(store, store.verbs.move_alert(AlertRow("there", 0, None, 0), now(), 8, None))
    hand = Hand(store)
    perform(store, store.verbs.describe_worker(hand.id, '{"alerts": ["there"]}', "{}"))
    watcher = Watcher(shop2.module.jobs, now() - LAP, None, None)
    assert [one.data.get("alert") for one in watcher.look()] == ["there"]
    assert watcher.look() == []
    perform(store, store.verbs.describe_worker(hand.id, '{"alerts": ["gone", "there"]}', "{}"))
    assert [(one.data["event"], one.data["alert"]) for one in watcher.look()] == [("alert.raised", "gone")]
    (gone,) = (row for row in store.read(store.verbs.alerts()).result() if row.name == "gone")
    perform(store, store.verbs.move_alert(gone, None, 1, None))
    assert [(one.data["event"], one.data["alert"]) for one in watcher.look()] == [("alert.resolved", "gone")]
    hand.close()


def end(id: str, at: int) -> EndRow:
    return EndRow(id, "mail", "default", 4, 1, 1, at - 1_000, at, None, None, None)


def test_an_end_that_commits_late_is_told_once_all_the_same() -> None:
    """First by the overlap; then, later than any overlap, by the job that ran and does not any more."""
    seen = Seen(0)
    seen.running([RunRow("late", "mail", "default", 1, 1, "w", "w", 0, None, False)], 1_000)
    assert [one.data["job"] for one in seen.ended([end("b", 50_000_000)])] == ["b"]
    assert seen.ends.since(60_000_000, LAP) == 50_000_000 - LAP
    assert [one.data["job"] for one in seen.ended([end("a", 49_000_000), end("b", 50_000_000)])] == ["a"]
    seen.running([], 2_000)
    assert set(seen.lost) == {"late"}, "to be asked for by its id"
    assert [one.data["job"] for one in seen.ended([end("late", 1)])] == ["late"]
    assert seen.lost == {}
    assert seen.ended([end("late", 1), end("a", 49_000_000)]) == []


def test_what_is_remembered_is_bounded_and_nothing_is_told_twice_for_it() -> None:
    told = Told(0, 3)
    assert [told.new(n, n * 10) for n in range(5)] == [True] * 5
    assert len(told) == 3
    assert not told.new(0, 0), "forgotten, and not told again"
    assert told.since(100, 1_000) == 11


def test_a_line_for_people_has_what_counts() -> None:
    (one,) = Seen(0).ended([end("x", 5_000_000)._replace(state=5, error='{"kind":"timeout"}', attempt=3)])
    assert text(one.data) == "00:00:05.000  failed      mail [default]  x  attempt 3, 0.001 s after it was due, timeout"


def test_every_end_is_told_exactly_once_with_two_workers_and_a_kill(shop2: Shop) -> None:
    """A worker is killed in the middle; its jobs come again with another one, and end once."""
    jobs = shop2.module.jobs
    watcher = Watcher(jobs, now() - LAP, None, None)
    ids = {job.id for job in jobs.enqueue_many_sync([shop2.module.send.call(to=str(n)) for n in range(80)])}
    ids |= {job.id for job in jobs.enqueue_many_sync([shop2.module.bad.call(n) for n in range(20)])}
    environment = os.environ | {"OFFPATH_LEASE": "2"}
    command = offpath("--app", "shop_of_two:jobs", "worker", "--log-level", "error", "--concurrency", "2")
    workers = [subprocess.Popen(command, cwd=shop2.folder, env=environment) for _ in range(2)]
    told: Counter[str] = Counter()
    ended = {"succeeded", "failed", "canceled"}
    try:
        killed = False
        while sum(told.values()) < len(ids):
            told.update(job for event, job in events(watcher) if event in ended)
            if told and not killed:
                workers[0].kill()
                killed = True
        told.update(job for event, job in events(watcher) if event in ended)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert told == Counter(dict.fromkeys(ids, 1))


def test_tail_of_one_job_ends_with_it(shop2: Shop) -> None:
    id = shop2.module.bad.enqueue_sync(n=1).id
    shop2.work()
    done = shop2.run("tail", "--job", id, "--json", app=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, [line["event"] for line in lines]) == (0, ["enqueued", "failed"])
    assert lines[1]["error"]["class"] == "ValueError"
    only = shop2.run("tail", "--job", id, "--state", "failed").stdout
    assert only.count("\n") == 1
    assert not {"\x1b", "\u202e"} & set(only)
    assert shop2.run("tail", "--job", fresh()).returncode == 1
    assert shop2.run("tail", "--job", "x").returncode == 2


def test_a_picture_is_data_and_lines(shop2: Shop) -> None:
    shop2.module.send.enqueue_sync(to="a")
    shop2.module.bad.enqueue_sync(n=1)
    shop2.run("queues", "pause", "mail")
    shop2.work()
    picture = shop2.told("top", "--once", app=False)
    assert set(picture) == {
        "at", "store", "totals", "more", "rate", "queues", "workers", "running", "failed", "alerts",
    }  # fmt: skip
    mail = next(one for one in picture["queues"] if one["name"] == "mail")
    assert (mail["paused"], mail["ready"], picture["totals"]["failed"]) == (True, 1, 1)
    done = shop2.run("top", "--once", app=False).stdout
    assert "DEAD LETTERS" in done
    assert not {"\x1b", "\u202e"} & set(done)
    lines = screen.lines(Camera(shop2.module.jobs).look(), 40, 12)
    assert max(map(len, lines)) <= 40
    assert shop2.run("top", "--once", "--every", "0").returncode == 2


class Screen:
    """A command on a terminal of its own."""

    def __init__(self, folder: Path, *args: str, **more: str) -> None:
        self.ours, theirs = pty.openpty()
        self.size(30, 120)
        self.process = subprocess.Popen(
            offpath(*args), cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=os.environ | {"TERM": "xterm-256color"} | more,
            # As on a terminal; whoever runs the tests in the background of a shell has them start without ^C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        os.close(theirs)
        self.seen = b""

    def size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, word: bytes | None) -> bytes:
        """What appears from here on, up to a word, or the end."""
        begin = len(self.seen)
        while word is None or word not in self.seen[begin:]:
            assert select.select([self.ours], [], [], 100)[0], self.seen
            try:
                more = os.read(self.ours, 10_000)
            except OSError:  # Linux says so when the other side has closed
                break
            if not more:
                break
            self.seen += more
        return self.seen[begin:]


@pytest.fixture
def here(opened: object, tmp_path: Path, store_url: str) -> tuple[Path, str]:
    if not store_url.startswith("sqlite"):
        pytest.skip("a terminal knows nothing of stores")
    opened()  # type: ignore[operator]
    return tmp_path, store_url


def test_top_on_a_terminal_holds_goes_on_has_another_size_and_ends(here: tuple[Path, str]) -> None:
    top = Screen(here[0], "--database", here[1], "top", "--every", "0.2")
    before = termios.tcgetattr(top.ours)
    assert b"\x1b[?1049h" in top.until(b"QUEUES"), "on the other screen"
    os.write(top.ours, b"p")
    top.until(b"HELD")
    top.size(20, 60)
    os.kill(top.process.pid, signal.SIGWINCH)
    top.until(b"HELD")
    os.write(top.ours, b"p")
    os.write(top.ours, b"q")
    assert b"\x1b[?1049l" in top.until(None), "and back"
    assert top.process.wait(100) == 0
    assert termios.tcgetattr(top.ours)[3] == before[3]
    os.close(top.ours)


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_list_on_a_narrow_terminal_has_all_that_one_acts_on(here: tuple[Path, str], term: str) -> None:
    enqueue = "import shop_of_two\nprint(shop_of_two.bad.enqueue_sync(n=1).id)"
    made = subprocess.run([sys.executable, "-c", enqueue], cwd=here[0], stdout=subprocess.PIPE, text=True, check=True)
    subprocess.run(offpath("--app", "shop_of_two:jobs", "worker", "--until-empty", "--log-level", "error"), cwd=here[0],
                   stderr=subprocess.DEVNULL, check=True)  # fmt: skip
    shown = Screen(here[0], "--database", here[1], "jobs", "list", "--state", "failed", COLUMNS="70", TERM=term)
    text = shown.until(None).decode()
    os.close(shown.ours)
    assert shown.process.wait(100) == 0
    for whole in (made.stdout.strip(), "failed", "ValueError: no "):
        assert whole in text
    assert re.search(r"\b\d\d:\d\d:\d\dZ", text)
    assert "\u202e" not in text
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    assert max(map(len, lines)) <= 70


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_top_with_the_terminal_as_it_was(here: tuple[Path, str], number: int) -> None:
    top = Screen(here[0], "--database", here[1], "top")
    top.until(b"QUEUES")
    top.process.send_signal(number)
    said = top.until(None)
    assert b"\x1b[?1049l" in said
    assert b"Traceback" not in said
    assert top.process.wait(100) == 130
    os.close(top.ours)


def test_without_rich_top_repeats_a_plain_screen(here: tuple[Path, str]) -> None:
    (here[0] / "rich.py").write_text("raise ImportError\n")
    top = Screen(here[0], "--database", here[1], "top", "--every", "0.2", PYTHONPATH=str(here[0]))
    top.until(b"WORKERS")
    top.until(b"WORKERS")
    os.write(top.ours, b"q")
    top.until(None)
    assert top.process.wait(100) == 0
    assert b"\x1b[?1049h" not in top.seen
    os.close(top.ours)


def test_whoever_reads_has_read_enough(here: tuple[Path, str]) -> None:
    command = offpath("--database", here[1], "top", "--json", "--every", "0.2")
    with subprocess.Popen(command, cwd=here[0], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(100) == 0
