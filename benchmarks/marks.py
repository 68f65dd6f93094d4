"""How long a job waits for a worker in another process, and how a side says its figures."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path


class Marks:
    """A file in which a handler notes how long ago its job was asked for, by the machine's monotonic clock."""

    def __init__(self, path: str):
        self.path = Path(path)
        self._file = -1

    def note(self, at: int) -> None:
        """In the handler. `at`: when the caller began to enqueue, ns."""
        if self._file < 0:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, f"{time.monotonic_ns() - at}\n".encode())

    def measure(self, n: int, enqueue: Callable[[int], object]) -> None:
        """In the caller: one job at a time, each after the one before has been picked up."""
        self.path.write_bytes(b"")
        for _ in range(n):
            size = self.path.stat().st_size
            enqueue(time.monotonic_ns())
            while self.path.stat().st_size == size:  # not busily: the worker shares the two cores
                time.sleep(0.0005)
            time.sleep(0.005)
        waits = sorted(int(line) / 1e6 for line in self.path.read_text().splitlines())
        say(value=waits[len(waits) // 2], p99=waits[int(len(waits) * 0.99)], cpu=cpu())


def cpu() -> float:
    """Seconds of processor time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def say(**figures: float | list[float]) -> None:
    """The last line of a side's output; adds the most memory it had, MB, where the system tells."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
        figures.setdefault("rss", int(peak.split()[1]) / 1024)
    print(json.dumps(figures), flush=True)
