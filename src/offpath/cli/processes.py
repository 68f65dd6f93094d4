"""`offpath worker --processes N`: so many workers of one command, watched over and started again when they die."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import ConfigurationError

STEADY = 10.0  # s; a worker that dies sooner than that after its start waits before the next one
PAUSE = (1.0, 30.0)  # s, first and longest
USAGE = 2  # what a worker ends with that was asked wrongly: the next one would end the same way


class Ended(NamedTuple):
    process: subprocess.Popen[bytes]
    code: int


class Told(NamedTuple):
    number: int


def run(arguments: Sequence[str], count: int, port: int | None = None) -> int:
    """Start `count` workers with these arguments and stay until all have ended. `port` of the first one's pages; each
    other one has the next, and so has whoever replaces it.

    SIGTERM and SIGINT are handed on: the first lets them drain, the second ends them at once; should we be killed, they
    drain by themselves. A worker that ends in order (0: --until-empty, or told to stop by somebody else) is not
    replaced, one that dies is. The exit code is 0 when every worker's last word was 0, else 1; 2 when one of the first
    says that it was asked wrongly. (What a later one says so of may pass: the database is away, or is being migrated.)
    """
    command = [sys.executable, "-m", "offpath", *arguments, "--processes", "1"]  # the last one counts
    heard: queue.SimpleQueue[Ended | Told] = queue.SimpleQueue()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda n, _: heard.put(Told(n))) for number in numbers}
    try:
        return _Crew(command, heard, port).run(count)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Crew:
    def __init__(self, command: Sequence[str], heard: queue.SimpleQueue[Ended | Told], port: int | None) -> None:
        self._command, self._port = command, port
        self._places: dict[subprocess.Popen[bytes], int] = {}
        self._heard = heard
        self._alive: dict[subprocess.Popen[bytes], float] = {}  # and when it was started
        self._first: set[subprocess.Popen[bytes]] = set()
        self._life = os.pipe()  # nobody writes to it; it closes with this process
        self._due: list[float] = []  # when to start another one, in place of one that died
        self._pause = PAUSE[0]
        self._stopping = False
        self._code = 0

    def run(self, count: int) -> int:
        for _ in range(count):
            self._first.add(self._start())
        while self._alive or self._due:
            try:
                said = self._heard.get(timeout=max(0.0, min(self._due) - time.monotonic()) if self._due else None)
            except queue.Empty:
                self._due.remove(min(self._due))
                self._start()
                continue
            if isinstance(said, Told):
                self._stop(said.number)
            else:
                self._ended(said)
        return self._code

    def _start(self) -> subprocess.Popen[bytes]:
        life = self._life[0]
        place = next(n for n in itertools.count() if n not in self._places.values())
        pages = [] if self._port is None else ["--port", str(self._port and self._port + place)]
        # A process group of its own: Ctrl-C reaches only us, and the worker is told once, not twice.
        process = subprocess.Popen(  # noqa: S603
            [*self._command, *pages, "--life", str(life)], process_group=0, pass_fds=[life]
        )
        self._alive[process] = time.monotonic()
        self._places[process] = place
        threading.Thread(target=self._wait, args=(process,), daemon=True).start()
        return process

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        self._heard.put(Ended(process, process.wait()))

    def _stop(self, number: int) -> None:
        self._stopping = True
        self._due.clear()
        for process in self._alive:
            process.send_signal(number)

    def _ended(self, said: Ended) -> None:
        lived = time.monotonic() - self._alive.pop(said.process)
        del self._places[said.process]
        if said.code == USAGE and said.process in self._first and not self._stopping:
            self._code = USAGE
            self._stop(signal.SIGTERM)
        elif said.code != 0 and self._stopping:
            self._code = self._code or 1
        elif said.code != 0:
            wait = 0.0 if lived >= STEADY else self._pause
            self._pause = PAUSE[0] if lived >= STEADY else min(self._pause * 2, PAUSE[1])
            how = f"by signal {-said.code}" if said.code < 0 else f"with {said.code}"
            when = f"in {wait:g} s" if wait else "now"
            print(
                f"offpath: worker {said.process.pid} ended {how}; another one starts {when}",
                file=sys.stderr,
                flush=True,
            )
            self._due.append(time.monotonic() + wait)


def stop_with(life: int) -> None:
    """In a worker: once nobody holds the other end of the pipe any more, behave as if SIGTERM had arrived."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(life, 1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="offpath-life", daemon=True).start()


def check(count: int) -> int:
    """ConfigurationError unless it is a number of processes."""
    if not 1 <= count <= 1_000:
        raise ConfigurationError(f"--processes must be 1 to 1000, not {count}")
    return count
