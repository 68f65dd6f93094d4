"""Hints between the threads and processes that share a SQLite file."""

import os
import shutil
import socket
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from offpath.ports import Hint, Transport
from offpath.transports.local import MAX_DATAGRAM, LocalTransport
from offpath.transports.look import Look
from tests.stores.kit import Child

WORK = Hint("work", ("mail",))
WAIT = 60.0
CHILD = "tests.transports.child"


class Ear:
    """Collects hints; `wait_for` blocks until one that fits has come."""

    def __init__(self) -> None:
        self.heard: list[Hint] = []
        self._changed = threading.Condition()

    def __call__(self, hint: Hint) -> None:
        with self._changed:
            self.heard.append(hint)
            self._changed.notify_all()

    def wait_for(self, fits: Callable[[Hint], bool]) -> Hint:
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(fits, self.heard)), WAIT), self.heard
            return next(filter(fits, self.heard))

    def wait(self, hint: Hint) -> None:
        self.wait_for(hint.__eq__)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode=wal")
    connection.execute("create table t (x)")
    connection.commit()
    connection.close()
    return path


before: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for sockets of this test's own; pytest's is too long a path for a socket."""
    before.clear()
    before.update(threading.enumerate())
    made = Path(tempfile.mkdtemp(prefix="op-"))
    monkeypatch.setenv("TMPDIR", str(made))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def make(database: Path) -> Iterator[Callable[[], LocalTransport]]:
    made: list[LocalTransport] = []

    def make() -> LocalTransport:
        transport = LocalTransport(str(database))
        transport.open()
        made.append(transport)
        return transport

    yield make
    for transport in made:
        transport.close()


Make = Callable[[], LocalTransport]


def sockets(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]


def threads() -> int:
    """Not counting what an earlier test of this process may have left."""
    mine = (thread for thread in threading.enumerate() if thread not in before)
    return sum(thread.name == "offpath-hints" for thread in mine)


def commit(database: Path) -> None:
    """What no transport hears of: somebody else's connection."""
    connection = sqlite3.connect(database)
    connection.execute("insert into t values (1)")
    connection.commit()
    connection.close()


# ── within a process ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_listeners_of_this_process_hear_it_before_announce_returns(make: Make) -> None:
    transport: Transport = make()
    first, second = Ear(), Ear()
    transport.subscribe(first)
    leave = transport.subscribe(second)
    transport.announce([WORK, Hint("event", ("a", "b"))])
    assert first.heard == second.heard == [WORK, Hint("event", ("a", "b"))]
    leave()
    transport.announce([WORK])
    assert (len(first.heard), len(second.heard)) == (3, 2)


def test_a_listener_that_fails_does_not_keep_the_others_from_hearing(make: Make) -> None:
    transport, ear = make(), Ear()

    def broken(hint: Hint) -> None:
        raise RuntimeError("nobody home")

    transport.subscribe(broken)
    transport.subscribe(ear)
    transport.announce([WORK])
    assert ear.heard == [WORK]


def test_unsubscribing_stops_the_thread_and_removes_the_socket(make: Make, folder: Path) -> None:
    transport = make()
    assert (threads(), sockets(folder)) == (0, [])
    leave = [transport.subscribe(Ear()) for _ in range(2)]
    assert (threads(), len(sockets(folder))) == (1, 1)
    leave[0]()
    leave[0]()
    assert threads() == 1
    leave[1]()
    assert (threads(), sockets(folder)) == (0, [])
    ear = Ear()
    transport.subscribe(ear)
    make().announce([WORK])
    ear.wait(WORK)


def test_closing_stops_the_thread(make: Make, folder: Path) -> None:
    transport = make()
    transport.subscribe(Ear())
    transport.announce([WORK])
    transport.close()
    transport.close()
    assert (threads(), sockets(folder)) == (0, [])
    transport.announce([WORK])


def test_a_listener_may_leave_from_within(make: Make) -> None:
    here, there = make(), make()
    gone = threading.Event()

    def once(hint: Hint) -> None:
        leave()
        gone.set()

    leave = here.subscribe(once)
    there.announce([WORK])
    assert gone.wait(WAIT)
    for thread in threading.enumerate():
        if thread.name == "offpath-hints":
            thread.join(WAIT)
    assert threads() == 0


def test_leaving_while_a_listener_announces(make: Make) -> None:
    """The thread that hears needs the lock to send; whoever stops it must not hold that lock while it waits."""
    here, there = make(), make()
    in_listener, go_on = threading.Event(), threading.Event()

    def chatty(hint: Hint) -> None:
        in_listener.set()
        go_on.wait(WAIT)
        here.announce([Hint("event", ("x",))])

    leave = here.subscribe(chatty)
    leaver = threading.Thread(target=leave)
    there.subscribe(Ear())
    there.announce([WORK])
    assert in_listener.wait(WAIT)
    leaver.start()
    go_on.set()
    leaver.join(WAIT)
    assert not leaver.is_alive()


# ── between two of them ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "hint", [WORK, Hint("work"), Hint("cancel", ("a",)), Hint("event", ("ä", "b" * 255)), Hint("work", ("q",) * 9)]
)
def test_a_hint_arrives_as_it_was_sent(make: Make, hint: Hint) -> None:
    ear = Ear()
    make().subscribe(ear)
    make().announce([hint])
    ear.wait(hint)


def test_too_many_names_become_all_of_them(make: Make) -> None:
    ear = Ear()
    make().subscribe(ear)
    ids = tuple(f"{n:036}" for n in range(MAX_DATAGRAM // 36))
    make().announce([Hint("event", ids), WORK])
    ear.wait(Hint("event"))
    ear.wait(Hint("work"))


def test_another_database_is_another_conversation(make: Make, tmp_path: Path) -> None:
    ear, other = Ear(), LocalTransport(str(tmp_path / "other.db"))
    make().subscribe(ear)
    other.announce([Hint("work", ("theirs",))])
    make().announce([WORK])
    ear.wait(WORK)
    assert Hint("work", ("theirs",)) not in ear.heard
    other.close()


def test_one_file_by_two_names_is_one_conversation(make: Make, database: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(database)
    ear, other = Ear(), LocalTransport(str(tmp_path / "link.db"))
    make().subscribe(ear)
    other.announce([WORK])
    ear.wait(WORK)
    other.close()


def test_a_listener_that_came_after_the_last_look_at_the_folder_is_found(make: Make) -> None:
    """Also within one tick of the file system's clock, where the folder does not look changed."""
    sender = make()
    for n in range(20):
        ear = Ear()
        make().subscribe(ear)
        sender.announce([Hint("work", (str(n),))])
        ear.wait(Hint("work", (str(n),)))


def test_across_processes(make: Make, database: Path) -> None:
    ear = Ear()
    here = make()
    here.subscribe(ear)
    listener, sender = Child(CHILD, "listen", str(database)), Child(CHILD, "announce", str(database))
    assert listener.hear() == "listening"
    sender.tell("mail")
    assert sender.hear() == "sent"
    ear.wait(WORK)
    assert listener.hear() == "work mail"
    here.announce([Hint("cancel", ("1", "2"))])
    assert listener.hear() == "cancel 1,2"
    assert (listener.end(), sender.end()) == (0, 0)


def test_the_socket_of_a_killed_process_is_removed(make: Make, database: Path, folder: Path) -> None:
    listener = Child(CHILD, "listen", str(database))
    assert listener.hear() == "listening"
    listener.kill()
    assert len(sockets(folder)) == 1
    ear = Ear()
    make().subscribe(ear)
    make().announce([WORK])
    ear.wait(WORK)
    assert len(sockets(folder)) == 1, "its own"


def test_after_a_fork_both_sides_hear_and_the_parent_can_stop(database: Path) -> None:
    one = Child(CHILD, "fork", str(database))
    assert [one.hear() for _ in range(3)] == ["parent heard True", "child 0", "threads 0"]
    assert one.end() == 0


# ── the net: a look at the file ──────────────────────────────────────────────────────────────────────────────────────


def test_a_commit_without_a_hint_is_seen(make: Make, database: Path) -> None:
    ear = Ear()
    make().subscribe(ear)
    for n in range(3):
        commit(database)
        ear.wait_for(lambda hint: hint == Hint("work") and len(ear.heard) > n)  # noqa: B023


def test_a_lost_datagram_is_made_up_for(make: Make, database: Path, folder: Path) -> None:
    ear = Ear()
    make().subscribe(ear)
    for path in sockets(folder):
        path.unlink()
    commit(database)
    make().announce([WORK])
    ear.wait(Hint("work"))
    assert WORK not in ear.heard


def test_a_database_that_does_not_exist_yet(tmp_path: Path) -> None:
    path = tmp_path / "what? #1 100%.db"
    transport, ear = LocalTransport(str(path)), Ear()
    transport.subscribe(ear)
    connection = sqlite3.connect(path)
    connection.execute("create table t (x)")
    connection.commit()
    connection.close()
    ear.wait(Hint("work"))
    transport.close()


def test_a_look_says_yes_once_for_each_change(database: Path) -> None:
    look = Look(str(database))
    assert not look.changed()
    commit(database)
    assert [look.changed(), look.changed()] == [True, False]
    look.close()
    assert [look.changed(), look.changed()] == [True, False], "after a fork, say: in vain rather than never"
    look.close()


def test_a_path_too_long_for_a_socket(
    make: Make, database: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = folder / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    transport, ear = LocalTransport(str(database)), Ear()
    transport.subscribe(ear)
    LocalTransport(str(database)).announce([WORK])
    commit(database)
    ear.wait(Hint("work"))
    transport.close()


def test_more_descriptors_than_select_can_watch(make: Make, folder: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("this user may not open 1,200 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1050)]
    try:
        ear = Ear()
        make().subscribe(ear)
        make().announce([WORK])
        ear.wait(WORK)
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ── strangers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_else_may_send_or_listen(make: Make, folder: Path) -> None:
    make().subscribe(Ear())
    for path in folder.rglob("*"):
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_noise_is_ignored(make: Make, folder: Path) -> None:
    ear = Ear()
    make().subscribe(ear)
    [mailbox] = sockets(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for noise in (
            b"",
            b"\xff\x00",
            b"[[1]]",
            b"{}",
            b'["work"]',
            b"null",
            b"9" * 5000,
            b"[" * 5000,
            b'[["work",1]]',
            b'[["later",[]]]',
        ):
            sender.sendto(noise, str(mailbox))
    make().announce([WORK])
    ear.wait(WORK)
    assert {hint.kind for hint in ear.heard} <= {"work"}


@pytest.mark.parametrize("trap", ["a link", "open to others"])
def test_a_folder_that_somebody_else_may_have_made_is_not_used(
    make: Make, database: Path, folder: Path, trap: str
) -> None:
    """/tmp is everyone's. Without this, files that a stranger chose would be deleted as stale sockets."""
    precious = folder / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep me")
    ours = make()._folder
    os.makedirs(os.path.dirname(ours), 0o700)
    if trap == "a link":
        os.symlink(precious, ours)
    else:
        os.makedirs(ours)
        os.chmod(ours, 0o777)
        shutil.copy(precious / "file", ours)
    transport, ear = make(), Ear()
    transport.subscribe(ear)
    make().announce([WORK])
    commit(database)
    ear.wait(Hint("work"))
    assert (precious / "file").exists()
    assert sorted(os.listdir(ours)) == ["file"]


def test_only_sockets_are_ever_removed(make: Make, folder: Path) -> None:
    transport, ear = make(), Ear()
    transport.subscribe(ear)
    file = sockets(folder)[0].parent / "notes.txt"
    file.write_text("not a socket")
    other, heard = make(), Ear()
    other.subscribe(heard)
    make().announce([WORK])
    ear.wait(WORK)
    heard.wait(WORK)
    assert file.exists()


def test_a_full_mailbox_holds_nobody_up(make: Make, folder: Path) -> None:
    deaf_started, go_on = threading.Event(), threading.Event()

    def deaf(hint: Hint) -> None:
        deaf_started.set()
        go_on.wait(WAIT)

    make().subscribe(deaf)
    sender, ear = make(), Ear()
    sender.announce([WORK])
    assert deaf_started.wait(WAIT)
    other = make()
    other.subscribe(ear)
    for n in range(2000):
        sender.announce([Hint("work", (str(n),))])
    ear.wait_for(lambda hint: hint.kind == "work")
    go_on.set()
