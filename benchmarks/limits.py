"""What limits cost, ours against ours: draining with 1,000 limited keys against none, and a limit of one with a short
and a long line behind it. On both stores; rounds alternate, each side in a database and a process of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .measure import Row, Sample, child
from .server import Server, server

SIDE = "benchmarks.limited"


class Plan(NamedTuple):
    rounds: int = 5
    drain: int = 20_000
    one: int = 1_000
    long: int = 100_000


QUICK = Plan(rounds=1, drain=2_000, one=100, long=2_000)


@contextmanager
def database(store: str, postgres: Server) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        if store == "sqlite":
            os.environ["BENCH_DATABASE"] = f"sqlite:///{folder}/jobs.db"
            yield
            return
        with postgres.database() as url:
            os.environ["BENCH_DATABASE"] = url
            yield


def rows(plan: Plan, only: str) -> Iterator[Row]:
    with server() as postgres:
        for store in ("sqlite", "postgresql"):
            if not only or only in ("drain", store):
                row = Row(f"drain of {plan.drain:,}, {store}", "/s", plan.drain, base="no limit", key="drain")
                for _ in range(plan.rounds):
                    for side, kind in (("no limit", "plain"), ("1,000 keys", "keys")):
                        with database(store, postgres):
                            row.add(side, ran(kind, plan.drain, plan.drain))
                yield row
            if not only or only in ("one", store):
                row = Row(f"one at a time, {store}", "/s", plan.one, base="short line", key="one")
                for _ in range(max(1, plan.rounds // 2)):
                    for side, backlog in (("short line", plan.one), (f"{plan.long:,} in line", plan.long)):
                        with database(store, postgres):
                            row.add(side, ran("one", plan.one, backlog))
                yield row


def ran(kind: str, run: int, backlog: int) -> Sample:
    return child(SIDE, kind, str(run), str(backlog))
