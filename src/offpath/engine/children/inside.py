"""What runs in a child: its line to the worker, and one attempt after the other."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal as signals
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ...tasks import Registry
from . import logs
from .acting import Acting
from .lines import Lines
from .wire import Frames, Message, frame

PR_SET_PDEATHSIG = 1
FIRST_TO_GO = b"500"  # when memory runs out, the kernel takes a child rather than the worker with all its jobs


class Line:
    """The line to the worker. `send` from any thread; on the main thread no signal may cut a frame in two."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._guard = threading.Lock()
        self._main = threading.main_thread().ident
        self._messages = self._read()
        self.acting: Acting | None = None

    def receive(self) -> Message | None:
        """The next message; None when the worker is gone."""
        return next(self._messages, None)

    def _read(self) -> Iterator[Message]:
        frames = Frames()
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 16):
                yield from frames.feed(data)

    def send(self, message: Message) -> None:
        data = frame(message)
        acting = self.acting
        if acting is None or threading.get_ident() != self._main:
            with self._guard:
                self._socket.sendall(data)
            return
        acting.held, before = True, acting.held
        try:
            with self._guard:
                self._socket.sendall(data)
        finally:
            acting.held = before
        acting.released()


def settle_in(parent: int) -> None:
    """Die with the worker, also when it is killed in a moment in which nothing here can notice."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signals.SIGKILL, 0, 0, 0)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_bytes(FIRST_TO_GO)
    if os.getppid() != parent:  # it died before that
        os._exit(0)


def serve(line: Line, registry: Registry, boot: Message) -> None:
    """Until the worker says so, is gone, or has sent SIGTERM."""
    lines = Lines(line.send)
    acting = Acting(registry, lines, lambda: line.send({"say": "began"}))
    line.acting = acting
    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    idle = False

    def told(number: int, at: FrameType | None) -> None:
        acting.stop()
        if idle:
            raise SystemExit(0)

    def read() -> None:
        while (message := line.receive()) is not None:
            if message["say"] == "written":
                lines.written(message["n"], message["ok"])
            else:
                inbox.put(message)
        _with_all()

    logs.forward(boot["logging"], line.send)
    signals.signal(signals.SIGTERM, told)
    threading.Thread(target=read, name="offpath-line", daemon=True).start()
    line.send({"say": "ready"})
    try:
        while not acting.spent:
            idle = True
            message = inbox.get()
            idle = False
            if message["say"] == "leave":
                break
            outcome = acting.attempt(message)
            said = {"say": "end", "outcome": outcome, "noticed": acting.noticed, "last": acting.spent, "rss": held()}
            line.send(said)
    finally:
        idle = False
        acting.close()


def _with_all() -> NoReturn:
    """The worker is gone: nobody would hear of anything done from now on. What was started here goes too."""
    os.killpg(os.getpgrp(), signals.SIGKILL)
    os._exit(1)


def held() -> int:
    """Bytes of memory that this process holds; where the system does not say, the most it has held."""
    import resource

    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
