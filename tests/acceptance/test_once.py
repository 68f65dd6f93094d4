"""kill -9 around the commit: what a task writes in the job's own transaction is there once, however often it ran."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.nursery import Child

from .fleet import ROOT, begin, said
from .ledger import Ledger

JOBS, WORKERS = 300, 3
RECEIPT = "create table receipt (job text not null, n integer not null, fence integer not null)"


class Place:
    """A database, the application on it, and workers that are replaced when they die."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.env = {**os.environ, "ONCE_DATABASE": url, "ONCE_FOLDER": str(folder), "PYTHONPATH": str(ROOT)}
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.workers: list[Child] = []
        self.deaths = 0

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        if self.url.startswith("sqlite"):
            path = self.url.removeprefix("sqlite:///")
            with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
                return connection.execute(statement).fetchall()
        with psycopg.connect(self.url) as connected:
            cursor = connected.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def enqueue(self, count: int) -> list[str]:
        ids: list[str] = json.loads(said(["tests.acceptance.once", str(count)], self.env))
        return ids

    def start(self) -> None:
        words = ["offpath", "--app", "tests.acceptance.once:jobs", "worker", "--concurrency", "4"]
        self.workers.append(begin(words, self.env, self.folder / "workers.log"))

    def until_ended(self, count: int, seconds: float) -> None:
        """What a supervisor does, until so many jobs have ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for process in [one for one in self.workers if one.poll() is not None]:
                assert process.returncode == -signal.SIGKILL, self.log()
                self.deaths += 1
                self.workers.remove(process)
            while len(self.workers) < WORKERS:
                self.start()
            if self.sql("select count(*) from offpath_history") == [(count,)]:
                return
            time.sleep(0.05)  # other processes tell nobody here
        raise AssertionError(f"not within {seconds:g} s\n{self.log()}")

    def log(self) -> str:
        return (self.folder / "workers.log").read_text()[-5000:]

    def close(self) -> None:
        for process in self.workers:
            process.kill()
            process.wait()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    sqlite = request.param == "sqlite"
    made = Place(tmp_path, f"sqlite:///{tmp_path / 'jobs.db'}" if sqlite else request.getfixturevalue("tables_url"))
    yield made
    made.close()


@pytest.mark.timeout(600)
def test_f02_thirty_kills_around_the_commit_and_every_receipt_is_there_once(place: Place) -> None:
    place.sql(RECEIPT)
    ids = place.enqueue(JOBS)
    place.until_ended(JOBS, 500)

    history = dict(place.sql("select cast(id as text), fence from offpath_history where outcome = 4"))
    receipts = place.sql("select job, n, fence from receipt")
    assert set(history) == set(ids), "every job succeeded"
    assert Counter(job for job, _, _ in receipts) == Counter(ids), "one receipt each"
    assert {job: fence for job, _, fence in receipts} == history, "by the delivery that history knows"

    died = {n: next(line["job"] for line in place.ledger.read() if line["n"] == n) for n in range(0, JOBS, 10)}
    assert len(list(place.folder.glob("death-*"))) == len(died) == place.deaths
    # A receipt that was not committed is written by a later delivery; one that was, and its worker died before it knew,
    # is that delivery's own. (A delivery may end before either, when a neighbour takes the worker with it.)
    last = {n: int((place.folder / f"death-{n}").read_text()) for n in died}
    for n, job in died.items():
        if n // 10 % 3 == 2:
            assert history[job] == last[n], f"job {n} was done by the delivery that died after its commit"
        else:
            assert history[job] > last[n], f"job {n} was done by a delivery after the one that died"
    starts = place.ledger.starts()
    print(f"{place.url.partition(':')[0]}: jobs {JOBS}, kills {place.deaths}, deliveries {starts.total()}, "
          f"receipts {len(receipts)}")  # fmt: skip
