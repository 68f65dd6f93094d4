"""Answers that never come: what was sent may have been done or not, and nothing may be lost or doubled either way."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

import asyncpg
import psycopg
import pytest

from offpath.core.job import State
from offpath.core.outcome import Done, Interrupted
from offpath.errors import StoreUnavailable
from offpath.ports import Enqueued, NewJob, Statement, Verb
from offpath.stores import rows
from offpath.stores.postgres.address import parse
from offpath.stores.postgres.session import explained
from offpath.stores.postgres.store import PostgresStore
from tests.stores.kit import TIMEOUT, Hand, ask, change, ended, live, new_job, put, told, watched


class Wire:
    """A way to the server that loses an answer on demand: when `needle` has been sent, nothing comes back any more.

    The statement reaches the server all the same; the connection is cut as soon as the server has answered.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._needle: bytes | None = None
        self._skip = 0
        self._ready = threading.Event()
        self.cut = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.port = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait(TIMEOUT)
        user = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{user}@127.0.0.1:{self.port}").geturl()

    def lose(self, needle: bytes) -> None:
        """The answer to the next message that contains this, and its connection."""
        self.cut.clear()
        self._needle = needle

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())
        self.loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1")
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _accept(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, out = await asyncio.open_connection(*self._to)
        deaf = asyncio.Event()

        async def forth() -> None:
            while data := await near.read(1 << 20):
                if self._needle is not None and self._needle in data:
                    self._needle = None
                    deaf.set()
                out.write(data)
                await out.drain()

        async def home() -> None:
            while data := await far.read(1 << 20):
                if deaf.is_set():
                    self.cut.set()
                    return
                back.write(data)
                await back.drain()

        tasks = [asyncio.ensure_future(forth()), asyncio.ensure_future(home())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass
        finally:
            for task in tasks:
                task.cancel()
            for writer in (back, out):
                writer.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(TIMEOUT)


@pytest.fixture
def wire(tables_url: str) -> Iterator[Wire]:
    made = Wire(tables_url)
    yield made
    made.close()


@pytest.fixture
def shaky(wire: Wire) -> Iterator[PostgresStore]:
    """A store whose answers can be lost."""
    store = PostgresStore(wire.url, announce=lambda hints: None)
    store.open()
    yield store
    store.close()


@pytest.fixture
def worker(shaky: PostgresStore) -> Iterator[Hand]:
    hand = Hand(shaky)
    yield hand
    hand.close()


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InterfaceError("connection is closed"),
        asyncio.IncompleteReadError(b"", 1),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_however_the_driver_says_that_a_connection_was_lost(error: Exception) -> None:
    """The first is what asyncpg raises when the server's goodbye meets a statement on its way. A worker that took it
    for a fault of the outcome that it was sending would fail that job."""
    said = explained(error, parse("postgresql://u@127.0.0.1/app"))
    assert isinstance(said, StoreUnavailable)
    assert "was lost" in str(said)


def test_a_server_that_has_become_a_standby(store: PostgresStore) -> None:
    """Its connections are of no more use, but none of them was lost: the way to the primary is what is to be found."""

    def verb() -> Verb[None]:
        yield Statement("set transaction read only", {}, rows.nothing)  # a standby knows no others
        yield from store.verbs.enqueue([new_job()])

    with pytest.raises(StoreUnavailable, match=r"read-only .*primary.*target_session_attrs=read-write") as caught:
        store.perform(verb()).result(TIMEOUT)
    assert "was lost" not in str(caught.value)
    put(store, new_job())


def mark(text: str) -> str:
    return f'{{"mark":"{text}"}}'


@pytest.mark.parametrize(
    ("key", "needle"),
    [(None, b"needle"), ("k", b"needle"), ("k", b"commit")],
    ids=["committed by itself", "lost before the commit", "lost after the commit"],
)
def test_an_enqueue_whose_answer_was_lost_is_made_once(
    shaky: PostgresStore, wire: Wire, key: str | None, needle: bytes
) -> None:
    put(shaky, new_job())  # the connection is there
    new = watched(args=mark("needle"), key=key)
    wire.lose(needle)
    assert put(shaky, new) == [Enqueued(new.job.id, False)]
    assert wire.cut.is_set()
    assert live(shaky, new.job.id) == new.job
    assert told(shaky, new.job.id) == [(1, "queued", {})]


def test_not_even_when_it_has_ended_meanwhile(shaky: PostgresStore, wire: Wire, tables_url: str) -> None:
    """The second asking finds the job in history, and takes back what it has just inserted."""
    put(shaky, new_job())
    new = new_job(args=mark("needle"), queue="quick")
    other = PostgresStore(tables_url, announce=lambda hints: None)
    other.open()
    hand = Hand(other)
    again = shaky.verbs.enqueue_again

    def late(jobs: Sequence[NewJob]) -> Verb[list[Enqueued]]:
        [job] = hand.claim(5, queues=(("quick", 1),))
        assert hand.finish(job) == ["applied"]
        return again(jobs)

    shaky.verbs.enqueue_again = late  # type: ignore[method-assign]
    wire.lose(b"needle")
    assert put(shaky, new) == [Enqueued(new.job.id, False)]
    assert ended(shaky, new.job.id).state is State.SUCCEEDED
    assert hand.claim(5, queues=(("quick", 1),)) == []
    assert [row[3] for row in ask(shaky, shaky.verbs.counts())] == [1], "only the first, which nobody took"
    hand.close()
    other.close()


def test_a_claim_whose_answer_was_lost_is_found_by_the_next(shaky: PostgresStore, wire: Wire, worker: Hand) -> None:
    put(shaky, *(watched() for _ in range(3)))
    worker.exchange()  # it has renewed the lease; what comes is the claim alone
    assert worker.claim(1) != []
    wire.lose(worker.tasks.encode())
    with pytest.raises(StoreUnavailable, match="was lost"):
        worker.claim(2)
    found = worker.exchange(want=worker.want(5))
    assert len(found.claimed) == 2
    for job in found.claimed:
        assert live(shaky, job.id) == job
        assert [type for _, type, _ in told(shaky, job.id)] == ["queued", "started"], "and it was claimed once"
    assert set(worker.finish(*found.claimed)) == {"applied"}
    assert worker.exchange(want=worker.want(5)).claimed == []


@pytest.mark.parametrize("shown", [False, True])
def test_a_settle_whose_answer_was_lost_is_applied(shaky: PostgresStore, wire: Wire, worker: Hand, shown: bool) -> None:
    """The worker sends it again, and must not hear that its word came too late."""
    put(shaky, *((watched() if shown else new_job()) for _ in range(4)))
    done, back, stranger, plain = worker.claim(4)
    wishes = [change(done, Done('"needle"')), change(plain, Done("1"))]
    if shown:
        wishes.append(change(back, Interrupted()))
    wishes.append(change(stranger._replace(fence=7), Done("1")))
    worker.exchange()
    wire.lose(b"commit" if shown else b"needle")
    with pytest.raises(StoreUnavailable, match="was lost"):
        worker.exchange(wishes)
    assert wire.cut.wait(TIMEOUT)
    assert worker.exchange(wishes).verdicts == ["applied"] * (len(wishes) - 1) + ["stale"]
    assert ended(shaky, done.id).result == '"needle"'
    assert worker.exchange(wishes).verdicts == ["stale"] * len(wishes), "what was heard of is not written twice"


def test_connections_that_the_server_ends_are_made_anew(shaky: PostgresStore, worker: Hand, tables_url: str) -> None:
    put(shaky, new_job(), new_job())
    assert len(worker.claim(1)) == 1
    ask(shaky, shaky.verbs.counts())
    with psycopg.connect(tables_url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        )
    new = new_job()
    until = time.monotonic() + TIMEOUT
    attempts: list[Callable[[], bool]] = [
        lambda: put(shaky, new) == [Enqueued(new.job.id, False)],
        lambda: len(worker.claim(5)) == 2,
        lambda: len(ask(shaky, shaky.verbs.counts())) == 1,
        lambda: worker.lease.renew(worker.id, 60.0),
    ]
    for attempt in attempts:
        while True:
            try:
                assert attempt()
                break
            except StoreUnavailable:  # this one had not noticed yet; the next is another connection
                assert time.monotonic() < until
