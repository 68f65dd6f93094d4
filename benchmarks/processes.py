"""Processes beside the one that measures: started, waited for, and what the operating system says of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from .load import load
from .measure import Sample


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m command`, or a program when its name has a slash, until the end of the block."""
    words = command if "/" in command[0] else (sys.executable, "-m", *command)
    process = subprocess.Popen(words)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_for(port: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def cpu_of(pid: int, *, children: bool = False) -> float:
    """Seconds of processor time; with `children` also of those that have ended and were waited for."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11 : 15 if children else 13]) / os.sysconf("SC_CLK_TCK")


def rss_of(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def accepting(app: str, seconds: float) -> Sample:
    """32 connections to one endpoint of `benchmarks.accept_app`, after a quarter of the time to warm up."""
    port = free_port()
    with running("benchmarks.accept_app", app, str(port)) as server:
        wait_for(port)
        asyncio.run(load(port, "/accept", seconds / 4))
        before = cpu_of(server.pid)
        said = asyncio.run(load(port, "/accept", seconds))
        used, rss = cpu_of(server.pid) - before, rss_of(server.pid)
    return Sample(said["value"], used / said["count"], rss, {"p50 ms": said["p50"], "p99 ms": said["p99"]})
