"""Drain, enqueue, pickup and accept on SQLite, against Huey and against FastAPI by itself; rounds alternate."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from .measure import Row, child, per_job
from .processes import accepting, running

OURS, HUEY = "benchmarks.ours", "benchmarks.huey_peer"


class Plan(NamedTuple):
    """How much of everything: `quick` is for trying the harness, not for figures."""

    rounds: int = 5
    ours: int = 100_000
    huey: int = 3_000
    one: int = 2_000
    latency: int = 300
    seconds: float = 4.0


QUICK = Plan(rounds=1, ours=5_000, huey=500, one=200, latency=30, seconds=1.0)


@contextlib.contextmanager
def file() -> Iterator[str]:
    """A fresh database, whose path the sides find in BENCH_FILE."""
    with tempfile.TemporaryDirectory(prefix="offpath-bench-") as folder:
        os.environ["BENCH_FILE"] = os.path.join(folder, "jobs.db")
        os.environ.pop("BENCH_DATABASE", None)
        yield os.environ["BENCH_FILE"]


def rows(plan: Plan, only: str = "") -> Iterator[Row]:
    """Each row as soon as it is measured; `only` names one function."""
    for name, make in {
        "drain": drain,
        "one": lambda plan: enqueue(plan, "one", "enqueue, one at a time", plan.one),
        "many": lambda plan: enqueue(plan, "many", "enqueue, 100 callers in flight", plan.huey),
        "bulk": bulk,
        "pickup": pickup,
        "accept": accept,
    }.items():
        if only in ("", name):
            yield make(plan)


def drain(plan: Plan) -> Row:
    row = Row("drain, one worker process", "/s", 1)
    for _ in range(plan.rounds):
        for side, module, n in (("offpath", OURS, plan.ours), ("huey", HUEY, plan.huey)):
            with file():
                child(module, "fill", str(n))
                sample = child(module, "drain", str(n))
                row.add(side, per_job(sample, n))
    return row


def enqueue(plan: Plan, mode: str, name: str, n: int) -> Row:
    row = Row(name, "/s", 1)
    for _ in range(plan.rounds):
        for side, module, count in (("offpath", OURS, n * (1 if mode == "one" else 5)), ("huey", HUEY, n)):
            with file():
                row.add(side, per_job(child(module, "enqueue", str(count), mode), count))
    return row


def bulk(plan: Plan) -> Row:
    row = Row("enqueue, 1,000 in one call (Huey has no bulk: one at a time)", "/s", 1)
    for _ in range(plan.rounds):
        with file():
            row.add("offpath", per_job(child(OURS, "enqueue", str(plan.ours), "bulk"), plan.ours))
        with file():
            row.add("huey", per_job(child(HUEY, "enqueue", str(plan.one), "one"), plan.one))
    return row


def pickup(plan: Plan) -> Row:
    row = Row("pickup by a worker in another process, p50", "ms", 1)
    for _ in range(plan.rounds):
        for side, module in (("offpath", OURS), ("huey", HUEY)):
            with file(), running(module, "worker"):
                child(module, "latency", "20")  # the worker is up
                row.add(side, per_job(child(module, "latency", str(plan.latency)), plan.latency))
    return row


def accept(plan: Plan) -> Row:
    row = Row("FastAPI 202, 32 connections", "/s", 1)
    for _ in range(plan.rounds):
        for side, app in (("offpath", "offpath"), ("BackgroundTasks", "background"), ("one INSERT", "insert")):
            with file():
                row.add(side, accepting(app, plan.seconds))
    return row
