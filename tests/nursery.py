"""Python processes that have imported already what they need: forked from one that did nothing else.

To start an interpreter and import a worker takes most of a second of a processor, with Django or SQLAlchemy more; the
suite wants some hundreds of them. A fork is as good: nothing was set up before it, and what it is to do it learns from
its own words, environment and folder. It is a process like any other: killed, stalled and waited for by its number.
Whoever is about the start of an interpreter (what is imported, and when; warnings; processes of a process) starts one.

`python -m tests.nursery MODULE…` reads orders, JSON in lines, and answers: `begun PID`, and later `ended PID CODE`.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
OFFPATH = (
    "aiosqlite", "asyncpg", "offpath.cli.worker", "offpath.codec.typed", "offpath.engine.worker",
    "offpath.integrations.sqlalchemy", "offpath.stores.postgres.store", "offpath.stores.sqlite",
    "offpath.transports.local", "offpath.transports.notify", "pydantic.json_schema",
    "sqlalchemy.dialects.postgresql.asyncpg", "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.aiosqlite", "sqlalchemy.ext.asyncio", "sqlalchemy.orm",
)  # fmt: skip
"""What a worker imports, whatever its application is."""
PATIENCE = 200.0  # s for what takes a moment, on a machine that has other things to do


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Child:
    """The part of `subprocess.Popen` that is used here."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        if self.returncode is None:
            self._nursery.hear(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"process {self.pid} has not ended within {timeout:g} s")
            self._nursery.hear(left)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """`modules`: what all its children have imported. For one thread."""

    def __init__(self, *modules: str, warnings: str = "") -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("OFFPATH_", "DJANGO_"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery", *modules], cwd=ROOT, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment | {"PYTHONWARNINGS": warnings},
        )  # fmt: skip
        self._children: dict[int, Child] = {}
        self._begun: list[int] = []
        self._said = b""
        atexit.register(self._close)

    def start(
        self,
        words: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        out: Path,
        err: Path,
        told: Path = Path(os.devnull),
    ) -> Child:
        """As `Popen([sys.executable, *words])`, the words being a file, `-m` and a module, or `-c` and a program, and
        their own. What it prints is added to these files, and it reads what it is `told`. When this returns it has
        them open."""
        order = {"words": words, "cwd": str(cwd), "environment": dict(environment)}
        order |= {"out": str(out), "err": str(err), "told": str(told)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        end = time.monotonic() + PATIENCE
        while not self._begun:
            assert time.monotonic() < end, "the nursery does not answer"
            self.hear(1)
        return self._children[self._begun.pop()]

    def run(self, words: Sequence[str], cwd: Path, environment: Mapping[str, str], timeout: float = PATIENCE) -> Ended:
        """As `subprocess.run([sys.executable, *words], …)`."""
        with tempfile.TemporaryDirectory(prefix="offpath-nursery-") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            child = self.start(words, cwd, environment, out, err)
            try:
                return Ended(child.wait(timeout), out.read_text(), err.read_text())
            finally:
                child.kill()

    def hear(self, timeout: float | None) -> None:
        """What the nursery says, if it says something within so many seconds."""
        stream = self._process.stdout
        assert stream is not None
        if not select.select([stream], [], [], timeout)[0]:
            return
        said = stream.read(65536)
        assert said, "the nursery has died"
        *lines, self._said = (self._said + said).split(b"\n")
        for line in lines:
            what, pid, *code = line.decode().split()
            if what == "begun":
                self._children[int(pid)] = Child(self, int(pid))
                self._begun.append(int(pid))
            else:
                self._children.pop(int(pid)).returncode = int(code[0])

    def _close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@cache
def nursery(*modules: str, warnings: str = "") -> Nursery:
    """This process's own with these modules. `warnings` as for PYTHONWARNINGS."""
    return Nursery(*modules, warnings=warnings)


def offpath(words: Sequence[str], folder: Path, **more: str) -> Ended:
    """The command `offpath` with these words, in that folder. `more` is all of OFFPATH_… that it finds around it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OFFPATH_")}
    return nursery(*OFFPATH).run(["-m", "offpath", *words], folder, environment | more)


# ── the nursery itself ───────────────────────────────────────────────────────────────────────────────────────────────


def serve() -> dict[str, Any] | None:
    """Fork for each order; what a fork returns is its order. None when nobody orders any more."""
    awake, alarm = os.pipe()  # the end of a child is a byte in it
    os.set_blocking(awake, False)
    os.set_blocking(alarm, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    orders, read = b"", b" "
    while read:
        ready, _, _ = select.select([0, awake], [], [])
        if awake in ready:
            os.read(awake, 4096)
            reap()
        if 0 not in ready:
            continue
        *lines, orders = (orders + (read := os.read(0, 1 << 20))).split(b"\n")
        for line in lines:
            if not os.fork():
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.close(awake)
                os.close(alarm)
                return dict(json.loads(line))
    return None


def reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        os.write(1, b"ended %d %d\n" % (pid, os.waitstatus_to_exitcode(status)))


def become(order: Mapping[str, Any]) -> None:
    """The interpreter that was asked for; it ends as any other does."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    how = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    opened = [
        os.open(order["told"], os.O_RDONLY),
        os.open(order["out"], how, 0o600),
        os.open(order["err"], how, 0o600),
    ]
    os.write(1, b"begun %d\n" % os.getpid())
    for number, file in enumerate(opened):
        os.dup2(file, number)
        os.close(file)
    # New ones: those that there were remember whether a seek is possible in what was open before.
    unbuffered = 1 if os.environ.get("PYTHONUNBUFFERED") else -1
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", unbuffered, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    first, *rest = order["words"]
    if first == "-c":
        program, *rest = rest
        sys.argv, sys.path[0] = ["-c", *rest], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), main.__dict__)
    elif first == "-m":
        module, *rest = rest
        sys.argv, sys.path[0] = [module, *rest], os.getcwd()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *rest], os.path.dirname(first)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        __import__(name)
    gc.freeze()  # a child need not look through all that before it ends
    if order := serve():
        become(order)
