"""Worker processes to start, kill, stall and replace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from tests.nursery import OFFPATH, Child, nursery

from .ledger import Ledger

T = TypeVar("T")
ROOT = Path(__file__).parents[2]


def until(what: Callable[[], T], seconds: float, why: str, pause: float = 0.01) -> T:
    """Look at a condition of another process (there is no signal to wait on across a kill -9) until it holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(pause)
    raise AssertionError(f"not within {seconds:g} s: {why}")


def begin(words: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
    """A process of its own: `python -m` these words."""
    return nursery(*OFFPATH).start(["-m", *words], ROOT, environment, log, log)


def said(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """What `python -m` these words prints."""
    done = nursery(*OFFPATH).run(["-m", *words], ROOT, environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Fleet:
    """Workers of `app` on one database; the rest are killed at the end."""

    app = "tests.acceptance.app"

    def __init__(self, folder: Path, url: str, concurrency: int = 10):
        self.folder = folder
        self.concurrency = concurrency
        self.url = url
        self.file = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else None
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.env = {
            **os.environ,
            "ACCEPTANCE_DATABASE": self.url,
            "ACCEPTANCE_LEDGER": str(self.ledger.path),
            "PYTHONPATH": str(ROOT),
        }
        self.workers: dict[int, Child] = {}
        self.logs: list[Path] = []

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self.workers.values():
            process.kill()
            process.wait()

    def start(self, *more: str) -> Child:
        """One more worker; `more` of its options."""
        log = self.folder / f"worker-{len(self.logs)}.log"
        self.logs.append(log)
        words = ["offpath", "--app", f"{self.app}:jobs", "worker", *self.options(), *more]
        process = begin(words, self.env, log)
        self.workers[process.pid] = process
        return process

    def options(self) -> Sequence[str]:
        return ["--concurrency", str(self.concurrency)]

    def enqueue(self, *args: str) -> list[str]:
        """What `python -m` the application enqueues, from a process of its own; the ids."""
        ids: list[str] = json.loads(said([self.app, *args], self.env))
        return ids

    def _sql(self, statement: str) -> list[dict[str, Any]]:
        if self.file is not None:
            with contextlib.closing(sqlite3.connect(self.file, timeout=30)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(statement)]
        with psycopg.connect(self.url, row_factory=dict_row) as connected:
            return connected.execute(statement.encode()).fetchall()

    def history(self) -> dict[str, dict[str, Any]]:
        """Every job that has ended, by id."""
        columns = "cast(id as text) as id, outcome, fence, attempt, crashes, result, error, finished_at"
        return {row["id"]: row for row in self._sql(f"select {columns} from offpath_history")}

    def ended(self) -> int:
        count: int = self._sql("select count(*) as n from offpath_history")[0]["n"]
        return count

    def live(self) -> int:
        count: int = self._sql("select count(*) as n from offpath_job")[0]["n"]
        return count

    def crashed(self) -> int:
        """How many deaths the most unlucky of the live jobs has met."""
        most: int = self._sql("select coalesce(max(crashes), 0) as n from offpath_job")[0]["n"]
        return most

    def kill(self, pid: int) -> None:
        process = self.workers.pop(pid)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def log(self) -> str:
        return "".join(log.read_text() for log in self.logs)
