"""`python3 dev.py demo`: the whole story over real HTTP, told as it happens.

This process is the client, and also the mail server and the push gateway, so that what is counted is what arrived.
Beside it: the API (uvicorn) and a worker, or on PostgreSQL two; and, when one is about to be killed, another one. All
settings are the defaults. Whatever is claimed with "ok" has been looked at; one claim that does not hold makes the exit
code 1. With `--broker` it is another story, of two services: see `two_services.py`; with `--break` one that you mend:
`night.py`.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from servers.postgres import Unavailable

from ..processes import FLAG, Child
from ..receivers import receivers
from .night import tell as tell_of_the_night
from .place import Place, place
from .story import Story
from .terminal import Terminal

INTRODUCTION = """
offpath takes work off the request's critical path and loses none of it.
Here: a small user service (examples/accounts) on {name}, an API process and {workers}.
"""
KINDS = ("redis", "rabbitmq", "kafka", "sqs", "none")
SETTINGS = ("OFFPATH_", "ACCOUNTS_", "AUTH_")
MEANT = ("OFFPATH_TEST_", "OFFPATH_DEV", "OFFPATH_LEASE")  # servers that are there; a shorter wait for the dead
WORKERS = {1: "a worker process", 2: "two worker processes"}


async def tell(terminal: Terminal, folder: Path, postgres: str | None) -> None:
    async with place(postgres, folder) as at:
        await tell_at(at, terminal, folder)


async def tell_at(at: Place, terminal: Terminal, folder: Path) -> None:
    async with receivers() as (received, smtp_url, http_url):
        os.environ.update(
            ACCOUNTS_DATABASE=at.url,
            ACCOUNTS_DATA_DIR=str(folder / "files"),
            ACCOUNTS_SMTP_URL=smtp_url,
            ACCOUNTS_PUSH_URL=f"{http_url}/push",
            ACCOUNTS_DOWNSTREAM_URL=f"{http_url}/downstream",
        )
        terminal.say(INTRODUCTION.strip().format(name=at.name, workers=WORKERS[at.workers]))
        async with child("examples.accounts.serve", "--no-worker", "--port", "0", FLAG) as api:
            base_url = (await api.line("ready ")).removeprefix("ready ")
            workers = [await Child.start("examples.accounts.worker", FLAG) for _ in range(at.workers)]
            story = Story(terminal, received, base_url, at.url, workers)
            codes: list[int] = []
            try:
                for worker in workers:
                    await worker.line("worker.started")
                terminal.say(f"API process {api.pid} at {base_url}, {story.staff}, a fresh database.")
                await story.all()
            finally:
                with anyio.CancelScope(shield=True):
                    codes = [await worker.stop() for worker in story.workers]
                    await story.close()
            who, said = ("the worker", "code") if len(codes) == 1 else ("the workers", "codes")
            terminal.check(not any(codes), f"asked to stop, {who} ended with exit {said} {str(codes)[1:-1]}")
        terminal.check(api.process.returncode == 0, f"and the API with {api.process.returncode}")


@contextlib.asynccontextmanager
async def child(*command: str) -> AsyncIterator[Child]:
    process = await Child.start(*command)
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            await process.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py demo", description="The whole story over real HTTP.")
    parser.add_argument(
        "--postgres",
        nargs="?",
        const="",
        metavar="URL",
        help="on PostgreSQL, with two workers: on the server of this URL, in a database made for it and dropped "
        "afterwards; without a URL on a server that is started for it",
    )
    parser.add_argument(
        "--broker",
        choices=KINDS,
        help="the story of two services, which tell each other through it (none: by HTTP); a server is started for it, "
        "goes away in the middle, and comes back",
    )
    parser.add_argument("--members", type=_crowd, default=None, metavar="N", help="with --broker: how many (10000)")
    parser.add_argument(
        "--break",
        dest="broken",
        action="store_true",
        help="a bad night: jobs have failed, and you are the operator who finds out why and mends it",
    )
    parser.add_argument("--auto", action="store_true", help="with --break: mended step by step, while you watch")
    options = parser.parse_args()
    if options.auto and not options.broken:
        parser.error("--auto belongs to --break")
    if options.broken and (options.broker is not None or options.postgres is not None):
        parser.error("--break has a story of its own, on SQLite: leave --broker and --postgres out")
    if options.broker is None and options.members is not None:
        parser.error("--members belongs to --broker")
    if options.broker is not None and options.postgres is not None:
        parser.error("--broker has a story of its own, on SQLite: leave --postgres out")
    forget_settings()
    terminal = Terminal()
    start = float(os.environ.get("DEMO_BEGAN", time.monotonic()))  # when `dev.py` was called, before all that is loaded
    with tempfile.TemporaryDirectory(prefix="offpath-demo-") as folder:
        try:
            if options.broken:
                anyio.run(tell_of_the_night, terminal, Path(folder), options.auto)
            elif options.broker is None:
                anyio.run(tell, terminal, Path(folder), options.postgres)
            else:
                anyio.run(two_services, terminal, Path(folder), options.broker, options.members or 10_000)
        except Unavailable as error:
            print(f"demo: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            terminal.bar_done()
            terminal.say("interrupted")
            return 130
        except Exception as error:
            terminal.bar_done()
            terminal.check(False, f"the story could not be told to its end: {_reason(error)}")
    seconds = time.monotonic() - start
    held = terminal.checks - len(terminal.failed)
    terminal.title("The end")
    terminal.say(f"{held} of {terminal.checks} claims held, {seconds:.0f} s in all.")
    where = " --database postgresql://user@host:port/name" if options.postgres is not None else ""
    with_auth = " --with-auth" if options.broker is not None else ""
    terminal.say(f"The same to play with: python3 dev.py serve{where}{with_auth}")
    for sentence in terminal.failed:
        terminal.say(f"did not hold: {sentence}")
    return 1 if terminal.failed else 0


def forget_settings() -> None:
    """Of the shell that this was started in: they are of another application and its database, such as OFFPATH_APP,
    which our own documents say to export. The story brings its own, and its processes inherit them."""
    for name in list(os.environ):
        if name.startswith(SETTINGS) and not name.startswith(MEANT):
            del os.environ[name]


async def two_services(terminal: Terminal, folder: Path, kind: str, members: int) -> None:
    from .two_services import tell as tell_of_two  # its servers need more than the demo of one service

    await tell_of_two(terminal, folder, kind, members)


def _crowd(text: str) -> int:
    if not text.isdecimal() or not 1_000 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError("a whole number from 1000 to 1000000")
    return int(text)


def _reason(error: BaseException) -> str:
    """The first real exception inside a group, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}" + (f" … {lines[-1]}" if len(lines) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
