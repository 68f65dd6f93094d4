"""Behind PgBouncer, mostly in transaction mode: few server connections for all, given to whoever has a transaction."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from offpath.core.job import State
from offpath.core.outcome import Done
from offpath.stores.postgres.address import parse
from offpath.stores.postgres.session import connect
from offpath.stores.postgres.store import PostgresStore
from tests import debian
from tests.conftest import missing
from tests.stores.kit import TIMEOUT, Hand, ask, change, ended, live, new_job, perform, put, told, watched

CONFIG = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 2
{more}
"""


REFUSES = "ignore_startup_parameters = extra_float_digits"
IGNORES = (
    "ignore_startup_parameters = jit, plan_cache_mode, enable_seqscan, enable_bitmapscan, enable_hashjoin, "
    "enable_mergejoin, lock_timeout, statement_timeout, idle_in_transaction_session_timeout, "
    "default_transaction_isolation, default_transaction_read_only"
)


@pytest.fixture(params=["refuses settings", "ignores settings"])
def pooled_url(request: pytest.FixtureRequest, tables_url: str) -> Iterator[str]:
    with bouncing(request.config, tables_url, REFUSES if request.param == "refuses settings" else IGNORES) as url:
        yield url


@contextlib.contextmanager
def bouncing(settings: pytest.Config, url: str, more: str, mode: str = "transaction") -> Iterator[str]:
    """The URL of a PgBouncer before that database."""
    program = debian.program("pgbouncer", "pgbouncer")
    if isinstance(program, debian.Unavailable):
        missing(settings, "pgbouncer", str(program))
    to = urlsplit(url)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        config = Path(folder, "pgbouncer.ini")
        about = {"host": to.hostname, "port": to.port, "user": to.username, "password": to.password}
        about |= {"more": more, "mode": mode}
        as_whom = ["-u", "nobody"] if os.getuid() == 0 else []
        bouncer, own = None, 0
        until = time.monotonic() + TIMEOUT
        while True:
            if bouncer is None or bouncer.poll() is not None:  # somebody else may have taken the port meanwhile
                with socket.socket() as free:
                    free.bind(("127.0.0.1", 0))
                    own = free.getsockname()[1]
                config.write_text(CONFIG.format(**about, own=own))
                bouncer = subprocess.Popen([program, "-q", *as_whom, str(config)], stderr=subprocess.DEVNULL)
            try:
                socket.create_connection(("127.0.0.1", own), timeout=10).close()
                if bouncer.poll() is None:
                    break
            except ConnectionRefusedError:
                assert time.monotonic() < until
        try:
            yield to._replace(netloc=f"{to.username}@127.0.0.1:{own}").geturl()
        finally:
            bouncer.send_signal(signal.SIGKILL)
            bouncer.wait()


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_the_doctor_says_which_mode_a_pooler_is_in(request: pytest.FixtureRequest, tables_url: str, mode: str) -> None:
    with bouncing(request.config, tables_url, IGNORES, mode) as url:
        store = PostgresStore(url, announce=lambda hints: None)
        try:
            [said] = [check for check in store.doctor(60.0) if check.check == "listening"]
        finally:
            store.close()
    assert said.state == "warning"
    assert f"pooler answers in PostgreSQL's place ({mode} mode)" in said.detail


@pytest.mark.parametrize("through", [False, True])
async def test_a_pooler_is_known_for_what_it_is(pooled_url: str, tables_url: str, through: bool) -> None:
    session = await connect(parse(pooled_url if through else tables_url))
    assert session.pooled is through
    await session.close()


def test_everything_works_in_transactions(pooled_url: str) -> None:
    store = PostgresStore(pooled_url, announce=lambda hints: None)
    store.open()
    hand = Hand(store)
    try:
        put(store, *(watched(key=str(n)) for n in range(5)), *(new_job() for _ in range(5)))
        jobs = hand.claim(20)
        assert len(jobs) == 10
        assert perform(store, store.verbs.progress(jobs[0].id, jobs[0].fence, hand.id, "{}"))
        perform(store, store.verbs.cancel(jobs[1].id, "stop"))
        said = hand.exchange([change(job, Done("1")) for job in jobs], hand.want(5))
        assert [said.verdicts.count(word) for word in ("applied", "changed", "stale")] == [9, 1, 0]
        assert ended(store, jobs[0].id).state is State.SUCCEEDED
        assert live(store, jobs[1].id).state is State.RUNNING
        watched_one = next(job for job in jobs if job.watched and job.id != jobs[1].id)
        assert told(store, watched_one.id)[-1][1] == "succeeded"
        assert hand.lease.renew(hand.id, 60.0)
        assert hand.lease.judge() == []
        assert perform(store, store.verbs.prune(10)) == 0
    finally:
        hand.close()
        store.close()


def test_many_at_once_through_two_connections(pooled_url: str) -> None:
    """More tasks than server connections: each statement of a transaction finds what the one before it prepared."""
    stores = [PostgresStore(pooled_url, announce=lambda hints: None) for _ in range(3)]
    stores[0].open()

    def work(store: PostgresStore) -> int:
        hand = Hand(store)
        done = 0
        try:
            for _ in range(15):
                put(store, new_job(), new_job())
                done += len(hand.finish(*hand.claim(3)))
                ask(store, store.verbs.counts())
        finally:
            hand.close()
        return done

    try:
        with ThreadPoolExecutor(6) as pool:
            done = sum(pool.map(work, stores * 2))
        assert done == 180 - sum(row[3] for row in ask(stores[0], stores[0].verbs.counts()))
    finally:
        for store in stores:
            store.close()
