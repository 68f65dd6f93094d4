"""Pickup: from before a job is enqueued in one process to the start of its attempt in a worker of another, over every
transport and both stores.

The brokers' servers are this machine's, fresh, with nobody else on them. Kafka is librdkafka's mock and SQS is moto's
server: their figures say what our side costs, not what Kafka or AWS take. (The mock is asked 100 times a second.)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from servers.kafka import BRISK, Kafka
from servers.postgres import Unavailable
from servers.rabbitmq import RabbitMQ
from servers.redis import Redis
from servers.server import Server
from servers.sqs import Sqs

from .measure import Row, child, per_job
from .processes import running
from .server import server
from .sqlite import OURS, file

Database = Callable[[], AbstractContextManager[str | None]]

OWN = "own way"
REDIS_7 = Path("/usr/bin/redis-server")


class Plan(NamedTuple):
    """`jobs` of each side in each round, after `warm` that do not count."""

    rounds: int = 3
    jobs: int = 300
    warm: int = 20


QUICK = Plan(rounds=1, jobs=20)


@contextlib.contextmanager
def opened() -> Iterator[dict[str, str]]:
    """By side: the URL of its transport. What cannot be had here is not in it."""
    kinds: dict[str, tuple[type[Server], tuple[Path, ...]]] = {
        "Redis (Valkey)": (Redis, ()),
        "RabbitMQ": (RabbitMQ, ()),
        "Kafka (mock)": (Kafka, ()),
        "SQS (moto)": (Sqs, ()),
    }
    if REDIS_7.exists():
        kinds["Redis 7"] = (Redis, (REDIS_7,))
    with contextlib.ExitStack() as stack:
        urls = {OWN: ""}
        for name, (kind, words) in kinds.items():
            with contextlib.suppress(Unavailable):
                urls[name] = stack.enter_context(kind.scratch(*words)).url + (BRISK if kind is Kafka else "")
        yield urls


def rows(plan: Plan, urls: dict[str, str], only: str = "") -> Iterator[Row]:
    if only not in ("", "sqlite", "postgresql"):
        raise SystemExit(f"no row {only!r}; there are sqlite and postgresql")
    if only != "postgresql":
        yield _row("sqlite", "pickup, SQLite", plan, urls, contextlib.nullcontext)
    if only != "sqlite":
        with server() as found:
            yield _row("postgresql", "pickup, PostgreSQL", plan, urls, found.database)


def _row(key: str, name: str, plan: Plan, urls: dict[str, str], database: Database) -> Row:
    row = Row(f"{name}, p50", "ms", 1, base=OWN, key=key)
    for _ in range(plan.rounds):
        for side, url in urls.items():
            with file(), database() as place, _environment(BENCH_DATABASE=place, OFFPATH_TRANSPORT=url):
                child(OURS, "prepare")
                with running(OURS, "worker"):
                    child(OURS, "latency", str(plan.warm))  # the worker is up
                    row.add(side, per_job(child(OURS, "latency", str(plan.jobs)), plan.jobs))
    return row


@contextlib.contextmanager
def _environment(**given: str | None) -> Iterator[None]:
    """For the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in given}
    _set(given)
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value:
            os.environ[name] = value
