"""Hints by LISTEN and NOTIFY, against a real server and with what can go wrong on the way to it."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from offpath.app import places
from offpath.core.policy import Retention
from offpath.errors import ConfigurationError, MissingExtraError
from offpath.ports import Hint, Transport
from offpath.settings import Settings
from offpath.transports import line
from offpath.transports.line import DEAF
from offpath.transports.notes import MAX_BYTES, MAX_NAMES, MAX_PARTS, Gathered, channel, decode, encode
from offpath.transports.notify import POOLED, NotifyTransport
from tests.stores.kit import Child
from tests.transports.ear import CAUGHT_UP, WAIT, Ear, listening
from tests.transports.proxy import Proxy

WORK = Hint("work", ("mail",))
CHILD = "tests.transports.notify_child"


@pytest.fixture
def make(postgres_url: str) -> Iterator[Callable[..., NotifyTransport]]:
    made: list[NotifyTransport] = []
    before.clear()
    before.update(threading.enumerate())

    def make(url: str = postgres_url, **given: Any) -> NotifyTransport:
        transport = NotifyTransport(url, **given)
        made.append(transport)
        return transport

    yield make
    for transport in made:
        transport.close()
    for thread in threading.enumerate():
        if thread.name == "offpath-hints":  # closed from within, it was not waited for
            thread.join(WAIT)
    assert threads() == 0


Make = Callable[..., NotifyTransport]


@pytest.fixture
def proxy(postgres_url: str, make: Make) -> Iterator[Proxy]:
    proxy = Proxy(postgres_url)
    yield proxy.up()
    proxy.down()
    proxy.close()


before: set[threading.Thread] = set()


def threads() -> int:
    """Not counting what an earlier test of this process may have left."""
    mine = (thread for thread in threading.enumerate() if thread not in before)
    return sum(thread.name == "offpath-hints" for thread in mine)


def sql(url: str, text: str, *params: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(text.encode(), params or None)
        return done.fetchall() if done.description else []


def sessions(url: str) -> list[int]:
    """In this test's database: the server has other tests' as well."""
    ours = "application_name = 'offpath hints' and datname = current_database()"
    return [pid for (pid,) in sql(url, f"select pid from pg_stat_activity where {ours}")]


def end_of(url: str, pid: int) -> bool:
    """Whether this session ends before long."""
    sql(
        url,
        f"""do $$ begin
            for n in 1..1000 loop
                exit when not exists (select from pg_stat_activity where pid = {pid});
                perform pg_sleep(0.01), pg_stat_clear_snapshot();
            end loop;
        end $$""",
    )
    return pid not in sessions(url)


# ── within a process ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_listeners_of_this_process_hear_it_before_announce_returns(make: Make) -> None:
    transport: Transport = make()
    first, second = Ear(), Ear()
    transport.subscribe(first)
    leave = transport.subscribe(second)
    transport.announce([WORK])
    assert WORK in first.heard
    assert WORK in second.heard
    leave()
    leave()
    transport.announce([WORK])
    assert (first.heard.count(WORK), second.heard.count(WORK)) == (2, 1)


def test_its_own_hints_do_not_come_back_to_it(make: Make) -> None:
    here, there = make(), make()
    mine, theirs = listening(here), listening(there)
    for n in range(100):
        here.announce([Hint("work", (str(n),))])
    theirs.wait_for(lambda: "99" in theirs.names())
    there.announce([WORK])  # leaves after the server has sent all of those
    mine.wait(WORK)
    assert [mine.heard.count(Hint("work", (str(n),))) for n in range(100)] == [1] * 100


def test_a_listener_that_fails_does_not_keep_the_others_from_hearing(make: Make, signals: Ear) -> None:
    here, there = make(), make()

    def broken(hint: Hint) -> None:
        raise RuntimeError("nobody home")

    here.subscribe(broken)
    ear = listening(here)
    there.announce([WORK])
    ear.wait(WORK)
    signals.wait(("transport.failed", "nobody home"), times=4)


def test_a_listener_may_close_the_transport_and_another_may_announce(make: Make) -> None:
    here, there = make(), make()
    answers = listening(there)

    def once(hint: Hint) -> None:
        if hint == WORK:
            here.announce([Hint("event", ("answer",))])
            here.close()

    listening(here)
    here.subscribe(once)
    there.announce([WORK])
    answers.wait(Hint("event", ("answer",)))


def test_a_slow_listener_does_not_make_the_line_look_deaf(
    make: Make, monkeypatch: pytest.MonkeyPatch, signals: Ear
) -> None:
    monkeypatch.setattr(line, "QUIET", 0.2)
    monkeypatch.setattr(line, "PATIENCE", 2.0)  # the server itself answers within that, whatever else it does
    here, there = make(), make()
    ear = listening(here)
    slow = threading.Event()

    def sleepy(hint: Hint) -> None:
        if hint == WORK:
            slow.wait(2.5)  # longer than a test may take

    here.subscribe(sleepy)
    there.announce([WORK])
    ear.wait(WORK)
    there.announce([Hint("work", ("after",))])
    ear.wait(Hint("work", ("after",)))
    assert signals.heard == []


# ── opening and closing ──────────────────────────────────────────────────────────────────────────────────────────────


def test_closing_ends_the_thread_and_the_session(make: Make, postgres_url: str) -> None:
    transport = make()
    listening(transport)
    assert (threads(), len(sessions(postgres_url))) == (1, 1)
    transport.close()
    transport.close()
    transport.announce([WORK])
    assert (threads(), sessions(postgres_url)) == (0, [])
    listening(transport)
    assert threads() == 1, "opened again"


def test_nothing_is_opened_before_it_is_needed(make: Make) -> None:
    make().close()
    transport = make()
    assert threads() == 0
    transport.open()
    transport.open()
    assert threads() == 1


def test_what_was_announced_before_closing_still_leaves(make: Make) -> None:
    ear = listening(make())
    sender = make()
    sender.announce([WORK])
    sender.close()
    ear.wait(WORK)


@pytest.mark.parametrize("announced", [[], [WORK]])
def test_closing_does_not_wait_for_a_server_that_does_not_answer(make: Make, announced: list[Hint]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        transport = make(f"postgresql://u@127.0.0.1:{hole.getsockname()[1]}/d")
        transport.announce(announced)
        accepted, _ = hole.accept()
        closer = threading.Thread(target=transport.close)
        closer.start()
        closer.join(line.CONNECT * 0.8)
        assert not closer.is_alive()
        assert threads() == 0
        accepted.close()


def test_asyncpg_missing_is_said_with_the_remedy() -> None:
    code = "import sys; sys.modules['asyncpg'] = None; import offpath.transports.notify"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "offpath[postgres]"' in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("offpath.errors.MissingExtraError")
    assert issubclass(MissingExtraError, ConfigurationError)


# ── between processes ────────────────────────────────────────────────────────────────────────────────────────────────


def test_across_processes(make: Make, postgres_url: str) -> None:
    here = make()
    ear = listening(here)
    listener, sender = Child(CHILD, "listen", postgres_url), Child(CHILD, "announce", postgres_url)
    assert [listener.hear() for _ in range(4)] == ["work ", "cancel ", "event ", "queue "]
    sender.tell("mail")
    ear.wait(WORK)
    assert listener.hear() == "work mail"
    here.announce([Hint("cancel", ("1", "2"))])
    assert listener.hear() == "cancel 1,2"
    assert (listener.end(), sender.end()) == (0, 0)


def test_after_a_fork_both_sides_hear_and_the_parent_goes_on(postgres_url: str) -> None:
    one = Child(CHILD, "fork", postgres_url)
    assert [one.hear() for _ in range(3)] == ["parent heard True", "child 0", "threads 0"]
    assert one.end() == 0


def test_a_child_left_behind_does_not_keep_the_session_of_its_parent(postgres_url: str) -> None:
    """Nobody would read from that session; in the end the server could not take notifications any more."""
    one = Child(CHILD, "orphan", postgres_url)
    assert one.hear() == "child"
    [pid] = sessions(postgres_url)
    one.process.kill()
    assert end_of(postgres_url, pid)
    one.end()


def test_transports_of_another_schema_do_not_hear(make: Make) -> None:
    schemas = ["jobs", 'x"; drop table "y', "ü" * 31 + "x", "ü" * 31 + "y", "Jobs"]
    ears = [listening(make(schema=schema)) for schema in schemas]
    for schema in schemas:
        make(schema=schema).announce([Hint("work", (schema,))])
    for schema, ear in zip(schemas, ears, strict=True):
        ear.wait(Hint("work", (schema,)))
        assert ear.names() == {schema}


def test_noise_is_ignored(make: Make, postgres_url: str) -> None:
    ear = listening(make())
    for noise in (
        "",
        "null",
        "{}",
        "[1]",
        "[[" * 2000,
        '["x",[["later",[]]]]',
        '["x",[["work",1]]]',
        '["x",[[[],[]]]]',
    ):
        sql(postgres_url, "select pg_notify('offpath_public', %s)", noise)
    make().announce([WORK])
    ear.wait(WORK)
    assert ear.heard == [Hint("work"), Hint("cancel"), Hint("event"), Hint("queue"), WORK]


def test_who_only_sends_does_not_listen_until_somebody_subscribes(
    make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "QUIET", 1000.0)
    ear = listening(make())
    transport = make(proxy.url)
    for n in range(3):
        transport.announce([Hint("work", (str(n),))])
        ear.wait(Hint("work", (str(n),)))
    assert b"LISTEN" not in proxy.said
    mine = listening(transport)
    make().announce([Hint("work", ("more",))])
    mine.wait(Hint("work", ("more",)))
    assert b"LISTEN" in proxy.said


def test_who_hears_others_does_not_test_the_line(make: Make, proxy: Proxy, impatient: None) -> None:
    """Each test wakes every session of the database that listens: a quiet fleet shares one."""
    here, there = make(proxy.url), make()
    ear = listening(here)
    count = 0

    def hear() -> float:
        """Something of another; when it was heard."""
        nonlocal count
        count += 1
        there.announce([Hint("work", (str(count),))])
        ear.wait(Hint("work", (str(count),)))
        return time.monotonic()

    while b"notify " not in proxy.said:  # the test of the beginning
        hear()
    longest = line.QUIET
    while longest > line.QUIET / 2:  # a machine that holds us up for so long proves nothing
        last, longest = hear(), 0.0
        tests, until = proxy.said.count(b"notify "), last + 5 * line.QUIET
        while last < until:
            heard = hear()
            longest, last = max(longest, heard - last), heard
    assert proxy.said.count(b"notify ") == tests


# ── many hints, long hints ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_storm_costs_few_notifications_and_loses_no_name(make: Make, postgres_url: str) -> None:
    here = make()
    listening(here)
    ear = listening(make())
    with psycopg.connect(postgres_url, autocommit=True) as counter:
        counter.execute("listen offpath_public")

        def storm(thread: int) -> None:
            for n in range(1250):
                here.announce([Hint("work", (f"queue {n % 100}",)), Hint("event", (f"{thread}-{n}",))])

        begun = time.monotonic()
        stormers = [threading.Thread(target=storm, args=(n,)) for n in range(8)]
        for thread in stormers:
            thread.start()
        for thread in stormers:
            thread.join()
        here.announce([Hint("cancel", ("the end",))])
        ear.wait_for(lambda: "the end" in ear.names())
        took = time.monotonic() - begun
        sent = 0
        for notification in counter.notifies(timeout=WAIT):
            sent += 1
            if "the end" in notification.payload:
                break
    assert {f"queue {n}" for n in range(100)} <= ear.names()
    all_of_them = ear.heard.count(Hint("event")) > 1  # the first was on the way to listening
    assert all_of_them or {f"{thread}-{n}" for thread in range(8) for n in range(1250)} <= ear.names()
    # One each 2 ms, some of them early; all the names together are too long for some sixty more.
    assert sent < min(10_000, took / line.GAP + 200), "for 20,000 hints"


def test_a_lasting_storm_is_bounded_in_time(make: Make) -> None:
    here, ear = make(), listening(make())
    begun = time.monotonic()
    for n in range(200):
        here.announce([Hint("work", (str(n),))])
        ear.wait(Hint("work", (str(n),)))
    assert time.monotonic() - begun > (200 - 1) * line.GAP - line.SLACK - 0.01


def test_in_a_storm_whoever_has_a_hint_wakes_nobody(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time would take the interpreter's lock from an application that is busy enough."""
    here, ear = make(), listening(make())
    monkeypatch.setattr(line, "GAP", 0.1)  # a storm from the second message on, however slow the machine is
    monkeypatch.setattr(line, "SLACK", 0.0)
    here.announce([Hint("work", ("first",))])
    ear.wait(Hint("work", ("first",)))
    hints = here._line
    assert hints is not None
    woken: list[str] = []
    call = hints._call
    monkeypatch.setattr(hints, "_call", lambda what: (woken.append("woken"), call(what)))
    for n in range(20):
        here.announce([Hint("work", (str(n),))])
        ear.wait(Hint("work", (str(n),)))
    assert len(woken) < 10


def test_many_ids_arrive_in_several_notifications(make: Make) -> None:
    ear = listening(make())
    ids = [f"0197{n:032x}" for n in range(600)]
    make().announce([WORK, Hint("event", tuple(ids))])
    ear.wait_for(lambda: {*ids, "mail"} <= ear.names())
    assert Hint("event") not in ear.heard[4:]


@pytest.mark.parametrize("ids", [[f"{n:036x}" for n in range(3000)], ["x" * 9000]])
def test_more_than_that_are_all_of_them(make: Make, ids: list[str]) -> None:
    ear = listening(make())
    make().announce([Hint("event", tuple(ids))])
    ear.wait(Hint("event"), times=2)
    assert not ear.names()


def test_any_name_comes_through(make: Make) -> None:
    ear = listening(make())
    odd = ("it's", '"', "\\", "\\'", "\n", "\x00", "ü", "😀", "\ud800", "E'", "$1", "%s", "")
    make().announce([Hint("work", odd)])
    ear.wait(Hint("work", odd))


def test_messages_are_short_enough_and_say_everything() -> None:
    for count, name in (*((n, "é") for n in (0, 1, 100, 190, 210, 1000, 1500, 5000)), (3, "x" * 8000)):
        hints = [Hint("event", tuple(f"{name}{n:030}" for n in range(count))), WORK]
        messages = encode("me", hints)
        assert max(map(len, messages)) <= MAX_BYTES
        assert len(messages) <= MAX_PARTS + 1
        said = [decode(message) for message in messages]
        assert {sender for sender, _ in said} == {"me"}
        events = [hint.names for _, hints in said for hint in hints if hint.kind == "event"]
        assert () in events or {name for names in events for name in names} == set(hints[0].names)
        assert WORK in said[-1][1]
    assert len(json.dumps("é")) == 8, "messages are ASCII: characters are bytes"


def test_what_gathers_is_said_once_and_is_bounded() -> None:
    gathered = Gathered()
    gathered.add([WORK, Hint("event", ("a", "b")), WORK, Hint("event", ("b", "c"))])
    assert gathered
    assert gathered.take() == [WORK, Hint("event", ("a", "b", "c"))]
    assert (bool(gathered), gathered.take()) == (False, [])
    gathered.add([WORK, Hint("work"), WORK])
    gathered.add(Hint("event", (str(n),)) for n in range(MAX_NAMES + 1))
    assert gathered.take() == [Hint("work"), Hint("event")]


def test_a_channel_is_a_name_that_postgresql_does_not_cut() -> None:
    assert channel("public") == "offpath_public"
    assert channel("x" * 55) == "offpath_" + "x" * 55
    assert len({channel("x" * 56), channel("x" * 57), channel("ü" * 28)}) == 3
    assert max(len(channel("ü" * n).encode()) for n in range(64)) <= 63


# ── URLs that libpq knows more of than asyncpg ───────────────────────────────────────────────────────────────────────

IGNORED = (
    "connect_timeout=5", "channel_binding=prefer", "client_encoding=UTF8", "gssencmode=prefer", "keepalives=1",
    "keepalives_count=3", "keepalives_idle=30", "keepalives_interval=10", "tcp_user_timeout=1000",
)  # fmt: skip


@pytest.mark.parametrize("more", IGNORED)
def test_hints_come_by_every_url_that_the_store_accepts(make: Make, postgres_url: str, signals: Ear, more: str) -> None:
    store, transport = places.make(Settings(f"{postgres_url}?{more}"), Retention())
    try:
        store.open()
        ear = Ear()
        transport.subscribe(ear)
        ear.wait_for(lambda: CAUGHT_UP in ear.heard or bool(signals.heard))
        make().announce([WORK])
        ear.wait_for(lambda: WORK in ear.heard or bool(signals.heard))
        assert signals.heard == []
    finally:
        store.close()
        transport.close()


def test_the_url_says_how_long_a_connection_may_take(make: Make, signals: Ear) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"postgresql://u@127.0.0.1:{hole.getsockname()[1]}/d?connect_timeout=1"
        _, transport = places.make(Settings(url), Retention())
        began = time.monotonic()
        transport.open()
        signals.wait(("transport.failed", "no answer in time"))
        assert time.monotonic() - began < line.CONNECT, "which is what it would take otherwise"
        transport.close()


# ── what can go wrong on the way ─────────────────────────────────────────────────────────────────────────────────────


def test_a_session_that_was_ended_is_made_anew(make: Make, postgres_url: str, signals: Ear) -> None:
    here = make()
    ear = listening(here)
    [pid] = sessions(postgres_url)
    sql(postgres_url, "select pg_terminate_backend(%s)", pid)
    for kind in ("work", "cancel", "event"):
        ear.wait((kind, ()), times=2)
    signals.wait(("transport.restored", ""))
    assert [name for name, _ in signals.heard] == ["transport.failed", "transport.restored"]
    make().announce([WORK])
    ear.wait(WORK)


def test_a_server_that_is_away_is_no_error_and_is_said_once(make: Make, proxy: Proxy, signals: Ear) -> None:
    proxy.down()
    transport, others = make(proxy.url), listening(make())
    transport.open()
    ear = Ear()
    transport.subscribe(ear)
    transport.announce([WORK])
    assert ear.heard == [WORK]
    with proxy.gate() as gate:
        for _ in range(4):
            gate.accept()[0].close()
    proxy.up()
    others.wait(WORK)  # it has waited for the server
    ear.wait(CAUGHT_UP)
    signals.wait(("transport.restored", ""))
    assert [name for name, _ in signals.heard] == ["transport.failed", "transport.restored"]


def test_hints_of_an_outage_leave_after_it(make: Make, proxy: Proxy, signals: Ear) -> None:
    others, transport = listening(make()), make(proxy.url)
    transport.announce([WORK])
    others.wait(WORK)
    proxy.down()
    signals.wait_for(lambda: len(signals.heard) == 1)
    transport.announce([Hint("cancel", ("late",))])
    proxy.up()
    others.wait_for(lambda: "late" in others.names())


def test_a_line_half_open_is_found_deaf_and_made_anew(make: Make, proxy: Proxy, impatient: None, signals: Ear) -> None:
    transport = make(proxy.url)
    ear = listening(transport)
    proxy.silent = True
    signals.wait_for(lambda: len(signals.heard) == 1)
    transport.announce([WORK])  # blocks nobody
    proxy.silent = False
    ear.wait(CAUGHT_UP, times=2)
    make().announce([Hint("work", ("heard",))])
    ear.wait(Hint("work", ("heard",)))
    signals.wait(("transport.restored", ""))


def test_a_sender_finds_out_too_and_says_again_what_was_on_its_way(
    make: Make, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, signals: Ear
) -> None:
    monkeypatch.setattr(line, "PATIENCE", 0.3)
    others, transport = listening(make()), make(proxy.url)
    transport.announce([WORK])
    others.wait(WORK)
    proxy.silent = True
    transport.announce([Hint("work", ("lost",))])
    signals.wait_for(lambda: len(signals.heard) == 1)
    proxy.silent = False
    others.wait(Hint("work"), times=2)


def test_a_server_that_takes_listen_and_never_tells(make: Make, proxy: Proxy, impatient: None, signals: Ear) -> None:
    proxy.mute = True
    others, transport = listening(make()), make(proxy.url)
    transport.subscribe(Ear())
    signals.wait(("transport.failed", DEAF))
    transport.announce([WORK])
    others.wait_for(lambda: Hint("work") in others.heard[3:] or WORK in others.heard)
    assert [name for name, _ in signals.heard] == ["transport.failed"]


def test_behind_a_pooler_hints_are_sent_and_nothing_is_listened_for(
    make: Make, proxy: Proxy, impatient: None, signals: Ear
) -> None:
    """A LISTEN would stay on a session that is somebody else's a moment later."""
    proxy.pooling = True
    others, transport = listening(make()), make(proxy.url)
    ear = Ear()
    transport.subscribe(ear)
    for n in range(3):
        transport.announce([Hint("work", (str(n),))])
        others.wait_for(lambda: str(n) in others.names())  # noqa: B023
    proxy.down()
    proxy.up()
    transport.announce([WORK])
    others.wait_for(lambda: Hint("work") in others.heard[3:] or WORK in others.heard)
    assert b"LISTEN" not in proxy.said
    assert b"set " not in proxy.said, "nor would a setting stay ours"
    assert signals.heard[0] == ("transport.failed", POOLED)
    assert [error for _, error in signals.heard].count(POOLED) == 1
