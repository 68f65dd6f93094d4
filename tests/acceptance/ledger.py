"""A ledger outside every database: one line per effect, appended with one write and synced, read by the judge.

A line is JSON: {"what": "start" | "end" | "cut" (interrupted), "job", "n", "attempt", "fence", "pid", "at"}; a torn
last line is left out.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any


class Ledger:
    """Appends for the workers, reads for the judge. `at` is CLOCK_MONOTONIC, one clock for all processes of a host."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._file = -1
        self._offset = 0
        self._lines: list[dict[str, Any]] = []

    def write(self, what: str, **fields: Any) -> None:
        if self._file < 0:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        line = json.dumps({"what": what, "pid": os.getpid(), "at": time.monotonic(), **fields}) + "\n"
        os.write(self._file, line.encode())
        os.fdatasync(self._file)

    def read(self) -> list[dict[str, Any]]:
        """Every whole line so far, in the order they were written."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._offset += len(whole)
            self._lines += [json.loads(line) for line in whole.splitlines()]
        return self._lines

    def running(self) -> dict[int, list[dict[str, Any]]]:
        """By process: the starts that have no end of the same job and fence yet."""
        ended = {(line["job"], line["fence"]) for line in self.read() if line["what"] == "end"}
        held: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for line in self.read():
            if line["what"] == "start" and (line["job"], line["fence"]) not in ended:
                held[line["pid"]].append(line)
        return held

    def starts(self) -> Counter[str]:
        return Counter(line["job"] for line in self.read() if line["what"] == "start")

    def ends(self) -> Counter[str]:
        return Counter(line["job"] for line in self.read() if line["what"] == "end")
