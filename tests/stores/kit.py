"""What every test of a store needs (see `offpath.testing.stores.kit`), and another process to speak to."""

import subprocess
import sys
from pathlib import Path

from offpath.testing.stores.kit import (
    HOUR,
    KEEP,
    POLICY,
    TIMEOUT,
    Hand,
    ask,
    change,
    ended,
    erase,
    expire,
    fresh,
    live,
    lose,
    new_job,
    now,
    perform,
    put,
    shown,
    told,
    wait,
    watched,
)

__all__ = [
    "HOUR",
    "KEEP",
    "POLICY",
    "TIMEOUT",
    "Child",
    "Hand",
    "ask",
    "change",
    "ended",
    "erase",
    "expire",
    "fresh",
    "live",
    "lose",
    "new_job",
    "now",
    "perform",
    "put",
    "shown",
    "told",
    "wait",
    "watched",
]

ROOT = Path(__file__).parents[2]


class Child:
    """Another process: `python -m MODULE …`, spoken to by lines."""

    def __init__(self, module: str, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *args], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hear(self) -> str:
        """The next line it says; "" when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """No more to tell; its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(TIMEOUT)
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.end()
