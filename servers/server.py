"""What the brokers' servers have in common: a process of one's own on a port of 127.0.0.1 that can be stopped, killed
and started again where it was.

A server goes with the process that started it, however that went (on Linux, by `setpriv`; elsewhere at its regular
end). Standard library only; blocking: on an event loop, call these in a thread.
"""

import atexit
import contextlib
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import IO, ClassVar, Self

from .postgres import Unavailable

PATIENCE = 120.0  # s until it is ready, on a machine that has other things to do
FAREWELL = 30.0  # s for an orderly end
LOOK = 0.01  # s between two looks whether it is ready
PORTS = range(20_000, 32_000)
"""Below those that the system gives to outgoing connections: nobody takes the port of a server that is down."""

Process = subprocess.Popen[str]


class Server(ABC):
    """One server. Whoever makes it owns `home`, an empty folder; `url` is what offpath is given.

    `start` waits until clients are served; `Unavailable`, with the server's own last words, when that is not to be.
    After `stop` (in good order) or `kill` (SIGKILL) it can be started again: on the same port, with the same data
    where it keeps any.
    """

    name: ClassVar[str]

    def __init__(self, home: Path, *, port: int | None = None) -> None:
        self.home, self.port = home, port or free_port()
        self._process: Process | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @classmethod
    @contextlib.contextmanager
    def scratch(cls, *args: Path) -> Iterator[Self]:
        """One in a temporary folder, started, for as long as the block lasts. `args` come behind `home`."""
        with tempfile.TemporaryDirectory(prefix=f"offpath-{cls.name}-", ignore_cleanup_errors=True) as folder:
            server = cls(Path(folder), *args)
            try:
                server.start()
                yield server
            finally:
                server.kill()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @abstractmethod
    def start(self) -> None: ...

    def stop(self) -> None:
        """In good order, with what it still has to write."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(FAREWELL)
        self.kill()

    def kill(self) -> None:
        """As when it crashes."""
        process, self._process = self._process, None
        if process is not None:
            end(process)

    def said(self) -> str:
        """The last lines of its log."""
        with contextlib.suppress(FileNotFoundError):
            return " / ".join((self.home / "log").read_text(errors="replace").split("\n")[-6:])[-600:].strip(" /")
        return ""


class Program(Server):
    """A server that is a command, and that is asked until it answers."""

    def start(self) -> None:
        if self.running:
            return
        command, environment = self._command()
        self._process = process = tied(command, self.home / "log", environment)
        deadline = time.monotonic() + PATIENCE
        while not self._ready():
            if process.poll() is not None:
                raise Unavailable(f"{self.name} ended: {self.said()}")
            if time.monotonic() > deadline:
                self.kill()
                raise Unavailable(f"{self.name} was not ready in {PATIENCE:g} s: {self.said()}")
            time.sleep(LOOK)

    @abstractmethod
    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """What is run, and what is added to the environment."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether clients are served."""


def free_port() -> int:
    """A port that nobody uses now and that is not given away by the system."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise Unavailable(f"no free port from {PORTS.start} to {PORTS.stop}")


def answers(port: int, question: bytes, answer: bytes) -> bool:
    """Whether what listens on `port` answers the question with something that begins so."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
        sock.sendall(question)
        said = b""
        while len(said) < len(answer) and (data := sock.recv(4096)):
            said += data
        return said.startswith(answer)
    return False


# -- processes that end with ours --------------------------------------------------------------------------------------


def tied(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
) -> Process:
    """A process, leader of its own group, that the kernel ends when ours has ended. What it says is added to `log`."""
    asked: Future[Process] = Future()

    def do() -> None:
        try:
            with open(log, "a") as said:
                asked.set_result(_popen(command, environment, stdin, said if stdout is None else stdout, said))
        except BaseException as e:
            asked.set_exception(e)

    _starter().put(do)
    process = asked.result()
    _alive.add(process)
    return process


def end(process: Process) -> None:
    """At once, with all that it has started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    _alive.discard(process)


def _popen(
    command: Sequence[str], environment: Mapping[str, str], stdin: int, stdout: int | IO[str], stderr: IO[str]
) -> Process:
    tie = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    return subprocess.Popen(
        [*tie, *command],
        env={**os.environ, **environment},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal is for whoever started it
    )


@cache
def _starter() -> "queue.SimpleQueue[Callable[[], None]]":
    """The kernel takes the end of the thread that started a child for the end of its parent: this thread has none."""
    calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            calls.get()()

    threading.Thread(target=serve, name="starts servers", daemon=True).start()
    return calls


_alive: set[Process] = set()


@atexit.register
def _end_all() -> None:
    for process in list(_alive):
        end(process)
