"""What every transport promises, and what happens to those that come through a server. See `kinds` for what differs."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from offpath.ports import Hint, Transport
from offpath.transports import line as lines
from servers.kafka import Kafka
from servers.proxy import Proxy
from tests.stores.kit import Child
from tests.transports.ear import CAUGHT_UP, WAIT, Ear, listening
from tests.transports.kinds import KINDS, Kind

WORK = Hint("work", ("mail",))
ALL = [Hint("work"), Hint("cancel"), Hint("event"), Hint("queue")]
CHILD = "tests.transports.suite_child"
DISTANT = [name for name, kind in KINDS.items() if kind.distant]
Make = Callable[..., Transport]

before: set[threading.Thread] = set()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of no use but its path; sockets go to a folder of this test's own, for pytest's is too long a path."""
    made = tempfile.mkdtemp(prefix="op-")
    monkeypatch.setenv("TMPDIR", made)
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield str(tmp_path / "app.db")
    shutil.rmtree(made)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    found = KINDS[request.param]
    if found.fixture == "sqs_url":
        monkeypatch.setattr("offpath.transports.sqs.REFRESH", 0.2)
    return found(request.getfixturevalue(found.fixture))


distant = pytest.mark.parametrize("kind", DISTANT, indirect=True)


@pytest.fixture
def make(kind: Kind, unique: str) -> Iterator[Make]:
    """Transports of one line, this test's own, or of another."""
    before.clear()
    before.update(threading.enumerate())
    made: list[Transport] = []

    def make(url: str = "", line: str = unique) -> Transport:
        transport = kind.make(url or kind.url, line)
        made.append(transport)
        return transport

    yield make
    for transport in made:
        transport.close()
    assert threads() == 0


def threads() -> int:
    """Not counting what an earlier test of this process may have left."""
    mine = (thread for thread in threading.enumerate() if thread not in before)
    return sum(thread.name == "offpath-hints" for thread in mine)


@pytest.fixture
def hear(kind: Kind) -> Callable[[Transport], Ear]:
    """An ear that hears from now on what others announce."""

    def hear(transport: Transport) -> Ear:
        if kind.distant:
            return listening(transport)
        transport.subscribe(ear := Ear())
        return ear

    return hear


Hear = Callable[[Transport], Ear]


@pytest.fixture
def far(kind: Kind, request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """The server, at `far.url`, behind a proxy that goes wrong on request. With Kafka a server of this test's own: it
    has to send its clients to the proxy."""
    if kind.fixture == "kafka_url":
        server: Kafka = request.getfixturevalue("kafka_server")
        kind.url = server.url
    with Proxy(kind.url) as proxy:
        proxy.url = kind.elsewhere(proxy.port)
        if kind.fixture == "kafka_url":
            server.advertise(proxy.port)
        yield proxy


def reach(sender: Transport, ear: Ear) -> None:
    """Until it is heard: who has just come back may be unknown to a sender for a moment (SQS)."""
    hint = Hint("work", ("reached",))
    deadline = time.monotonic() + WAIT
    while hint not in ear.heard:
        assert time.monotonic() < deadline, ear.heard
        sender.announce([hint])
        ear.wait_a_moment(hint)


def said(signals: Ear) -> list[str]:
    return [name for name, _ in signals.heard]


# ── hearing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hint_is_heard_here_at_once_and_by_others_once(make: Make, hear: Hear) -> None:
    here, there = make(), make()
    mine, theirs = hear(here), hear(there)
    before = len(mine.heard)
    here.announce([WORK])
    assert mine.heard[before:] == [WORK]
    theirs.wait(WORK)
    there.announce([Hint("work", ("back",))])
    mine.wait(Hint("work", ("back",)))
    assert mine.heard.count(WORK) == theirs.heard.count(WORK) == 1


def test_every_kind_of_hint_comes_through_with_its_names_or_without(make: Make, hear: Hear) -> None:
    ear, sender = hear(make()), make()
    del ear.heard[:]
    hints = [
        *(Hint(kind, ("a", "it's ü 😀 \n \x00 \ud800", "")) for kind, _ in ALL),
        Hint("event", tuple(f"0197{n:032x}" for n in range(30))),
    ]
    sender.announce(hints)
    names = {"a", "it's ü 😀 \n \x00 \ud800", "", *hints[-1].names}
    ear.wait_for(lambda: ear.names() == names and {hint.kind for hint in ear.heard} == {kind for kind, _ in ALL})
    assert all(hint.names for hint in ear.heard)
    del ear.heard[:]
    sender.announce(ALL)
    ear.wait_for(lambda: sorted(ear.heard) == sorted(ALL))


@distant  # locally what finds the mailbox full is dropped: whoever owns it is about to look at the database
def test_a_burst_from_many_threads_loses_no_name(make: Make, hear: Hear) -> None:
    here, ear = make(), hear(make())

    def burst(thread: int) -> None:
        for n in range(100):
            here.announce([Hint("work", (f"queue {n % 20}",)), Hint("cancel", (f"{thread}-{n}",))])

    threads = [threading.Thread(target=burst, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = {f"queue {n}" for n in range(20)} | {f"{thread}-{n}" for thread in range(8) for n in range(100)}
    ear.wait_for(lambda: everything <= ear.names() or ear.heard.count(Hint("cancel")) > 1)
    assert {f"queue {n}" for n in range(20)} <= ear.names()


def test_too_many_names_are_all_of_them(make: Make, hear: Hear) -> None:
    ear = hear(make())
    del ear.heard[:]
    make().announce([Hint("event", tuple(f"{n:036x}" for n in range(3000)))])
    ear.wait(Hint("event"))
    assert not ear.names()


def test_who_has_left_hears_no_more(make: Make, hear: Hear) -> None:
    here, there = make(), make()
    gone = Ear()
    stays = hear(here)
    leave = here.subscribe(gone)
    leave()
    leave()
    del gone.heard[:]
    there.announce([WORK])
    stays.wait(WORK)
    assert gone.heard == []


def test_lines_do_not_hear_each_other(make: Make, hear: Hear, unique: str) -> None:
    others = [f"{unique}-2", f"{unique}2"]
    ears = {name: hear(make(line=name)) for name in (unique, *others)}
    for name in ears:
        make(line=name).announce([Hint("work", (name,))])
    for name, ear in ears.items():
        ear.wait(Hint("work", (name,)))
        assert ear.names() == {name}


def test_what_is_none_of_ours_is_passed_over(make: Make, hear: Hear, kind: Kind, unique: str) -> None:
    ear = hear(make())
    heard = list(ear.heard)
    noise = [
        b"", b"null", b"{}", b"[1]", b"[[" * 2000, b'["x",[["later",[]]]]', b'["x",[["work",1]]]', b'["x",[[[],[]]]]',
    ]  # fmt: skip
    if kind.bytes:
        noise += [b"\xff\xfe\x00", b'["x",[["work",["\xff"]]]]']
    if kind.distant and kind.fixture != "postgres_url":
        noise.append(b'["x",[["work",["%s"]]]]' % (b"a" * 200_000))
    kind.put(unique, noise)
    make().announce([WORK])
    ear.wait(WORK)
    assert ear.heard == [*heard, WORK]


def test_processes_hear_each_other(make: Make, hear: Hear, kind: Kind, unique: str) -> None:
    other = Child(CHILD, "talk", next(name for name, one in KINDS.items() if one is type(kind)), kind.url, unique)
    assert other.hear() == "listening"
    here = make()
    ear = hear(here)
    here.announce([Hint("cancel", ("1", "2"))])
    assert other.hear() == "cancel 1,2"
    other.tell("mail")
    ear.wait(WORK)
    other.tell("last words")
    assert other.end() == 0
    ear.wait(Hint("work", ("last words",)))


def test_after_a_fork_both_sides_hear_and_the_parent_goes_on(make: Make, hear: Hear, kind: Kind, unique: str) -> None:
    ear = hear(make())
    one = Child(CHILD, "fork", next(name for name, one in KINDS.items() if one is type(kind)), kind.url, unique)
    assert [one.hear() for _ in range(3)] == ["parent heard True", "child 0", "threads 0"]
    assert one.end() == 0
    ear.wait(Hint("work", ("still here",)))


def test_what_was_announced_before_closing_still_leaves(make: Make, hear: Hear) -> None:
    ear, sender = hear(make()), make()
    sender.announce([Hint("work", ("first",))])
    ear.wait(Hint("work", ("first",)))  # it is connected
    sender.announce([WORK])
    sender.close()
    sender.close()
    ear.wait(WORK)
    again = hear(sender)
    make().announce([Hint("work", ("again",))])
    again.wait(Hint("work", ("again",)))


def test_what_a_process_announces_as_its_last_act_leaves_too(make: Make, hear: Hear, kind: Kind, unique: str) -> None:
    ear = hear(make())
    one = Child(CHILD, "blurt", next(name for name, one in KINDS.items() if one is type(kind)), kind.url, unique)
    ear.wait(Hint("work", ("blurted",)))
    assert one.end() == 0


# ── what can go wrong on the way ─────────────────────────────────────────────────────────────────────────────────────


@distant
def test_a_lost_server_is_said_once_and_what_was_missed_is_asked_for(
    make: Make, hear: Hear, kind: Kind, far: Proxy, signals: Ear
) -> None:
    here, there = make(far.url), make()
    mine, theirs = hear(here), hear(there)
    far.cut()
    signals.wait_for(lambda: "transport.failed" in said(signals))
    here.announce([Hint("cancel", ("late",))])
    there.announce([WORK])
    far.restore()
    mine.wait(CAUGHT_UP, times=2)
    assert all(mine.heard.count(hint) == 2 for hint in ALL)
    theirs.wait_for(lambda: "late" in theirs.names() or (not kind.apart and theirs.heard.count(CAUGHT_UP) == 2))
    reach(there, mine)
    signals.wait_for(lambda: said(signals).count("transport.restored") == said(signals).count("transport.failed"))
    assert len(signals.heard) == 2 or not kind.apart


@distant
def test_a_server_that_is_away_at_the_start_is_no_error(
    make: Make, hear: Hear, kind: Kind, far: Proxy, signals: Ear
) -> None:
    others = hear(make()) if kind.apart else Ear()
    far.cut()
    here = make(far.url)
    here.open()
    here.subscribe(ear := Ear())
    here.announce([WORK])
    assert ear.heard == [WORK]
    signals.wait_for(lambda: said(signals) == ["transport.failed"])
    far.restore()
    ear.wait(CAUGHT_UP)
    if kind.apart:
        others.wait(WORK)  # it has waited for the server
    signals.wait(("transport.restored", ""))
    assert said(signals) == ["transport.failed", "transport.restored"]


@distant
def test_connected_but_deaf_is_noticed(
    make: Make, hear: Hear, far: Proxy, signals: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "QUIET", 0.1)
    monkeypatch.setattr(lines, "PATIENCE", 0.7)
    here, there = make(far.url), make()
    ear = hear(here)
    far.deaf()
    failures = len(signals.heard)  # a server that is slow itself may have been taken for deaf before
    signals.wait_for(lambda: "transport.failed" in said(signals)[failures:] or failures > 0)
    here.announce([Hint("work", ("blocks nobody",))])
    monkeypatch.undo()
    far.restore()
    ear.wait(CAUGHT_UP, times=2)
    reach(there, ear)
    signals.wait(("transport.restored", ""))


@distant
def test_closing_does_not_wait_for_a_server_that_is_deaf(make: Make, hear: Hear, far: Proxy) -> None:
    here = make(far.url)
    hear(here)
    far.deaf()
    here.announce([WORK])
    closer = threading.Thread(target=here.close)
    closer.start()
    closer.join(lines.CONNECT * 0.8)
    assert not closer.is_alive()
    assert threads() == 0


@pytest.mark.parametrize("kind", [name for name in DISTANT if KINDS[name].passwords], indirect=True)
def test_wrong_credentials_are_said_in_one_sentence_without_them(make: Make, kind: Kind, signals: Ear) -> None:
    here = make(kind.wrong())
    here.open()
    here.subscribe(ear := Ear())
    here.announce([WORK])
    signals.wait_for(lambda: bool(signals.heard))
    assert ear.heard == [WORK]
    [(name, error)] = signals.heard
    assert name == "transport.failed"
    assert "not-the-password" not in error
    assert "\n" not in error
    assert error
