"""Child processes of the programs here: started, listened to, stopped, and never left behind.

A child is given a pipe as standard input that nobody writes to. It watches that pipe (`stop_with_parent`): when the
parent dies, however suddenly, the pipe closes and the child stops in good order. Each child has a session of its own,
so that Ctrl-C in the terminal reaches only the parent, which then asks its children to stop exactly once.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Mapping

import anyio

from offpath.cli import main as offpath

from ..urls import SettingsError

FLAG = "--stop-with-parent"


class Child:
    """One child process. `lines` is what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process, *, echo: bool, but: str | None = None) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = asyncio.Condition()
        self._ended = False
        self._reader = asyncio.create_task(self._read(echo, but))

    @classmethod
    async def start(
        cls, *command: str, env: Mapping[str, str] | None = None, echo: bool = False, but: str | None = None
    ) -> "Child":
        """Run `python -m command…`. `env` is added to this process's own; `echo` repeats what it prints here, `but`
        for lines that begin so."""
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
        return cls(process, echo=echo, but=but)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line(self, text: str, timeout: float = 60) -> str:
        """Wait until it has printed a line with this text in it; RuntimeError when it ends or falls silent."""
        try:
            async with asyncio.timeout(timeout), self._news:
                while True:
                    if (line := self.said(text)) is not None:
                        return line
                    if self._ended:
                        break
                    await self._news.wait()
        except TimeoutError:
            pass
        said = "\n  ".join(self.lines[-30:]) or "(nothing)"
        raise RuntimeError(f"process {self.pid} did not say {text!r}; it said:\n  {said}")

    def said(self, text: str) -> str | None:
        """The first line with this text in it, of those it has printed so far."""
        return next((line for line in self.lines if text in line), None)

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

    async def _read(self, echo: bool, but: str | None) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if echo and (but is None or not line.startswith(but)):
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


@contextlib.asynccontextmanager
async def worker_beside(module: str) -> AsyncIterator[Child]:
    """One worker beside the API. It is not started again when it ends: who kills it wants to see what happens then."""
    worker = await Child.start(module, FLAG, echo=True)

    async def tell() -> None:
        code = await worker.process.wait()
        print(f"the worker process ended (exit code {code}); jobs wait until there is another one", flush=True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        try:
            yield worker
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await stopped(worker)


async def stopped(worker: Child) -> None:
    """The worker lets running jobs finish for a while; a second signal to us is passed on, and it stops at once."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def hurry() -> None:
                async for _ in signals:
                    worker.ask()

            tasks.start_soon(hurry)
            await worker.stop()
            tasks.cancel_scope.cancel()


def add_options(parser: argparse.ArgumentParser, variable: str = "ACCOUNTS_DATABASE") -> None:
    """What `serve` and `worker` both take. `variable`: of the environment, what the database may be named by too."""
    urls = "sqlite:///file.db or postgresql://user@host:port/name"
    file = f"{variable.partition('_')[0].lower()}.db"
    parser.add_argument("--database", metavar="URL", help=f"{urls} (default: {variable}, or {file})")
    parser.add_argument(FLAG, action="store_true", help=argparse.SUPPRESS)


def obey(parser: argparse.ArgumentParser, options: argparse.Namespace, variable: str = "ACCOUNTS_DATABASE") -> None:
    """Put them into force; exit 2 for a database that is named by nothing."""
    if options.database == "":
        parser.error("--database must name one: sqlite:///file.db")
    if options.database:
        os.environ[variable] = options.database
    if options.stop_with_parent:
        stop_with_parent()


def run_worker(program: str, variable: str, app: str, **others: str) -> int:
    """Be `offpath --app APP worker`, with the database as a flag. `others`: apps to work for instead, a flag each."""
    parser = argparse.ArgumentParser(prog=program, description="One more worker process for the example.")
    parser.add_argument("--until-empty", action="store_true", help="end when no job is ready or running")
    for name, other in others.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", dest="app", action="store_const", const=other, help=f"work for {other}"
        )
    parser.set_defaults(app=app)
    add_options(parser, variable)
    options = parser.parse_args()
    obey(parser, options, variable)
    for name in ("offpath.worker", "offpath.inbox", "accounts", "auth"):
        logging.getLogger(name).setLevel(logging.INFO)
    more = ["--log-level", "warning", *(["--until-empty"] if options.until_empty else [])]
    try:
        return offpath(["--app", options.app, "worker", *more])
    except SettingsError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2
