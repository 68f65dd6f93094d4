"""Drain, enqueue, pickup and accept on PostgreSQL against PgQueuer, Procrastinate and graphile-worker, and how flat we
stay: with a large backlog, over a long churn, with a snapshot held open.

Rounds alternate; each side of each round has a fresh database and processes of its own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

from .graphile import Graphile, graphile
from .measure import Row, Sample, per_job, ran
from .processes import accepting, running
from .server import NAME, Server, connect, server

OURS = "benchmarks.ours"


class Sizes(NamedTuple):
    """Jobs of one side in one round, so that each takes a few seconds."""

    drain: int
    one: int
    many: int
    bulk: int


class Plan(NamedTuple):
    """How much of everything: `quick` is for trying the harness, not for figures."""

    rounds: int = 5
    sizes: Mapping[str, Sizes] = {
        "offpath": Sizes(80_000, 2_000, 40_000, 100_000),
        "graphile-worker": Sizes(60_000, 1_000, 2_000, 50_000),
        "pgqueuer": Sizes(24_000, 1_000, 3_000, 50_000),
        "procrastinate": Sizes(1_200, 500, 2_000, 10_000),
    }
    latency: int = 300
    seconds: float = 4.0
    backlogs: tuple[int, ...] = (10_000, 200_000, 1_000_000)
    churn: int = 500_000

    @property
    def long_rounds(self) -> int:
        """Of the rows that take a minute and more."""
        return max(1, self.rounds // 4)


QUICK = Plan(
    rounds=1,
    sizes={
        "offpath": Sizes(5_000, 200, 2_000, 5_000),
        "graphile-worker": Sizes(5_000, 100, 300, 5_000),
        "pgqueuer": Sizes(2_000, 100, 300, 5_000),
        "procrastinate": Sizes(100, 100, 200, 1_000),
    },
    latency=20,
    seconds=0.6,
    backlogs=(5_000, 10_000, 20_000),
    churn=20_000,
)
BACKLOG = 5_000  # of the churn
UNFINISHED = {
    "offpath": "select count(*) from offpath_job",
    "graphile-worker": "select count(*) from graphile_worker._private_jobs",
    "pgqueuer": "select count(*) from pgqueuer",
    "procrastinate": "select count(*) from procrastinate_jobs where status <> 'succeeded'",
}


@contextlib.contextmanager
def opened() -> Iterator[Bench]:
    with server() as found:
        yield Bench(found, graphile())


class Bench:
    """A server and the sides that run on it. Each side is a program that understands the verbs of `ours`."""

    def __init__(self, found: Server, node: Graphile | str) -> None:
        self.server = found
        self.sides: dict[str, tuple[str, ...]] = {"offpath": (sys.executable, "-m", OURS)}
        versions = []
        if isinstance(node, Graphile):
            self.sides["graphile-worker"] = node.command
            versions.append(node.about)
        else:
            versions.append(f"graphile-worker skipped: {node}")
        for peer, name in (("pgqueuer", "PgQueuer"), ("procrastinate", "Procrastinate")):
            self.sides[peer] = (sys.executable, "-m", f"benchmarks.{peer}_peer")
            versions.append(f"{name} {version(peer)}")
        self.about = f"PostgreSQL {found.version}, fsync {fsync() * 1e6:.0f} µs; " + "; ".join(versions)

    def rows(self, plan: Plan, only: str = "") -> Iterator[Row]:
        """Each row as soon as it is measured; `only` names one."""
        makers: dict[str, Callable[[Plan], Row]] = {
            "drain": self.drain,
            "one": lambda plan: self.enqueue(plan, "one", "enqueue, one at a time"),
            "many": lambda plan: self.enqueue(plan, "many", "enqueue, 100 callers in flight"),
            "bulk": lambda plan: self.enqueue(plan, "bulk", "enqueue, 1,000 in one call"),
            "pickup": self.pickup,
            "accept": self.accept,
            "growth": self.growth,
            "churn": lambda plan: self.churn(plan, hold=False),
            "held": lambda plan: self.churn(plan, hold=True),
        }
        if only not in ("", *makers):
            raise SystemExit(f"no row {only!r}; there are {', '.join(makers)}")
        for key, make in makers.items():
            if only in ("", key):
                row = make(plan)
                row.key = key
                yield row

    # ── side by side ─────────────────────────────────────────────────────────────────────────────────────────────

    def drain(self, plan: Plan) -> Row:
        row = Row("drain, one worker process", "/s", 1)
        for side, sizes in self._turns(plan):
            n = sizes.drain
            with self._database(side) as url:
                self._ran(side, "fill", n)
                analyze(url)
                row.add(side, self._observed(url, n, lambda: self._ran(side, "drain", n)))  # noqa: B023
                check_empty(url, side)
        return row

    def enqueue(self, plan: Plan, mode: str, name: str) -> Row:
        row = Row(name, "/s", 1)
        for side, sizes in self._turns(plan):
            n: int = getattr(sizes, mode)
            with self._database(side) as url:
                row.add(side, self._observed(url, n, lambda: self._ran(side, "enqueue", n, mode)))  # noqa: B023
        return row

    def pickup(self, plan: Plan) -> Row:
        row = Row("pickup by a worker in another process, p50", "ms", 1)
        for side, _ in self._turns(plan):
            with self._database(side), running(*self.sides[side], "worker"):
                self._ran(side, "latency", 20)  # the worker is up
                row.add(side, per_job(self._ran(side, "latency", plan.latency), plan.latency))
        return row

    def accept(self, plan: Plan) -> Row:
        row = Row("FastAPI 202, 32 connections", "/s", 1)
        for _ in range(plan.rounds):
            for side, app in (("offpath", "offpath"), ("BackgroundTasks", "background"), ("one INSERT", "insert")):
                with self._database():
                    row.add(side, accepting(app, plan.seconds))
        return row

    # ── against ourselves ────────────────────────────────────────────────────────────────────────────────────────

    def growth(self, plan: Plan) -> Row:
        """The largest backlog in fewer rounds than the others."""
        small, *others = [f"{n:,} jobs" for n in plan.backlogs]
        row = Row("drain, by backlog", "/s", 1, base=small)
        for turn in range(plan.rounds):
            for side, n in zip((small, *others), plan.backlogs, strict=True):
                if n == plan.backlogs[-1] and turn >= plan.long_rounds:
                    continue
                with self._database("offpath") as url:
                    row.add(side, self._ran("offpath", "grow", n))
                    check_empty(url, "offpath")
        return row

    def churn(self, plan: Plan, *, hold: bool) -> Row:
        """A worker, and a process that puts in what the worker has taken out. Rates of tenths of the whole."""
        held = ", with a snapshot held open" if hold else ""
        tenth = f"{plan.churn // 10:,}"
        first, least = f"first {tenth}", f"slowest {tenth}"
        row = Row(f"churn of {plan.churn:,} jobs through a backlog of {BACKLOG:,}{held}", "/s", 1, base=first)
        for _ in range(plan.long_rounds):
            with self._database("offpath") as url, snapshot(url) if hold else contextlib.nullcontext():
                whole = self._observed(url, plan.churn, lambda: self._churned(plan.churn))
            row.add(first, replace(whole, value=whole.series[0]))
            row.add(least, replace(whole, value=min(whole.series)))
            row.add("all", whole)
        return row

    def _churned(self, n: int) -> Sample:
        read, write = os.pipe()
        try:
            command = [*self.sides["offpath"], "feed", str(n), str(BACKLOG)]
            with subprocess.Popen(command, stdin=read, stdout=subprocess.DEVNULL) as feeder:
                try:
                    sample = ran(*self.sides["offpath"], "churn", str(n), str(write), pass_fds=(write,))
                except BaseException:
                    feeder.kill()
                    raise
            if feeder.returncode:
                raise SystemExit(f"{' '.join(command)} ended with {feeder.returncode}")
        finally:
            os.close(read)
            os.close(write)
        return sample

    # ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _turns(self, plan: Plan) -> Iterator[tuple[str, Sizes]]:
        for _ in range(plan.rounds):
            for side in self.sides:
                yield side, plan.sizes[side]

    @contextlib.contextmanager
    def _database(self, side: str | None = None) -> Iterator[str]:
        """A fresh one, empty or with the side's tables; processes find it in BENCH_DATABASE, a folder in BENCH_FILE."""
        with tempfile.TemporaryDirectory(prefix="offpath-bench-") as folder, self.server.database() as url:
            os.environ["BENCH_FILE"], os.environ["BENCH_DATABASE"] = str(Path(folder, "side")), url
            if side is not None:
                self._ran(side, "prepare")
            yield url

    def _ran(self, side: str, verb: str, *args: int | str) -> Sample:
        return ran(*self.sides[side], verb, *(str(arg) for arg in args))

    def _observed(self, url: str, n: int, work: Callable[[], Sample]) -> Sample:
        """What the server had to do for it, per job, and the dead rows it was left with."""
        with connect(url) as connection:
            spent, at = self.server.cpu(), connection.execute("select pg_current_wal_insert_lsn()::text").fetchone()
            assert at is not None
            sample = per_job(work(), n)
            used = self.server.cpu()
            wal = connection.execute("select pg_current_wal_insert_lsn() - %s::pg_lsn", at).fetchone()
            assert wal is not None
            if spent is not None and used is not None:
                sample.columns["server CPU s/1k jobs"] = (used - spent) / n * 1000
            sample.columns["WAL B/job"] = float(wal[0]) / n
            sample.columns["dead rows/job"] = dead_rows(url) / n
        return sample


@contextlib.contextmanager
def snapshot(url: str) -> Iterator[None]:
    """Held open elsewhere: no row that dies meanwhile can be vacuumed away."""
    with connect(url) as connection:
        connection.execute("begin isolation level repeatable read")
        connection.execute("select count(*) from pg_class")
        yield
        connection.execute("rollback")


def analyze(url: str) -> None:
    """As autovacuum would have done by the time that such a backlog is there, for each side alike."""
    with connect(url) as connection:
        connection.execute("analyze")


def dead_rows(url: str) -> float:
    """As the server counts them, after the side's processes have handed in what they know."""
    others = (
        "select from pg_stat_activity where datname = current_database() and backend_type = 'client backend'"
        " and application_name <> %s"
    )
    deadline = time.monotonic() + 5
    with connect(url) as connection:
        while connection.execute(others, (NAME,)).fetchone() is not None and time.monotonic() < deadline:
            time.sleep(0.02)
    return count(url, "select coalesce(sum(n_dead_tup), 0) from pg_stat_user_tables")


def check_empty(url: str, side: str) -> None:
    """SystemExit if a side left a job behind: a rate for fewer than all would say nothing."""
    if left := count(url, UNFINISHED[side]):
        raise SystemExit(f"{side} left {left:.0f} jobs behind")


def count(url: str, query: str) -> float:
    with connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return float(row[0])


def fsync() -> float:
    """Seconds for one where temporary files are, and so the server's: a cloud volume takes 5 to 30 times as long."""
    took = []
    with tempfile.TemporaryFile() as file:
        for _ in range(100):
            os.pwrite(file.fileno(), b"x" * 8192, 0)
            begun = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - begun)
    return median(took)
