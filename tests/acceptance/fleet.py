"""Worker processes to start, kill, stall and replace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from .ledger import Ledger

T = TypeVar("T")
ROOT = Path(__file__).parents[2]


def until(what: Callable[[], T], seconds: float, why: str) -> T:
    """Look at a condition of another process (there is no signal to wait on across a kill -9) until it holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds:g} s: {why}")


class Fleet:
    """Workers of `app` on one database; the rest are killed at the end."""

    app = "tests.acceptance.app"

    def __init__(self, folder: Path, url: str, concurrency: int = 10):
        self.folder = folder
        self.concurrency = concurrency
        self.url = url
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.env = {
            **os.environ,
            "ACCEPTANCE_DATABASE": self.url,
            "ACCEPTANCE_LEDGER": str(self.ledger.path),
            "PYTHONPATH": str(ROOT),
        }
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self.logs: list[Path] = []

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self.workers.values():
            process.kill()
            process.wait()

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"worker-{len(self.logs)}.log"
        self.logs.append(log)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "offpath", "--app", f"{self.app}:jobs", "worker", "--concurrency",
                 str(self.concurrency), *more],
                env=self.env, cwd=ROOT, stdout=output, stderr=output,
            )  # fmt: skip
        self.workers[process.pid] = process
        return process

    def enqueue(self, *args: str) -> list[str]:
        """What `python -m` the application enqueues, from a process of its own; the ids."""
        output = subprocess.check_output([sys.executable, "-m", self.app, *args], env=self.env, cwd=ROOT, timeout=200)
        ids: list[str] = json.loads(output)
        return ids

    def _sql(self, statement: str) -> list[dict[str, Any]]:
        if self.url.startswith("sqlite"):
            path = self.url.removeprefix("sqlite:///")
            with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
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
