"""More workers on one PostgreSQL, each on a host of its own (a network namespace): what a second, a fourth and a tenth
add, which side works, and what a hundred cost while there is nothing to do.

The workers start on a paused queue; the clock runs from the moment it is resumed until the last job has ended.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from offpath import Offpath
from servers.hosts import Host, hosts
from servers.postgres import scratch, wheel

from .measure import Row, Sample
from .processes import cpu_of, rss_of
from .server import CONFIG, Server, connect

APP, QUEUE = "benchmarks.scaled", "scaled"
WORKER = [sys.executable, "-m", "offpath", "--app", f"{APP}:jobs", "worker"]
PATIENCE = 240.0  # s for all workers to be there, and for a drain


class Plan(NamedTuple):
    rounds: int = 3
    workers: tuple[int, ...] = (1, 2, 4, 10)
    nothing: int = 40_000
    waits: int = 20_000
    idle: tuple[int, ...] = (1, 10, 100)
    seconds: float = 20.0


QUICK = Plan(1, (1, 2), 2_000, 500, (1, 3), 2.0)


class Fleet:
    """Workers on hosts, and the server that they share."""

    def __init__(self, server: Server, address: str, places: list[Host]) -> None:
        self.server, self.address, self.places = server, address, places

    def rows(self, plan: Plan, only: str) -> Iterator[Row]:
        for task, n in (("nothing", plan.nothing), ("waits", plan.waits)):
            if only not in ("", "drain", task):
                continue
            name = {"nothing": "drain, no-op jobs", "waits": "drain, jobs that wait 10 ms"}[task]
            row = Row(name, "/s", n, base=f"{plan.workers[0]} worker", key=task)
            for _ in range(plan.rounds):
                for count in plan.workers:
                    row.add(f"{count} worker{'s' * (count > 1)}", self.drain(task, n, count))
            yield row
        if only in ("", "idle"):
            row = Row("nothing to do", "statements/s", 1, base=f"{plan.idle[0]} worker", key="idle")
            for count in plan.idle:
                row.add(f"{count} worker{'s' * (count > 1)}", self.idle(count, plan.seconds))
            yield row

    def drain(self, task: str, n: int, count: int) -> Sample:
        with self.server.database() as url, self._prepared(url, task, n), self._workers(url, count) as workers:
            used, served = sum(cpu_of(w.pid) for w in workers), self.server.cpu() or 0.0
            with connect(url) as look, contextlib.closing(Offpath(url)) as jobs:
                jobs.transport.open()
                began = time.perf_counter()
                jobs.queues.resume_sync(QUEUE)
                while self._one(look, "select exists (select 1 from offpath_job)"):
                    time.sleep(0.01)
                took = time.perf_counter() - began
                open_now = self._connections(look)
            ours = sum(cpu_of(w.pid) for w in workers) - used
            theirs = (self.server.cpu() or 0.0) - served
            rss = max(rss_of(w.pid) for w in workers)
        columns = {"workers' CPU s": ours, "server's CPU s": theirs, "busy of 2 cores": (ours + theirs) / took / 2}
        return Sample(n / took, ours, rss, columns={**columns, "connections": open_now})

    def idle(self, count: int, seconds: float) -> Sample:
        with self.server.database() as url, self._prepared(url, "nothing", 0), self._workers(url, count) as workers:
            with connect(url) as look:
                used, served = sum(cpu_of(w.pid) for w in workers), self.server.cpu() or 0.0
                done = self._transactions(look)
                time.sleep(seconds)  # the measurement itself
                done = self._transactions(look) - done
                open_now = self._connections(look)
            ours = sum(cpu_of(w.pid) for w in workers) - used
            theirs = (self.server.cpu() or 0.0) - served
            rss = max(rss_of(w.pid) for w in workers)
        share = {"workers' CPU, cores": ours / seconds, "server's CPU, cores": theirs / seconds}
        return Sample(done / seconds, 0.0, rss, columns={**share, "connections": open_now})

    # -- inside -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _prepared(self, url: str, task: str, n: int) -> Iterator[None]:
        env = {**os.environ, "BENCH_DATABASE": url}
        subprocess.run([sys.executable, "-m", APP, task, str(n)], env=env, check=True)
        yield

    @contextlib.contextmanager
    def _workers(self, url: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Registered, and with nothing to claim yet."""
        env = {**os.environ, "BENCH_DATABASE": url.replace("127.0.0.1", self.address)}
        workers = [self.places[n % len(self.places)].popen(WORKER, env=env) for n in range(count)]
        try:
            until = time.monotonic() + PATIENCE
            with connect(url) as look:
                while self._one(look, "select count(*) from offpath_worker") < count:
                    if time.monotonic() > until or any(w.poll() is not None for w in workers):
                        raise SystemExit(f"not all of {count} workers came up")
                    time.sleep(0.05)
            time.sleep(1.0)  # what follows a start: hints, the first look round
            yield workers
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait(60)

    @staticmethod
    def _one(look: object, sql: str) -> int:
        row = look.execute(sql.encode()).fetchone()  # type: ignore[attr-defined]
        return int(row[0])

    def _connections(self, look: object) -> int:
        """The workers': those that come from their hosts."""
        return self._one(look, "select count(*) from pg_stat_activity where host(client_addr) <> '127.0.0.1'")

    def _transactions(self, look: object) -> int:
        self._one(look, "select 1 from pg_stat_clear_snapshot()")
        return self._one(
            look, "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
        )


@contextlib.contextmanager
def opened(count: int) -> Iterator[Fleet]:
    """A fresh server that hosts reach, and `count` hosts."""
    with tempfile.TemporaryDirectory(prefix="offpath-scale-") as folder, hosts(count) as (address, places):
        Path(folder).chmod(0o755)
        rules = Path(folder, "hba.conf")
        rules.write_text(f"host all all 127.0.0.1/32 password\nhost all all {address}/24 password\n")
        rules.chmod(0o644)
        config = {
            **CONFIG,
            "max_connections": "1200",
            "listen_addresses": f"127.0.0.1,{address}",
            "hba_file": str(rules),
        }
        with scratch(wheel(), ["--auth=password", "--no-sync"], config=config) as made:
            yield Fleet(Server(made.url, made.process.pid), address, places)
