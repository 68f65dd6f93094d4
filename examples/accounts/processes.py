"""Child processes of the programs here: started, listened to, stopped, and never left behind.

A child is given a pipe as standard input that nobody writes to. It watches that pipe (`stop_with_parent`): when the
parent dies, however suddenly, the pipe closes and the child stops in good order. Each child has a session of its own,
so that Ctrl-C in the terminal reaches only the parent, which then asks its children to stop exactly once.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Mapping

FLAG = "--stop-with-parent"


class Child:
    """One child process. `lines` is what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process, *, echo: bool) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = asyncio.Condition()
        self._ended = False
        self._reader = asyncio.create_task(self._read(echo))

    @classmethod
    async def start(cls, *command: str, env: Mapping[str, str] | None = None, echo: bool = False) -> "Child":
        """Run `python -m command…`. `env` is added to this process's own; `echo` repeats what it prints here."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *command,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(process, echo=echo)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line(self, text: str, timeout: float = 60) -> str:
        """Wait until it has printed a line with this text in it; RuntimeError when it ends or falls silent."""
        try:
            async with asyncio.timeout(timeout), self._news:
                while True:
                    for line in self.lines:
                        if text in line:
                            return line
                    if self._ended:
                        break
                    await self._news.wait()
        except TimeoutError:
            pass
        said = "\n  ".join(self.lines[-30:]) or "(nothing)"
        raise RuntimeError(f"process {self.pid} did not say {text!r}; it said:\n  {said}")

    async def kill(self) -> int:
        """kill -9: no handler runs, nothing is tidied up. Gives the exit code, -9."""
        self.process.kill()
        return await self.process.wait()

    def ask(self) -> None:
        """Ask it to stop (SIGTERM); a worker that is asked twice does so at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()

    async def stop(self, timeout: float = 40) -> int:
        """Ask it to stop and wait; one that does not is killed. Gives the exit code."""
        self.ask()
        try:
            async with asyncio.timeout(timeout):
                code = await self.process.wait()
        except TimeoutError:
            code = await self.kill()
        await self._reader
        return code

    async def _read(self, echo: bool) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if echo:
                print(line, flush=True)
            async with self._news:
                self.lines.append(line)
                self._news.notify_all()
        async with self._news:
            self._ended = True
            self._news.notify_all()


def stop_with_parent() -> None:
    """In the child: when standard input ends, behave as if SIGTERM had arrived."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stop-with-parent", daemon=True).start()


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `serve` and `worker` both take."""
    urls = "sqlite:///file.db or postgresql://user@host:port/name"
    parser.add_argument("--database", metavar="URL", help=f"{urls} (default: ACCOUNTS_DATABASE, or accounts.db)")
    parser.add_argument(FLAG, action="store_true", help=argparse.SUPPRESS)


def obey(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Put them into force; exit 2 for a database that is named by nothing."""
    if options.database == "":
        parser.error("--database must name one: sqlite:///file.db")
    if options.database:
        os.environ["ACCOUNTS_DATABASE"] = options.database
    if options.stop_with_parent:
        stop_with_parent()
