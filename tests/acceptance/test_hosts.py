"""Workers on hosts of their own, each a network namespace, and a cable that is pulled while they work."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from offpath import Offpath
from offpath.stores.postgres.session import ANSWER_SECONDS
from servers.hosts import Host, hosts
from servers.postgres import scratch, wheel

from .fleet import ROOT, until

JOBS, HELPING = 240, 20
pytestmark = pytest.mark.servers("hosts")


@pytest.fixture
def place() -> Iterator[tuple[str, str, list[Host]]]:
    """(URL for us, URL for the hosts, two hosts)."""
    with tempfile.TemporaryDirectory(prefix="offpath-hosts-") as folder, hosts(2) as (address, made):
        Path(folder).chmod(0o755)
        rules = Path(folder, "hba.conf")
        rules.write_text(f"host all all 127.0.0.1/32 password\nhost all all {address}/24 password\n")
        rules.chmod(0o644)
        config = {"listen_addresses": f"127.0.0.1,{address}", "hba_file": str(rules)}
        with scratch(wheel(), ["--auth=password", "--no-sync"], config=config) as server:
            yield server.url, server.url.replace("127.0.0.1", address), made


@pytest.mark.parametrize("given_up", [False, True], ids=["shortly", "until the server has given it up"])
def test_a_pulled_cable_loses_and_doubles_nothing(place: tuple[str, str, list[Host]], given_up: bool) -> None:
    """Both hosts work. One is cut off with jobs in its hands: the other gets them, and when the cable is back, nothing
    that the first still says is taken, and it works on, even when it waits for answers of a server that has long let go
    of it."""
    here, there, (first, second) = place
    jobs = Offpath(here)
    jobs.migrate()
    task = jobs.task(name="note")(lambda n: None)
    env = {**os.environ, "HOSTS_DATABASE": there, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "offpath", "--app", "tests.acceptance.hosts:jobs", "worker"]
    with psycopg.connect(here, autocommit=True) as look:
        look.execute("create table receipt (n integer not null, host text not null)")

        def of(host: Host) -> int:
            row = look.execute("select count(*) from receipt where host = %s", (host.address,)).fetchone()
            return row[0] if row else 0

        jobs.enqueue_many_sync([task.call(n=n) for n in range(JOBS)])
        workers = [host.popen(words, env=env, cwd=ROOT) for host in (first, second)]
        try:
            until(lambda: of(first) and of(second), 60, "both hosts work")
            first.cut()
            ended = "select count(*) = %s from offpath_history where outcome = 4"
            until(lambda: look.execute(ended, (JOBS,)).fetchone() == (True,), 120, "the other does all that is left")
            if given_up:
                lines = "select from pg_stat_activity where client_addr = %s and application_name = 'offpath'"
                until(lambda: not look.execute(lines, (first.address,)).rowcount, 60, "its lines are dropped")
            at_the_cut = of(first)
            first.mend()
            total = JOBS

            def worked_again() -> bool:  # more work each time we look: the other would do any fixed helping by itself
                nonlocal total
                jobs.enqueue_many_sync([task.call(n=total + n) for n in range(HELPING)])
                total += HELPING
                return of(first) > at_the_cut

            # sooner than it gives up waiting for an answer
            until(worked_again, ANSWER_SECONDS / 2, "the first works again, under another name", pause=0.1)
            until(lambda: look.execute(ended, (total,)).fetchone() == (True,), 120, "all that came after")
            found = [n for (n,) in look.execute("select n from receipt order by n").fetchall()]
            assert found == list(range(total)), "each exactly once"
        finally:
            first.mend()
            for worker in workers:
                worker.kill()
                worker.wait()
            jobs.close()
