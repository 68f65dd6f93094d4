"""What is PostgreSQL's alone: where the tables are, what is said when there is no server, history by days."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from offpath.app import places
from offpath.core.job import State
from offpath.core.lifecycle import started
from offpath.core.options import DAY, SECOND
from offpath.core.outcome import Done
from offpath.core.policy import Policy, Retention
from offpath.errors import ConfigurationError, MissingExtraError, OffpathError, SchemaError, StoreUnavailable
from offpath.ports import JobFilter, Verb, Want
from offpath.stores.postgres import clock
from offpath.stores.postgres.address import parse, qualify
from offpath.stores.postgres.session import LOCK_MS
from offpath.stores.postgres.store import PostgresStore
from tests.stores.kit import HOUR, ROOT, TIMEOUT, Hand, ask, change, ended, new_job, now, perform, put, watched

Make = Callable[..., PostgresStore]


@pytest.fixture
def make(postgres_url: str) -> Iterator[Make]:
    """A store that is not open yet, on the test's own database unless `url` says otherwise."""
    made: list[PostgresStore] = []

    def make(url: str = postgres_url, **options: Any) -> PostgresStore:
        store = PostgresStore(url, announce=lambda hints: None, **options)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make: Make) -> PostgresStore:
    store = make()
    store.open()
    return store


@pytest.fixture
def hand(store: PostgresStore) -> Iterator[Hand]:
    hand = Hand(store)
    yield hand
    hand.close()


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


def other(url: str, **parts: str) -> str:
    """The same URL with another user, password, host, path or query."""
    old = urlsplit(url)
    user, password = parts.get("user", old.username), parts.get("password", old.password)
    netloc = f"{user}:{password}@{parts.get('host', f'{old.hostname}:{old.port}')}"
    return old._replace(netloc=netloc, path=parts.get("path", old.path), query=parts.get("query", old.query)).geturl()


# ── what is said ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    ["postgresql:/app", "postgresql:app", "mysql://h/app", "postgresql://h:port/app", "postgresql://h/a?connect_timeout=x",
     "postgresql://u:secret@h/app#x"],
)  # fmt: skip
def test_what_is_no_url_is_said_before_anything_connects(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:se#cret@h/app", "postgresql://u:se?cret@h/app", "postgresql://u:se/cret@h/app",
     "postgresql://u:12#cret@h/app", "postgresql://u:12?cret@h/app", "postgresql://u:12/cret@h/app",
     "postgresql://u:[cret@h/app", "postgresql://u:se,/cret@h/app", "postgresql://h:70000/app?password=cret",
     "postgresql://h/app?password=se#cret", "postgresql://u:a@b/cret@h/app#x", "postgresql://u@v:a:cret@h/app#x",
     "postgresql:u:cret@h/app", "mysql://u:cret@h/app", "postgresql+asyncpg://u:a/cret@h/app", "u:cret@h/app"],
)  # fmt: skip
def test_no_piece_of_a_password_is_shown(url: str) -> None:
    for check in (parse, places.check):
        with pytest.raises(ConfigurationError) as caught:
            check(url)
        assert "cret" not in "".join(traceback.format_exception(caught.value))
        if url.startswith("postgresql://"):
            assert "%23 %3F %2F %40 %3A" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:a@b@h:1/app", "postgresql://u@h:1/app"),
        ("postgresql://u@h/app", "postgresql://u@h/app"),
        ("postgresql://u:x@[::1]:5432/app", "postgresql://u@[::1]:5432/app"),
        ("postgresql://u@a:1,b:2/app", "postgresql://u@a:1,b:2/app"),
        ("postgresql://u:x@%2Frun/app?sslmode=disable", "postgresql://u@%2Frun/app?sslmode=disable"),
        ("postgresql:///app?user=u&password=x", "postgresql:///app?user=u&password=…"),
    ],
)
def test_what_is_shown_of_a_url_lacks_its_password_only(url: str, shown: str) -> None:
    found = parse(url)
    assert (found.shown, found.role) == (shown, "u")


def test_a_driver_that_a_finder_refuses_is_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "asyncpg":
                raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.delitem(sys.modules, "asyncpg", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"offpath\[postgres\]"):
        places.check("postgresql://h/app")


@pytest.mark.parametrize("schema", ["", "a b", 'x"; drop', "1st", "x" * 64])
def test_what_is_no_schema_is_refused(schema: str) -> None:
    with pytest.raises(ConfigurationError, match="schema must be a name"):
        PostgresStore("postgresql://h/app", announce=lambda hints: None, schema=schema)


def test_a_schema_of_the_servers_own_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must not begin with pg_"):
        PostgresStore("postgresql://h/app", announce=lambda hints: None, schema="pg_foo")


def test_what_libpq_knows_and_asyncpg_does_not_is_taken_care_of() -> None:
    found = parse("postgres://u:secret@h:1/app?connect_timeout=3&keepalives=1&sslmode=disable&gssencmode=disable")
    assert (found.dsn, found.timeout) == ("postgresql://u:secret@h:1/app?sslmode=disable", 3.0)
    assert found.shown.startswith("postgres://u@h:1/app?")


@pytest.mark.parametrize(
    ("parts", "kind", "what"),
    [
        ({"user": "nobody_here", "password": "secret2"}, ConfigurationError, "correct user and password in the URL"),
        ({"path": "/no_such_database"}, ConfigurationError, "create it"),
        ({"host": "127.0.0.1:1"}, StoreUnavailable, "start the server, or correct the URL"),
        ({"host": "no-such-host.invalid:5432"}, StoreUnavailable, "no such host"),
        ({"query": "foo=bar"}, ConfigurationError, "refuses a setting in the URL .*correct what follows"),
        ({"query": "sslmode=require"}, ConfigurationError, "let the server speak TLS .*or correct its sslmode"),
        ({"query": "target_session_attrs=standby"}, StoreUnavailable, "not what its target_session_attrs asks for"),
    ],
)
def test_without_a_connection_one_sentence_says_what_to_do(
    make: Make, postgres_url: str, parts: dict[str, str], kind: type[OffpathError], what: str
) -> None:
    store_url = other(postgres_url, **parts)
    store = make(store_url)
    for call in (store.open, store.migrate, store.lacking):
        with pytest.raises(kind, match=what) as caught:
            call()
        said = str(caught.value)
        assert "\n" not in said
        assert f":{urlsplit(store_url).password}@" not in said
        assert "secret2" not in said


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(make: Make) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = make(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/app?connect_timeout=1")
        with pytest.raises(StoreUnavailable, match="does not answer within 1 s"):
            store.open()


def test_while_at_work_a_refused_login_is_the_stores_fault(make: Make, postgres_url: str) -> None:
    """A worker keeps its outcomes as long as the store says that it is unavailable; the login may come back."""
    store = make(other(postgres_url, user="nobody_here"))
    with pytest.raises(StoreUnavailable, match="does not let us in"):
        put(store, new_job())
    with pytest.raises(StoreUnavailable, match="does not let us in"):
        store.exchange("w", [], None).result(TIMEOUT)
    lease = store.lease()
    with pytest.raises(StoreUnavailable, match="does not let us in"):
        lease.renew("w", 1.0)
    lease.close()


def test_without_its_tables_it_says_so(store: PostgresStore, admin: psycopg.Connection[Any]) -> None:
    admin.execute("drop table offpath_job")
    with pytest.raises(SchemaError, match="run `offpath migrate`"):
        put(store, new_job())
    with pytest.raises(StoreUnavailable, match="run `offpath migrate`"):
        store.exchange("w", [], Want((("default", 1),), "[]", 1, 1, True)).result(TIMEOUT)


def test_older_tables_are_refused_by_whatever_comes_first(
    store: PostgresStore, make: Make, admin: psycopg.Connection[Any]
) -> None:
    lacking = "delete from offpath_migration where name = (select max(name) from offpath_migration) returning *"
    note = admin.execute(lacking).fetchall()[0]
    late, new = make(), new_job()
    for use in (lambda: put(late, new), lambda: ask(late, late.verbs.counts())):
        with pytest.raises(SchemaError, match="run `offpath migrate`"):
            use()
    admin.execute("insert into offpath_migration values (%s, %s)", note)
    put(late, new)
    assert ask(store, store.verbs.find(new.job.id)) is not None


# ── where the tables are ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_open_that_fails_takes_the_store_from_nobody(
    make: Make, store: PostgresStore, admin: psycopg.Connection[Any]
) -> None:
    """Whoever looks whether the database is there opens the store that a worker of this process is at work with."""
    admin.execute("delete from offpath_migration where name = (select max(name) from offpath_migration)")
    with pytest.raises(SchemaError):
        store.open()
    assert ask(store, store.verbs.paused()) == []
    away = make("postgresql://x@127.0.0.1:1/x")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
            away.open()
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1"):
            ask(away, away.verbs.paused())
    away.close()
    with pytest.raises(StoreUnavailable, match="has been closed"):
        ask(away, away.verbs.paused())


def test_two_schemas_of_one_database_know_nothing_of_each_other(make: Make, admin: psycopg.Connection[Any]) -> None:
    mine, theirs = make(schema="My-Jobs"), make(schema="other")
    for store in (mine, theirs):
        store.open()
    put(mine, watched(key="k"), new_job())
    put(theirs, new_job(key="k"))
    hand = Hand(mine)
    assert len(hand.claim(5)) == 2
    hand.close()
    assert [row[2] for row in ask(theirs, theirs.verbs.counts())] == [State.READY]
    assert mine.home != theirs.home
    assert admin.execute("select count(*) from pg_class where relnamespace = 'public'::regnamespace").fetchone() == (0,)
    again = make(schema="My-Jobs")
    again.open()
    assert again.home == mine.home


def test_every_name_of_ours_is_written_in_full(make: Make, postgres_url: str) -> None:
    """Whatever the search_path of the role or the database is."""
    store = make(f"{postgres_url}?options=-csearch_path%3Dpg_temp", schema="jobs")
    store.open()
    put(store, watched())
    hand = Hand(store)
    hand.finish(*hand.claim(1))
    hand.close()
    assert qualify("from offpath_job j", "a") == 'from "a".offpath_job j'
    assert qualify("create index offpath_x on offpath_job (a)", "a") == 'create index offpath_x on "a".offpath_job (a)'


def test_many_that_open_an_empty_database_make_it_once(make: Make) -> None:
    stores = [make() for _ in range(6)]
    threads = [threading.Thread(target=store.open) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len({store.home for store in stores}) == 1
    assert stores[0].migrate() == []
    assert stores[0].lacking() == []


@pytest.mark.parametrize("schema", ["public", "My-Jobs"])
def test_a_migration_by_hand_is_noted(make: Make, admin: psycopg.Connection[Any], schema: str) -> None:
    """What is printed is what runs: the schema too is made by it."""
    store = make(schema=schema)
    assert store.lacking() == [name for name, _ in store.migrations()]
    for _, text in store.migrations():
        admin.execute(text.encode())
    assert store.lacking() == []
    store.open()
    put(store, new_job())


def test_a_database_that_is_ahead_is_left_alone(
    store: PostgresStore, make: Make, admin: psycopg.Connection[Any]
) -> None:
    admin.execute("insert into offpath_migration values ('9999_later', 0)")
    with pytest.raises(SchemaError, match="upgrade offpath"):
        make().open()
    with pytest.raises(SchemaError, match="upgrade offpath"):
        store.migrate()


# ── the clock ────────────────────────────────────────────────────────────────────────────────────────────────────────


def off(store: PostgresStore, admin: psycopg.Connection[Any]) -> float:
    """By how many seconds the store's clock is wrong, at least."""
    question = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
    before, told, after = admin.execute(question).fetchone(), store.now(), admin.execute(question).fetchone()
    assert before is not None
    assert after is not None
    return max(before[0] - told, told - after[0], 0) / SECOND


@pytest.mark.parametrize("step", [-3_600, 3_600])
def test_a_host_whose_clock_is_stepped_keeps_the_servers_time(
    store: PostgresStore, make: Make, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + step * 10**9)
    assert off(store, admin) < 60
    late = make()
    late.open()
    assert off(late, admin) < 60


def test_a_clock_that_drifts_is_looked_at_again(
    store: PostgresStore, admin: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asleep = clock.awake, 0
    monkeypatch.setattr(clock, "awake", lambda: real() + asleep)
    asleep = 30 * 60 * SECOND  # the counter has gone wrong by so much
    assert off(store, admin) > 60  # and whoever notices has it looked at
    assert store._rooms is not None
    store._rooms.thread.call(store._rooms.thread.settled(), TIMEOUT)
    assert off(store, admin) < 60


def test_when_the_clock_is_looked_at_and_how_far_an_answer_moves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    here, asked = 0, list[int]()
    monkeypatch.setattr(clock, "awake", lambda: here)
    monkeypatch.setattr(time, "time_ns", lambda: 5_000_000_000)
    one = clock.ServerClock(lambda: asked.append(here))
    assert one.now() == 5_000_000, "this host's, as long as there is no other"
    here = 100
    one.seen(2_000_000, since=90)
    assert one.now() == 2_000_010, "no later than if it had been read at once"
    here = 1_000_000
    one.seen(2_950_000, since=900_000)
    assert one.now() == 2_999_910, "it was on its way for longer than we can be wrong by"
    one.seen(4_000_000, since=900_000)
    assert one.now() == 4_000_000, "no earlier than it was read"
    here += clock.EVERY
    one.now()
    assert asked == []
    here += 1
    one.now()
    one.now()
    here += clock.EVERY + 1  # there was no answer
    one.now()
    assert asked == [1_000_001 + clock.EVERY, 1_000_002 + 2 * clock.EVERY]


# ── history by days ──────────────────────────────────────────────────────────────────────────────────────────────────


def days(admin: psycopg.Connection[Any]) -> list[str]:
    found = admin.execute(
        "select relname from pg_inherits join pg_class on pg_class.oid = inhrelid "
        "where inhparent = 'offpath_history'::regclass order by 1"
    )
    return [row[0].removeprefix("offpath_history_") for row in found.fetchall()]


def day(at: int) -> str:
    return time.strftime("%Y%m%d", time.gmtime(at / SECOND))


def gone() -> str:
    """The day on which what ends now would be forgotten; the one after it, too: it may be midnight."""
    return "; ".join(f"drop table if exists offpath_history_{day(now() + more * DAY)}" for more in (7, 8))


def test_days_are_made_ahead(store: PostgresStore, admin: psycopg.Connection[Any]) -> None:
    kept = Retention().lengths()
    moments = (now() - TIMEOUT * SECOND, now())  # midnight may have passed since it was opened
    wanted = [{day(round(at) + length + more) for length in kept for more in (0, DAY)} for at in moments]
    assert any(some < set(days(admin)) for some in wanted)
    assert "never" in days(admin)


@pytest.mark.parametrize("shown", [False, True])
def test_a_day_that_is_missing_is_made(
    store: PostgresStore, hand: Hand, admin: psycopg.Connection[Any], shown: bool
) -> None:
    put(store, *((watched() if shown else new_job()) for _ in range(2)))
    jobs = hand.claim(2)
    odd = [
        Policy(retention=Retention(100 * DAY, None, 100 * DAY)),
        Policy(retention=Retention(101 * DAY, None, 101 * DAY)),
    ]
    changes = [change(job, Done("1"), policy) for job, policy in zip(jobs, odd, strict=True)]
    assert hand.settle(*changes) == ["applied", "applied"]
    assert {day(c.expires_at or 0) for c in changes} <= set(days(admin))
    assert ended(store, jobs[0].id).expires_at == changes[0].expires_at
    # and for whoever has never heard of that day, in a transaction of a verb
    put(store, new := new_job())
    admin.execute(gone())
    store.verbs.days = frozenset()
    perform(store, store.verbs.cancel(new.job.id, "stop"))
    assert ended(store, new.job.id).state is State.CANCELED


def test_a_day_that_was_believed_to_be_there_is_made(
    store: PostgresStore, hand: Hand, admin: psycopg.Connection[Any]
) -> None:
    put(store, *(new_job() for _ in range(3)))
    jobs = hand.claim(2)
    admin.execute(gone())
    assert hand.finish(*jobs) == ["applied"] * 2
    put(store, new := new_job())
    admin.execute(gone())
    with pytest.raises(StoreUnavailable, match="try again"):
        perform(store, store.verbs.cancel(new.job.id, "stop"))
    perform(store, store.verbs.cancel(new.job.id, "stop"))
    assert ended(store, new.job.id).state is State.CANCELED


def test_past_days_are_dropped_whole(store: PostgresStore, hand: Hand, admin: psycopg.Connection[Any]) -> None:
    put(store, *(new_job() for _ in range(3)))
    jobs = hand.claim(3)
    late = now() - 3 * DAY
    gone = [change(job, Done("1"))._replace(expires_at=late) for job in jobs[:2]]
    assert hand.settle(*gone, change(jobs[2], Done("1"))) == ["applied"] * 3
    # as if they had been finished a week before
    admin.execute("update offpath_history set finished_at = finished_at - %s where expires_at = %s", (9 * DAY, late))
    assert day(late) in days(admin)
    while perform(store, store.verbs.prune(100)):
        pass
    assert day(late) not in days(admin)
    assert [ask(store, store.verbs.find(job.id)) is None for job in jobs] == [True, True, False]
    put(store, new_job())
    assert hand.finish(*hand.claim(1)) == ["applied"]


def test_a_past_day_that_somebody_reads_is_left_for_later_and_delays_nobody(
    store: PostgresStore, hand: Hand, admin: psycopg.Connection[Any], postgres_url: str
) -> None:
    past = sorted(now() // DAY - back for back in (1, 2))
    perform(store, store.verbs.make_days(past))
    put(store, new_job())
    jobs = hand.claim(1)
    with psycopg.connect(postgres_url) as reader:
        reader.execute("select count(*) from offpath_history")
        took: list[float] = []
        for _ in range(5):
            began = time.monotonic()
            assert perform(store, store.verbs.prune(100)) == 0
            took.append(time.monotonic() - began)
        assert min(took) < 1.0, "it does not wait for the reader"
        assert hand.finish(*jobs) == ["applied"]
        assert store.verbs.days.issuperset(past), "they are there"
    left = [day(back * DAY) in days(admin) for back in past]
    assert left == [True, True]
    while perform(store, store.verbs.prune(100)):
        pass
    assert not {day(back * DAY) for back in past} & set(days(admin))
    assert not store.verbs.days & set(past)


def test_an_operation_is_read_from_one_day_of_history(store: PostgresStore, hand: Hand) -> None:
    put(store, watched())
    [job] = hand.claim(1)
    hand.say(job, Done('"x"'))
    row = ask(store, store.verbs.operation(job.id))
    assert row is not None
    assert row.result == '"x"'


# ── locks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_in_somebodys_open_transaction_holds_up_nobody_else(
    store: PostgresStore, postgres_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url) as tx:
        await store.enqueue_on(tx, [new_job(key="k")])
        waits = store.enqueue([new_job(key="k")])
        took: list[float] = []
        for _ in range(20):
            began = time.monotonic()
            others = [store.enqueue([new_job()]), store.enqueue([new_job(key=os.urandom(4).hex())])]
            for other in others:
                [said] = await other
                assert not said.existing
            took.append(time.monotonic() - began)
        assert median(took) < LOCK_MS / 2000
        await tx.rollback()
    [said] = await waits
    assert not said.existing


async def test_what_is_locked_in_one_schema_delays_nobody_in_another(make: Make, postgres_url: str) -> None:
    """Advisory locks are the database's: their names begin with the schema's."""
    mine, theirs = make(schema="mine"), make(schema="theirs")
    for store in (mine, theirs):
        store.open()
    async with await psycopg.AsyncConnection.connect(postgres_url) as tx:
        await mine.enqueue_on(tx, [new_job(key="k")])
        await tx.execute(mine.verbs.sql["partition.alone"].encode())
        [said] = await theirs.enqueue([new_job(key="k")])
        perform(theirs, theirs.verbs.make_days([now() // DAY + 99]))
        assert not said.existing  # what waits for these locks waits in vain: they are held until below
        waits = mine.enqueue([new_job(key="k")])
        await tx.rollback()
    [said] = await waits
    assert not said.existing
    locks = [sql for sql in mine.verbs.sql.values() if "hashtextextended" in sql]
    named = [sql.count('hashtextextended(\'"mine".') + sql.count("concat_ws(' ', '\"mine\".") for sql in locks]
    assert named == [1] * len(named)
    assert len(named) >= 3


@pytest.mark.parametrize("enqueues", [True, False])
def test_whoever_waited_in_vain_for_a_lock_is_told_of_what_it_did(
    store: PostgresStore, admin: psycopg.Connection[Any], postgres_url: str, enqueues: bool
) -> None:
    put(store, held := new_job(key="k"))
    with psycopg.connect(postgres_url) as tx:
        tx.execute("select 1 from offpath_job for update")
        tx.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", ('"public".offpath_keys mail l',))
        with psycopg.connect(postgres_url) as waiting:
            waiting.execute("set lock_timeout = '100ms'")
            verb: Verb[Any] = (
                store.verbs.enqueue([new_job(key="l")]) if enqueues else store.verbs.cancel(held.job.id, "stop")
            )
            with pytest.raises(StoreUnavailable, match="stayed locked by another transaction") as caught:
                store.run_on(waiting, verb)
    assert ("enqueue in it: using(tx=…)" in str(caught.value)) is enqueues


def test_a_row_that_somebody_locked_is_decided_again_and_the_rest_is_settled(
    store: PostgresStore, hand: Hand, postgres_url: str
) -> None:
    put(store, *(new_job() for _ in range(5)))
    jobs = hand.claim(5)
    with psycopg.connect(postgres_url) as tx:
        tx.execute("select 1 from offpath_job where id = %s for update", (jobs[2].id,))
        said = hand.exchange([change(job, Done("1")) for job in jobs])
        assert said.verdicts == ["applied", "applied", "changed", "applied", "applied"]
        assert said.asked == {jobs[2].id: (None, None)}
    assert hand.finish(jobs[2]) == ["applied"]


def test_the_first_event_of_a_claim_is_the_one_of_the_core(store: PostgresStore, hand: Hand) -> None:
    put(store, watched(attempt=10), watched(attempt=2))
    hand.claim(2)
    with_attempts = {
        json.loads(event.data)["attempt"]: json.loads(event.data)
        for row in ask(store, store.verbs.list_jobs(JobFilter(), None, 10))
        for event in ask(store, store.verbs.events(row.job.id if row.job else "", 1, 9))
    }
    assert with_attempts == {n: started(n).data for n in (2, 10)}


def test_a_claim_carries_no_more_than_a_mebibyte(store: PostgresStore, hand: Hand) -> None:
    put(store, *(new_job(args='"%s"' % ("x" * 400_000)) for _ in range(6)))
    said = hand.exchange(want=hand.want(6))
    assert (len(said.claimed), said.full) == (3, True)
    assert [len(hand.claim(6)) for _ in range(2)] == [3, 0]


def test_old_jobs_and_new_priorities_are_found_within_a_second(store: PostgresStore, hand: Hand) -> None:
    """Claims go on where the last one ended; what is before that is found by a sweep."""
    at = now() - HOUR
    put(store, *(new_job(run_at=at + n) for n in range(50)))
    assert len(hand.claim(10)) == 10
    early, urgent = new_job(run_at=at - HOUR), new_job(priority=1)
    put(store, early, urgent)
    seen: list[str] = []
    began, late = time.monotonic(), 0
    while not {early.job.id, urgent.job.id} <= set(seen):
        put(store, *(new_job(run_at=at + 60) for _ in range(2)))
        late += time.monotonic() - began > 1.1  # this claim begins more than a second after they came
        seen += [job.id for job in hand.claim(1)]
        assert late <= 3, "each such claim finds one of the two"
        threading.Event().wait(0.05)


# ── a fork ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_fork_leaves_the_parents_connections_alone(postgres_url: str) -> None:
    """gunicorn's preload: the child opens its own; when it ends, the parent's still work."""
    program = textwrap.dedent(
        """
        import asyncio, os, sys
        from offpath.stores.postgres.store import PostgresStore
        from tests.stores.kit import ask, new_job, put, Hand
        async def here(store):
            await store.enqueue_here([new_job()])
        async def one(store):
            await store.move_in()
            await here(store)
            await store.move_out()
        store = PostgresStore(sys.argv[1], announce=lambda hints: None)
        store.open()
        hand = Hand(store)
        put(store, new_job())
        loop = asyncio.new_event_loop()
        loop.run_until_complete(store.move_in())
        loop.run_until_complete(here(store))
        pid = os.fork()
        if pid == 0:
            put(store, new_job(), new_job())
            asyncio.run(one(store))
            assert len(ask(store, store.verbs.counts())) == 1
            store.close()
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        put(store, new_job())
        loop.run_until_complete(here(store))
        loop.run_until_complete(store.move_out())
        assert hand.lease.renew(hand.id, 60.0)
        assert len(hand.claim(10)) == 7
        hand.close()
        store.close()
        print("both")
        """
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, postgres_url],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert (done.stdout.strip(), done.returncode) == ("both", 0), done.stderr
